"""`dpo-lab interview`: flashcards in the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dpo_lab.interview.bank import LEVELS, Bank, BankError, Question, load_bank
from dpo_lab.interview.cheatsheet import write_cheatsheet
from dpo_lab.interview.deck import Deck, due_on
from dpo_lab.interview.mock import MINUTES, MockInterview, draw_mock
from dpo_lab.interview.mock_terminal import run_mock
from dpo_lab.interview.progress import ProgressError
from dpo_lab.interview.tasks import load_tasks
from dpo_lab.interview.terminal_parts import Ask, long_side, reply, short_side

SITTING = 10  # cards, unless told otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--level", choices=LEVELS, help="only questions of this level")
    parser.add_argument("--topic", help="only questions of this topic, see --list")
    parser.add_argument("--due", action="store_true", help="no new questions, only those due again")
    parser.add_argument(
        "--list", action="store_true", help="list the questions with their boxes, ask nothing"
    )
    parser.add_argument("--count", type=int, default=SITTING, help=f"how many to ask (default: {SITTING})")
    parser.add_argument("--mock", action="store_true", help="a mock interview against the clock")
    parser.add_argument("--seed", type=int, default=0, help="which mock interview (default: 0)")
    parser.add_argument(
        "--minutes", type=int, default=MINUTES, help=f"of the mock interview (default: {MINUTES})"
    )
    parser.add_argument("--cheatsheet", metavar="OUT.html", help="write a sheet to print, one A4 page")
    parser.add_argument(
        "--progress", help="the progress file (default: a file of your own, or $DPO_LAB_PROGRESS)"
    )


def interview_command(options: argparse.Namespace, ask: Ask = input, console: Console | None = None) -> int:
    """`dpo-lab interview`; returns the exit status."""
    console = console or Console()
    try:
        if options.count < 1:
            raise ValueError(f"--count is {options.count}: ask at least one question")
        return run(options, load_bank(), ask, console)
    except (BankError, ProgressError, ValueError) as error:
        console.print(f"dpo-lab interview: {error}", style="red", markup=False)
        return 1


def run(options: argparse.Namespace, bank: Bank, ask: Ask, console: Console) -> int:
    """Do what the options say."""
    if options.cheatsheet:
        console.print(f"Written to {write_cheatsheet(options.cheatsheet)}", markup=False, soft_wrap=True)
        return 0
    if options.mock:
        items = draw_mock(bank, load_tasks(), options.seed, options.minutes)
        run_mock(MockInterview(items, options.minutes), ask, console)
        return 0
    questions = bank.select(options.level, options.topic)
    if not questions:
        raise ValueError(f"no question of level {options.level!r} has the topic {options.topic!r}")
    deck = Deck(questions, options.progress)
    if options.list:
        list_questions(deck, console)
        return 0
    sitting(deck, deck.queue(options.count, only_due=options.due), ask, console)
    return 0


def list_questions(deck: Deck, console: Console) -> None:
    """A table of the questions with box and day."""
    table = Table()
    for name in ("id", "level", "topic", "box", "due"):
        table.add_column(name, overflow="fold")
    for question in deck.questions:
        card = deck.cards.get(question.id)
        state = ("new", "") if card is None else (str(card.box), due_on(card).isoformat())
        table.add_row(question.id, question.level, question.topic, *state)
    console.print(table)


def sitting(deck: Deck, queue: Sequence[Question], ask: Ask, console: Console) -> None:
    """Ask one question after the other until they are out or the learner stops."""
    if not queue:
        console.print("Nothing is due. Leave out --due for new questions, or come back tomorrow.")
    for number, question in enumerate(queue, start=1):
        console.rule(f"{number} of {len(queue)}")
        if not one_card(deck, question, ask, console):
            break
    console.print(", ".join(f"{name}: {count}" for name, count in deck.boxes().items()))
    console.print(f"Progress is kept in {deck.path}", markup=False, soft_wrap=True)


def one_card(deck: Deck, question: Question, ask: Ask, console: Console) -> bool:
    """Show, reveal twice, record; False when the learner stops."""
    console.print(Panel(Text(question.question, style="bold"), title=f"{question.level} · {question.topic}"))
    steps = (("Say your answer. Enter: the 30-second one, q: stop  ", short_side),)
    steps += (("Enter: the two-minute one, q: stop  ", long_side),)
    for prompt, side in steps:
        if reply(ask, prompt) == "q":
            return False
        console.print(side(question))
    while True:
        said = reply(ask, "Did you know it? y, n, q: stop  ")
        if said == "q":
            return False
        if said in ("y", "n"):
            card = deck.answer(question, said == "y")
            console.print(f"Box {card.box}, again on {due_on(card)}.")
            return True
