"""Build the notebooks from the authored lessons, and tell whether those on disk are up to date."""

from __future__ import annotations

import os
import time
from pathlib import Path

from nbformat import NotebookNode

from dpo_lab.course import notebooks
from dpo_lab.course.execution import execute, require_all_passed
from dpo_lab.course.layout import Course, CourseError
from dpo_lab.course.lesson import Lesson, lessons, problems


def build(course: Course, names: list[str] | None = None, execute_solutions: bool = True) -> None:
    """Build lessons: executed solutions and learners' notebooks.

    Args:
        names: lessons to build, executed in any case; None builds all and executes those that are not up to date.
        execute_solutions: False leaves the solution notebooks as they are.

    Raises:
        CourseError: a lesson is not well formed, or a cell of it failed.
    """
    for lesson in lessons(course, names):
        found = problems(course, lesson)
        if found:
            raise CourseError("\n".join(found))
        if execute_solutions and (names or solution_problems(course, lesson)):
            build_solution(course, lesson)
        print(write_learner_notebook(course, lesson))


def build_solution(course: Course, lesson: Lesson) -> None:
    """Execute a lesson and write its solution notebook."""
    started = time.perf_counter()
    notebook = notebooks.solution_notebook(course, lesson)
    execute(notebook, course.solutions, lesson.name)
    require_all_passed(notebook, lesson.name)
    path = solution_path(course, lesson)
    notebooks.write(notebook, path)
    print(f"{_relative(course, path)}: executed in {time.perf_counter() - started:.1f} s")


def write_learner_notebook(course: Course, lesson: Lesson) -> str:
    """Write a learner's notebook, but never over one in which somebody has written. Returns what was done, in words."""
    path = learner_path(course, lesson)
    notebook = notebooks.learner_notebook(course, lesson)
    if not path.exists() or not notebooks.has_been_written_in(path):
        notebooks.write(notebook, path)
        return f"{_relative(course, path)}: written"
    if notebooks.stamp_of(notebooks.read(path)) == notebooks.stamp_of(notebook):
        return f"{_relative(course, path)}: you have written in it, and it is up to date: left alone"
    beside = path.with_suffix(".new.ipynb")
    if beside.exists() and notebooks.has_been_written_in(beside):
        raise CourseError(
            f"you have written in both {path} and {beside}: move one of them away, then build again"
        )
    notebooks.write(notebook, beside)
    return f"{_relative(course, path)}: you have written in it, so the new version is in {beside.name}"


def stale(course: Course, names: list[str] | None = None) -> tuple[list[str], list[str]]:
    """What is not up to date, and what is worth knowing, each in words.

    A learner's own writing is worth knowing only; with the environment variable CI set it counts as not up to date,
    for nobody edits a built notebook by hand in the repository.
    """
    wrong: list[str] = []
    notes: list[str] = []
    for lesson in lessons(course, names):
        found = problems(course, lesson)
        if found:
            wrong += found
            continue
        wrong += solution_problems(course, lesson)
        path = learner_path(course, lesson)
        place = _relative(course, path)
        if not path.exists():
            wrong.append(f"{place} is missing")
            continue
        on_disk, wanted = notebooks.read(path), notebooks.learner_notebook(course, lesson)
        if notebooks.stamp_of(on_disk) != notebooks.stamp_of(wanted):
            wrong.append(f"{place} was built from an older lesson or library")
        elif notebooks.hash_of(on_disk) != notebooks.stamp_of(on_disk):
            edited = f"{place} has been written in since it was built"
            (wrong if os.environ.get("CI") else notes).append(edited)
    return wrong, notes


def solution_problems(course: Course, lesson: Lesson) -> list[str]:
    """Why a solution notebook on disk is not up to date; empty when it is."""
    path = solution_path(course, lesson)
    place = _relative(course, path)
    if not path.exists():
        return [f"{place} is missing"]
    on_disk = notebooks.read(path)
    wanted = notebooks.stamp_of(notebooks.solution_notebook(course, lesson))
    if not notebooks.stamp_of(on_disk) == notebooks.hash_of(on_disk) == wanted:
        return [f"{place} does not hold the lesson and library of today"]
    return [f"{place}: {words}" for words in _output_problems(on_disk)]


def _output_problems(notebook: NotebookNode) -> list[str]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if any(cell.execution_count is None for cell in code) or not any(cell.outputs for cell in code):
        return ["not executed, or its outputs were cleared"]
    errors = [output for cell in code for output in cell.outputs if output.output_type == "error"]
    return [f"an output is an error: {error.ename}" for error in errors]


def solution_path(course: Course, lesson: Lesson) -> Path:
    """The executed notebook of a lesson."""
    return course.solutions / f"{lesson.name}.ipynb"


def learner_path(course: Course, lesson: Lesson) -> Path:
    """The learner's notebook of a lesson."""
    return course.notebooks / f"{lesson.name}.ipynb"


def _relative(course: Course, path: Path) -> str:
    return str(path.relative_to(course.root))
