"""The course apparatus: exercises, checks, building. It finds the library's functions by name, and knows no other thing
about them."""

from __future__ import annotations

from dpo_lab.course.checks import check
from dpo_lab.course.exercises import Mistake, exercise
from dpo_lab.course.observing import raises

__all__ = ["Mistake", "check", "exercise", "raises"]
