"""Move one pair's log-ratios and watch its loss and the push on each."""

from __future__ import annotations

from dpo_lab.plots.losses import draw_pair_state
from dpo_lab.widgets.sliders import follow, slider


def loss_explorer() -> None:
    """Sliders for both log-ratios, β and ε; the pair on its loss curve and the gradient's two arrows."""
    follow(
        draw_pair_state,
        alt="A pair's loss on the loss curve, and arrows for the gradient step on its chosen and rejected log-prob.",
        chosen_ratio=slider("chosen log-ratio", 0.0, -50, 50, 1),
        rejected_ratio=slider("rejected log-ratio", 0.0, -50, 50, 1),
        beta=slider("β", 0.1, 0.01, 1.0, 0.01),
        label_smoothing=slider("label smoothing ε", 0.0, 0.0, 0.45, 0.01),
    )
