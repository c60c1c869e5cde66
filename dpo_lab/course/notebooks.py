"""Make notebooks of a lesson: the solutions' and the learner's, the same bytes for the same sources."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dpo_lab.course import library
from dpo_lab.course.layout import Course
from dpo_lab.course.lesson import FACTS_PLACEHOLDER, SOLUTION_ONLY, Lesson
from dpo_lab.course.stubs import stub, without_docstring

STAMP = "dpo_lab"  # notebook metadata: which lesson, and the hash of what the build wrote
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
KEPT_METADATA = ("exercise", "points", "minutes", "difficulty", "importance", "hints", "tags")
SOLUTION = "\n\n<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"


def solution_notebook(course: Course, lesson: Lesson) -> NotebookNode:
    """The lesson with the library's functions in its exercise cells, not executed."""
    return _assemble(course, lesson, for_learner=False)


def learner_notebook(course: Course, lesson: Lesson) -> NotebookNode:
    """The lesson with stubs in its exercise cells and the solutions folded away below the hints."""
    return _assemble(course, lesson, for_learner=True)


def _assemble(course: Course, lesson: Lesson, for_learner: bool) -> NotebookNode:
    headers = {cell.index: cell for cell in lesson.exercises}
    cells: list[NotebookNode] = []
    for i, authored in enumerate(lesson.cells):
        if for_learner and SOLUTION_ONLY in authored.metadata.get("tags", []):
            continue
        if i in headers:
            name = headers[i].name
            cells.append(_cell("markdown", headers[i].header(), _identity(lesson, f"header {name}")))
            finished = library.find(course, name)
            source = stub(finished) if for_learner else finished.source
            cells.append(_cell("code", source, _identity(lesson, f"exercise {name}"), authored.metadata))
            continue
        source = authored.source
        if i == 0 and authored.cell_type == "markdown":
            source = source.replace(FACTS_PLACEHOLDER, lesson.facts())
        if for_learner and "hints" in authored.metadata:
            code = without_docstring(library.find(course, authored.metadata["hints"]))
            source = source.rstrip() + SOLUTION.format(code=code)
        cells.append(_cell(authored.cell_type, source, _identity(lesson, f"cell {i}"), authored.metadata))
    notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.metadata[STAMP] = {"lesson": lesson.name, "built": hash_of(notebook)}
    return notebook


def _cell(cell_type: str, source: str, identity: str, metadata: dict | None = None) -> NotebookNode:
    make = new_markdown_cell if cell_type == "markdown" else new_code_cell
    kept = {key: value for key, value in (metadata or {}).items() if key in KEPT_METADATA}
    return make(source=source, id=identity, metadata=kept)


def _identity(lesson: Lesson, place: str) -> str:
    return hashlib.sha256(f"{lesson.name}/{place}".encode()).hexdigest()[:12]


def hash_of(notebook: NotebookNode) -> str:
    """sha256 of the types and sources of the cells: it changes when somebody writes, not when somebody runs."""
    sources = [(cell.cell_type, "".join(cell.source)) for cell in notebook.cells]
    return hashlib.sha256(json.dumps(sources, ensure_ascii=False).encode()).hexdigest()


def stamp_of(notebook: NotebookNode) -> str | None:
    """The hash that the build stored in a notebook, or None where it did not build it."""
    return notebook.metadata.get(STAMP, {}).get("built")


def read(path: Path) -> NotebookNode:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook as stable JSON, without what changes from run to run."""
    tidy = copy.deepcopy(notebook)
    tidy.metadata.pop("widgets", None)
    for cell in tidy.cells:
        cell.metadata.pop("execution", None)  # wall-clock times
    nbformat.validate(tidy)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(tidy, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def has_been_written_in(path: Path) -> bool:
    """Whether a notebook's sources differ from what the build put there."""
    notebook = read(path)
    return stamp_of(notebook) != hash_of(notebook)
