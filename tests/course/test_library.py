"""Finding functions by name, and finding tests without pytest."""

from __future__ import annotations

import sys

import pytest

from dpo_lab.course import exercise, exercises, library
from dpo_lab.course.layout import CourseError


def test_a_function_is_found_without_importing_its_module(mini):
    finished = library.find(mini, "scaled_gap")
    assert finished.module == "minicourse.gaps" and "minicourse.gaps" not in sys.modules
    assert finished.parameters == ["high", "low", "scale"] and finished.returns == "Tensor"
    assert finished.load().__name__ == "scaled_gap"


def test_two_functions_of_one_name_are_an_error(mini):
    (mini.package / "more.py").write_text("def scaled_gap():\n    pass\n")
    with pytest.raises(CourseError, match=r"minicourse\.gaps, minicourse\.more"):
        library.find(mini, "scaled_gap")


def test_a_missing_function_is_an_error(mini):
    with pytest.raises(CourseError, match="no top-level function `nothing`"):
        library.find(mini, "nothing")


def test_tests_are_found_in_order_and_modules_are_left_as_they_were(mini):
    before = dict(sys.modules)
    tests = exercises.tests_of(mini, "scaled_gap")
    assert [test.function.__name__ for test in tests] == [
        "test_scaled_gap_matches_a_loop",
        "test_scaled_gap_has_the_right_gradient",
        "test_scaled_gap_refuses_a_scale_of_zero",
    ]
    assert exercises.points_of(tests) == 3
    assert sys.modules.get("fixtures") is before.get("fixtures")
    assert "mistakes_01_gap" not in sys.modules


def test_a_test_must_carry_its_exercises_name():
    with pytest.raises(ValueError, match="put `scaled_gap` into its name"):

        @exercise("scaled_gap", points=1)
        def test_something(submission, fresh):
            """Nothing."""


def test_points_are_given_once(mini):
    path = mini.autograders / "test_01_gap.py"
    path.write_text(path.read_text().replace('@exercise("scaled_gap")', '@exercise("scaled_gap", points=1)'))
    with pytest.raises(CourseError, match="give the points of `scaled_gap` once"):
        exercises.tests_of(mini, "scaled_gap")


def test_a_test_file_that_does_not_import_is_said(mini):
    path = mini.autograders / "test_01_gap.py"
    path.write_text("import no_such_module\n" + path.read_text())
    with pytest.raises(CourseError, match=r"test_01_gap\.py does not import: ModuleNotFoundError"):
        exercises.tests_of(mini, "scaled_gap")
