"""Choose β, the data and the loss; see where training ends, and on which completions."""

from __future__ import annotations

import ipywidgets as widgets

from dpo_lab.plots.frontier import draw_trained
from dpo_lab.widgets.sliders import follow

PAIRS = {"50": 50, "500": 500, "5,000": 5000, "infinitely many": None}
WIDE = {"style": {"description_width": "170px"}, "layout": {"width": "480px"}}


def frontier_explorer() -> None:
    """A logarithmic slider for β, and choices of loss, number of pairs and kind of label; 64 completions."""
    beta = widgets.FloatLogSlider(
        value=1.0, base=10, min=-0.7, max=1, step=0.05, description="β", readout_format=".2f", **WIDE
    )
    follow(
        draw_trained,
        alt="The trained policy's place beside the frontier, and its ten likeliest completions as bars.",
        beta=beta,
        loss=widgets.Dropdown(
            options={"DPO": "sigmoid", "IPO (β is its τ)": "ipo"}, description="loss", **WIDE
        ),
        pairs=widgets.Dropdown(options=PAIRS, value=500, description="pairs", **WIDE),
        soft=widgets.Dropdown(
            options={"hard: who won": False, "soft: P(chosen wins)": True}, description="labels", **WIDE
        ),
    )
