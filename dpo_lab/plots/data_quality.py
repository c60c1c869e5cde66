"""Figures of what the data do to a run: wrong labels, too many epochs, too few pairs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dpo_lab.plots.style import ACCENT, GUIDE_LINE, POLICY, SEQUENCE, label, subplots


def plot_noise(table: pd.DataFrame) -> Figure:
    """Gain, ordering and scale of the implicit reward against the share of flipped labels; a dot a seed.

    Args:
        table: one row a run, with `flipped`, `gain`, `accuracy` and `scale`.
    """
    figure, (gain, accuracy, scale) = subplots(columns=3, width=3.6, height=3.1)
    for axes, name in ((gain, "gain"), (accuracy, "accuracy"), (scale, "scale")):
        draw_seeds(axes, table, "flipped", name, POLICY)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    shares = sorted(set(table["flipped"]))
    scale.plot(shares, [1 - 2 * share for share in shares], color="black", linestyle=":", linewidth=1.5)
    scale.annotate("1 − 2ε", (shares[1], 1 - 2 * shares[1]), xytext=(8, 6), textcoords="offset points")
    label(gain, "labels flipped", "share of the best gain", "Less is gained")
    label(accuracy, "labels flipped", "pairs in the right order", "The order holds longer")
    label(scale, "labels flipped", "slope, implicit on true reward", "The scale shrinks first")
    return figure


def plot_epochs(training: Sequence[Sequence[float]], held_out: Sequence[Sequence[float]]) -> Figure:
    """Training and held-out loss after each epoch: a thin line a seed, a thick one for their mean.

    Args:
        training: for each seed the loss of each epoch, all of one length.
        held_out: likewise.
    """
    figure, axes = subplots(width=7.0)
    epochs = range(1, len(training[0]) + 1)
    for runs, color, name in ((training, POLICY, "training pairs"), (held_out, "black", "held-out pairs")):
        for run in runs:
            axes.plot(epochs, run, color=color, linewidth=0.9, alpha=0.5)
        means = [sum(values) / len(values) for values in zip(*runs, strict=True)]
        axes.plot(epochs, means, color=color, linewidth=2.4, label=f"{name}, mean of {len(runs)} seeds")
        if runs is held_out:
            best = min(range(len(means)), key=means.__getitem__)
            axes.plot(best + 1, means[best], "o", markersize=11, markerfacecolor="none", color=ACCENT)
    axes.axhline(0.6931, **GUIDE_LINE)
    axes.annotate("ln 2", (1, 0.6931), xytext=(0, 4), textcoords="offset points", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left")
    label(axes, "epochs over the same pairs", "loss (nats)", "What more epochs buy")
    return figure


def plot_data_size(table: pd.DataFrame, by: str) -> Figure:
    """Gain over the reference and order of pairs against the number of pairs, one colour a setting.

    Args:
        table: one row a run, with `n`, `gain` and `accuracy`.
        by: the column that names the settings.
    """
    figure, (gain, accuracy) = subplots(columns=2, width=5.0)
    for color, (name, runs) in zip((POLICY, SEQUENCE[1]), table.groupby(by, sort=False), strict=False):
        draw_seeds(gain, runs, "n", "gain", color, str(name))
        draw_seeds(accuracy, runs, "n", "accuracy", color, str(name))
    gain.axhline(0, **GUIDE_LINE)
    gain.annotate("reference", (table["n"].min(), 0), xytext=(0, 4), textcoords="offset points", fontsize=9)
    for axes in (gain, accuracy):
        axes.set_xscale("log")
    accuracy.legend(loc="lower right")
    label(gain, "pairs", "share of the best gain", "Too few pairs are worse than none")
    label(accuracy, "pairs", "pairs in the right order", "The order is learnt from few")
    return figure


def plot_selection(table: pd.DataFrame) -> Figure:
    """Order of pairs against the number of labels, one colour a way to choose them; a thin line a seed.

    Args:
        table: one row a run, with `rule` and the lists `labels` and `accuracy`.
    """
    figure, axes = subplots(width=7.0)
    colors = (POLICY, ACCENT, SEQUENCE[1])
    for color, (rule, runs) in zip(colors, table.groupby("rule", sort=False), strict=False):
        for row in runs.itertuples():
            axes.plot(row.labels, row.accuracy, color=color, linewidth=0.9, alpha=0.5)
        means = [sum(values) / len(values) for values in zip(*runs["accuracy"], strict=True)]
        axes.plot(runs["labels"].iloc[0], means, "o-", color=color, markersize=4, label=rule)
    axes.legend(title="labelled next")
    label(axes, "labels paid for", "pairs in the right order", "Does asking cleverly pay?")
    return figure


def draw_seeds(axes: Axes, table: pd.DataFrame, x: str, y: str, color: str, name: str | None = None) -> None:
    """A dot a seed and a line through the means."""
    means = table.groupby(x)[y].mean()
    axes.plot(table[x], table[y], "o", color=color, markersize=4, alpha=0.5)
    axes.plot(means.index, means.values, color=color, linewidth=2.0, label=name)
