"""Late and partial work, in one YAML:

late:                       # by lesson, or `all`; times in ISO format, with an offset
  deadlines: {all: 2026-10-01T23:59:00+02:00, 04_dpo_loss: 2026-10-08T23:59:00+02:00}
  per_day: 0.1              # lost for each day begun
  least: 0.5                # never below this
  handed_in: handed_in.csv  # columns student,time; without it the notebook file's time counts
partial: 0.0                # share of an exercise's points for its passed tests; 0: all or nothing
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dpo_lab.course.layout import CourseError
from dpo_lab.grading.results import ExerciseResult, StudentResult


@dataclass
class Rules:
    """How much of the points counts."""

    deadlines: dict[str, dt.datetime] = field(default_factory=dict)
    per_day: float = 0.0
    least: float = 0.0
    partial: float = 0.0
    handed_in: dict[str, dt.datetime] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Rules:
        """Read the YAML.

        Raises:
            CourseError: it can't be read, or holds keys that are not known.
        """
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            late = data.get("late", {})
            unknown = {*data} - {"late", "partial"} | {*late} - {"deadlines", "per_day", "least", "handed_in"}
            if unknown:
                raise CourseError(f"{path}: unknown key {', '.join(sorted(unknown))}")
            deadlines = {name: _time(value) for name, value in late.get("deadlines", {}).items()}
            handed = _handed_in(path.parent / late["handed_in"]) if "handed_in" in late else {}
            numbers = (
                float(late.get("per_day", 0)),
                float(late.get("least", 0)),
                float(data.get("partial", 0)),
            )
        except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise CourseError(f"{path} can't be read: {error}") from error
        if not all(0 <= number <= 1 for number in numbers):
            raise CourseError(f"{path}: per_day, least and partial lie between 0 and 1, got {numbers}")
        return cls(deadlines, *numbers, handed)

    def apply(self, student: StudentResult) -> None:
        """Set what counts of each exercise."""
        for exercise in student.exercises:
            exercise.share = self._share(exercise)
            factor, days = self._late(student, exercise.lesson)
            exercise.share *= factor
            if days:
                note = f"{exercise.lesson}: {days} day{'s' * (days > 1)} late, {factor:.0%} counts"
                student.notes += [note] * (note not in student.notes)

    def _share(self, exercise: ExerciseResult) -> float:
        report = exercise.report
        if report.status == "passed":
            return 1.0
        if not report.tests or report.status == "not written" or report.mistake == "asks the library":
            return 0.0
        return self.partial * report.passed_tests / report.tests

    def _late(self, student: StudentResult, lesson: str) -> tuple[float, int]:
        deadline = self.deadlines.get(lesson, self.deadlines.get("all"))
        if deadline is None:
            return 1.0, 0
        when = self.handed_in.get(student.student) or _file_time(Path(student.path), lesson)
        days = math.ceil((when - deadline).total_seconds() / 86400) if when and when > deadline else 0
        return (max(self.least, 1 - self.per_day * days), days) if days else (1.0, 0)


def _time(value: Any) -> dt.datetime:
    time = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    return time if time.tzinfo else time.replace(tzinfo=dt.timezone.utc)


def _handed_in(path: Path) -> dict[str, dt.datetime]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["student"]: _time(row["time"]) for row in csv.DictReader(file)}


def _file_time(path: Path, lesson: str) -> dt.datetime | None:
    files = [path] if path.is_file() else sorted(path.rglob(f"{lesson}.ipynb"))
    return dt.datetime.fromtimestamp(files[0].stat().st_mtime, dt.timezone.utc) if files else None
