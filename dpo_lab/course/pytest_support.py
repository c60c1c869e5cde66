"""What the autograders' conftest needs: the target, kind words for a rejection, and the table of points."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lab.course import library
from dpo_lab.course.exercises import exercise_of
from dpo_lab.course.layout import Course
from dpo_lab.course.learner import notebook_driver
from dpo_lab.course.report import Report
from dpo_lab.course.submission import Driver, Rejected, local_driver

LIBRARY = "library"
EXERCISE, POINTS = "exercise", "exercise points"


def target_driver(course: Course, target: str) -> Driver:
    """A driver of the library or of a folder's notebooks.

    Args:
        target: "library", or a folder, relative to the course's root or to the working directory.

    Raises:
        CourseError: the folder holds no lesson.
    """
    if target == LIBRARY:
        return local_driver(lambda name: library.find(course, name).load())
    folder = course.root / target
    return notebook_driver(course, folder if folder.exists() else Path(target))


def kind_words(item: pytest.Item, call: pytest.CallInfo, report: pytest.TestReport) -> None:
    """Note the exercise on a test's report, and replace the traceback of a rejection by what a learner reads."""
    marked = exercise_of(getattr(item, "function", None))
    if marked is None:
        return
    if call.when == "call":
        report.user_properties += [(EXERCISE, marked[0]), (POINTS, marked[1] or 0)]
    if call.excinfo is not None and isinstance(call.excinfo.value, Rejected):
        seed = dict(report.user_properties).get("fresh seed")
        again = f"\n  repeat with --fresh-seed {seed}" if seed is not None else ""
        report.longrepr = _words(marked[0], call.excinfo.value) + again


def _words(name: str, rejected: Rejected) -> str:
    return Report.of(name, 0, rejected.diagnosis).text()


class PointsTable:
    """A pytest plugin that prints points per exercise at the end of a run.

    Args:
        folder: of the autograders; nothing is printed when none of their tests ran.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        passed: dict[str, bool] = {}
        points: dict[str, int] = {}
        for outcome in ("passed", "failed"):
            for report in terminalreporter.stats.get(outcome, []):
                properties = dict(getattr(report, "user_properties", []))
                if EXERCISE in properties:
                    name = properties[EXERCISE]
                    passed[name] = passed.get(name, True) and outcome == "passed"
                    points[name] = points.get(name, 0) + properties[POINTS]
        if not passed:
            return
        terminalreporter.section("points")
        for name in passed:
            earned = points[name] if passed[name] else 0
            terminalreporter.line(f"{'✓' if passed[name] else '✗'} {name:<32}{earned:>4} of {points[name]}")
        earned = sum(points[name] for name in passed if passed[name])
        terminalreporter.line(f"points: {earned} of {sum(points.values())}")
