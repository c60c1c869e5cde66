"""Choose a loss, move one pair, and see which completion it pushes, and how hard."""

from __future__ import annotations

import ipywidgets as widgets

from dpo_lab.plots.loss_family import FAMILIES, draw_one_pair
from dpo_lab.widgets.sliders import follow, slider


def loss_picker() -> None:
    """A menu of losses, sliders for β and both log-ratios; the loss's curve and the push on both completions."""
    names = [name for family in FAMILIES.values() for name in family]
    follow(
        draw_one_pair,
        alt="A pair's loss as its chosen log-prob moves, and bars for the push on its chosen and rejected log-prob.",
        loss=widgets.Dropdown(
            options=names,
            value="sigmoid",
            description="loss",
            style={"description_width": "170px"},
            layout={"width": "480px"},
        ),
        beta=slider("β (IPO's τ, ORPO's λ)", 0.2, 0.05, 3.0, 0.05),
        chosen_ratio=slider("chosen log-ratio", 0.0, -30, 30, 0.5),
        rejected_ratio=slider("rejected log-ratio", 0.0, -30, 30, 0.5),
    )
