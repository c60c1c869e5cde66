"""Figures of the lesson on debugging: dashboards of runs, and what a scoring function looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dpo_lab.history import History
from dpo_lab.plots.style import CHOSEN, GUIDE_LINE, POLICY_LINE, REJECTED, SEQUENCE, label, subplots

PANELS = ("Loss", "Implicit rewards", "Log-probs", "Gradient norm")


def plot_dashboards(runs: Mapping[str, History]) -> Figure:
    """One row a run: loss, both rewards, both log-probs, gradient norm, step by step.

    Args:
        runs: histories by the name that stands at the left of their row.
    """
    figure, grid = subplots(columns=4, rows=len(runs), width=3.0, height=2.15, squeeze=False)
    for row, (name, history) in zip(grid, runs.items(), strict=True):
        draw_dashboard(row, history)
        row[0].set_ylabel(f"{name}\nnats", fontweight="bold")
    for axes, title in zip(grid[0], PANELS, strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel("step")
    legend_above(figure)
    return figure


def legend_above(figure: Figure) -> None:
    """One legend for all panels, above them, where it hides no curve."""
    entries = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    figure.legend(
        entries.values(), entries, loc="outside upper right", ncols=len(entries), fontsize=8.5, frameon=False
    )


def draw_dashboard(row: Sequence[Axes], history: History) -> None:
    """The four panels of one run."""
    loss, rewards, logps, norms = row
    loss.plot(history.steps("loss"), history["loss"], **POLICY_LINE, label="training")
    loss.axhline(math.log(2), **GUIDE_LINE)
    if "eval_loss" in history.names():
        steps = history.steps("eval_loss")
        loss.plot(steps, history["eval_loss"], "o-", color="black", markersize=3, label="held-out")
    for axes, name in ((rewards, "rewards"), (logps, "logps")):
        for side, color in (("chosen", CHOSEN), ("rejected", REJECTED)):
            axes.plot(history.steps(f"{name}/{side}"), history[f"{name}/{side}"], color=color, label=side)
    rewards.axhline(0, **GUIDE_LINE)
    norms.plot(history.steps("grad_norm"), history["grad_norm"], color="black", linewidth=1.5)
    for axes in row:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(y=0.12)
    widen(loss, 0.05)
    widen(rewards, 0.02)
    norms.set_ylim(0, max(1.0, norms.get_ylim()[1]))


def widen(axes: Axes, least: float) -> None:
    """Give the y axis at least this range, so that rounding noise does not fill the panel."""
    low, high = axes.get_ylim()
    if high - low < least:
        middle = (low + high) / 2
        axes.set_ylim(middle - least / 2, middle + least / 2)


def plot_healthy(runs: Mapping[str, History]) -> Figure:
    """Sound runs that differ in their seed alone: loss, margin, rewards and gradient norm.

    Args:
        runs: histories by label.
    """
    figure, (loss, margins, chosen, norms) = subplots(columns=4, width=3.1, height=2.9)
    for (name, history), color in zip(runs.items(), SEQUENCE[::2], strict=False):
        steps = history.steps("loss")
        loss.plot(steps, history["loss"], color=color, label=name)
        margins.plot(steps, history["rewards/margins"], color=color)
        chosen.plot(steps, history["rewards/chosen"], color=color)
        norms.plot(steps, history["grad_norm"], color=color)
    loss.axhline(math.log(2), **GUIDE_LINE)
    for axes in (margins, chosen):
        axes.axhline(0, **GUIDE_LINE)
    label(loss, "step", "nats", "Loss")
    label(margins, "step", "nats", "Margin")
    label(chosen, "step", "nats", "Chosen reward")
    label(norms, "step", "norm before clipping", "Gradient norm")
    legend_above(figure)
    return figure


def plot_positions(maps: Mapping[str, Tensor], tokens: Sequence[str], needed: Sequence[bool]) -> Figure:
    """Which positions each scoring function looks at, one line a function, on one row of text.

    Args:
        maps: (T,) bool by the function's name: true where the logits at that position count.
        tokens: T labels; position t's logits are about token t + 1.
        needed: T flags, true where the logits have to count.
    """
    figure, axes = subplots(width=0.62 * len(tokens) + 3.0, height=0.42 * len(maps) + 1.7)
    table = [
        [2 * int(hit) + int(hit != want) for hit, want in zip(row.tolist(), needed, strict=True)]
        for row in maps.values()
    ]
    # by code: rightly left out, missing, rightly looked at, wrongly looked at
    axes.imshow(
        table, cmap=ListedColormap(["#f2f2f2", "#F4C7AB", CHOSEN, REJECTED]), vmin=0, vmax=3, aspect="auto"
    )
    for y, line in enumerate(table):
        for x, code in enumerate(line):
            mark = {0: "", 1: "missing", 2: "", 3: "wrong"}[code]
            axes.text(
                x, y, mark, ha="center", va="center", fontsize=7, color="black" if code == 1 else "white"
            )
    axes.set_xticks(range(len(tokens)), tokens, rotation=45, ha="right")
    axes.set_yticks(range(len(maps)), list(maps))
    axes.grid(False)
    label(
        axes, "the token that the logits at this position are about", "", "Positions that a score depends on"
    )
    return figure
