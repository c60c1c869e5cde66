"""Find submissions and read their notebooks. A file from outside may be anything; reading it never runs anything."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpo_lab.course.learner import LESSON_NAME
from dpo_lab.grading.values import clean

LARGEST_MIB = 150  # of a notebook, its outputs included
MOST_SOURCE = 1_000_000  # characters of code in a notebook
DEFINES = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)
SKIPPED = {".git", ".venv", "venv", "node_modules", ".ipynb_checkpoints", "solutions", "__pycache__"}


@dataclass
class Notebook:
    """Code cells of a student's notebook, each with `source` and `exercise` (a name or None), and what was odd."""

    path: Path
    cells: list[dict] = field(default_factory=list)
    problem: str = ""


@dataclass
class StudentWork:
    """One submission: a notebook, or a repository of them."""

    student: str
    root: Path
    notebooks: list[Notebook]


def find_work(paths: Iterable[Path]) -> list[StudentWork]:
    """Submissions in the given notebooks, repositories, and folders of either; each is read once, in order of name.

    A folder with lessons in it, or in its `notebooks`, is one submission. Otherwise each notebook in it and each folder
    below it is one.
    """
    found: dict[Path, StudentWork] = {}
    for path in paths:
        for work in _of(path):
            found.setdefault(work.root, work)
    names: dict[str, int] = {}
    for work in found.values():
        names[work.student] = names.get(work.student, 0) + 1
        if names[work.student] > 1:
            work.student += f" ({names[work.student]})"
    return list(found.values())


def _of(path: Path) -> list[StudentWork]:
    if path.is_file() or path.is_symlink() or not path.is_dir():
        return [StudentWork(clean(path.stem, 100), path, [read(path)])]
    own = _lessons(path) or _lessons(path / "notebooks")
    if own:
        return [StudentWork(clean(path.resolve().name, 100), path, [read(each) for each in own])]
    works: list[StudentWork] = []
    for child in sorted(path.iterdir()):
        if child.name in SKIPPED or child.name.startswith("."):
            continue
        if child.is_dir() and not child.is_symlink() and child.suffix != ".ipynb":
            inner = _lessons(child) or _lessons(child / "notebooks") or sorted(child.rglob("*.ipynb"))[:40]
            works.append(StudentWork(clean(child.name, 100), child, [read(each) for each in inner]))
        elif child.suffix == ".ipynb":
            works.append(StudentWork(clean(child.stem, 100), child, [read(child)]))
    return works


def _lessons(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("*.ipynb") if LESSON_NAME.match(path.name))


def read(path: Path) -> Notebook:
    """Read one notebook's code cells; what is wrong with the file is in `problem`."""
    notebook = Notebook(path)
    try:
        if path.is_symlink():
            notebook.problem = "a symbolic link: hand in the file itself"
        elif not path.is_file():
            notebook.problem = "not a file"
        elif path.stat().st_size > LARGEST_MIB * 2**20:
            notebook.problem = f"larger than {LARGEST_MIB} MiB: clear its outputs"
        else:
            data = json.loads(path.read_bytes().decode("utf-8", "replace"))
            notebook.cells = _cells(data)
            if sum(len(cell["source"]) for cell in notebook.cells) > MOST_SOURCE:
                notebook.cells, notebook.problem = [], "more code than a notebook can sensibly hold"
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, OSError, MemoryError) as error:
        notebook.problem = f"not a notebook that can be read ({type(error).__name__})"
    return notebook


def _cells(data: Any) -> list[dict]:
    """Code cells of nbformat 4, or of 3, whose cells stand in worksheets and call their source `input`."""
    raw = data["cells"] if "cells" in data else [c for sheet in data["worksheets"] for c in sheet["cells"]]
    cells = []
    for cell in raw:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", cell.get("input", ""))
        source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        metadata = cell.get("metadata")
        name = metadata.get("exercise") if isinstance(metadata, dict) else None
        cells.append({"source": source, "exercise": name if isinstance(name, str) else None})
    return cells


def names_defined(source: str) -> list[str]:
    """Names after `def` in a text that may not even parse."""
    return DEFINES.findall(source)


def folder_names(paths: Iterable[Path]) -> list[str]:
    """Absolute folders and files of submissions, for hiding them from each other."""
    return sorted({os.path.realpath(path) for path in paths})
