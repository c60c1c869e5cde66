"""Exercises and their tests: the decorator, the known mistakes, and finding both without pytest."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from dpo_lab.course.layout import Course, CourseError

MARK = "__exercise__"
DECORATED = re.compile(r"^@exercise\(\s*[\"'](\w+)[\"']", re.MULTILINE)


@dataclass(frozen=True)
class Mistake:
    """A known wrong version of an exercise.

    Args:
        name: what went wrong, in a few words, e.g. "mask not shifted".
        hint: one or two sentences that lead on without giving the answer away.
        function: the wrong version, called exactly as the exercise is.
    """

    name: str
    hint: str
    function: Callable


@dataclass(frozen=True)
class ExerciseTest:
    """One test of an exercise; `points` stand on the exercise's first test only."""

    exercise: str
    points: int | None
    function: Callable


def exercise(name: str, points: int | None = None) -> Callable[[Callable], Callable]:
    """Mark a test as belonging to the exercise `name`.

    Args:
        name: the exercise's function.
        points: what the exercise is worth; given on its first test only.

    Raises:
        ValueError: the test's name doesn't hold the exercise's, so that `pytest -k name` would miss it.
    """

    def mark(function: Callable) -> Callable:
        if name not in function.__name__:
            raise ValueError(
                f"{function.__name__} tests {name}: put `{name}` into its name, for `pytest -k {name}`"
            )
        setattr(function, MARK, (name, points))
        return function

    return mark


def exercise_of(function: object) -> tuple[str, int | None] | None:
    """The exercise and points that `@exercise` wrote on a test, or None."""
    return getattr(function, MARK, None)


def test_files(course: Course) -> dict[str, list[Path]]:
    """Exercise → files that test it, read from the text: no file is imported."""
    index: dict[str, list[Path]] = {}
    for path in sorted(course.autograders.glob("test_*.py")):
        for name in _names_in(path, path.stat().st_mtime_ns):
            index.setdefault(name, []).append(path)
    return index


@cache
def _names_in(path: Path, modified_ns: int) -> list[str]:
    return list(dict.fromkeys(DECORATED.findall(path.read_text(encoding="utf-8"))))


def tests_of(course: Course, name: str) -> list[ExerciseTest]:
    """The tests of one exercise, in the order of their file.

    Raises:
        CourseError: no test, a test file that doesn't import, or no points.
    """
    tests = []
    for path in test_files(course).get(name, []):
        for value in vars(load_autograder(course, path)).values():
            marked = exercise_of(value)
            if marked is not None and marked[0] == name:
                tests.append(ExerciseTest(name, marked[1], value))
    if not tests:
        raise CourseError(f"no test of an exercise `{name}` in {course.autograders}")
    if sum(test.points is not None for test in tests) != 1:
        raise CourseError(
            f'give the points of `{name}` once: @exercise("{name}", points=…) on its first test'
        )
    return tests


def points_of(tests: list[ExerciseTest]) -> int:
    """What an exercise is worth."""
    return next(test.points for test in tests if test.points is not None)


def mistakes_of(course: Course, name: str) -> list[Mistake]:
    """The known mistakes of one exercise: those of the `MISTAKES` that its test file imports."""
    found: dict[str, Mistake] = {}
    for path in test_files(course).get(name, []):
        table = getattr(load_autograder(course, path), "MISTAKES", {})
        found.update({mistake.name: mistake for mistake in table.get(name, [])})
    return list(found.values())


def load_autograder(course: Course, path: Path) -> ModuleType:
    """Import one file of the autograders' folder, once for each state of that folder."""
    newest = max(file.stat().st_mtime_ns for file in course.autograders.glob("*.py"))
    return _load(course.autograders, path, newest)


@cache
def _load(folder: Path, path: Path, newest: int) -> ModuleType:
    with _neighbours_importable(folder):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        try:
            sys.modules[path.stem] = module
            spec.loader.exec_module(module)
        except Exception as error:
            raise CourseError(f"{path.name} does not import: {type(error).__name__}: {error}") from error
    return module


def forget_loaded() -> None:
    """Let go of all autograders that were imported: a process that runs strangers' code must not hold them."""
    _load.cache_clear()


@contextmanager
def _neighbours_importable(folder: Path) -> Iterator[None]:
    """Let files of `folder` import each other by bare name, and leave `sys.modules` as it was.

    Two courses may each have a `fixtures.py`; without the clean-up the first one imported would serve both.
    """
    names = {path.stem for path in folder.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)
