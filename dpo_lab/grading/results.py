"""What grading found out: per exercise, per student, per class."""

from __future__ import annotations

from dataclasses import dataclass, field

from dpo_lab.course.report import Report


@dataclass
class ExerciseResult:
    """One exercise of one student: the report that the student reads, and notes for the teacher."""

    report: Report
    lesson: str
    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    share: float | None = None

    @property
    def earned(self) -> float:
        """Points that count: all or nothing, unless rules for late or partial work say otherwise."""
        return float(self.report.earned) if self.share is None else round(self.share * self.report.points, 2)

    @property
    def name(self) -> str:
        """The exercise."""
        return self.report.exercise

    @property
    def advice(self) -> str:
        """What the student should look at, one line."""
        if self.report.mistake:
            return f"{self.report.mistake}: {self.report.hint}"
        return self.report.headline.replace("\n", " ")


@dataclass
class StudentResult:
    """All exercises of one student."""

    student: str
    path: str
    exercises: list[ExerciseResult]
    notes: list[str] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """What could be earned."""
        return sum(each.report.points for each in self.exercises)

    @property
    def earned(self) -> float:
        """What counts."""
        return round(sum(each.earned for each in self.exercises), 2)


@dataclass
class ClassResult:
    """All students; the seed of the private inputs, and what the sandbox was made of."""

    students: list[StudentResult]
    seed: int
    walls: list[str]
    seconds: float
    alike: list[tuple[str, list[str]]] = field(default_factory=list)
