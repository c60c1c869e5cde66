"""Where namespaces and an own uid are not to be had: what is left still holds, and the report says what is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import descendants, grade, write_case
from hostile_cases import CASES, Case, right_after

from dpo_lab.grading import sandbox

KEPT = {"right", "os _exit", "infinite loop", "network", "1 GB to disk"}
FORKS_IN_C = right_after("import ctypes", "if ctypes.CDLL(None).fork() == 0:", "    time.sleep(600)")


def not_allowed(*_):
    raise OSError(1, "not allowed")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux only")
def test_without_namespaces_the_rest_holds(course, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_unshare", not_allowed)
    monkeypatch.setattr(sandbox, "_readable_by_others", lambda: False)
    cases = [case for case in CASES if case.name in KEPT] + [Case("forks in C", FORKS_IN_C, 3)]
    for case in cases:
        write_case(tmp_path / "class", case)
    before = descendants(os.getpid())
    result = grade(course, tmp_path / "class")
    found = {student.student: [each.earned for each in student.exercises] for student in result.students}
    assert found == {case.name: [case.points, case.neighbour] for case in cases}
    assert any("missing: namespaces" in wall for wall in result.walls)
    assert descendants(os.getpid()) <= before
