"""What flashcards and mock interview share in the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.panel import Panel
from rich.text import Text

from dpo_lab.interview.bank import Question

Ask = Callable[[str], str]


def reply(ask: Ask, prompt: str) -> str:
    """What was typed; the end of input stops."""
    try:
        return ask(prompt).strip().lower()
    except EOFError:
        return "q"


def short_side(question: Question) -> Panel:
    """The 30-second answer."""
    return Panel(Text(question.short), title="30 seconds")


def long_side(question: Question) -> Panel:
    """The two-minute answer, with what is often said instead and where it is shown."""
    text = Text(question.long + "\n\n")
    text.append("Often said: ", style="bold").append(question.wrong.answer + "\n")
    text.append("But: ", style="bold").append(question.wrong.why + "\n")
    text.append("Next may come: ", style="bold").append(" ".join(question.follow_ups) + "\n")
    text.append("Shown in: ", style="bold").append(f"{question.proof.lesson}, {question.proof.heading}")
    for source in question.sources:
        text.append(f"\n{source.title}, arXiv:{source.arxiv}", style="dim")
    return Panel(text, title="two minutes")
