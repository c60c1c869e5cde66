"""The demo's figure: true rewards before and after, and the run between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dpo_lab.history import History
from dpo_lab.plots.style import GUIDE_LINE, POLICY, POLICY_LINE, REFERENCE, label, subplots


def plot_before_after(before: Sequence[float], after: Sequence[float], history: History) -> Figure:
    """Histograms of the true reward on held-out prompts (left), training loss (right)."""
    figure, (rewards, loss) = subplots(columns=2)
    bins = [-1 + 0.2 * i for i in range(11)]
    for values, color, name, style in (
        (before, REFERENCE, "before (reference)", {"linestyle": "--", "fill": False, "linewidth": 1.8}),
        (after, POLICY, "after (policy)", {"alpha": 0.6}),
    ):
        kind = "step" if "fill" in style else "stepfilled"
        mean = sum(values) / len(values)
        rewards.hist(values, bins=bins, color=color, histtype=kind, label=f"{name}, mean {mean:+.2f}", **style)
    rewards.legend(loc="upper left")
    label(rewards, "true reward (VADER, −1 to 1)", "reviews", "True reward on held-out prompts")
    loss.plot(history.steps("loss"), history["loss"], **POLICY_LINE)
    loss.axhline(math.log(2), **GUIDE_LINE)
    loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    label(loss, "step", "DPO loss (nats)", "Training loss, from ln 2")
    return figure
