"""Whatever a child or a file says, the grader neither crashes nor hangs."""

from __future__ import annotations

import contextlib
import json
import os
import random

from harness import grade
from hostile_cases import RIGHT, RIGHT_REPORT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpo_lab.course.plain import to_plain
from dpo_lab.grading import reading, similar
from dpo_lab.grading.integrity import changed_checks, homes
from dpo_lab.grading.reading import StudentWork
from dpo_lab.grading.values import Malformed, decode, decode_observation, encode

CASES = int(os.environ.get("DPO_LAB_FUZZ_CASES", "200"))
SETTINGS = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
WANTED = {"scaled_gap": "01_gap.ipynb", "gap_report": "01_gap.ipynb"}

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.sampled_from(
    ["tensor", "shape", "dtype", "array", "tuple", "dict", "int", "complex", "opaque", "x"]
)
values = st.recursive(
    leaves | st.sampled_from(["float32", "int64", "bool", "O", "U4"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
tokens = [
    "def scaled_gap(high, low, scale=1.0):",
    "\n",
    "    ",
    "return",
    " high",
    " - low",
    "(",
    ")",
    "[",
    "@",
    "\x00",
    "%%time",
    "!ls",
    "class A:",
    "'",
    '"""',
    "lambda:",
    "await x",
    ":=",
    "import os",
    "while True: pass",
    "check",
    "=",
    "\ud800",
    "𝛽",
]
sources = st.lists(st.sampled_from(tokens), max_size=12).map("".join) | st.text(max_size=40)


@SETTINGS
@given(values)
def test_any_claim_is_a_value_or_malformed(data):
    for read in (decode, decode_observation):
        with contextlib.suppress(Malformed):
            read(json.loads(json.dumps(data)))


plain = st.recursive(
    leaves | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@SETTINGS
@given(plain)
def test_plain_values_survive_the_pipe(value):
    assert repr(decode(json.loads(json.dumps(encode(to_plain(value)))))) == repr(value)


@SETTINGS
@given(values, st.binary(max_size=60), st.booleans())
def test_any_file_is_read_or_named_a_problem(tmp_path_factory, data, blob, as_json):
    path = tmp_path_factory.getbasetemp() / "fuzz.ipynb"
    path.write_bytes(json.dumps({"cells": data}).encode() if as_json else blob)
    book = reading.read(path)
    assert isinstance(book.problem, str) and isinstance(book.cells, list)


@SETTINGS
@given(st.lists(st.tuples(sources, st.none() | st.sampled_from(list(WANTED))), max_size=5))
def test_any_cells_are_looked_at(cells):
    book = reading.Notebook(
        reading.Path("01_gap.ipynb"), [{"source": s, "exercise": name} for s, name in cells]
    )
    work = StudentWork("x", book.path, [book])
    homes(work, WANTED)
    changed_checks(work, WANTED)
    similar.fingerprints(work, WANTED)


def test_a_class_of_mangled_notebooks_is_graded(course, tmp_path):
    """Right notebooks with pieces cut, doubled and exchanged: all are graded, and only right answers get points."""
    draw = random.Random(5)
    for i in range(max(20, CASES // 10)):
        home = tmp_path / "class" / f"s{i:04d}"
        home.mkdir(parents=True)
        cells = []
        for source, name in ((RIGHT, "scaled_gap"), (RIGHT_REPORT, "gap_report")):
            text = list(source)
            for _ in range(draw.randrange(4)):
                at = draw.randrange(len(text))
                text[at : at + draw.randrange(3)] = draw.choice(tokens)
            metadata = (
                {"exercise": name} if draw.random() < 0.9 else draw.choice([{}, None, [], {"exercise": 1}])
            )
            source = "".join(text).replace("\ud800", "?")
            cells.append({"cell_type": "code", "source": source, "metadata": metadata, "outputs": []})
        (home / "01_gap.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}), encoding="utf-8")
    result = grade(course, tmp_path / "class", seconds=1)
    statuses = {each.report.status for student in result.students for each in student.exercises}
    assert len(result.students) == max(20, CASES // 10) and "broken" not in statuses and "passed" in statuses
