"""Figures of one evaluation: outcomes, rewards, groups, reliability, the run's curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from dpo_lab.plots.style import (
    ACCENT,
    CHOSEN,
    GUIDE_LINE,
    POLICY,
    REFERENCE,
    REJECTED,
    label,
    subplots,
)

OUTLINE = "#8a8a8a"  # the reference's grey, a little lighter: it must show on a dark page too

if TYPE_CHECKING:
    from dpo_lab.evaluation.intervals import Interval
    from dpo_lab.evaluation.judging import WinRate
    from dpo_lab.history import History


def draw_interval(axes: Axes, interval: Interval, y: float, color: str) -> None:
    """A horizontal bar from low to high with a dot at the mean."""
    axes.plot([interval.low, interval.high], [y, y], color=color, linewidth=2.5, solid_capstyle="butt")
    axes.plot(interval.mean, y, "o", color=color, markersize=7)


def plot_win_rates(rates: Mapping[str, WinRate], target: float | None = None) -> Figure:
    """Won, tied and lost comparisons as bars (left) and the win rate with its interval (right), a row a name."""
    figure, (counts, shares) = subplots(columns=2, width=4.6, height=1.4 + 0.55 * len(rates), sharey=True)
    for y, won in enumerate(rates.values()):
        left = 0
        for count, color, word in (
            (won.wins, POLICY, "won"),
            (won.ties, "#BBBBBB", "tied"),
            (won.losses, REFERENCE, "lost"),
        ):
            counts.barh(y, count, left=left, color=color, height=0.6, label=word if y == 0 else None)
            left += count
        draw_interval(shares, won.rate, y, POLICY)
    counts.set_yticks(range(len(rates)), list(rates))
    counts.set_ylim(len(rates) - 0.4, -0.9)
    counts.legend(loc="upper left", ncols=3, fontsize=9, bbox_to_anchor=(0, 1.02))
    counts.grid(visible=False, axis="y")
    shares.axvline(0.5, **GUIDE_LINE)
    if target is not None:
        shares.axvline(target, color=ACCENT, linestyle="--", linewidth=1.3)
    shares.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label(counts, "comparisons", "", "Against the reference")
    label(shares, "win rate with 95 % interval", "", "Win rate")
    return figure


def plot_rewards(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """True rewards of single completions, policy filled, reference as a dashed outline."""
    figure, axes = subplots(width=6.4, height=3.0)
    low, high = min(*ours, *theirs), max(*ours, *theirs)
    bins = [low + (high - low) * i / 20 for i in range(21)]
    axes.hist(ours, bins, color=POLICY, alpha=0.55, label="policy")
    axes.hist(theirs, bins, color=OUTLINE, histtype="step", linestyle="--", linewidth=1.5, label="reference")
    axes.legend()
    label(axes, "true reward of one completion", "completions", "What both write is worth")
    return figure


def plot_group_accuracy(groups: Mapping[str, Interval], overall: Interval) -> Figure:
    """Reward accuracy of each group of held-out pairs with its interval; dashed the accuracy over all."""
    figure, axes = subplots(width=6.4, height=1.3 + 0.36 * len(groups))
    for y, interval in enumerate(groups.values()):
        draw_interval(axes, interval, y, POLICY)
    axes.axvline(overall.mean, color=ACCENT, linestyle="--", linewidth=1.3)
    axes.axvline(0.5, **GUIDE_LINE)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label(axes, "reward accuracy with 95 % interval", "", "Held-out pairs by group")
    return figure


def plot_reliability(tables: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Reliability diagrams side by side: how often forecasts came true against what they said.

    Args:
        tables: what `reliability_bins` returned, by the title of its panel.
    """
    figure, panels = subplots(columns=len(tables), width=3.9, height=3.6, sharey=True, squeeze=False)
    for axes, (title, table) in zip(panels[0], tables.items(), strict=True):
        draw_reliability(axes, table)
        label(axes, "forecast of the favourite", "", title)
    panels[0][0].set_ylabel("how often it won")
    return figure


def draw_reliability(axes: Axes, table: Mapping[str, Tensor]) -> None:
    """One diagram: a dot a bin, as large as it has forecasts, with its interval; perfect is the dotted diagonal."""
    axes.plot([0, 1], [0, 1], **GUIDE_LINE)
    total = table["count"].sum().item()
    names = ("count", "predicted", "measured", "low", "high")
    for count, x, y, low, high in zip(*(table[name].tolist() for name in names), strict=True):
        if not math.isnan(x):
            axes.plot([x, x], [low, high], color=POLICY, linewidth=1.5)
            axes.plot(x, y, "o", color=POLICY, markersize=4 + 14 * math.sqrt(count / total), alpha=0.85)
    first = next((i for i, count in enumerate(table["count"].tolist()) if count), 0) / len(table["count"])
    axes.set_xlim(max(0.0, min(first, 0.5)) - 0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def plot_run(history: History) -> Figure:
    """Loss (left) and implicit rewards (right) of a run, step by step; held-out loss where it was logged."""
    figure, (loss, rewards) = subplots(columns=2, width=4.6, height=3.0)
    loss.plot(history.steps("loss"), history["loss"], color=POLICY, linewidth=1.5, label="training")
    if "eval_loss" in history.names():
        loss.plot(
            history.steps("eval_loss"),
            history["eval_loss"],
            "o-",
            color=ACCENT,
            markersize=5,
            label="held-out",
        )
        loss.legend()
    loss.axhline(math.log(2), **GUIDE_LINE)
    for side, color in (("chosen", CHOSEN), ("rejected", REJECTED)):
        name = f"rewards/{side}"
        if name in history.names():
            rewards.plot(history.steps(name), history[name], color=color, linewidth=1.5, label=side)
    if rewards.lines:
        rewards.legend()
    rewards.axhline(0, **GUIDE_LINE)
    for axes in (loss, rewards):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label(loss, "step", "loss (nats)", "Loss (dotted: ln 2)")
    label(rewards, "step", "β · log-ratio (nats)", "Implicit rewards")
    return figure
