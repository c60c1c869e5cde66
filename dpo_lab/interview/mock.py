"""A mock interview: drawn from a seed, against a clock, with a report of what to revisit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpo_lab.interview.bank import LEVELS, Bank, Question
from dpo_lab.interview.tasks import Task

MINUTES = 45
QUESTION_MINUTES = 3  # to think, to answer in two, to be asked on
MARKS = ("missed", "partly", "good")


@dataclass(frozen=True)
class Item:
    """One part of an interview and the minutes that it may take."""

    content: Question | Task
    minutes: int

    @property
    def kind(self) -> str:
        """ "question", "coding" or "design"."""
        return self.content.kind if isinstance(self.content, Task) else "question"

    @property
    def text(self) -> str:
        """What the interviewer says."""
        return self.content.task if isinstance(self.content, Task) else self.content.question


def draw_mock(bank: Bank, tasks: Sequence[Task], seed: int, minutes: int = MINUTES) -> list[Item]:
    """Questions of mixed levels, and a coding and a design task where they fit.

    The coding task may take two fifths of the time and the design task a third; the rest is questions of three
    minutes, levels in turn, each topic once before any comes twice. Easy questions come first, design last.

    Args:
        bank: the questions.
        tasks: coding and design tasks.
        seed: the same seed draws the same interview from the same bank.
        minutes: how long it lasts, at least one question's time.

    Raises:
        ValueError: `minutes` is too short for a question.
    """
    if minutes < QUESTION_MINUTES:
        raise ValueError(f"minutes is {minutes}: a question alone takes {QUESTION_MINUTES}")
    random_numbers = random.Random(seed)
    chosen: dict[str, list[Item]] = {}
    left = minutes
    for kind, most in (("coding", 2 * minutes / 5), ("design", minutes / 3)):
        fitting = [task for task in tasks if task.kind == kind and task.minutes <= most]
        chosen[kind] = [
            Item(task, task.minutes) for task in random_numbers.sample(fitting, min(1, len(fitting)))
        ]
        left -= sum(item.minutes for item in chosen[kind])
    questions = draw_questions(bank, left // QUESTION_MINUTES, random_numbers)
    asked = [Item(question, QUESTION_MINUTES) for question in questions]
    easy = [item for item in asked if item.content.level == LEVELS[0]]
    return [*easy, *chosen["coding"], *[item for item in asked if item not in easy], *chosen["design"]]


def draw_questions(bank: Bank, count: int, random_numbers: random.Random) -> list[Question]:
    """`count` different questions, levels in turn, topics spread; fewer if the bank has fewer."""
    pool = list(bank.questions)
    random_numbers.shuffle(pool)
    drawn: list[Question] = []
    while pool and len(drawn) < count:
        level = LEVELS[len(drawn) % len(LEVELS)]
        topics = [question.topic for question in drawn]
        best = min(pool, key=lambda each: (each.level != level, topics.count(each.topic)))
        drawn.append(best)
        pool.remove(best)
    return sorted(drawn, key=lambda question: LEVELS.index(question.level))


@dataclass(frozen=True)
class Outcome:
    """How one item went.

    Args:
        item: what was asked.
        mark: one of `MARKS`, by the learner's own judgement.
        seconds: the time it took.
    """

    item: Item
    mark: str
    seconds: float


class MockInterview:
    """A running interview.

    Args:
        items: what `draw_mock` drew.
        minutes: its length; after that nothing more is asked.
        clock: seconds from any zero; another clock is for tests.
    """

    def __init__(
        self, items: Sequence[Item], minutes: float = MINUTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not items:
            raise ValueError("items is empty: draw an interview first")
        self.items = tuple(items)
        self.seconds = 60 * minutes
        self.clock = clock
        self.started = self.item_started = clock()
        self.outcomes: list[Outcome] = []

    def remaining(self) -> float:
        """Seconds left, not below 0."""
        return max(0.0, self.seconds - (self.clock() - self.started))

    def current(self) -> Item | None:
        """What is being asked; None when all is done or the time is up.

        An item that was begun in time may still be marked: the time is looked at when the next would begin.
        """
        done = len(self.outcomes)
        ended = self.item_started - self.started >= self.seconds
        return None if done == len(self.items) or ended else self.items[done]

    def mark(self, mark: str) -> None:
        """Record how the current item went, and go on."""
        item = self.current()
        if item is None:
            raise ValueError("the interview is over: there is nothing to mark")
        if mark not in MARKS:
            raise ValueError(f"mark {mark!r} must be one of {', '.join(MARKS)}")
        now = self.clock()
        self.outcomes.append(Outcome(item, mark, now - self.item_started))
        self.item_started = now

    def report(self) -> list[str]:
        """Lines: how it went, what to revisit, what took too long, what was not reached."""
        good = sum(outcome.mark == "good" for outcome in self.outcomes)
        lines = [f"{good} of {len(self.outcomes)} good, {len(self.items) - len(self.outcomes)} not reached."]
        lines += [
            f"Revisit: {name_of(outcome.item)} ({outcome.mark}): {where(outcome.item)}"
            for outcome in self.outcomes
            if outcome.mark != "good"
        ]
        lines += [
            f"Slow: {name_of(outcome.item)} took {outcome.seconds / 60:.1f} of {outcome.item.minutes} minutes"
            for outcome in self.outcomes
            if outcome.seconds > 60 * outcome.item.minutes
        ]
        return lines + [f"Not reached: {name_of(item)}" for item in self.items[len(self.outcomes) :]]


def name_of(item: Item) -> str:
    """An item's id and level."""
    return f"{item.content.id}, {item.content.level}"


def where(item: Item) -> str:
    """Where the course shows it."""
    if item.content.proof is not None:
        return f"lesson {item.content.proof.lesson}, section {item.content.proof.heading}"
    exercise = getattr(item.content, "exercise", None)
    return f"exercise {exercise}" if exercise else "its rubric"


def clock_text(seconds: float) -> str:
    """Seconds as minutes and seconds, 12:05."""
    whole = int(seconds + 0.5)
    return f"{whole // 60}:{whole % 60:02d}"
