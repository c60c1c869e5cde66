"""Building notebooks from a lesson, on the miniature course."""

from __future__ import annotations

import pytest

from dpo_lab.course import notebooks
from dpo_lab.course.build import build, stale, write_learner_notebook
from dpo_lab.course.commands import build_command, check_command
from dpo_lab.course.execution import execute, require_all_passed, verdicts
from dpo_lab.course.layout import CourseError
from dpo_lab.course.lesson import lessons, problems


@pytest.fixture
def lesson(mini):
    return lessons(mini)[0]


def sources(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells)


def edit(path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_learner_gets_signature_docstring_and_a_folded_solution(mini, lesson):
    notebook = notebooks.learner_notebook(mini, lesson)
    stub = next(cell for cell in notebook.cells if cell.metadata.get("exercise") == "scaled_gap").source
    assert stub.startswith("def scaled_gap(high: Tensor, low: Tensor, scale: float = 1.0) -> Tensor:")
    assert "(B,), scale · (high − low)." in stub
    assert stub.endswith('    raise NotImplementedError("write me")')
    page = sources(notebook)
    assert (
        "**Exercise** `scaled_gap` · 3 points · about 5 minutes · difficulty ●○○○○ · importance ●●●●●" in page
    )
    assert "2 exercises · 5 points · about 9 minutes" in page
    assert "only in the solution" not in page
    assert page.count("<summary>Solution</summary>") == 2
    assert "return scale * (high - low)  # a factor, then a gap" in page


def test_the_solution_holds_the_librarys_source(mini, lesson):
    page = sources(notebooks.solution_notebook(mini, lesson))
    assert "return scale * (high - low)  # a factor, then a gap" in page
    assert "only in the solution" in page and "<summary>Solution</summary>" not in page


def test_building_twice_gives_the_same_bytes(mini, lesson):
    path = mini.notebooks / "01_gap.ipynb"
    write_learner_notebook(mini, lesson)
    first = path.read_bytes()
    write_learner_notebook(mini, lesson)
    assert path.read_bytes() == first


def test_a_notebook_that_a_learner_wrote_in_is_left_alone(mini, lesson):
    path = mini.notebooks / "01_gap.ipynb"
    write_learner_notebook(mini, lesson)
    edit(path, "write me", "mine")
    assert "left alone" in write_learner_notebook(mini, lesson)
    edit(mini.solutions / "01_gap.py", "# # 01 · Gaps", "# # 01 · Wider gaps")
    assert "01_gap.new.ipynb" in write_learner_notebook(mini, lessons(mini)[0])
    assert "mine" in path.read_text() and "Wider" in (mini.notebooks / "01_gap.new.ipynb").read_text()
    edit(mini.notebooks / "01_gap.new.ipynb", "write me", "mine too")
    with pytest.raises(CourseError, match="written in both"):
        write_learner_notebook(mini, lessons(mini)[0])


def test_build_check_and_run_all(mini, lesson, capsys, monkeypatch):
    """Execute the solution and the untouched learner's notebook once, then try all that makes them stale."""
    assert build_command([], check=True, course=mini) == 1
    assert "01_gap.ipynb is missing" in capsys.readouterr().err
    assert build_command([], course=mini) == 0
    assert "executed in" in capsys.readouterr().out
    solution = notebooks.read(mini.solutions / "01_gap.ipynb")
    assert [verdict["status"] for verdict in verdicts(solution)] == ["passed", "passed"]
    assert all("execution" not in cell.metadata for cell in solution.cells)
    assert build_command([], check=True, course=mini) == 0

    untouched = notebooks.read(mini.notebooks / "01_gap.ipynb")
    execute(untouched, mini.notebooks, "untouched")
    with pytest.raises(CourseError, match="turned down by their own checks: scaled_gap, gap_report"):
        require_all_passed(untouched, "untouched")
    assert [verdict["status"] for verdict in verdicts(untouched)] == ["not written", "not written"]
    assert "'positive': 0.5" in str(untouched.cells[-1].outputs)

    learner = mini.notebooks / "01_gap.ipynb"
    edit(learner, "write me", "mine")
    assert stale(mini)[0] == [] and "written in" in stale(mini)[1][0]
    monkeypatch.setenv("CI", "true")
    assert "written in" in stale(mini)[0][0]
    monkeypatch.delenv("CI")

    edit(mini.package / "gaps.py", "a factor, then a gap", "first the gap")
    wrong, _ = stale(mini)
    assert any("does not hold the lesson and library of today" in line for line in wrong)
    assert any("older lesson or library" in line for line in wrong)

    edit(mini.package / "gaps.py", "first the gap", "a factor, then a gap")
    for cell in solution.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebooks.write(solution, mini.solutions / "01_gap.ipynb")
    assert any("not executed" in line for line in stale(mini)[0])


def test_a_failing_cell_fails_the_build_in_words(mini, capsys):
    edit(mini.solutions / "01_gap.py", 'print("only in the solution")', "1 / 0")
    assert build_command(["01"], course=mini) == 1
    message = capsys.readouterr().err
    assert "ZeroDivisionError" in message and "01_gap: code cell 4 of 7 failed" in message
    assert not (mini.solutions / "01_gap.ipynb").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("scaled_gap = check(scaled_gap)", "print()", "the cell after exercise `scaled_gap` must be"),
        ('hints="scaled_gap"', 'hints="other"', 'needs one markdown cell with hints="scaled_gap"'),
        ("<details><summary>Hint 2: the factor", "<details><summary>More", "at least 2 folded hints"),
        ("points=3", "points=4", "worth 4 points in its cell and 3 in its test"),
        ("minutes=5 ", "", "needs minutes=…"),
        ("difficulty=1", "difficulty=6", "runs from 1 to 5"),
        ("from torch import Tensor\n", "", "uses Tensor: import or define in an earlier cell"),
        ('exercise="gap_report"', 'exercise="no_such"', "no test of an exercise `no_such`"),
    ],
)
def test_what_is_wrong_with_a_lesson_is_said(mini, old, new, words):
    edit(mini.solutions / "01_gap.py", old, new)
    found = problems(mini, lessons(mini)[0])
    assert any(words in problem for problem in found), found
    with pytest.raises(CourseError):
        build(mini)


def test_an_unknown_lesson_is_said(mini, capsys):
    assert build_command(["77"], course=mini) == 1
    assert "no lesson '77'" in capsys.readouterr().err


def test_check_grades_notebooks_in_the_terminal(mini, lesson, capsys):
    write_learner_notebook(mini, lesson)
    path = mini.notebooks / "01_gap.ipynb"
    edit(path, 'raise NotImplementedError(\\"write me\\")', "return low - high")
    assert check_command([str(path)], course=mini) == 0
    shown = capsys.readouterr().out
    assert "scaled_gap" in shown and "0 / 3" in shown and "points: 0 of 5" in shown
    assert check_command(["nowhere"], course=mini) == 1
    assert "nowhere: no such notebook or folder" in capsys.readouterr().err
