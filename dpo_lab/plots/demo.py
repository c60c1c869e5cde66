"""The demo's figure: true rewards before and after, and the run between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dpo_lab.history import History
from dpo_lab.plots.style import GUIDE_LINE, POLICY, POLICY_LINE, REFERENCE, label, subplots


def plot_alignment(
    before: Sequence[float],
    after: Sequence[float],
    history: History,
    reward_label: str,
    low: float,
    high: float,
) -> Figure:
    """Histograms of the true reward on held-out prompts between low and high (left), training loss (right)."""
    figure, (rewards, loss) = subplots(columns=2)
    bins = [low + (high - low) * i / 16 for i in range(17)]
    looks = {
        "before": (before, {"histtype": "step", "color": REFERENCE, "linestyle": "--", "linewidth": 1.8}),
        "after": (after, {"histtype": "stepfilled", "color": POLICY, "alpha": 0.6}),
    }
    for name, (values, look) in looks.items():
        mean = sum(values) / len(values)
        rewards.hist(
            [min(max(v, low), high) for v in values], bins=bins, label=f"{name}, mean {mean:+.2f}", **look
        )
    rewards.legend(loc="upper left")
    rewards.margins(y=0.25)
    rewards.xaxis.set_major_locator(MaxNLocator(5))
    label(rewards, reward_label, "reviews", "True reward on held-out prompts")
    loss.plot(history.steps("loss"), history["loss"], **POLICY_LINE)
    loss.axhline(math.log(2), **GUIDE_LINE)
    loss.annotate(
        "ln 2", (history.steps("loss")[-1], math.log(2)), xytext=(-18, 3), textcoords="offset points"
    )
    loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    label(loss, "step", "DPO loss (nats)", "Training loss")
    return figure
