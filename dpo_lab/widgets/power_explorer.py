"""How many comparisons: sliders for their number and the true win rate."""

from __future__ import annotations

import ipywidgets as widgets

from dpo_lab.plots.evidence import draw_power
from dpo_lab.widgets.sliders import follow, slider


def power_explorer() -> None:
    """Sliders for the number of comparisons and the true win rate; the sign test's power below."""
    comparisons = widgets.IntSlider(
        value=100,
        min=10,
        max=400,
        step=10,
        description="comparisons",
        style={"description_width": "170px"},
        layout={"width": "480px"},
        continuous_update=False,
    )
    follow(
        draw_power,
        alt="Power of the sign test against the number of comparisons, with the chosen number marked.",
        comparisons=comparisons,
        win_rate=slider("true win rate", 0.6, 0.5, 0.8, 0.01),
    )
