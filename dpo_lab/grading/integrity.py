"""What a notebook's cells tell about an exercise, and by which rule.

The rule, in this order:

1. Points, tests and names come from the course; metadata of the student's cells count for nothing but the name.
2. Cells that carry the exercise's name are its cells. Their last definition of that name counts, so a split cell
   works and of two copies the last one counts; two or more such cells are reported.
3. If no such cell defines it, the last definition in any cell counts: a cell that lost its tag or was
   made anew. Reported.
4. If nothing defines it, under another name or not at all, it is not written: no points. A deleted cell is reported.
5. What checks in the notebook say is not looked at. Check cells that were changed are reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dpo_lab.grading.reading import Notebook, StudentWork, names_defined

CHECK = re.compile(r"^\s*(\w+)\s*=\s*check\((\w+)\)\s*;?\s*$")
ANY_CHECK = re.compile(r"\bcheck\b")


def homes(work: StudentWork, wanted: Mapping[str, str]) -> tuple[dict[str, Notebook], dict[str, list[str]]]:
    """For each exercise the notebook that holds it, and notes by exercise.

    Args:
        wanted: exercise → file name of its lesson.
    """
    found: dict[str, Notebook] = {}
    notes: dict[str, list[str]] = {}
    for name, file in wanted.items():
        tagged = [(book, cell) for book in work.notebooks for cell in book.cells if cell["exercise"] == name]
        defining = [(b, c) for b in work.notebooks for c in b.cells if name in names_defined(c["source"])]
        told = notes.setdefault(name, [])
        of_tagged = [pair for pair in tagged if name in names_defined(pair[1]["source"])]
        if len(tagged) > 1:
            told.append(f"{len(tagged)} cells carry this exercise: the last definition counts")
        if of_tagged or tagged:
            found[name] = (of_tagged or tagged)[-1][0]
            if not of_tagged and defining:
                told.append(
                    "its cell doesn't define it: the last definition elsewhere in the notebook counts"
                )
        elif defining:
            found[name] = defining[-1][0]
            told.append("no cell carries this exercise any more: the last definition counts")
        elif any(book.path.name == file for book in work.notebooks):
            told.append("its cell is gone")
    return found, notes


def changed_checks(work: StudentWork, known: Mapping[str, str]) -> list[str]:
    """Exercises whose check cell is not the course's any more. It makes no difference to the grade."""
    changed = []
    for book in work.notebooks:
        for cell in book.cells:
            for line in cell["source"].splitlines():
                match = CHECK.match(line)
                if match and match[1] != match[2] and match[1] in known:
                    changed.append(match[1])
            if cell["exercise"] is None and re.search(r"\bdef\s+check\b|\bcheck\s*=(?!=)", cell["source"]):
                changed.append("check itself")
    return sorted(set(changed))
