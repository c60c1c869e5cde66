"""`dpo-lab interview --mock`: the mock interview in the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from dpo_lab.interview.mock import MARKS, Item, MockInterview, clock_text
from dpo_lab.interview.tasks import Task
from dpo_lab.interview.terminal_parts import long_side, reply, short_side

LETTERS = {name[0]: name for name in MARKS}


def run_mock(interview: MockInterview, ask: Callable[[str], str], console: Console) -> None:
    """Ask until the items or the time are out, then report; q stops earlier."""
    while (item := interview.current()) is not None:
        number = f"{len(interview.outcomes) + 1} of {len(interview.items)}"
        title = f"{number} · {item.kind}, {item.minutes} minutes · {clock_text(interview.remaining())} left"
        console.print(Panel(Text(item.text, style="bold"), title=title))
        if reply(ask, "Answer aloud or write. Enter when done, q: stop  ") == "q":
            break
        console.print(f"{clock_text(interview.remaining())} left")
        show_answer(item, console)
        mark = marked(ask)
        if mark is None:
            break
        interview.mark(mark)
    for line in interview.report():
        console.print(line, markup=False, highlight=False)


def marked(ask: Callable[[str], str]) -> str | None:
    """The mark that was given by its first letter; None to stop."""
    while True:
        said = reply(ask, "How was it? m: missed, p: partly, g: good, q: stop  ")
        if said == "q":
            return None
        if said in LETTERS:
            return LETTERS[said]


def show_answer(item: Item, console: Console) -> None:
    """What to hold one's answer against."""
    if not isinstance(item.content, Task):
        console.print(short_side(item.content))
        console.print(long_side(item.content))
        return
    text = Text("\n".join(f"[ ] {line}" for line in item.content.rubric))
    if item.content.exercise:
        name = item.content.exercise
        text.append(
            f"\nIn a notebook: from dpo_lab.course import check; {name} = check({name})", style="bold"
        )
    console.print(Panel(text, title="rubric"))
