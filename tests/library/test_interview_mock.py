"""Tasks and mock interview: drawn from a seed, within the time, with a report."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from rich.console import Console

from dpo_lab.cli import build_parser
from dpo_lab.interview import BankError, load_bank
from dpo_lab.interview.mock import MARKS, MockInterview, clock_text, draw_mock
from dpo_lab.interview.tasks import load_tasks
from dpo_lab.interview.terminal import interview_command
from dpo_lab.widgets.mock_interview import DONE, MockView

ROOT = Path(__file__).parents[2]
BANK, TASKS = load_bank(), load_tasks()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_every_exercise_that_a_task_names_exists():
    text = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests/autograders").glob("test_*.py")
    )
    known = set(re.findall(r'@exercise\("(\w+)"', text))
    assert {task.exercise for task in TASKS if task.exercise} <= known
    assert sum(task.kind == "coding" for task in TASKS) >= 7 and all(task.rubric for task in TASKS)


def test_the_notes_coding_challenge_and_its_extension_are_there():
    assert {note for task in TASKS for note in task.notes} == {
        "coding challenge",
        "coding challenge extension",
    }


def test_every_proof_of_a_task_is_a_heading_that_exists():
    for task in TASKS:
        if task.proof:
            text = (ROOT / "solutions" / f"{task.proof.lesson}.py").read_text(encoding="utf-8")
            assert re.search(rf"^# ##+ {re.escape(task.proof.heading)}$", text, re.MULTILINE), task.id


def test_a_task_with_a_fault_is_named(tmp_path):
    (tmp_path / "t.yaml").write_text("- {id: a, kind: coding}", encoding="utf-8")
    with pytest.raises(BankError, match=r"t\.yaml, task 0: needs"):
        load_tasks(tmp_path / "t.yaml")


@pytest.mark.parametrize("seed", range(20))
def test_an_interview_fits_its_time_and_mixes_kinds_and_levels(seed):
    items = draw_mock(BANK, TASKS, seed)
    assert items == draw_mock(BANK, TASKS, seed)
    assert 40 <= sum(item.minutes for item in items) <= 45
    assert {item.kind for item in items} == {"question", "coding", "design"} and items[-1].kind == "design"
    assert len({item.content.level for item in items}) == 3
    assert len({item.content.id for item in items}) == len(items)
    topics = [item.content.topic for item in items if item.kind == "question"]
    assert len(set(topics)) >= len(topics) - 2


def test_seeds_differ_and_short_interviews_are_questions():
    assert len({tuple(item.content.id for item in draw_mock(BANK, TASKS, seed)) for seed in range(10)}) == 10
    assert [item.kind for item in draw_mock(BANK, TASKS, 0, minutes=10)] == ["question"] * 3
    with pytest.raises(ValueError, match="minutes is 2"):
        draw_mock(BANK, TASKS, 0, minutes=2)


def test_the_report_says_what_to_revisit_what_was_slow_and_what_was_not_reached():
    clock = Clock()
    interview = MockInterview(draw_mock(BANK, TASKS, 1), 45, clock)
    first, second = interview.items[:2]
    clock.now = 60
    interview.mark("good")
    clock.now = 60 + 60 * (second.minutes + 1)
    interview.mark("missed")
    clock.now = 46 * 60
    assert interview.current() is not None and interview.remaining() == 0  # begun in time: may be finished
    interview.mark("partly")
    assert interview.current() is None
    text = "\n".join(interview.report())
    assert text.startswith(f"1 of 3 good, {len(interview.items) - 3} not reached")
    assert f"Revisit: {second.content.id}" in text and f"Slow: {second.content.id}" in text
    assert first.content.id not in text
    with pytest.raises(ValueError, match="over"):
        interview.mark("good")


def test_marks_and_clock():
    interview = MockInterview(draw_mock(BANK, TASKS, 1), 45, Clock())
    with pytest.raises(ValueError, match="mark 'great' must be one of missed"):
        interview.mark("great")
    assert (clock_text(2700), clock_text(65.4), clock_text(0)) == ("45:00", "1:05", "0:00")


def test_the_terminal_runs_a_short_mock():
    console = Console(record=True, width=100)
    typed = iter(["", "g", "", "x", "m", "q"])
    options = build_parser().parse_args(["interview", "--mock", "--seed", "3", "--minutes", "9"])
    assert interview_command(options, ask=lambda _: next(typed), console=console) == 0
    text = console.export_text()
    assert "9:00 left" in text and "1 of 2 good, 1 not reached" in text and "Revisit" in text


def test_the_widget_runs_to_its_report_and_its_clock_moves():
    clock = Clock()
    view = MockView(MockInterview(draw_mock(BANK, TASKS, 2, 12), 12, clock))
    assert "12:00" in view.clock.value and view.buttons["good"].disabled
    while view.interview.current() is not None:
        view.buttons[DONE].click()
        clock.now += 61
        view.buttons[MARKS[2]].click()
    assert "good, 0 not reached" in view.page.value and view.buttons[DONE].disabled
    clock.now = 720
    asyncio.run(view.run())
    assert "0:00" in view.clock.value
