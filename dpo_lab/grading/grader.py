"""Grade a class: fork the zygote, draw the inputs, run the children, judge."""

from __future__ import annotations

import ast
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpo_lab.course import exercises
from dpo_lab.course.layout import Course
from dpo_lab.course.report import Report
from dpo_lab.grading import integrity, reading, similar, zygote
from dpo_lab.grading.judging import Judge, NeedsDrive
from dpo_lab.grading.plan import ExercisePlan, make_plans
from dpo_lab.grading.pool import Claims, Job, Pool
from dpo_lab.grading.reading import StudentWork
from dpo_lab.grading.results import ClassResult, ExerciseResult, StudentResult
from dpo_lab.grading.sandbox import Limits, Walls

MOST_ROUNDS = 5  # of further questions that a test may have


@dataclass
class Owner:
    """Whose a job is: the student, whether an exercise is alone in its child, and how often it was asked on."""

    work: StudentWork
    alone: bool = False
    rounds: int = 0


@dataclass
class Grader:
    """Grades submissions.

    Args:
        course: the trusted copy.
        seed: of the private inputs.
        jobs: children at a time.
        limits: of each child.
        lessons: only exercises of these lessons' test files; none means all.
    """

    course: Course
    seed: int
    jobs: int = 1
    limits: Limits = field(default_factory=Limits)
    lessons: Sequence[str] = ()

    def grade(self, works: list[StudentWork], hide: Sequence[Path] = ()) -> ClassResult:
        """Grade them all.

        Args:
            hide: further files and folders that no child shall see.

        Raises:
            CourseError: the course's own tests fail to load.
        """
        started = time.perf_counter()
        wanted = self._wanted(works)
        pid, channel = zygote.fork_zygote(self.course, self.limits)
        try:
            plans, packer = make_plans(self.course, list(wanted), self.seed)
            hidden = reading.folder_names([*self._secrets(), *(work.root for work in works), *hide])
            zygote.send(channel, self._preparation(plans, packer.table, hidden, wanted))
            received = zygote.receive(channel)
            if received is None:
                raise RuntimeError("the zygote did not start")
            walls = Walls(**received[0]["ready"])
            run = _ClassRun(self, plans, Judge(self.course, packer), wanted, walls)
            students = run.run(works, Pool(channel, self.limits, self.jobs))
        finally:
            channel.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        alike = similar.groups(students)
        return ClassResult(students, self.seed, walls.words(), time.perf_counter() - started, alike)

    def _wanted(self, works: list[StudentWork]) -> dict[str, str]:
        """Exercise → file name of its lesson, for all lessons that somebody handed in."""
        known = exercises.test_files(self.course)
        tests = {name: paths[0].stem.removeprefix("test_") for name, paths in known.items()}
        handed = {book.path.stem for work in works for book in work.notebooks}
        tagged = {cell["exercise"] for work in works for book in work.notebooks for cell in book.cells}
        chosen = set(self.lessons) or {
            lesson for name, lesson in tests.items() if lesson in handed or name in tagged
        }
        return {name: f"{lesson}.ipynb" for name, lesson in tests.items() if lesson in chosen}

    def _secrets(self) -> list[Path]:
        return [path for path in (self.course.root / "tests", self.course.solutions) if path.exists()]

    def _preparation(self, plans: dict, table: dict, hidden: list[str], wanted: dict[str, str]) -> dict:
        package = os.path.realpath(self.course.package)
        return {
            "imports": imports_of(self.course, set(wanted.values())),
            "table": table,
            "drives": {digest: packed for plan in plans.values() for digest, packed in plan.drives.items()},
            "names": list(plans),
            "needed": [sys.prefix, sys.base_prefix, *filter(os.path.isdir, sys.path[1:]), package],
            "hidden": [path for path in hidden if not package.startswith(path.rstrip("/") + "/")],
        }


class _ClassRun:
    """One run over a class: jobs out, verdicts in."""

    def __init__(
        self,
        grader: Grader,
        plans: dict[str, ExercisePlan],
        judge: Judge,
        wanted: dict[str, str],
        walls: Walls,
    ) -> None:
        self._grader, self._plans, self._judge, self._wanted, self._walls = (
            grader,
            plans,
            judge,
            wanted,
            walls,
        )
        self._found: dict[tuple[int, str], ExerciseResult] = {}

    def run(self, works: list[StudentWork], pool: Pool) -> list[StudentResult]:
        jobs: list[Job] = []
        notes: dict[int, dict[str, list[str]]] = {}
        for work in works:
            homes, notes[id(work)] = integrity.homes(work, self._wanted)
            for book in work.notebooks:
                names = [name for name in self._wanted if homes.get(name) is book]
                if names:
                    jobs.append(self._job(names, book.cells, book.path.name, Owner(work, len(names) == 1)))
        pool.run(jobs, self._done)
        return [self._result(work, notes[id(work)]) for work in works]

    def _job(self, names: Sequence[str], cells: list[dict], file: str, owner: Owner) -> Job:
        return Job(cells, file, {name: list(self._plans[name].drives) for name in names}, owner)

    def _done(self, job: Job) -> list[Job]:
        """Judge a job that has ended; what failed with others in its child is asked again alone."""
        again: list[Job] = []
        left: list[str] = []
        first = True
        for name, claims in job.claims.items():
            if not claims.begun:
                left.append(name)
                continue
            try:
                result = self._verdict(name, claims, job)
            except NeedsDrive as needs:
                again += self._asked_on(job, name, needs)
                continue
            alone = job.owner.alone or first
            first = False
            if result.report.status in ("passed", "not written", "broken") or alone:
                self._found[id(job.owner.work), name] = result
            else:
                again.append(self._job([name], job.cells, job.file, Owner(job.owner.work, True)))
        if left:
            again.append(self._job(left, job.cells, job.file, Owner(job.owner.work, len(left) == 1)))
        return again

    def _asked_on(self, job: Job, name: str, needs: NeedsDrive) -> list[Job]:
        owner = Owner(job.owner.work, True, job.owner.rounds + 1)
        plan = self._plans[name]
        if owner.rounds > MOST_ROUNDS:
            report = Report(name, plan.points, "wrong", "Your function gives another result each time.")
            self._found[id(owner.work), name] = ExerciseResult(report, self._wanted[name][:-6])
            return []
        more = self._job([name], job.cells, job.file, owner)
        more.extra = {**job.extra, needs.digest: needs.packed}
        more.exercises[name] += [digest for digest in more.extra if digest not in more.exercises[name]]
        return [more]

    def _verdict(self, name: str, claims: Claims, job: Job) -> ExerciseResult:
        plan = self._plans[name]
        if job.trouble:
            report = Report(
                name, plan.points, "broken", f"The sandbox could not be set up: {job.trouble[-200:]}"
            )
        elif claims.problem or not claims.ended:
            report = Report(name, plan.points, "error", claims.problem or "Your code ended the process.")
        else:
            report = self._judge.report(plan, claims.seen, claims.again)
        result = ExerciseResult(report, self._wanted[name][:-6])
        if claims.library:
            result.flags.append("asks the library for the answer")
        result.notes += [f"leaves torch's {each} changed" for each in claims.left]
        return result

    def _result(self, work: StudentWork, notes: dict[str, list[str]]) -> StudentResult:
        graded = []
        for name in self._wanted:
            missing = Report(name, self._plans[name].points, "not written", f"`{name}` is not written yet.")
            result = self._found.get((id(work), name)) or ExerciseResult(missing, self._wanted[name][:-6])
            result.notes += notes[name]
            graded.append(result)
        told = [f"{book.path.name}: {book.problem}" for book in work.notebooks if book.problem]
        told += [
            f"check of {name} was changed: no difference"
            for name in integrity.changed_checks(work, self._wanted)
        ]
        if not work.notebooks:
            told.append("no notebook in it")
        prints = similar.fingerprints(work, self._wanted)
        return StudentResult(work.student, str(work.root), graded, told, fingerprints=prints)


def imports_of(course: Course, lessons: set[str]) -> list[str]:
    """Import statements of the course's own lessons, which its children then needn't run: they take seconds."""
    statements: dict[str, None] = {}
    for file in sorted(lessons):
        source = course.solutions / f"{file[:-6]}.py"
        if not source.exists():
            continue
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                statements[ast.unparse(node)] = None
    return list(statements)
