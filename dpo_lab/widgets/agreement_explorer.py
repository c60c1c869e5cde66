"""Change how skewed the labels are and how good two annotators are, and watch raw agreement and κ part."""

from __future__ import annotations

from dpo_lab.plots.preferences import draw_agreement
from dpo_lab.widgets.sliders import follow, slider


def agreement_explorer() -> None:
    """Sliders for the share of the common label and the annotators' accuracy; their table, agreement and κ."""
    follow(
        draw_agreement,
        alt="Two annotators' joint table, and curves of raw agreement, chance agreement and kappa against the skew.",
        share=slider("share of label A", 0.5, 0.5, 0.99, 0.01),
        accuracy=slider("annotators' accuracy", 0.9, 0.5, 0.99, 0.01),
    )
