"""Near-identical answers: places to look at, no proof of anything. Short functions look alike by themselves."""

from __future__ import annotations

import hashlib
import re
import tokenize
from io import StringIO

from dpo_lab.grading.reading import StudentWork, names_defined
from dpo_lab.grading.results import StudentResult

LEAST_TOKENS = 60  # below that, right answers are alike by nature
KEYWORDS = re.compile(
    r"^(?:def|return|for|in|if|else|elif|while|not|and|or|lambda|with|raise|import|from|is|None)$"
)


def fingerprints(work: StudentWork, wanted: dict[str, str]) -> dict[str, str]:
    """Exercise → hash of its cell's code with names numbered in order of appearance; comments and layout don't count.

    It goes by tokens, not by a syntax tree: parsing a stranger's text could bring the grader's process down.
    """
    found = {}
    for book in work.notebooks:
        for cell in book.cells:
            for name in set(names_defined(cell["source"])) & set(wanted):
                shape = _shape(cell["source"])
                if len(shape) >= LEAST_TOKENS:
                    found[name] = hashlib.sha256(" ".join(shape).encode("utf-8", "replace")).hexdigest()[:16]
    return found


def _shape(source: str) -> list[str]:
    names: dict[str, str] = {}
    shape = []
    try:
        for token in tokenize.generate_tokens(StringIO(source).readline):
            if token.type in (
                tokenize.COMMENT,
                tokenize.NL,
                tokenize.NEWLINE,
                tokenize.INDENT,
                tokenize.DEDENT,
            ):
                continue
            text = token.string
            if token.type == tokenize.STRING:
                text = "s"
            elif token.type == tokenize.NAME and not KEYWORDS.match(text):
                text = names.setdefault(text, f"n{len(names)}")
            shape.append(text)
    except (tokenize.TokenError, SyntaxError, ValueError):
        return []
    return shape


def groups(students: list[StudentResult]) -> list[tuple[str, list[str]]]:
    """Exercise and students whose answers have the same shape, where two or more share one."""
    by_print: dict[tuple[str, str], list[str]] = {}
    for student in students:
        for name, text in student.fingerprints.items():
            by_print.setdefault((name, text), []).append(student.student)
    return [(name, who) for (name, _), who in sorted(by_print.items()) if len(who) > 1]
