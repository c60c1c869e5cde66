"""What the run doctor says of a run with a bug, and of healthy ones."""

from __future__ import annotations

from collections.abc import Sequence

from dpo_lab.bugs import run_bug
from dpo_lab.diagnostics import Finding, alarms, diagnose


def doctor_run(bug: str, seed: int) -> dict[str, str]:
    """The doctor's first alarm on a run with this bug, "none" for the healthy loop.

    Returns:
        `curves`: from the history alone; `all`: from history, policy, reference, pairs and config.
    """
    run = run_bug(None if bug == "none" else bug, seed)
    everything = diagnose(run.history, run.policy, run.reference, run.pairs, run.config)
    return {"curves": first_alarm(diagnose(run.history)), "all": first_alarm(everything)}


def first_alarm(findings: Sequence[Finding]) -> str:
    """Its name, or "no alarm"."""
    return next((finding.name for finding in alarms(findings)), "no alarm")
