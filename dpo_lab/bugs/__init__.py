"""Bugs that people ship, each one small change in this course's own training loop, ready to run."""

from dpo_lab.bugs.catalogue import BUGS, Bug
from dpo_lab.bugs.runs import BrokenRun, run_bug

__all__ = ["BUGS", "BrokenRun", "Bug", "run_bug"]
