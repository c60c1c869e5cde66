"""The parent judges: a plan's cases against what a child claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dpo_lab.course import judge
from dpo_lab.course.comparing import Tolerance, difference
from dpo_lab.course.exercises import Mistake
from dpo_lab.course.layout import Course
from dpo_lab.course.observing import Drive, Observation, observe
from dpo_lab.course.report import Report
from dpo_lab.course.submission import Diagnosis, Submission
from dpo_lab.grading.packing import Packer
from dpo_lab.grading.plan import ExercisePlan, TestPlan, digest_of

LIBRARY = "LibraryAnswer"
ASKS_LIBRARY = "This asks the course's finished function for the answer. Points are for your own."


class NeedsDrive(BaseException):
    """A test asks for something that no child has answered yet."""

    def __init__(self, digest: str, packed: dict) -> None:
        super().__init__(digest)
        self.digest, self.packed = digest, packed


class Judge:
    """Judges all submissions, and remembers what the mistakes give, since all submissions get the same inputs."""

    def __init__(self, course: Course, packer: Packer) -> None:
        self._course, self._packer = course, packer
        self._driven: dict[tuple[int, int], tuple[Drive, Observation]] = {}
        self._fits: dict[tuple[str, str, int], bool] = {}

    def report(
        self, plan: ExercisePlan, seen: dict[str, Observation], again: dict[str, Observation]
    ) -> Report:
        """The verdict on one exercise.

        Args:
            seen: what the child claims, by digest of the drive.
            again: what it claimed when it was asked a second time.

        Raises:
            NeedsDrive: a test that looks at answers itself asks for one that isn't there.
        """
        outcomes: list[Diagnosis | None] = []
        for test in plan.tests:
            outcomes.append(self._outcome(test, plan, seen))
            if outcomes[-1] is not None and outcomes[-1].status == "not written":
                break
        told = next((outcome for outcome in outcomes if outcome is not None), None)
        if told is not None and len(told.candidates) > 1:
            told = told.naming(max(told.candidates, key=lambda each: self._fit(each, plan, outcomes)))
        told = told or _unsteady(seen, again)
        passed = sum(outcome is None for outcome in outcomes)
        counts = {"passed_tests": passed, "tests": len(plan.tests)}
        if any(each.raised is not None and LIBRARY in each.raised.kinds for each in seen.values()):
            return Report(plan.name, plan.points, "wrong", ASKS_LIBRARY, mistake="asks the library", **counts)
        if told is None:
            return Report(plan.name, plan.points, "passed", **counts)
        return Report.of(plan.name, plan.points, told, **counts)

    def _outcome(self, test: TestPlan, plan: ExercisePlan, seen: dict[str, Observation]) -> Diagnosis | None:
        if test.broken is not None:
            return test.broken
        if test.live:
            submission = Submission(self._course, self._replay(seen))
            return judge.run_test(test.test, submission, plan.fresh())
        for step in test.steps:
            found = seen[step.digest]
            problem = step.case.problem(found)
            if problem is not None:
                return step.case.diagnosis(found, problem, step.known, self._mistake)
        return None

    def _replay(self, seen: dict[str, Observation]) -> Callable[[Drive], Observation]:
        def drive(request: Drive) -> Observation:
            packed = self._packer.drive(request)
            digest = digest_of(packed)
            if digest not in seen:
                raise NeedsDrive(digest, packed)
            return seen[digest]

        return drive

    def _mistake(self, function: Callable, drive: Drive) -> Observation:
        key = (
            id(function),
            id(drive),
        )  # both live as long as the plan; a live test's drive is kept by the value
        if key not in self._driven or self._driven[key][0] is not drive:
            self._driven[key] = (drive, observe(function, drive))
        return self._driven[key][1]

    def _fit(self, mistake: Mistake, plan: ExercisePlan, outcomes: list[Diagnosis | None]) -> int:
        """How many tests speak for a mistake, as `judge.grade` counts them."""
        score = 0
        for i, outcome in enumerate(outcomes):
            if outcome is not None:
                score += mistake in outcome.candidates
            else:
                score += self._passes(mistake, plan, i)
        return score

    def _passes(self, mistake: Mistake, plan: ExercisePlan, i: int) -> bool:
        key = (plan.name, mistake.name, i)
        if key not in self._fits:
            submission = Submission(self._course, lambda drive: observe(mistake.function, drive))
            self._fits[key] = judge.run_test(plan.tests[i].test, submission, plan.fresh()) is None
        return self._fits[key]


def _unsteady(seen: dict[str, Observation], again: dict[str, Observation]) -> Diagnosis | None:
    """Whether the same question got another answer the second time."""
    for digest, second in again.items():
        first: Any = seen[digest]
        same = (first.raised is None) == (second.raised is None)
        if not same or difference(first.value, second.value, Tolerance()) is not None:
            words = "Called again with the same inputs, your function gives another result."
            return Diagnosis(
                "wrong", words, "Does it keep something from one call to the next?", "keeps state"
            )
    return None
