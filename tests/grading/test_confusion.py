"""Right and wrong submissions made from accepted answers and known mistakes.

No right one loses a point, no wrong one gets any. DPO_LAB_CONFUSION=100 makes a hundred of each; the matrix is printed.
"""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest

from dpo_lab.course import exercises
from dpo_lab.course.layout import Course
from dpo_lab.grading.grader import Grader
from dpo_lab.grading.reading import find_work
from dpo_lab.grading.sandbox import Limits

EACH = int(os.environ.get("DPO_LAB_CONFUSION", "12"))
COURSE = Course.default()
CELL = """SOURCE = {source!r}
MADE = {{}}


def {name}(*arguments, **named):
    if not MADE:
        space = {{"__name__": "answers"}}
        exec(compile(SOURCE, "answers.py", "exec"), space)
        MADE["function"] = {pick}
    return MADE["function"](*arguments, **named)
"""


def right_and_wrong() -> list[tuple[str, str, str, str]]:
    """(kind, exercise, file of the answer, how to pick it), spread over all exercises."""
    right, wrong = [], []
    for i in range(40):
        for name, paths in exercises.test_files(COURSE).items():
            lesson = paths[0].stem.removeprefix("test_")
            path = COURSE.autograders / f"accepted_{lesson}.py"
            accepted = exercises.load_autograder(COURSE, path).ACCEPTED.get(name, [])
            mistakes = exercises.mistakes_of(COURSE, name)
            if i < len(accepted):
                right.append(("right", name, f"accepted_{lesson}.py", f'space["ACCEPTED"]["{name}"][{i}]'))
            if i < len(mistakes):
                wrong.append(
                    ("wrong", name, f"mistakes_{lesson}.py", f'space["MISTAKES"]["{name}"][{i}].function')
                )
    return right[:EACH] + wrong[:EACH]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    samples = right_and_wrong()
    for i, (kind, name, file, pick) in enumerate(samples):
        source = (COURSE.autograders / file).read_text(encoding="utf-8")
        cell = {"cell_type": "code", "metadata": {"exercise": name}, "outputs": []}
        cell["source"] = CELL.format(source=source, name=name, pick=pick)
        home = folder / f"{i:04d} {kind} {name}"
        home.mkdir()
        lesson = file.removesuffix(".py").split("_", 1)[1]
        (home / f"{lesson}.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [cell]}), encoding="utf-8")
    result = Grader(COURSE, 3, 2, Limits(20)).grade(find_work([folder]))
    return samples, result


def test_the_confusion_matrix_has_no_error(graded, capsys):
    samples, result = graded
    counts: Counter = Counter()
    errors = []
    for (kind, name, _, pick), student in zip(samples, result.students, strict=True):
        report = next(each.report for each in student.exercises if each.name == name)
        verdict = "full points" if report.earned == report.points else "no points"
        counts[kind, verdict] += 1
        if (kind == "right") != (verdict == "full points"):
            errors.append(f"{kind} {pick}: {report.text()}")
    with capsys.disabled():
        print(f"\n{dict(counts)} in {result.seconds:.1f} s")
    assert not errors, "\n".join(errors)
