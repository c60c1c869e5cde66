"""What every submission will be asked, drawn once: the tests run against a recorder, which keeps the cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dpo_lab.course import exercises, judge, library
from dpo_lab.course.exercises import ExerciseTest, Mistake
from dpo_lab.course.layout import Course, CourseError
from dpo_lab.course.observing import Drive, observe
from dpo_lab.course.plain import copy_inputs
from dpo_lab.course.submission import Case, Diagnosis, Submission, local_driver
from dpo_lab.grading.packing import Packer


@dataclass
class Step:
    """One comparison of a test: the case, its known mistakes, and the digest that its drive is answered under."""

    case: Case
    known: Sequence[Mistake]
    digest: str


@dataclass
class TestPlan:
    """One test: its steps; or `live`, if it looks at answers itself and has to run again for each submission."""

    test: ExerciseTest
    steps: list[Step] = field(default_factory=list)
    live: bool = False
    broken: Diagnosis | None = None


@dataclass
class ExercisePlan:
    """One exercise: what it is worth, its tests, and the packed drives by digest, in order."""

    name: str
    points: int
    tests: list[TestPlan]
    drives: dict[str, dict]
    fresh: Callable[[], Any]


class Recorder(Submission):
    """Stands for a submission while a test is recorded; calls are answered by the finished function."""

    def __init__(self, course: Course, name: str, packer: Packer, drives: dict[str, dict]) -> None:
        super().__init__(course, self._drive)
        self._finished = library.find(course, name).load()
        self._packer, self._drives = packer, drives
        self.plan: TestPlan | None = None

    def keep(self, drive: Drive) -> str:
        """Pack a drive; its digest."""
        packed = self._packer.drive(drive)
        digest = digest_of(packed)
        self._drives.setdefault(digest, packed)
        return digest

    def _drive(self, drive: Drive) -> Any:
        self.plan.live = True
        self.keep(drive)
        return observe(self._finished, drive)

    def _settle(self, case: Case, known: Sequence[Mistake]) -> None:
        kept = replace(
            case.drive, inputs=copy_inputs(case.drive.inputs), kwargs=copy_inputs(case.drive.kwargs)
        )
        self.plan.steps.append(Step(replace(case, drive=kept), known, self.keep(kept)))


def digest_of(packed: dict) -> str:
    """A name for a packed drive."""
    return hashlib.sha256(json.dumps(packed, sort_keys=True).encode()).hexdigest()[:20]


def make_plan(course: Course, name: str, seed: int, packer: Packer) -> ExercisePlan:
    """Record all tests of an exercise.

    Args:
        seed: of the private inputs.
        packer: packs the drives; its table must reach the zygote too.

    Raises:
        CourseError: the exercise has no tests, or they don't import.
    """
    tests = exercises.tests_of(course, name)
    fresh_class = exercises.load_autograder(course, course.autograders / "fixtures.py").Fresh
    drives: dict[str, dict] = {}
    recorder = Recorder(course, name, packer, drives)
    plans = []
    for test in tests:
        recorder.plan = TestPlan(test)
        outcome = judge.run_test(test, recorder, fresh_class(seed))
        if outcome is not None and outcome.status == "broken":
            recorder.plan.broken = outcome
        plans.append(recorder.plan)
    return ExercisePlan(name, exercises.points_of(tests), plans, drives, lambda: fresh_class(seed))


def self_check(course: Course, plan: ExercisePlan) -> str:
    """Why the finished function itself would not pass; empty when it does."""
    driver = local_driver(lambda name: library.find(course, name).load())
    for test in plan.tests:
        found = judge.run_test(test.test, Submission(course, driver), plan.fresh())
        if found is not None:
            return found.headline
    return ""


def make_plans(course: Course, names: Sequence[str], seed: int) -> tuple[dict[str, ExercisePlan], Packer]:
    """Plans of several exercises, and the packer that knows the code which their drives refer to.

    Raises:
        CourseError: as `make_plan`, with the exercise's name.
    """
    packer = Packer(course)
    plans = {}
    for name in names:
        try:
            plans[name] = make_plan(course, name, seed, packer)
        except CourseError as error:
            raise CourseError(f"{name}: {error}") from error
    return plans, packer
