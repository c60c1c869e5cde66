"""What the run doctor says: one finding a thing that is wrong, and the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SEVERITIES = ("error", "warning", "note")
STAGES = ("setup", "replay", "trained", "curves")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run, or worth knowing about it.

    Attributes:
        name: a short fixed name, such as "beta_zero".
        severity: "error" (the run does not compute what it should: stop it), "warning" (it does, but its result is in
            danger) or "note" (worth knowing; a healthy run may have it).
        evidence: a sentence with the numbers that were seen.
        cause: what most likely brought them about.
        fix: what to do next.
        lesson: where the course treats it, such as "04_dpo_loss".
        numbers: the numbers of the evidence by name.
        step: the step at which it was first seen; None where it holds for the whole run.
        stage: which kind of check found it: "setup", "replay", "trained" or "curves".
    """

    name: str
    severity: str
    evidence: str
    cause: str
    fix: str
    lesson: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    step: int | None = None
    stage: str = "curves"

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity must be one of {', '.join(SEVERITIES)}, got {self.severity!r}")
        if self.stage not in STAGES:
            raise ValueError(f"stage must be one of {', '.join(STAGES)}, got {self.stage!r}")

    def __str__(self) -> str:
        return f"{self.severity}: {self.name}. {self.evidence} {self.cause} {self.fix} (lesson {self.lesson})"


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then notes; within each, what a check of the setup found comes before what curves hint at.

    Findings that tie keep their order, so a detector that knows the cause goes before one that sees a symptom. Of
    several findings with one name the first is kept.
    """
    order = sorted(
        findings, key=lambda finding: (SEVERITIES.index(finding.severity), STAGES.index(finding.stage))
    )
    return list({finding.name: finding for finding in reversed(order)}.values())[::-1]


def alarms(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that call for action: all but the notes. A healthy run has none."""
    return [finding for finding in findings if finding.severity != "note"]
