"""A mock interview in the notebook, with a clock that runs."""

from __future__ import annotations

import asyncio
import html

import ipywidgets as widgets
from IPython.display import display

from dpo_lab.interview.bank import load_bank
from dpo_lab.interview.mock import MARKS, MINUTES, Item, MockInterview, clock_text, draw_mock
from dpo_lab.interview.tasks import Task, load_tasks

DONE = "Show the answer"
BOX = "border:1px solid var(--jp-border-color2,#999);border-radius:6px;padding:8px 12px;margin:6px 0"


class MockView:
    """The state behind the widget; `view` is what is shown, `interview` the interview."""

    def __init__(self, interview: MockInterview) -> None:
        self.interview = interview
        self.revealed = False
        self.clock, self.page = widgets.HTML(), widgets.HTML()
        self.buttons = {
            name: widgets.Button(description=name.capitalize(), layout={"width": "140px"})
            for name in (DONE, *MARKS)
        }
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.press(name))
        row = widgets.HBox(list(self.buttons.values()), layout={"flex_flow": "row wrap"})
        self.view = widgets.VBox([self.clock, self.page, row])
        self.refresh()

    def press(self, name: str) -> None:
        """What a button does."""
        if self.interview.current() is None:
            return
        if name == DONE:
            self.revealed = True
        else:
            self.interview.mark(name)
            self.revealed = False
        self.refresh()

    def refresh(self) -> None:
        """Show the current item, or the report."""
        item = self.interview.current()
        self.buttons[DONE].disabled = self.revealed or item is None
        for name in MARKS:
            self.buttons[name].disabled = not self.revealed or item is None
        number = f"{len(self.interview.outcomes) + 1} of {len(self.interview.items)}"
        body = report_html(self.interview) if item is None else item_html(item, number, self.revealed)
        self.page.value = (
            f'<div style="color:var(--jp-ui-font-color1,inherit);line-height:1.5;max-width:46em">{body}</div>'
        )
        self.tick()

    def tick(self) -> None:
        """Write the time that is left."""
        self.clock.value = (
            '<div style="color:var(--jp-ui-font-color1,inherit);font-size:1.3em;font-variant-numeric:tabular-nums">'
            f"<b>{clock_text(self.interview.remaining())}</b> left</div>"
        )

    async def run(self) -> None:
        """Tick each second until the interview is over."""
        while self.interview.current() is not None and self.interview.remaining() > 0:
            self.tick()
            await asyncio.sleep(1)
        self.tick()


def item_html(item: Item, number: str, revealed: bool) -> str:
    """An item, with what to hold the answer against once it is revealed."""
    text = f'{number} · {item.kind} · {item.content.level} · {item.minutes} minutes<div style="{BOX}"><b>'
    text += f"{html.escape(item.text)}</b></div>"
    if not revealed:
        return text
    if isinstance(item.content, Task):
        rows = "".join(f"<li>{html.escape(line)}</li>" for line in item.content.rubric)
        name = item.content.exercise
        graded = (
            f"<br>Your code in a cell of its own, then <code>{name} = check({name})</code>." if name else ""
        )
        return f'{text}<div style="{BOX}">Which of these did you have?<ul>{rows}</ul>{graded}</div>'
    return (
        f'{text}<div style="{BOX}"><b>30 seconds.</b> {html.escape(item.content.short)}</div>'
        f'<div style="{BOX}"><b>Two minutes.</b> {html.escape(item.content.long)}</div>'
    )


def report_html(interview: MockInterview) -> str:
    """The report as a list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in interview.report()) + "</ul>"


def mock_interview(seed: int = 0, minutes: int = MINUTES) -> MockView:
    """Show a mock interview; its clock starts at once. Tab and Enter or Space work the buttons.

    Args:
        seed: which interview is drawn.
        minutes: its length.
    """
    session = MockView(MockInterview(draw_mock(load_bank(), load_tasks(), seed, minutes), minutes))
    display(session.view)
    try:
        session.ticking = asyncio.get_running_loop().create_task(session.run())
    except RuntimeError:
        session.ticking = None  # no event loop outside a notebook: the clock moves with each button
    return session
