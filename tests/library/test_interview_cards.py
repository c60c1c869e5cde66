"""Flashcards: the boxes' rules, a progress file that is never lost, the terminal and the widget."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from rich.console import Console

from dpo_lab.cli import build_parser
from dpo_lab.interview import load_bank
from dpo_lab.interview import progress as progress_module
from dpo_lab.interview.deck import BOXES, DAYS, Deck, answered, due_on
from dpo_lab.interview.progress import Card, ProgressError, default_path, read_progress, write_progress
from dpo_lab.interview.terminal import interview_command
from dpo_lab.widgets.flashcards import Flashcards

DAY = date(2026, 3, 1)


@pytest.fixture(scope="module")
def questions():
    return load_bank().questions[:4]


def test_known_moves_up_a_box_and_missed_goes_to_the_first():
    card, day = None, DAY
    for box in (2, 3, 4, 5, 5):
        card = answered(card, True, day)
        assert card.box == box and due_on(card) == day + timedelta(days=DAYS[box - 1])
        day = due_on(card)
    assert answered(card, False, day) == Card(box=1, last=day, knew=5, missed=1)
    assert BOXES == 5


def test_knowing_a_card_again_before_it_is_due_moves_nothing():
    card = answered(None, True, DAY)
    again = answered(card, True, DAY)
    assert (again.box, due_on(again), again.knew) == (card.box, due_on(card), 2)
    assert answered(None, False, DAY) == Card(box=1, last=DAY, missed=1)


def test_due_cards_come_first_lowest_box_then_longest_overdue(tmp_path, questions):
    a, b, c, d = questions
    path = tmp_path / "p.json"
    write_progress(
        path,
        {
            a.id: Card(2, DAY - timedelta(days=9)),
            b.id: Card(1, DAY - timedelta(days=1)),
            c.id: Card(1, DAY - timedelta(days=3)),
        },
    )
    deck = Deck(questions, path, today=lambda: DAY)
    assert deck.queue() == [c, b, a, d]
    assert deck.queue(only_due=True) == [c, b, a] and deck.queue(count=2) == [c, b]
    assert deck.boxes() == {"new": 1, "box 1": 2, "box 2": 1, "box 3": 0, "box 4": 0, "box 5": 0}


def test_progress_survives_a_restart_a_bank_update_and_a_second_window(tmp_path, questions):
    path = tmp_path / "deep" / "p.json"
    first, second = (Deck(questions, path, today=lambda: DAY) for _ in range(2))
    first.answer(questions[0], True)
    second.answer(questions[1], False)
    assert set(read_progress(path)) == {questions[0].id, questions[1].id}
    smaller = Deck(questions[2:], path, today=lambda: DAY)
    smaller.answer(questions[2], True)
    assert set(read_progress(path)) == {each.id for each in questions[:3]}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 2, "cards": {}}',
        '{"version": 1, "cards": {"a": {"box": 9, "last": "2026-01-01"}}}',
        '{"version": 1, "cards": {"a": {"box": 1}}}',
    ],
)
def test_a_file_that_cannot_be_read_is_left_as_it_is(tmp_path, questions, text):
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProgressError, match="left as it is"):
        Deck(questions, path)
    assert path.read_text(encoding="utf-8") == text


def test_a_write_that_fails_leaves_the_old_file(tmp_path, questions, monkeypatch):
    path = tmp_path / "p.json"
    deck = Deck(questions, path, today=lambda: DAY)
    deck.answer(questions[0], True)
    before = path.read_text(encoding="utf-8")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(progress_module.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        deck.answer(questions[1], True)
    assert path.read_text(encoding="utf-8") == before
    assert [each.name for each in tmp_path.iterdir()] == ["p.json"]


def test_the_state_before_is_kept_beside_the_file(tmp_path, questions):
    path = tmp_path / "p.json"
    deck = Deck(questions, path, today=lambda: DAY)
    deck.answer(questions[0], True)
    deck.answer(questions[1], True)
    assert set(json.loads((tmp_path / "p.json.bak").read_text(encoding="utf-8"))["cards"]) == {
        questions[0].id
    }


def test_the_file_is_where_the_learner_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DPO_LAB_PROGRESS", str(tmp_path / "mine.json"))
    assert default_path() == tmp_path / "mine.json"
    monkeypatch.delenv("DPO_LAB_PROGRESS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path().name == "flashcards.json"


def run_command(arguments, answers, tmp_path):
    console = Console(record=True, width=100, force_terminal=False)
    typed = iter(answers)
    options = build_parser().parse_args(["interview", "--progress", str(tmp_path / "p.json"), *arguments])
    status = interview_command(options, ask=lambda _: next(typed), console=console)
    return status, console.export_text()


def test_the_terminal_asks_reveals_and_records(tmp_path):
    status, text = run_command(
        ["--topic", "beta", "--count", "2"], ["", "", "maybe", "y", "", "", "n"], tmp_path
    )
    cards = read_progress(tmp_path / "p.json")
    assert status == 0 and sorted(card.box for card in cards.values()) == [1, 2]
    assert "30 seconds" in text and "two minutes" in text and "Often said" in text


def test_the_terminal_stops_when_told_and_keeps_what_was_answered(tmp_path):
    status, _ = run_command([], ["", "", "y", "q"], tmp_path)
    assert status == 0 and len(read_progress(tmp_path / "p.json")) == 1


def test_the_terminal_lists_filters_and_says_what_is_wrong(tmp_path):
    status, text = run_command(["--list", "--level", "research"], [], tmp_path)
    assert status == 0 and "kl-estimators" in text and "one-sentence" not in text
    assert run_command(["--due"], [], tmp_path)[1].startswith("Nothing is due")
    status, text = run_command(["--topic", "cooking"], [], tmp_path)
    assert status == 1 and "topic 'cooking' is not in the bank" in text
    assert run_command(["--count", "0"], [], tmp_path)[0] == 1


def test_the_widget_reveals_step_by_step_and_saves(tmp_path, questions):
    session = Flashcards(Deck(questions[:2], tmp_path / "p.json", today=lambda: DAY))
    first = questions[0]
    assert first.question in session.page.value and first.short[:30] not in session.page.value
    assert session.buttons["Knew it"].disabled
    session.buttons["30 seconds"].click()
    assert "30 seconds." in session.page.value and not session.buttons["Knew it"].disabled
    session.buttons["Two minutes"].click()
    assert "Often said" in session.page.value
    session.buttons["Did not"].click()
    session.buttons["30 seconds"].click()
    session.buttons["Knew it"].click()
    assert "2 asked" in session.page.value and all(button.disabled for button in session.buttons.values())
    assert [card.box for card in read_progress(tmp_path / "p.json").values()] == [
        {questions[0].id: 1, questions[1].id: 2}[key] for key in sorted(each.id for each in questions[:2])
    ]
