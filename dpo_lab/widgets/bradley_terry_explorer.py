"""Move two rewards and watch the preference; move β and watch the optimal policy."""

from __future__ import annotations

import ipywidgets as widgets

from dpo_lab.plots.bradley_terry import draw_comparison
from dpo_lab.plots.optimum import draw_optimum
from dpo_lab.widgets.sliders import follow, slider


def preference_explorer() -> None:
    """Sliders for two rewards and for a shift of both; their win probability and the loss of the label."""
    follow(
        draw_comparison,
        alt="Two rewards as bars, the point of their difference on the sigmoid, and on the loss curve.",
        chosen_reward=slider("reward of the chosen", 1.0, -5, 5, 0.1),
        rejected_reward=slider("reward of the rejected", 0.0, -5, 5, 0.1),
        shift=slider("added to both", 0.0, -10, 10, 0.5),
    )


def optimum_explorer() -> None:
    """A logarithmic slider for β; reference and optimal policy over eight completions, and the frontier."""
    beta = widgets.FloatLogSlider(
        value=1.0,
        base=10,
        min=-1,
        max=1.5,
        step=0.05,
        description="β",
        readout_format=".2f",
        style={"description_width": "170px"},
        layout={"width": "480px"},
    )
    follow(
        draw_optimum,
        alt="Bars of the reference's and the optimal policy's probabilities, and the optimum's place on the frontier.",
        beta=beta,
    )
