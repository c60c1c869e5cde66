"""Figures of failing runs and their cures: every seed is a dot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dpo_lab.plots.style import (
    ACCENT,
    GUIDE_LINE,
    POLICY,
    REFERENCE,
    REFERENCE_LINE,
    SEQUENCE,
    label,
    subplots,
)


def plot_cures(
    table: pd.DataFrame,
    by: str,
    measures: Mapping[str, str],
    before: Mapping[str, float] | None = None,
) -> Figure:
    """One panel a measure, one row a setting: a dot a seed, a bar at their mean.

    Args:
        table: one row a run.
        by: the column that names the settings; they keep their order.
        measures: title of the panel by column; a title's part after " | " is the axis label.
        before: the reference's value of a measure, where there is one: a dashed line.
    """
    names = list(dict.fromkeys(table[by]))
    height = 1.1 + 0.34 * len(names)
    figure, _ = subplots(columns=len(measures), width=10.5 / len(measures), height=height, sharey=True)
    for panel, (column, text) in zip(figure.axes, measures.items(), strict=True):
        for y, name in enumerate(names):
            values = table.loc[table[by] == name, column]
            panel.plot(values, [y] * len(values), "o", color=POLICY, markersize=5, alpha=0.65)
            panel.plot([values.mean()] * 2, [y - 0.28, y + 0.28], color="black", linewidth=1.8)
        if before and column in before:
            panel.axvline(before[column], **REFERENCE_LINE)
        title, _, axis = text.partition(" | ")
        panel.set_yticks(range(len(names)), [str(name) for name in names])
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.margins(x=0.12)
        label(panel, axis, "", title)
    return figure


def plot_collapse(table: pd.DataFrame, before: Mapping[str, float]) -> Figure:
    """`top_share`, `distinct_2` and `self_bleu` along the runs, a colour a β: mean as a line, each seed as a dot."""
    titles = {"top_share": "Most common text", "distinct_2": "distinct-2", "self_bleu": "self-BLEU"}
    figure, _ = subplots(columns=3, width=3.6, height=3.2)
    for panel, (column, title) in zip(figure.axes, titles.items(), strict=True):
        for color, (beta, runs) in zip(SEQUENCE[::2], table.groupby("beta"), strict=False):
            looks = pd.DataFrame(runs[column].tolist(), columns=runs["step"].iloc[0])
            panel.plot(looks.columns, looks.mean(), color=color, label=f"β = {beta:g}")
            for _, one in looks.iterrows():
                panel.plot(looks.columns, one, "o", color=color, markersize=4, alpha=0.6)
        panel.axhline(before[column], **REFERENCE_LINE)
        panel.set_xticks(list(looks.columns))
        label(panel, "step", {"top_share": "share of samples"}.get(column, title), title)
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.axes[0].legend()
    return figure


def draw_amplification(data: float, reference: float, beta: float) -> Figure:
    """The share of a trait at DPO's optimum against the annotators' preference for it, with one point marked.

    Args:
        data: probability that the completion with the trait is the chosen one, in (0, 1).
        reference: the trait's share in the reference's samples, in (0, 1).
        beta: weight of the KL term.
    """
    figure, axes = subplots(width=6.0, height=3.6)
    shares = [i / 200 for i in range(1, 200)]
    for color, value in zip(SEQUENCE[::2], (0.1, 0.3, 1.0), strict=True):
        optimum = [optimal_share(share, reference, value) for share in shares]
        axes.plot(shares, optimum, color=color, label=f"β = {value:g}", linewidth=1.4)
    axes.plot(
        shares, [optimal_share(share, reference, beta) for share in shares], color=POLICY, linewidth=2.4
    )
    point = optimal_share(data, reference, beta)
    axes.plot(data, point, "o", color=ACCENT, markersize=9)
    axes.axhline(reference, **REFERENCE_LINE)
    axes.axvline(0.5, **GUIDE_LINE)
    axes.annotate("reference", (0.005, reference), xytext=(2, 4), textcoords="offset points", color=REFERENCE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="lower right")
    title = f"asked {data:.0%}, optimum at β = {beta:.2g}: {point:.1%}"
    label(axes, "preferred in the data", "share in the policy's samples", title)
    return figure


def optimal_share(data: float, reference: float, beta: float) -> float:
    """Share of a trait at DPO's optimum, where annotators care for nothing else: odds times (p/(1 − p))^(1/β)."""
    odds = math.log(reference / (1 - reference)) + math.log(data / (1 - data)) / beta
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def plot_groups(table: pd.DataFrame, by: str, groups: Sequence[str]) -> Figure:
    """Accuracy of each group of test pairs, settings side by side: a dot a seed, a bar at their mean."""
    figure, axes = subplots(width=7.4, height=3.3)
    kinds = list(table.groupby(by, sort=False))
    for offset, color, (name, runs) in zip((-0.14, 0.14), (SEQUENCE[1], ACCENT), kinds, strict=False):
        for x, group in enumerate(groups):
            place, values = x + offset, runs[group]
            axes.plot([place] * len(values), values, "o", color=color, markersize=5, alpha=0.65)
            named = {"label": name} if x == 0 else {}
            axes.plot([place - 0.1, place + 0.1], [values.mean()] * 2, color=color, linewidth=2.2, **named)
    axes.axhline(0.5, **GUIDE_LINE)
    axes.annotate("coin", (0, 0.5), xytext=(-12, 4), textcoords="offset points", fontsize=9)
    axes.set_xticks(range(len(groups)), groups)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(title="trained on", loc="center left")
    label(axes, "test pairs", "reward accuracy", "New items are no harder, new words are")
    return figure
