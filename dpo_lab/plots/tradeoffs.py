"""Figures of two rewards at once: every policy a point, the Pareto front a line."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from matplotlib.figure import Figure

from dpo_lab.multi_objective import pareto_front
from dpo_lab.plots.style import ACCENT, CHOSEN, POLICY, REFERENCE, REJECTED, label, subplots

LOOK = {
    "margins": (POLICY, "o"),
    "losses": (ACCENT, "s"),
    "safety first": ("#E69F00", "D"),
    "helpfulness alone": (CHOSEN, "^"),
    "safety alone": (REJECTED, "v"),
}


def plot_true_front(front: pd.DataFrame, tables: dict[str, pd.DataFrame], start: Sequence[float]) -> Figure:
    """The best trade-offs at one distance, and where ways of weighting end at the same distance, a panel a table.

    Args:
        front: `first` and `second`, the expected rewards along the true front.
        tables: by panel title; each with `way`, `weight`, `first`, `second`.
        start: both expected rewards of the reference.
    """
    figure, _ = subplots(columns=len(tables), width=4.7, height=3.8, sharey=True)
    for panel, (title, table) in zip(figure.axes, tables.items(), strict=True):
        panel.plot(front["first"], front["second"], color="black", linewidth=1.3, label="true front")
        panel.plot(*start, "*", color=REFERENCE, markersize=12, label="reference")
        for way, runs in table.groupby("way", sort=False):
            color, marker = LOOK[str(way)]
            size = 9 if way == "safety first" else 6
            fill = "none" if way == "safety first" else color
            panel.plot(
                runs["first"],
                runs["second"],
                marker,
                markersize=size,
                color=color,
                markerfacecolor=fill,
                label=str(way),
            )
        label(panel, "expected first reward", "expected second reward", title)
    figure.axes[0].legend(fontsize=9)
    return figure


def plot_tradeoffs(table: pd.DataFrame, reference: Sequence[float]) -> Figure:
    """Helpfulness against safety of trained policies; a line joins the means that no other mean dominates.

    Args:
        table: a row a run: `name`, `helpfulness`, `safety`.
        reference: both of the reference.
    """
    figure, axes = subplots(width=6.6, height=4.0)
    means = table.groupby("name", sort=False)[["helpfulness", "safety"]].mean()
    points = torch.tensor(pd.concat([means, pd.DataFrame([reference], columns=means.columns)]).to_numpy())
    kept = sorted(points[pareto_front(points)].tolist())
    axes.plot(*zip(*kept, strict=True), color="#999999", linewidth=1.2, zorder=0, label="front of the means")
    for name, runs in table.groupby("name", sort=False):
        color, marker = LOOK[str(name)]
        axes.plot(runs["helpfulness"], runs["safety"], marker, color=color, markersize=4, alpha=0.6)
        style = {"color": color, "markersize": 10, "markeredgecolor": "black"}
        axes.plot(*means.loc[name], marker, label=str(name), **style)
    axes.plot(*reference, "*", color=REFERENCE, markersize=13, label="reference")
    axes.legend(fontsize=9, loc="lower left")
    label(axes, "helpfulness (topics with an opinion, of 4)", "safety (minus blame)")
    return figure
