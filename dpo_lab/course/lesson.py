"""Read an authored lesson (Jupytext percent format), and say what is wrong with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jupytext
from nbformat import NotebookNode

from dpo_lab.course import exercises, library
from dpo_lab.course.layout import Course, CourseError
from dpo_lab.course.learner import python_of
from dpo_lab.course.stubs import names_bound, names_needed

LESSON_FILE = re.compile(r"^\d\d_\w+\.py$")
SOLUTION_ONLY = "solution-only"
FACTS_PLACEHOLDER = "{{lesson_facts}}"
SCALE = 5  # difficulty and importance run from 1 to this
MINIMUM_HINTS = 2
HINT = re.compile(r"<details>\s*<summary>\s*Hint", re.IGNORECASE)


@dataclass(frozen=True)
class ExerciseCell:
    """An exercise's cell: its place in the lesson and its metadata."""

    name: str
    index: int
    points: int
    minutes: int
    difficulty: int
    importance: int

    def header(self) -> str:
        """The line above the cell."""
        return (
            f"**Exercise** `{self.name}` · {self.points} point{'s' * (self.points != 1)} · about {self.minutes} minutes"
            f" · difficulty {dots(self.difficulty)} · importance {dots(self.importance)}"
        )


@dataclass(frozen=True)
class Lesson:
    """An authored lesson.

    Args:
        name: e.g. "04_dpo_loss".
        cells: its cells as the author wrote them.
    """

    name: str
    cells: list[NotebookNode]

    @classmethod
    def read(cls, path: Path) -> Lesson:
        """Parse a file in percent format."""
        return cls(path.stem, jupytext.read(path, fmt="py:percent").cells)

    @cached_property
    def exercises(self) -> list[ExerciseCell]:
        """The lesson's exercises in order; CourseError if one's metadata is not whole."""
        return [
            _exercise_cell(self.name, i, cell)
            for i, cell in enumerate(self.cells)
            if "exercise" in cell.metadata
        ]

    def facts(self) -> str:
        """Exercises, points and minutes of the lesson, in words."""
        count, points = len(self.exercises), sum(each.points for each in self.exercises)
        minutes = sum(each.minutes for each in self.exercises)
        worth = f"{points} point{'s' * (points != 1)}"
        return f"{count} exercise{'s' * (count != 1)} · {worth} · about {minutes} minutes of writing code"


def dots(level: int) -> str:
    """A level from 1 to 5 as filled and empty dots."""
    return "●" * level + "○" * (SCALE - level)


def lessons(course: Course, names: list[str] | None = None) -> list[Lesson]:
    """Authored lessons in order, all or those named ("04_dpo_loss", or any beginning of it such as "04").

    Raises:
        CourseError: a name that fits none.
    """
    paths = sorted(path for path in course.solutions.glob("*.py") if LESSON_FILE.match(path.name))
    if not names:
        return [Lesson.read(path) for path in paths]
    wanted = [Path(name).name.split(".")[0] for name in names]
    for name in wanted:
        if not any(path.stem.startswith(name) for path in paths):
            raise CourseError(
                f"no lesson {name!r} in {course.solutions}; there are {[path.stem for path in paths]}"
            )
    return [Lesson.read(path) for path in paths if any(path.stem.startswith(name) for name in wanted)]


def problems(course: Course, lesson: Lesson) -> list[str]:
    """Everything about a lesson's exercises that a learner would stumble over; empty when all is well."""
    try:
        cells = lesson.exercises
    except CourseError as error:
        return [str(error)]
    names = [cell.name for cell in cells]
    found = [f"`{name}` has two exercise cells" for name in sorted({n for n in names if names.count(n) > 1})]
    for cell in cells:
        found += [
            *_problems_around(lesson, cell),
            *_problems_with_tests(course, cell),
            *_missing_names(course, lesson, cell),
        ]
    return [f"{lesson.name}: {problem}" for problem in found]


def _problems_around(lesson: Lesson, cell: ExerciseCell) -> Iterator[str]:
    following = lesson.cells[cell.index + 1] if cell.index + 1 < len(lesson.cells) else None
    call = rf"^{cell.name}\s*=\s*check\({cell.name}\)"
    if (
        following is None
        or following.cell_type != "code"
        or not re.search(call, following.source, re.MULTILINE)
    ):
        yield f"the cell after exercise `{cell.name}` must be `{cell.name} = check({cell.name})`"
    hints = [each for each in lesson.cells if each.metadata.get("hints") == cell.name]
    if len(hints) != 1 or hints[0].cell_type != "markdown":
        yield f'`{cell.name}` needs one markdown cell with hints="{cell.name}", it has {len(hints)}'
    elif len(HINT.findall(hints[0].source)) < MINIMUM_HINTS:
        yield f"`{cell.name}` needs at least {MINIMUM_HINTS} folded hints (<details><summary>Hint …)"


def _problems_with_tests(course: Course, cell: ExerciseCell) -> Iterator[str]:
    try:
        points = exercises.points_of(exercises.tests_of(course, cell.name))
    except CourseError as error:
        yield str(error)
        return
    if points != cell.points:
        yield f"`{cell.name}` is worth {cell.points} points in its cell and {points} in its test"


def _missing_names(course: Course, lesson: Lesson, cell: ExerciseCell) -> Iterator[str]:
    """Names that the finished function needs and no earlier cell brings in: the pasted body would fail."""
    try:
        finished = library.find(course, cell.name)
    except CourseError as error:
        yield str(error)
        return
    earlier = [each for each in lesson.cells[: cell.index] if each.cell_type == "code"]
    bound = {each.metadata["exercise"] for each in earlier if "exercise" in each.metadata}
    for each in earlier:
        bound |= names_bound(ast.parse(python_of(each.source)).body)
    missing = names_needed(finished.source) - bound
    if missing and "*" not in bound:
        yield (
            f"`{cell.name}` uses {', '.join(sorted(missing))}: import or define in an earlier cell "
            f"(they come from {finished.module} or its imports)"
        )


def _exercise_cell(lesson: str, index: int, cell: NotebookNode) -> ExerciseCell:
    metadata = cell.metadata
    name = metadata["exercise"]
    for key in ("points", "minutes", "difficulty", "importance"):
        value = metadata.get(key)
        if not isinstance(value, int) or value < 1:
            raise CourseError(
                f"{lesson}: the cell of `{name}` needs {key}=… (a whole number ≥ 1), got {value!r}"
            )
        if key in ("difficulty", "importance") and value > SCALE:
            raise CourseError(f"{lesson}: {key} of `{name}` runs from 1 to {SCALE}, got {value}")
    return ExerciseCell(
        name, index, *(metadata[key] for key in ("points", "minutes", "difficulty", "importance"))
    )
