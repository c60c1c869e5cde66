"""Read the functions out of a learner's notebook, without running the notebook.

Taken from it are top-level imports, assignments of literals, and definitions of functions and classes, in order.
An exercise's function is the last definition of its name in the cell that carries the metadata key `exercise`; where
that cell defines none, the last definition anywhere. While one exercise is graded, the names of all others are bound to
the finished versions, so that a mistake costs points once.
"""

from __future__ import annotations
import __future__

import ast
import linecache
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat

from dpo_lab.course import library
from dpo_lab.course.layout import Course, CourseError
from dpo_lab.course.observing import Drive, Observation, Raised, describe, observe
from dpo_lab.course.submission import STUB, Driver

LESSON_NAME = re.compile(r"^\d\d_\w+\.ipynb$")
RUNS_PYTHON = (
    "%%time",
    "%%timeit",
    "%%capture",
    "%%prun",
)  # cell magics whose body is still the notebook's Python
FLAGS = __future__.annotations.compiler_flag


@dataclass(frozen=True)
class CodeCell:
    """A code cell of a learner's notebook: its Python statements, or the SyntaxError that it holds."""

    filename: str
    exercise: str | None
    statements: list[ast.stmt]
    error: SyntaxError | None = None


@dataclass
class LearnerNotebook:
    """A learner's notebook, read once.

    Args:
        path: the file.
        cells: its code cells.
        exercises: names of the exercises in it, in order.
    """

    path: Path
    cells: list[CodeCell]
    exercises: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> LearnerNotebook:
        """Read a notebook.

        Raises:
            CourseError: the file is no notebook.
        """
        try:
            notebook = nbformat.read(path, as_version=4)
        except Exception as error:
            raise CourseError(f"{path} is not a notebook that can be read: {error}") from error
        cells = [
            read_cell(f"{path.name}[{i}]", cell)
            for i, cell in enumerate(notebook.cells)
            if cell.cell_type == "code"
        ]
        names = [cell.exercise for cell in cells if cell.exercise]
        return cls(path, cells, list(dict.fromkeys(names)))

    def function(self, course: Course, name: str) -> Callable | Raised:
        """The learner's function, or what kept it from being defined."""
        own = [cell for cell in self.cells if cell.exercise == name]
        for cell in own:
            if cell.error is not None:
                return describe(cell.error)
        namespace: dict[str, Any] = {"__name__": "__main__"}
        kept = _statements(self.cells, skip=self._others(name))
        if not any(defines(statement, name) for cell in own for statement in cell.statements):
            own = self.cells
        problem = None
        for cell, statement in kept:
            if defines(statement, name) and cell not in own:
                continue
            error = _execute(statement, cell.filename, namespace)
            problem = error if error is not None and defines(statement, name) else problem
        for other in self.exercises:
            if other != name:
                namespace[other] = library.find(course, other).load()
        if problem is not None:
            return problem
        function = namespace.get(name)
        return function if callable(function) else Raised((STUB,), f"the cell of {name} no longer defines it")

    def _others(self, name: str) -> set[str]:
        return {exercise for exercise in self.exercises if exercise != name}


def notebook_driver(course: Course, folder: Path) -> Driver:
    """A driver for the exercises of all lessons' notebooks in a folder, or of a single notebook.

    Raises:
        CourseError: no such folder, or no notebook named NN_topic.ipynb in it.
    """
    paths = [folder] if folder.is_file() else lesson_notebooks(folder)
    if not paths:
        raise CourseError(f"no notebook named like 04_dpo_loss.ipynb in {folder}")
    homes = {name: path for path in reversed(paths) for name in read_cached(path).exercises}
    functions: dict[str, Callable | Raised] = {}

    def drive(request: Drive) -> Observation:
        name = request.name
        if name not in homes:
            return Observation(raised=Raised((STUB,), f"no cell of {folder} carries the exercise {name}"))
        if name not in functions:
            functions[name] = read_cached(homes[name]).function(course, name)
        found = functions[name]
        return Observation(raised=found) if isinstance(found, Raised) else observe(found, request)

    return drive


def lesson_notebooks(folder: Path) -> list[Path]:
    """Notebooks named NN_topic.ipynb, in order."""
    return sorted(path for path in folder.glob("*.ipynb") if LESSON_NAME.match(path.name))


def read_cached(path: Path) -> LearnerNotebook:
    """A notebook, read again only when the file has changed."""
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, modified_ns: int) -> LearnerNotebook:
    return LearnerNotebook.read(path)


def read_cell(filename: str, cell: nbformat.NotebookNode) -> CodeCell:
    """Parse one code cell; `filename` is what a traceback calls it."""
    source = python_of(cell.source)
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exercise = cell.metadata.get("exercise")
    try:
        return CodeCell(filename, exercise, ast.parse(source, filename).body)
    except (SyntaxError, ValueError) as error:  # ValueError: a NUL byte
        syntax = error if isinstance(error, SyntaxError) else SyntaxError(str(error))
        return CodeCell(filename, exercise, [], syntax)


def python_of(source: str) -> str:
    """A cell's Python: magics and shell lines become empty lines, so that line numbers stay."""
    lines = source.splitlines()
    first = lines[0].strip() if lines else ""
    if first.startswith("%%"):
        if not first.startswith(RUNS_PYTHON):
            return ""
        lines[0] = ""
    try:
        ast.parse("\n".join(lines))
    except (SyntaxError, ValueError):  # only then: a line may start with % inside an expression
        lines = ["" if re.match(r"\s*([%!?]|.*\?\s*$)", line) else line for line in lines]
    return "\n".join(lines)


def _statements(cells: list[CodeCell], skip: set[str]) -> Iterator[tuple[CodeCell, ast.stmt]]:
    for cell in cells:
        if cell.exercise not in skip:
            yield from ((cell, statement) for statement in cell.statements if is_harmless(statement))


def is_harmless(statement: ast.stmt) -> bool:
    """Imports, definitions, and assignments of literals to names."""
    if isinstance(
        statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    ):
        return True
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    if not all(isinstance(target, ast.Name) for target in targets):
        return False
    try:
        ast.literal_eval(statement.value)
    except (ValueError, TypeError, SyntaxError):
        return False
    return True


def defines(statement: ast.stmt, name: str) -> bool:
    """Whether a statement is the definition of `name`."""
    return (
        isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and statement.name == name
    )


def _execute(statement: ast.stmt, filename: str, namespace: dict[str, Any]) -> Raised | None:
    """Run one statement; what it raised, or None. A failing import shows when the exercise is called."""
    try:
        module = ast.Module([statement], type_ignores=[])
        exec(compile(module, filename, "exec", flags=FLAGS, dont_inherit=True), namespace)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return describe(error)
    return None
