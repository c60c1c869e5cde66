"""Page through what a policy wrote before and after training."""

from __future__ import annotations

import html
from typing import Protocol

import ipywidgets as widgets
from IPython.display import display


class Reviews(Protocol):
    """What is browsed: texts and their rewards, of the same prompts on both sides."""

    texts: list[str]
    rewards: list[float]


def review_browser(before: Reviews, after: Reviews, count: int) -> None:
    """A slider over the first `count` prompts, with both completions and their true rewards below it."""
    choose = widgets.IntSlider(
        value=1, min=1, max=count, description="sample", layout={"width": "480px"}, continuous_update=True
    )
    page = widgets.HTML()

    def turn(*_: object) -> None:
        sides = [
            card(name, found, choose.value - 1) for name, found in (("before", before), ("after", after))
        ]
        page.value = f'<div style="display:flex;flex-wrap:wrap;gap:16px">{"".join(sides)}</div>'

    choose.observe(turn, names="value")
    turn()
    display(widgets.VBox([choose, page]))


def card(name: str, found: Reviews, index: int) -> str:
    """One completion with its reward, as HTML that follows the notebook's theme."""
    return (
        '<div style="flex:1 1 260px;padding:8px 12px;border:1px solid var(--jp-border-color2,#bbb);'
        'border-radius:6px;line-height:1.45;color:var(--jp-ui-font-color1,inherit)">'
        f"<b>{name}</b> · true reward {found.rewards[index]:+.2f}<br>{html.escape(found.texts[index].strip())}</div>"
    )
