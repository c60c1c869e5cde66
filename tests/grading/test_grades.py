"""Grades: the same for any number of jobs, other inputs for another seed, and nothing of the tests in what is sent."""

from __future__ import annotations

import json

import pytest
from harness import grade, write_case
from hostile_cases import RIGHT, STUB, Case, body

from dpo_lab.grading.formats import as_json
from dpo_lab.grading.plan import make_plans

SWAPPED = body("if scale == 0:", "    raise ValueError('scale')", "return scale * (low - high)")
CLASS = [
    Case("ann", RIGHT, 3),
    Case("bob", SWAPPED),
    Case("cyd", STUB),
    Case("dan", body("raise TypeError('<b>=1+1</b> ::error::')")),
]


@pytest.fixture(scope="session")
def small_class(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    for case in CLASS:
        write_case(folder, case)
    return folder


@pytest.fixture(scope="session")
def small(course, small_class):
    return grade(course, small_class)


def test_grades_do_not_depend_on_the_number_of_jobs(course, small_class, small):
    assert as_json(grade(course, small_class, jobs=1)) == as_json(small)


def test_a_mistake_is_named_and_its_hint_given(small):
    bob = next(student for student in small.students if student.student == "bob")
    assert bob.exercises[0].report.mistake == "order swapped"
    assert bob.exercises[0].advice == "order swapped: Which one is the high one?"


def test_a_test_that_looks_at_answers_itself_is_asked_on(course, tmp_path):
    source = "def gap_report(high, low):\n    return {'mean': 0.0, 'positive': 0.5}\n"
    home = write_case(tmp_path / "class", Case("eve", RIGHT, 3))
    book = home / "01_gap.ipynb"
    data = json.loads(book.read_text())
    data["cells"][-1]["source"] = source
    book.write_text(json.dumps(data))
    (eve,) = grade(course, tmp_path / "class").students
    assert [each.earned for each in eve.exercises] == [3, 0]


def test_another_seed_draws_other_inputs(course):
    one, two = (make_plans(course, ["scaled_gap"], seed)[0]["scaled_gap"] for seed in (1, 2))
    same = make_plans(course, ["scaled_gap"], 1)[0]["scaled_gap"]
    assert list(one.drives) == list(same.drives) and not set(one.drives) & set(two.drives)


def test_what_is_sent_holds_no_oracle_and_no_mistake(course):
    plans, packer = make_plans(course, ["scaled_gap", "gap_report"], 1)
    sent = json.dumps([packer.table, [plan.drives for plan in plans.values()]])
    assert "mean_only" in sent
    for word in ("oracle_of_the_gap", "MISTAKES", "zyx-answer-zyx", "swapped"):
        assert word not in sent
