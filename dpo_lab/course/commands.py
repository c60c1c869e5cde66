"""The terminal's side of the apparatus: `dpo-lab build` and `dpo-lab check`."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from dpo_lab.course import exercises, judge
from dpo_lab.course.layout import Course, CourseError
from dpo_lab.course.learner import lesson_notebooks, notebook_driver, read_cached
from dpo_lab.course.report import SYMBOLS, Report

STYLES = {"passed": "green", "wrong": "red", "error": "red", "not written": "dim", "broken": "yellow"}


def build_command(
    names: list[str], check: bool = False, execute: bool = True, course: Course | None = None
) -> int:
    """Build lessons, or with `check` tell whether they are up to date.

    Returns:
        Exit status: 0, or 1 when something is stale or failed; the reason is on stderr.
    """
    from dpo_lab.course.build import build, stale

    course = course or Course.default()
    try:
        if not check:
            build(course, names, execute_solutions=execute)
            return 0
        wrong, notes = stale(course, names)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    for note in notes:
        print(note)
    for problem in wrong:
        print(problem, file=sys.stderr)
    if wrong:
        print("Run `dpo-lab build`, look at the result, and commit it.", file=sys.stderr)
        return 1
    print("All notebooks are up to date.")
    return 0


def check_command(paths: list[str], course: Course | None = None) -> int:
    """Grade learners' notebooks and print a table.

    Args:
        paths: notebooks or folders of them; none means the course's `notebooks`.

    Returns:
        Exit status: 0, or 1 when a notebook could not be read or a check itself failed.
    """
    course = course or Course.default()
    console = Console()
    try:
        files = _notebooks(course, paths)
        known = exercises.test_files(course)
        jobs = [(path, name) for path in files for name in read_cached(path).exercises if name in known]
        drivers = {path: notebook_driver(course, path) for path in files}
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    reports: dict[Path, list[Report]] = {path: [] for path in files}
    for path, name in track(jobs, "grading", console=console, transient=True):
        reports[path].append(judge.grade(course, name, drivers[path]))
    for path, graded in reports.items():
        console.print(table_of(path.stem, graded) if graded else f"{path.name}: no exercises")
    everything = [report for graded in reports.values() for report in graded]
    earned, points = sum(report.earned for report in everything), sum(report.points for report in everything)
    console.print(f"points: {earned} of {points}", highlight=False)
    return int(any(report.status == "broken" for report in everything))


def table_of(title: str, reports: list[Report]) -> Table:
    """A table of one notebook's reports: exercise, points, verdict, mistake."""
    table = Table(title=title, title_justify="left", show_edge=False)
    table.add_column("exercise", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("what to look at", overflow="fold")
    for report in reports:
        style = STYLES[report.status]
        verdict = f"[{style}]{SYMBOLS[report.status]} {report.status}[/]"
        advice = report.headline if report.status not in ("passed", "not written") else ""
        advice = f"{report.mistake}: {report.hint}" if report.mistake else advice
        table.add_row(
            report.exercise, f"{report.earned} / {report.points}", verdict, escape(advice.replace("`", ""))
        )
    return table


def _notebooks(course: Course, paths: list[str]) -> list[Path]:
    found: list[Path] = []
    for given in [Path(path) for path in paths] or [course.notebooks]:
        if not given.exists():
            raise CourseError(f"{given}: no such notebook or folder")
        found += lesson_notebooks(given) if given.is_dir() else [given]
    if not found:
        raise CourseError(
            f"no notebook named like 04_dpo_loss.ipynb in {', '.join(paths) or course.notebooks}"
        )
    return found
