"""Figures of lesson 11: what accuracy hides, coverage, power, estimators of the KL, over-optimisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dpo_lab.evaluation.significance import comparisons_needed, sign_test_power
from dpo_lab.plots.style import (
    ACCENT,
    CHOSEN,
    GUIDE_LINE,
    POLICY,
    REJECTED,
    SEQUENCE,
    label,
    subplots,
)

KL_COLORS = {"k1": CHOSEN, "k2": REJECTED, "k3": POLICY}
KL = "KL(π ‖ π_ref) (nats)"


def draw_runs(axes: Axes, x: Sequence[float], columns: Sequence[Sequence[float]], color: str) -> None:
    """A dot a run at each x, and a line through their means."""
    for place, values in zip(x, columns, strict=True):
        axes.plot([place] * len(values), values, "o", color=color, markersize=5, alpha=0.6)
    axes.plot(x, [sum(values) / len(values) for values in columns], "-", color=color)


def plot_accuracy_and_wins(runs: pd.DataFrame) -> Figure:
    """Held-out accuracy, distance and win rate against the learning rate; `runs` has lr and what was measured."""
    figure, panels = subplots(columns=3, width=3.7, height=3.2)
    titles = {
        "rewards/accuracies": ("share of held-out pairs", "Reward accuracy"),
        "kl": ("nats a completion", "KL to the reference"),
        "win_rate": ("against the reference", "Win rate"),
    }
    rates = sorted(set(runs["lr"]))
    for axes, (name, (unit, title)) in zip(panels, titles.items(), strict=True):
        draw_runs(axes, rates, [runs[runs["lr"] == rate][name].tolist() for rate in rates], POLICY)
        axes.set_xscale("log")
        label(axes, "learning rate", unit, title)
        if name != "kl":
            axes.axhline(0.5, **GUIDE_LINE)
            axes.set_ylim(0.4, 0.85)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def plot_coverage(coverage: pd.DataFrame, comparisons: int) -> Figure:
    """How often 95 % intervals hold the true share (the index of `coverage`), a line a column."""
    figure, axes = subplots(width=7.0, height=3.3)
    for name, color in zip(coverage.columns, (REJECTED, CHOSEN), strict=False):
        axes.plot(coverage.index, coverage[name], color=color, linewidth=1.5, label=name)
    axes.axhline(0.95, **GUIDE_LINE)
    axes.set_ylim(0.6, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(loc="lower center")
    label(axes, "true win rate", "intervals that hold it", f"{comparisons} comparisons, exact coverage")
    return figure


def draw_power(comparisons: int, win_rate: float) -> Figure:
    """The sign test's power against the number of comparisons, for one true win rate, with one number marked."""
    figure, axes = subplots(width=7.0, height=3.4)
    sizes = sorted({*range(10, 401, 15), comparisons})
    found = {n: sign_test_power(n, win_rate) for n in sizes}
    axes.plot(sizes, list(found.values()), color=POLICY, linewidth=1.6)
    axes.plot(comparisons, found[comparisons], "o", color=ACCENT, markersize=9)
    axes.axhline(0.8, **GUIDE_LINE)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    needed = (
        "no number is enough" if win_rate == 0.5 else f"80 % needs about {comparisons_needed(win_rate):,}"
    )
    title = f"{comparisons} comparisons notice a true {win_rate:.0%} in {found[comparisons]:.0%}; {needed}"
    label(axes, "decided comparisons", "chance of p ≤ 0.05", title)
    return figure


def plot_power(powers: pd.DataFrame) -> Figure:
    """Power against the number of comparisons (the index), a line a true win rate (the columns)."""
    figure, axes = subplots(width=7.0, height=3.4)
    for color, name in zip(SEQUENCE, powers.columns, strict=False):
        axes.plot(powers.index, powers[name], "-", color=color, linewidth=1.6, label=f"{name:.0%}")
    axes.axhline(0.8, **GUIDE_LINE)
    axes.axhline(0.05, **GUIDE_LINE)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(title="true win rate", loc="center left", bbox_to_anchor=(1, 0.5))
    label(axes, "decided comparisons", "chance of p ≤ 0.05", "What a hundred comparisons can see")
    return figure


def plot_estimators(table: pd.DataFrame) -> Figure:
    """Repeated KL estimates against the exact KL: their median over it (left), and their spread (right).

    Args:
        table: what `estimator_run` returned, a row a β.
    """
    figure, (middle, spread) = subplots(columns=2, width=5.0, height=3.8)
    for name, color in KL_COLORS.items():
        middle.plot(table["kl"], table[f"{name}_median"] / table["kl"], "o-", color=color, label=name)
        spread.plot(table["kl"], table[f"{name}_std"], "--", color=color, linewidth=1.3)
        spread.plot(table["kl"], table[f"{name}_seen"], "o", color=color, label=name)
    middle.axhline(1, **GUIDE_LINE)
    for axes in (middle, spread):
        axes.set_xscale("log")
        axes.legend()
    spread.set_yscale("log")
    spread.set_ylim(3e-4, 300)
    label(middle, f"exact {KL}", "median estimate / exact", "The typical estimate")
    label(spread, f"exact {KL}", "std of one estimate (nats)", "Spread: seen (dots), exact (dashed)")
    return figure


def plot_proxies(runs: Mapping[str, pd.DataFrame]) -> Figure:
    """Gain in the learned and in the true reward against KL, a panel a kind of learned reward, a line a draw of pairs.

    Args:
        runs: tables with lists kl, proxy, true, by the panel's title.
    """
    figure, panels = subplots(columns=len(runs), width=5.0, height=3.8, squeeze=False)
    for axes, (title, table) in zip(panels[0], runs.items(), strict=True):
        for number, run in enumerate(table.to_dict("records")):
            named = {"proxy": "learned reward", "true": "true reward"} if number == 0 else {}
            for name, color, line in (("proxy", ACCENT, "--"), ("true", POLICY, "-")):
                kl, gain = ([0.0, *run[key]] for key in ("kl", name))
                axes.plot(kl, gain, line, color=color, linewidth=1.2, alpha=0.8, label=named.get(name))
        axes.axhline(0, **GUIDE_LINE)
        axes.legend(loc="upper left")
        label(axes, KL, "gain over the reference", title)
    return figure


def plot_optimisation(runs: pd.DataFrame) -> Figure:
    """Six views of the same runs against the step: training pairs, held-out pairs, samples."""
    figure, panels = subplots(columns=3, rows=2, width=3.7, height=2.9)
    titles = {
        "train_margin": ("margin of training pairs", "Training margin", ACCENT),
        "held_out_loss": ("nats", "Held-out loss", CHOSEN),
        "win_rate": ("against the reference", "Win rate", POLICY),
        "train_accuracy": ("share of training pairs", "Training accuracy", ACCENT),
        "held_out_accuracy": ("share of held-out pairs", "Held-out accuracy", CHOSEN),
        "reward": ("mean of samples", "True reward", POLICY),
    }
    steps = runs["step"].iloc[0]
    for axes, (name, (unit, title, color)) in zip(panels.flat, titles.items(), strict=True):
        draw_runs(axes, steps, list(zip(*runs[name], strict=True)), color)
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [str(step) for step in steps])
        axes.minorticks_off()
        label(axes, "step", unit, title)
    panels[0][1].axhline(math.log(2), **GUIDE_LINE)
    return figure
