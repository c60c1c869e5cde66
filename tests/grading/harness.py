"""A miniature course of one lesson, and a class of hostile students that is graded once for all tests."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest
from hostile_cases import CASES, RIGHT, Case, notebook_bytes

from dpo_lab.course.layout import Course
from dpo_lab.grading.grader import Grader
from dpo_lab.grading.reading import find_work
from dpo_lab.grading.results import ClassResult
from dpo_lab.grading.sandbox import Limits

LIBRARY = '''
"""Gaps between numbers."""

from __future__ import annotations

from torch import Tensor


def scaled_gap(high: Tensor, low: Tensor, scale: float = 1.0) -> Tensor:
    """Scaled difference of each pair."""
    if scale == 0:
        raise ValueError("scale must not be 0")
    return scale * (high - low)


def gap_report(high: Tensor, low: Tensor) -> dict[str, float]:
    """Mean gap, and share of pairs with a positive one."""
    gaps = scaled_gap(high, low)
    return {"mean": gaps.mean().item(), "positive": (gaps > 0).float().mean().item()}
'''

MISTAKES_FILE = """
from dpo_lab.course import Mistake

SECRET_OF_THE_MISTAKES = "zyx-answer-zyx"


def swapped(high, low, scale=1.0):
    if scale == 0:
        raise ValueError("scale must not be 0")
    return scale * (low - high)


def scale_forgotten(high, low, scale=1.0):
    if scale == 0:
        raise ValueError("scale must not be 0")
    return high - low


def zero_allowed(high, low, scale=1.0):
    return scale * (high - low)


def summed(high, low):
    return {"mean": (high - low).sum().item(), "positive": (high > low).float().mean().item()}


MISTAKES = {
    "scaled_gap": [
        Mistake("order swapped", "Which one is the high one?", swapped),
        Mistake("scale forgotten", "What does `scale` do?", scale_forgotten),
        Mistake("zero allowed", "What is a scale of 0 good for?", zero_allowed),
    ],
    "gap_report": [Mistake("sum", "A mean.", summed)],
}
"""

TESTS = """
from mistakes_01_gap import MISTAKES

from dpo_lab.course import exercise, raises


def oracle_of_the_gap(high, low, scale):
    return [scale * (float(a) - float(b)) for a, b in zip(high, low)]


def without_gradient(function, high, low):
    return {"asks": function(high, low).requires_grad, "size": function(high, low).numel()}


@exercise("scaled_gap", points=3)
def test_scaled_gap_matches_a_loop(submission, fresh):
    for scale in (2.5, fresh.uniform(3, 4)):
        high, low, *_ = fresh.logps()
        expected = oracle_of_the_gap(high, low, scale)
        submission.compare("scaled_gap", (high, low), expected, mistakes=MISTAKES, kwargs={"scale": scale})


@exercise("scaled_gap")
def test_scaled_gap_has_the_right_gradient(submission, fresh):
    high, low, *_ = fresh.logps()
    submission.compare("scaled_gap", (high, low), [-3.0] * 6, MISTAKES, "grad", {"scale": 3.0}, {"wrt": 1})


@exercise("scaled_gap")
def test_scaled_gap_refuses_a_scale_of_zero(submission, fresh):
    high, low, *_ = fresh.logps()
    submission.compare("scaled_gap", (high, low), raises(ValueError, "scale"), MISTAKES, kwargs={"scale": 0})


@exercise("gap_report", points=2)
def test_gap_report_matches_a_loop(submission, fresh):
    high, low, *_ = fresh.logps()
    gaps = [float(a) - float(b) for a, b in zip(high, low)]
    expected = {"mean": sum(gaps) / 6, "positive": sum(gap > 0 for gap in gaps) / 6}
    submission.compare("gap_report", (high, low), expected, mistakes=MISTAKES)


@exercise("gap_report")
def test_gap_report_can_be_called_in_any_mood(submission, fresh):
    high, low, *_ = fresh.logps()
    yours = submission.run("gap_report", mean_only, high, low)
    assert abs(yours - sum(float(a) - float(b) for a, b in zip(high, low)) / 6) < 1e-4


def mean_only(function, high, low):
    return function(high, low)["mean"]
"""


@dataclass
class Graded:
    """A class that was graded, its course, and its folder."""

    result: ClassResult
    course: Course
    folder: Path
    running_before: set[int]

    def scores(self, student: str) -> dict[str, float]:
        """Points by exercise."""
        found = next(each for each in self.result.students if each.student == student)
        return {each.name: each.earned for each in found.exercises}


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """The miniature course, importable."""
    root = tmp_path_factory.mktemp("course")
    root.chmod(0o755)
    for above in list(root.parents)[:2]:
        above.chmod(0o755)
    files = {
        "gapcourse/__init__.py": "",
        "gapcourse/gaps.py": LIBRARY,
        "gapcourse/late.py": "HERE = True",
        "tests/autograders/mistakes_01_gap.py": MISTAKES_FILE,
        "tests/autograders/test_01_gap.py": TESTS,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    real = Path(__file__).parents[1] / "autograders" / "fixtures.py"
    shutil.copy(real, root / "tests/autograders/fixtures.py")
    sys.path.insert(0, str(root))
    yield Course(root / "gapcourse", root)
    sys.path.remove(str(root))
    for name in [name for name in sys.modules if name.split(".")[0] == "gapcourse"]:
        del sys.modules[name]


def write_case(folder: Path, case: Case) -> Path:
    """One student's repository."""
    home = folder / case.name
    home.mkdir(parents=True)
    for name, data in case.files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(data, encoding="utf-8")
    path = home / "01_gap.ipynb"
    if case.special == "folder":
        path.mkdir()
    elif case.special == "link":
        path.symlink_to("/etc/passwd")
    else:
        path.write_bytes(case.raw if case.raw is not None else notebook_bytes(case))
    return home


def grade(course: Course, folder: Path, jobs: int = 2, seconds: float = 2.5, seed: int = 11) -> ClassResult:
    """Grade a folder of submissions."""
    return Grader(course, seed, jobs, Limits(seconds, 512)).grade(find_work([folder]))


def grade_afresh(course: Course, folder: Path, seconds: float) -> ClassResult:
    """The same in a process of its own, as `dpo-lab grade` is: a test runner's memory is full of tests."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(grade, course, folder, seconds=seconds).result()


def descendants(pid: int) -> set[int]:
    """All processes below one, by their numbers."""
    children: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        children |= {int(number) for number in path.read_text().split()}
    return children.union(*(descendants(child) for child in children))


@pytest.fixture(scope="session")
def hostile(course: Course, tmp_path_factory: pytest.TempPathFactory) -> Graded:
    """The whole class of hostile notebooks, and an innocent before and after them."""
    folder = tmp_path_factory.mktemp("class")
    for case in CASES:
        write_case(folder, case)
    for name in ("aaa innocent", "zzz innocent"):
        write_case(folder, Case(name, RIGHT, 3))
    os.environ["A_TOKEN_OF_THE_GRADER"] = "tok-secret-tok"
    before = descendants(os.getpid())
    try:
        return Graded(grade(course, folder), course, folder, before)
    finally:
        del os.environ["A_TOKEN_OF_THE_GRADER"]
