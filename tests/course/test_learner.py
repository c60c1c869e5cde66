"""Functions taken out of a learner's notebook."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from dpo_lab.course.judge import grade
from dpo_lab.course.layout import CourseError
from dpo_lab.course.learner import LearnerNotebook, notebook_driver, python_of
from dpo_lab.course.report import Report

GAP = "def scaled_gap(high, low, scale=1.0):\n    check_scale(scale)\n    return scale * (high - low)"
HELPER = "def check_scale(scale):\n    if scale == 0:\n        raise ValueError('scale')"


def notebook(folder: Path, *cells: str | tuple[str, str]) -> Path:
    """A notebook of code cells; a pair is an exercise's name and its source."""
    made = [
        new_code_cell(cell)
        if isinstance(cell, str)
        else new_code_cell(cell[1], metadata={"exercise": cell[0]})
        for cell in cells
    ]
    folder.mkdir(exist_ok=True)
    path = folder / "01_gap.ipynb"
    nbformat.write(new_notebook(cells=made), path)
    return path


def graded(course, path: Path, name: str = "scaled_gap") -> Report:
    return grade(course, name, notebook_driver(course, path))


def test_helpers_imports_and_literals_are_kept_and_nothing_else_is_run(mini, tmp_path):
    path = notebook(
        tmp_path / "n",
        "import os\nOFFSET = -0.0\nos._exit(7)",
        "%matplotlib inline\n!ls\n" + HELPER,
        ("scaled_gap", GAP),
    )
    assert graded(mini, path).status == "passed"


def test_a_wrong_neighbour_costs_nothing_here(mini, tmp_path):
    own = (
        "def gap_report(high, low):\n    gaps = scaled_gap(high, low)\n"
        "    return {'mean': gaps.mean().item(), 'positive': (gaps > 0).float().mean().item()}"
    )
    path = notebook(tmp_path / "n", ("scaled_gap", "def scaled_gap(a, b): return a"), ("gap_report", own))
    assert graded(mini, path, "gap_report").status == "passed"
    assert graded(mini, path).status in ("wrong", "error")


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        (
            "def scaled_gap(high, low, scale=1.0):\n    raise NotImplementedError('write me')",
            "not written",
            "not written",
        ),
        ("# deleted", "not written", "not written"),
        ("def scaled_gap(high, low, scale=1.0)\n    return high", "error", "SyntaxError"),
        (
            "def scaled_gap(high, low, scale=1.0):\n    return high - nothing",
            "error",
            "line 2: `return high - nothing`",
        ),
        ("def scaled_gap(high, low, scale=undefined):\n    return high", "error", "NameError"),
    ],
)
def test_cells_that_are_not_right(mini, tmp_path, source, status, words):
    report = graded(mini, notebook(tmp_path / "n", ("scaled_gap", source)))
    assert report.status == status and words in report.text().replace(
        "line 2: return", "line 2: `return"
    ).replace("nothing\n", "nothing`\n")


def test_a_definition_in_another_cell_counts_when_the_exercise_cell_has_none(mini, tmp_path):
    path = notebook(tmp_path / "n", HELPER, ("scaled_gap", "# see below"), GAP)
    assert graded(mini, path).status == "passed"


def test_the_exercise_cell_goes_before_a_definition_elsewhere(mini, tmp_path):
    path = notebook(tmp_path / "n", HELPER, ("scaled_gap", GAP), "def scaled_gap(high, low):\n    return low")
    assert graded(mini, path).status == "passed"


def test_an_exercise_that_no_notebook_holds_is_not_written(mini, tmp_path):
    assert graded(mini, notebook(tmp_path / "n", "1 + 1")).status == "not written"


def test_magics_become_empty_lines():
    assert python_of("%%time\nx = 1") == "\nx = 1"
    assert python_of("%%bash\nls") == ""
    assert python_of("!ls\nlen?\nx = (7\n  % 4)").splitlines()[:2] == ["", ""]
    assert python_of("x = (7\n  % 4)") == "x = (7\n  % 4)"


def test_what_is_no_notebook_is_said(tmp_path):
    path = tmp_path / "01_gap.ipynb"
    path.write_text("not JSON")
    with pytest.raises(CourseError, match="not a notebook that can be read"):
        LearnerNotebook.read(path)


def test_a_folder_without_lessons_is_said(mini, tmp_path):
    with pytest.raises(CourseError, match="no notebook named like"):
        notebook_driver(mini, tmp_path)
