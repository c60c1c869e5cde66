"""Grade one exercise: run all its tests and make one report of it."""

from __future__ import annotations

import os
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from dpo_lab.course import exercises
from dpo_lab.course.exercises import ExerciseTest, Mistake
from dpo_lab.course.layout import Course, CourseError
from dpo_lab.course.report import Report
from dpo_lab.course.submission import Diagnosis, Driver, Rejected, Submission, local_driver

DEBUG_VARIABLE = "DPO_LAB_DEBUG"


def grade(course: Course, name: str, driver: Driver, seed: int | None = None) -> Report:
    """Run every test of an exercise.

    Args:
        name: the exercise.
        driver: drives the submission's functions.
        seed: of the fresh inputs; None draws one.

    Returns:
        A report with the diagnosis of the first test that rejects the answer. It is "broken" when a test itself
        fails, and never raises but on KeyboardInterrupt.
    """
    started = time.perf_counter()
    try:
        tests = exercises.tests_of(course, name)
        fresh_class = exercises.load_autograder(course, course.autograders / "fixtures.py").Fresh
    except (CourseError, OSError) as error:
        return Report(name, 0, "broken", f"The check could not start: {error}.")
    points = exercises.points_of(tests)
    seed = secrets.randbelow(2**31) if seed is None else seed
    submission = Submission(course, driver)
    outcomes: list[Diagnosis | None] = []
    for test in tests:
        outcomes.append(run_test(test, submission, fresh_class(seed)))
        if outcomes[-1] is not None and outcomes[-1].status == "not written":
            break
    told = next((outcome for outcome in outcomes if outcome is not None), None)
    if told is not None and len(told.candidates) > 1:
        told = told.naming(_likeliest(course, tests, outcomes, told.candidates, lambda: fresh_class(seed)))
    passed = sum(outcome is None for outcome in outcomes)
    counts = {"passed_tests": passed, "tests": len(tests), "seconds": time.perf_counter() - started}
    if told is None:
        return Report(name, points, "passed", **counts)
    return Report.of(name, points, told, **counts)


def _likeliest(
    course: Course,
    tests: list[ExerciseTest],
    outcomes: list[Diagnosis | None],
    candidates: tuple[Mistake, ...],
    fresh: Callable[[], object],
) -> Mistake:
    """Of several mistakes that give the learner's result in one test, the one that fits most of the tests.

    A test speaks for a candidate when both it and the learner pass, or when both are rejected and the candidate is
    among those that the learner's result fits.
    """

    def fit(mistake: Mistake) -> int:
        submission = Submission(course, local_driver(lambda _: mistake.function))
        score = 0
        for test, outcome in zip(tests, outcomes, strict=True):
            if outcome is None:
                score += run_test(test, submission, fresh()) is None
            else:
                score += mistake in outcome.candidates
        return score

    return max(candidates, key=fit)  # the first of equals


def grade_function(course: Course, name: str, function: Callable, seed: int | None = None) -> Report:
    """Grade one function as the exercise `name`."""
    return grade(course, name, local_driver(lambda _: function), seed)


def run_test(test: ExerciseTest, submission: Submission, fresh: object) -> Diagnosis | None:
    """The diagnosis of a test that rejects the submission, None where it accepts it."""
    try:
        test.function(submission, fresh)
    except Rejected as rejected:
        return rejected.diagnosis
    except AssertionError as error:
        return Diagnosis("wrong", str(error).split("\nassert ")[0] or property_of(test.function))
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc(file=sys.stderr)
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        return Diagnosis(
            "broken",
            f"The check itself failed in {test.function.__name__} ({type(error).__name__} at {place}): this is not "
            f"your fault. {DEBUG_VARIABLE}=1 shows where.",
        )
    return None


def property_of(test: Callable) -> str:
    """What a test without words of its own demands: its docstring's first line, or its name."""
    words = (test.__doc__ or test.__name__.removeprefix("test_").replace("_", " ")).strip().splitlines()[0]
    return f"This does not hold: {words.rstrip('.')}."
