"""Find a finished function by its name, without importing the library until it is called."""

from __future__ import annotations

import ast
import importlib
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dpo_lab.course.layout import Course, CourseError

APPARATUS = "course"  # the one sub-package that holds no model answers


@dataclass(frozen=True)
class Finished:
    """A finished function of the library.

    Args:
        name: the function's name, which is the exercise's too.
        module: dotted name of its module.
        path: file of that module.
        source: its text, decorators included.
    """

    name: str
    module: str
    path: Path
    source: str

    @property
    def node(self) -> ast.FunctionDef:
        """The parsed definition."""
        return ast.parse(self.source).body[0]

    @property
    def parameters(self) -> list[str]:
        """Names of its parameters, in order; a star parameter is left out."""
        arguments = self.node.args
        return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]

    @property
    def returns(self) -> str:
        """Its return annotation as text, or an empty string."""
        return ast.unparse(self.node.returns) if self.node.returns else ""

    def load(self) -> Callable:
        """Import the module and hand back the function."""
        return getattr(importlib.import_module(self.module), self.name)


def find(course: Course, name: str) -> Finished:
    """The library's only top-level function of that name.

    Raises:
        CourseError: no function of that name, or several.
    """
    found = [
        finished
        for path in module_files(course)
        for finished in functions_in(course, path)
        if finished.name == name
    ]
    if not found:
        raise CourseError(f"no top-level function `{name}` in {course.package.name}")
    if len(found) > 1:
        places = ", ".join(finished.module for finished in found)
        raise CourseError(f"`{name}` is defined in {places}: an exercise needs a name of its own")
    return found[0]


def module_files(course: Course) -> list[Path]:
    """Files of the library, without those of the apparatus."""
    skipped = course.package / APPARATUS
    return [path for path in sorted(course.package.rglob("*.py")) if skipped not in path.parents]


def functions_in(course: Course, path: Path) -> list[Finished]:
    """Top-level functions of one file of the library."""
    parts = path.relative_to(course.package.parent).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return [
        Finished(name, module, path, source) for name, source in _definitions(path, path.stat().st_mtime_ns)
    ]


@cache
def _definitions(path: Path, modified_ns: int) -> list[tuple[str, str]]:
    """Name and source of each top-level function; `modified_ns` renews the cache when the file changes."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    definitions = []
    for node in ast.parse(text, filename=str(path)).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            definitions.append((node.name, "\n".join(lines[first - 1 : node.end_lineno])))
    return definitions


def is_of_library(course: Course, function: object) -> bool:
    """Whether a function's code lies in the library: then it isn't the learner's own."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if not isinstance(function, types.FunctionType):
        return False
    return course.package in Path(function.__code__.co_filename).resolve().parents
