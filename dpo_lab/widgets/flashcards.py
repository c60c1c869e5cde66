"""Flashcards in the notebook: a question, two answers to reveal, and a verdict of your own."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

from dpo_lab.interview.bank import Question, load_bank
from dpo_lab.interview.deck import Deck, due_on

BUTTONS = ("30 seconds", "Two minutes", "Knew it", "Did not")
BOX = "border:1px solid var(--jp-border-color2,#999);border-radius:6px;padding:8px 12px;margin:6px 0"


class Flashcards:
    """The state behind the widget; `view` is what is shown, `deck` the cards.

    Args:
        deck: questions and progress.
        count: how many to ask.
        only_due: no new questions.
    """

    def __init__(self, deck: Deck, count: int | None = None, only_due: bool = False) -> None:
        self.deck = deck
        self.queue = deck.queue(count, only_due)
        self.total = len(self.queue)
        self.shown = 0  # 0 the question, 1 the short answer too, 2 the long one too
        self.page = widgets.HTML()
        self.buttons = {name: widgets.Button(description=name, layout={"width": "130px"}) for name in BUTTONS}
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.press(name))
        row = widgets.HBox(list(self.buttons.values()), layout={"flex_flow": "row wrap"})
        self.view = widgets.VBox([self.page, row])
        self.refresh()

    def press(self, name: str) -> None:
        """What a button does."""
        if not self.queue:
            return
        if name in BUTTONS[:2]:
            self.shown = max(self.shown, 1 + BUTTONS.index(name))
        else:
            self.deck.answer(self.queue.pop(0), name == "Knew it")
            self.shown = 0
        self.refresh()

    def refresh(self) -> None:
        """Show the state: a verdict can be given only once an answer was seen."""
        off = (self.shown >= 1, self.shown >= 2, self.shown == 0, self.shown == 0)
        for name, unusable in zip(BUTTONS, off, strict=True):
            self.buttons[name].disabled = unusable or not self.queue
        if self.queue:
            position = f"{self.total - len(self.queue) + 1} of {self.total}"
            self.page.value = card_html(self.queue[0], self.shown, position)
        else:
            self.page.value = closing_html(self.deck, self.total)


def card_html(question: Question, shown: int, position: str) -> str:
    """A card with what has been revealed, in the notebook's own colours."""
    parts = [
        f"{position} · {question.level} · {question.topic}",
        f'<div style="{BOX};font-size:1.15em"><b>{html.escape(question.question)}</b></div>',
    ]
    if shown >= 1:
        parts.append(f'<div style="{BOX}"><b>30 seconds.</b> {html.escape(question.short)}</div>')
    if shown >= 2:
        papers = " · ".join(
            f'<a href="{each.url}" target="_blank">{html.escape(each.title)}</a>' for each in question.sources
        )
        parts.append(
            f'<div style="{BOX}"><b>Two minutes.</b> {html.escape(question.long)}</div><div style="{BOX}">'
            f"<b>Often said:</b> {html.escape(question.wrong.answer)}<br><b>But:</b> {html.escape(question.wrong.why)}"
            f"<br><b>Next may come:</b> {html.escape(' '.join(question.follow_ups))}<br><b>Shown in</b> lesson "
            f"{question.proof.lesson}, “{html.escape(question.proof.heading)}”<br>{papers}</div>"
        )
    return f'<div style="color:var(--jp-ui-font-color1,inherit);line-height:1.5;max-width:46em">{"".join(parts)}</div>'


def closing_html(deck: Deck, total: int) -> str:
    """What is shown when the queue is empty."""
    days = [due_on(deck.cards[each.id]) for each in deck.questions if each.id in deck.cards]
    text = f"{total} asked. " if total else "Nothing is due. "
    text += f"The next is due on {min(days)}. " if days else ""
    boxes = ", ".join(f"{name}: {count}" for name, count in deck.boxes().items())
    return (
        f'<div style="color:var(--jp-ui-font-color1,inherit)">{text}{boxes}.<br>'
        f"Progress is kept in {html.escape(str(deck.path))}.</div>"
    )


def flashcards(
    questions: Sequence[Question] | None = None,
    count: int | None = 10,
    only_due: bool = False,
    path: str | Path | None = None,
) -> Flashcards:
    """Show flashcards; Tab and Enter or Space work the buttons.

    Args:
        questions: which; default the whole bank. `load_bank().select(level=..., topic=...)` chooses.
        count: how many at most; None for all.
        only_due: only questions that were asked before and are due.
        path: the progress file; default your own.

    Returns:
        The running session.
    """
    session = Flashcards(Deck(questions or load_bank().questions, path), count, only_due)
    display(session.view)
    return session
