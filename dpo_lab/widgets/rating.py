"""Rate two answers side by side, blind: the learner as annotator."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from dpo_lab.evaluation.judges import Reward
from dpo_lab.evaluation.rating import RatingSession

BUTTONS = {
    "left": "Left is better",
    "tie": "No difference",
    "right": "Right is better",
    "undo": "Undo",
}


def rating_widget(
    prompts: Sequence[Any],
    ours: Sequence[str],
    theirs: Sequence[str],
    path: str | Path,
    seed: int = 0,
    reward: Reward | None = None,
) -> RatingSession:
    """Show pairs of answers without saying whose they are; Tab and Enter or Space work the buttons.

    Args:
        prompts: N prompts.
        ours: N answers of the policy that is evaluated.
        theirs: N answers of the other one.
        path: .jsonl file that each decision is appended to, see `RatingSession`.
        seed: of order and sides.
        reward: the true reward; when all is rated the widget says how often the annotator agreed with it.

    Returns:
        The session: `scores()` and `agreement(reward)` read it out at any time.
    """
    session = RatingSession(prompts, ours, theirs, path, seed)
    page = widgets.HTML()
    buttons = {
        name: widgets.Button(description=text, layout={"width": "150px"}) for name, text in BUTTONS.items()
    }

    def turn() -> None:
        shown = session.current()
        for name in ("left", "tie", "right"):
            buttons[name].disabled = shown is None
        buttons["undo"].disabled = not session.decisions
        page.value = closing(session, reward) if shown is None else comparison_html(session)

    def press(name: str) -> Callable[[widgets.Button], None]:
        def pressed(_: widgets.Button) -> None:
            if name == "undo":
                session.undo()
            elif session.current() is not None:
                session.choose(name)
            turn()

        return pressed

    for name, button in buttons.items():
        button.on_click(press(name))
    turn()
    display(widgets.VBox([page, widgets.HBox(list(buttons.values()), layout={"flex_flow": "row wrap"})]))
    return session


def comparison_html(session: RatingSession) -> str:
    """The current comparison as two cards that follow the notebook's theme."""
    shown = session.current()
    prompt = shown.prompt if isinstance(shown.prompt, str) else str(shown.prompt[-1]["content"])
    cards = "".join(
        '<div style="flex:1 1 240px;padding:8px 12px;border:1px solid var(--jp-border-color2,#bbb);'
        f'border-radius:6px;line-height:1.45"><b>{side}</b><br>{html.escape(text.strip())}</div>'
        for side, text in (("left", shown.left), ("right", shown.right))
    )
    return (
        '<div style="color:var(--jp-ui-font-color1,inherit)">'
        f"{len(session.decisions) + 1} of {len(session)} · <b>{html.escape(prompt)}</b>"
        f'<div style="display:flex;flex-wrap:wrap;gap:12px;margin:6px 0">{cards}</div></div>'
    )


def closing(session: RatingSession, reward: Reward | None) -> str:
    """What the ratings came to: who is who is said only here."""
    scores = session.scores()
    text = (
        f"All {len(scores)} rated. Policy won {scores.count(1.0)}, tied {scores.count(0.5)}, "
        f"lost {scores.count(0.0)}."
    )
    if reward is not None:
        try:
            found = session.agreement(reward)
        except ValueError as error:
            text += f" {error}"
        else:
            text += (
                f" You chose the answer of higher true reward in {100 * found.mean:.0f} % of the comparisons in which "
                f"both differ (95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %)."
            )
    return (
        f'<div style="color:var(--jp-ui-font-color1,inherit)">{text} '
        f"Saved in {html.escape(str(session.path))}.</div>"
    )
