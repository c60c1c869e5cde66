"""Turn λ, a fault of the value model and the score, and see each token's advantage."""

from __future__ import annotations

from dpo_lab.plots.ppo import draw_advantages
from dpo_lab.widgets.sliders import follow, slider


def advantage_explorer() -> None:
    """Sliders for λ, for what the value model says too much before one token, and for the review's score."""
    follow(
        draw_advantages,
        alt="A bar for each of ten tokens, blue above zero and orange below, and the value model's estimates as dots.",
        lam=slider("λ", 0.95, 0.0, 1.0, 0.05),
        error=slider("V before 'but' is too high by", 0.0, -2.0, 2.0, 0.25),
        score=slider("score of the review", 0.5, -2.0, 2.0, 0.25),
    )
