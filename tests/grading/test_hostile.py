"""Every hostile case: the score of its exercise, of its neighbour, and that nothing is left running."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from harness import descendants, grade_afresh, write_case
from hostile_cases import CASES, LOOKS_FOR_ANSWERS, SECRETS, Case, right_after

from dpo_lab.grading.sandbox import FIRST_UID

LINUX = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_notebook_gets_what_it_deserves(hostile, case):
    assert hostile.scores(case.name) == {"scaled_gap": case.points, "gap_report": case.neighbour}


def test_innocent_classmates_are_not_touched(hostile):
    for name in ("aaa innocent", "zzz innocent"):
        assert hostile.scores(name) == {"scaled_gap": 3, "gap_report": 2}


def owned_by_students() -> set[int]:
    """Processes that run under a user id which the grader lends."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and FIRST_UID <= entry.stat().st_uid < FIRST_UID + 64:
                found.add(int(entry.name))
        except OSError:
            continue  # it has just ended
    return found


@LINUX
def test_nothing_is_left_running(hostile):
    assert hostile.result.students
    assert descendants(os.getpid()) <= hostile.running_before
    left, deadline = owned_by_students(), time.monotonic() + 90
    while (
        left and time.monotonic() < deadline
    ):  # another test process may be grading: its children end by themselves
        time.sleep(0.2)
        left &= owned_by_students()
    assert not left


def test_nothing_is_left_on_disk(hostile):
    assert not list(hostile.folder.rglob("results.json"))
    assert not Path("/tmp/results.json").exists()


def test_no_secret_reaches_a_child(hostile):
    told = [each.report.text() for student in hostile.result.students for each in student.exercises]
    assert not [text for text in told if "SECRET" in text or any(word in text for word in SECRETS)]


def test_answers_are_not_in_a_childs_memory(course, tmp_path, monkeypatch):
    """By gc, frames, modules and /proc: no test, oracle, mistake, token or other process is to be found."""
    monkeypatch.setenv("A_TOKEN_OF_THE_GRADER", "tok-secret-tok")
    write_case(tmp_path / "class", LOOKS_FOR_ANSWERS)
    (found,) = grade_afresh(course, tmp_path / "class", seconds=30).students
    assert found.earned == 5, found.exercises[0].report.text()


def test_a_course_that_lies_in_tmp_stays_readable(course, tmp_path):
    """The children's /tmp is empty but for the course: a module that nobody has imported yet can be."""
    write_case(tmp_path / "class", Case("imports late", right_after("import gapcourse.late"), 3))
    (found,) = grade_afresh(course, tmp_path / "class", seconds=10).students
    assert found.earned == 5, found.exercises[0].report.text()


def student(hostile, name):
    return next(each for each in hostile.result.students if each.student == name)


def test_the_library_is_flagged(hostile):
    for name in ("asks the library", "imports the library's", "library by another way"):
        assert student(hostile, name).exercises[0].flags == ["asks the library for the answer"]


def test_settings_and_cells_are_noted(hostile):
    notes = {each.student: each.exercises[0].notes for each in hostile.result.students}
    assert "leaves torch's default dtype changed" in notes["changed default dtype"]
    assert "leaves torch's gradient mode changed" in notes["changed grad mode"]
    assert "no cell carries this exercise any more: the last definition counts" in notes["cell lost its tag"]
    assert (
        "2 cells carry this exercise: the last definition counts" in notes["cell duplicated wrong then right"]
    )
    assert "its cell is gone" in notes["cell deleted"]
    assert any("check" in note for note in student(hostile, "edited tests").notes)


def test_an_odd_file_is_named(hostile):
    assert "symbolic link" in student(hostile, "a symbolic link").notes[0]
    assert "not a notebook" in student(hostile, "not JSON").notes[0]


def test_what_keeps_state_is_told_so(hostile):
    assert student(hostile, "right until asked again").exercises[0].report.mistake == "keeps state"


def test_the_walls_are_named(hostile):
    assert any("network" in wall for wall in hostile.result.walls)
