"""A miniature course: a library of two functions, one lesson, its autograder."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from dpo_lab.course.layout import Course

LIBRARY = '''
"""Gaps between numbers."""

from __future__ import annotations

from torch import Tensor


def scaled_gap(high: Tensor, low: Tensor, scale: float = 1.0) -> Tensor:
    """Scaled difference of each pair.

    Args:
        high: (B,).
        low: (B,).
        scale: a factor.

    Returns:
        (B,), scale · (high − low).

    Raises:
        ValueError: scale is 0.
    """
    if scale == 0:
        raise ValueError("scale must not be 0")
    return scale * (high - low)  # a factor, then a gap


def gap_report(high: Tensor, low: Tensor) -> dict[str, float]:
    """Mean gap, and share of pairs with a positive one."""
    gaps = scaled_gap(high, low)
    return {"mean": gaps.mean().item(), "positive": (gaps > 0).float().mean().item()}
'''

# The notebooks of the miniature course check against the miniature, not against the package around the apparatus.
CHECK = """
import sys
from pathlib import Path

from dpo_lab.course.checks import examine, names_in_call, show
from dpo_lab.course.layout import Course


def check(function):
    package = Path(__file__).parent
    report, result = examine(Course(package, package.parent), function, names_in_call(sys._getframe(1)))
    show(report)
    return result
"""

MISTAKES = """
from dpo_lab.course import Mistake


def swapped(high, low, scale=1.0):
    if scale == 0:
        raise ValueError("scale must not be 0")
    return scale * (low - high)


def scale_forgotten(high, low, scale=1.0):
    if scale == 0:
        raise ValueError("scale must not be 0")
    return high - low


def averaged(high, low, scale=1.0):
    if scale == 0:
        raise ValueError("scale must not be 0")
    return (scale * (high - low)).mean()


def zero_allowed(high, low, scale=1.0):
    return scale * (high - low)


def in_place(high, low, scale=1.0):
    if scale == 0:
        raise ValueError("scale must not be 0")
    high -= low
    return scale * high


def share(high, low):
    return (high > low).float().mean()


def scale_squared(high, low, scale=1.0):
    if scale == 0:
        raise ValueError("scale must not be 0")
    return scale**2 * (high - low)


MISTAKES = {
    "scaled_gap": [
        Mistake("order swapped", "Which one is the high one?", swapped),
        Mistake("scale forgotten", "What does `scale` do?", scale_forgotten),
        Mistake("averaged", "One value a pair is wanted.", averaged),
        Mistake("zero allowed", "What is a scale of 0 good for?", zero_allowed),
        Mistake("scale squared", "Once is enough.", scale_squared),
        Mistake("changes its input", "`-=` writes into the tensor that you were given.", in_place),
    ],
    "gap_report": [
        Mistake("sum", "A mean.", lambda h, l: {"mean": (h - l).sum().item(), "positive": share(h, l).item()}),
        Mistake("percent", "A share.", lambda h, l: {"mean": (h - l).mean().item(), "positive": 100.0}),
        Mistake("a tensor", "Numbers.", lambda h, l: {"mean": (h - l).mean(), "positive": share(h, l)}),
    ],
}
"""

TESTS = """
from mistakes_01_gap import MISTAKES

from dpo_lab.course import exercise, raises


@exercise("scaled_gap", points=3)
def test_scaled_gap_matches_a_loop(submission, fresh):
    high, low, *_ = fresh.logps()
    expected = [2.5 * (float(a) - float(b)) for a, b in zip(high, low)]
    submission.compare("scaled_gap", (high, low), expected, mistakes=MISTAKES, kwargs={"scale": 2.5})


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
"""

LESSON = """
# %% [markdown]
# # 01 · Gaps
#
# {{lesson_facts}}

# %%
import torch
from torch import Tensor
from minicourse.notebook_check import check

# %% exercise="scaled_gap" points=3 minutes=5 difficulty=1 importance=5
...

# %%
scaled_gap = check(scaled_gap)

# %% [markdown] hints="scaled_gap"
# <details><summary>Hint 1: the order</summary>High first.</details>
# <details><summary>Hint 2: the factor</summary>Times scale.</details>

# %% tags=["solution-only"]
print("only in the solution")

# %% exercise="gap_report" points=2 minutes=4 difficulty=2 importance=3
...

# %%
gap_report = check(gap_report)

# %% [markdown] hints="gap_report"
# <details><summary>Hint 1: mean</summary>Use mean.</details>
# <details><summary>Hint 2: share</summary>Mean of booleans.</details>

# %%
gap_report(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0]))
"""


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """The miniature course, importable."""
    root = tmp_path / "course"
    course = Course(root / "minicourse", root)
    files = {
        "minicourse/__init__.py": "",
        "minicourse/gaps.py": LIBRARY,
        "minicourse/notebook_check.py": CHECK,
        "tests/autograders/mistakes_01_gap.py": MISTAKES,
        "tests/autograders/test_01_gap.py": TESTS,
        "solutions/01_gap.py": LESSON,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    real = Path(__file__).parents[1] / "autograders"
    shutil.copy(real / "fixtures.py", root / "tests/autograders/fixtures.py")
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.delenv("CI", raising=False)
    yield course
    for name in [name for name in sys.modules if name.split(".")[0] == "minicourse"]:
        del sys.modules[name]
