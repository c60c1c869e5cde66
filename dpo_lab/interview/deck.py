"""Flashcards in five Leitner boxes: what to ask next, and where a card goes when it was answered.

A card starts in box 1. Known, it moves up a box; not known, it goes back to box 1. A card of box 1 is due again after a
day, of box 2 after two, then four, eight and sixteen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from dpo_lab.interview.bank import Question
from dpo_lab.interview.progress import Card, default_path, read_progress, write_progress

DAYS = (1, 2, 4, 8, 16)
BOXES = len(DAYS)


def due_on(card: Card) -> date:
    """The day on which a card is asked again."""
    return card.last + timedelta(days=DAYS[card.box - 1])


def answered(card: Card | None, knew: bool, today: date) -> Card:
    """The card after an answer; None is a card that was never asked.

    A card that was not yet due moves up no box: knowing it again on the same day says little.
    """
    before = card or Card(box=1, last=today)
    if not knew:
        return replace(before, box=1, last=today, missed=before.missed + 1)
    rises = card is None or due_on(before) <= today
    if not rises:
        return replace(before, knew=before.knew + 1)
    return replace(before, box=min(before.box + 1, BOXES), last=today, knew=before.knew + 1)


class Deck:
    """The cards of some questions, with a learner's progress.

    Args:
        questions: what may be asked.
        path: the progress file; default see `default_path`. It may hold cards of other questions: they stay.
        today: gives the date; another clock is for tests.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        path: str | Path | None = None,
        today: Callable[[], date] = date.today,
    ) -> None:
        if not questions:
            raise ValueError("questions is empty: a deck needs at least one question")
        self.questions = tuple(questions)
        self.path = Path(path) if path is not None else default_path()
        self.today = today
        self.cards = read_progress(self.path)

    def due(self) -> list[Question]:
        """Questions asked before whose day has come: lowest box first, then the longest overdue."""
        seen = [each for each in self.questions if each.id in self.cards]
        ready = [each for each in seen if due_on(self.cards[each.id]) <= self.today()]
        return sorted(ready, key=lambda each: (self.cards[each.id].box, due_on(self.cards[each.id])))

    def new(self) -> list[Question]:
        """Questions that were never asked, in the bank's order."""
        return [each for each in self.questions if each.id not in self.cards]

    def queue(self, count: int | None = None, only_due: bool = False) -> list[Question]:
        """What to ask now: the due ones, then new ones; at most `count`."""
        found = self.due() + ([] if only_due else self.new())
        return found if count is None else found[:count]

    def answer(self, question: Question, knew: bool) -> Card:
        """Record an answer and save it at once. The file is read anew, as another window may have written to it."""
        self.cards = read_progress(self.path)
        self.cards[question.id] = answered(self.cards.get(question.id), knew, self.today())
        write_progress(self.path, self.cards)
        return self.cards[question.id]

    def boxes(self) -> dict[str, int]:
        """How many of the questions are new and in each box."""
        ids = [each.id for each in self.questions]
        counts = Counter(self.cards[each].box for each in ids if each in self.cards)
        return {"new": len(self.new()), **{f"box {box}": counts[box] for box in range(1, BOXES + 1)}}
