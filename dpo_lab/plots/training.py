"""Figures of a training run: its schedule, its history, its outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dpo_lab.history import History
from dpo_lab.plots.style import (
    ACCENT,
    CHOSEN,
    GUIDE_LINE,
    POLICY,
    POLICY_LINE,
    REFERENCE,
    REJECTED,
    SEQUENCE,
    label,
    subplots,
)
from dpo_lab.schedules import SCHEDULES

if TYPE_CHECKING:
    from dpo_lab.lab import Measurement


def plot_history(history: History) -> Figure:
    """Loss, both implicit rewards, and both log-probs of a DPO run, step by step."""
    figure, (loss, rewards, logps) = subplots(columns=3, width=4.0)
    loss.plot(history.steps("loss"), history["loss"], label="training", **POLICY_LINE)
    if "eval_loss" in history.names():
        loss.plot(
            history.steps("eval_loss"),
            history["eval_loss"],
            "o-",
            color="black",
            label="held-out",
            markersize=4,
        )
    loss.axhline(math.log(2), **GUIDE_LINE)
    loss.annotate(
        "ln 2", (history.steps("loss")[0], math.log(2)), xytext=(2, 3), textcoords="offset points", fontsize=9
    )
    loss.margins(y=0.12)  # room for "ln 2" below the title
    loss.legend()
    for axes, name in ((rewards, "rewards"), (logps, "logps")):
        for side, color in (("chosen", CHOSEN), ("rejected", REJECTED)):
            axes.plot(history.steps(f"{name}/{side}"), history[f"{name}/{side}"], color=color, label=side)
        axes.legend()
    rewards.axhline(0, **GUIDE_LINE)
    for axes in (loss, rewards, logps):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label(loss, "step", "loss (nats)", "Loss")
    label(rewards, "step", "β · log-ratio (nats)", "Implicit rewards")
    label(logps, "step", "log π(y|x) (nats)", "Log-probs")
    return figure


def plot_schedules(names: Sequence[str], peak: float, warmup_steps: int, total_steps: int) -> Figure:
    """Learning rate after each number of steps, 0 to `total_steps`; the last point is where a run ends."""
    figure, axes = subplots(width=6.4)
    steps = range(total_steps + 1)
    exponent = math.floor(math.log10(peak))
    unit = 10.0**exponent
    for name, color, dashes in zip(names, SEQUENCE[1:], ("-", "--", ":"), strict=False):
        rates = [peak / unit * SCHEDULES[name](step, warmup_steps, total_steps) for step in steps]
        axes.plot(steps, rates, dashes, color=color, label=name)
        axes.plot(total_steps, rates[-1], "o", color=color, markersize=5, clip_on=False)
    axes.axvline(warmup_steps, **GUIDE_LINE)
    axes.annotate("warm-up ends", (warmup_steps, 0), xytext=(4, 4), textcoords="offset points", fontsize=9)
    axes.legend(loc="upper right")
    axes.set_ylim(0, peak / unit * 1.45)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label(
        axes,
        "optimiser steps done",
        f"learning rate ($10^{{{exponent}}}$)",
        f"Learning rate of {total_steps} steps",
    )
    return figure


def plot_watch(history: History) -> Figure:
    """What the loss does not show: both rewards, distance from the reference, and the true reward if it is there.

    Args:
        history: holds `rewards/*`, and at some steps `kl` and `true_reward`, as a callback has logged them.
    """
    figure, (loss, rewards, drift, true) = subplots(columns=4, width=3.2, height=3.2)
    loss.plot(history.steps("loss"), history["loss"], **POLICY_LINE)
    loss.axhline(math.log(2), **GUIDE_LINE)
    loss.annotate(
        "ln 2",
        (history.steps("loss")[-1], math.log(2)),
        xytext=(-16, -12),
        textcoords="offset points",
        fontsize=9,
    )
    for side, color in (("chosen", CHOSEN), ("rejected", REJECTED)):
        rewards.plot(history.steps(f"rewards/{side}"), history[f"rewards/{side}"], color=color, label=side)
    rewards.axhline(0, **GUIDE_LINE)
    rewards.legend()
    drift.plot(history.steps("kl"), history["kl"], marker="o", markersize=4, **POLICY_LINE)
    true.plot(history.steps("true_reward"), history["true_reward"], marker="o", markersize=4, **POLICY_LINE)
    label(loss, "step", "loss (nats)", "Loss")
    label(rewards, "step", "β · log-ratio (nats)", "Implicit rewards")
    label(drift, "step", "nats a completion", "KL to the reference")
    label(true, "step", "true reward", "True reward,\nheld-out prompts")
    return figure


def plot_early_stopping(history: History, stop: int | None = None) -> Figure:
    """Training and held-out loss; a ring marks the best evaluation, a line the step at which patience ends."""
    figure, axes = subplots(width=6.4)
    steps, losses = history.steps("eval_loss"), history["eval_loss"]
    axes.plot(history.steps("loss"), history["loss"], label="training batch", **POLICY_LINE)
    axes.plot(steps, losses, "o-", color="black", markersize=4, label="held-out pairs")
    best = min(range(len(losses)), key=losses.__getitem__)
    axes.plot(
        steps[best], losses[best], "o", markersize=12, markerfacecolor="none", color=ACCENT, label="best"
    )
    axes.axhline(math.log(2), **GUIDE_LINE)
    axes.annotate("ln 2", (0, math.log(2)), xytext=(2, 3), textcoords="offset points", fontsize=9)
    if stop is not None:
        axes.axvline(stop, color=ACCENT, linestyle="--", linewidth=1.5, label="patience ends")
    axes.legend(loc="lower left")
    label(axes, "step", "loss (nats)", "Training loss falls on, held-out loss turns")
    return figure


def plot_before_after(before: Measurement, after: Mapping[str, Measurement]) -> Figure:
    """Mean true reward with its interval (left), and how the rewards of single completions are spread (right).

    Args:
        before: of the reference.
        after: of each trained policy, by its label; the first is the one whose rewards are spread out.
    """
    figure, (means, spread) = subplots(columns=2, width=5.0)
    rows = {"reference": before, **after}
    for y, (name, found) in enumerate(rows.items()):
        color = REFERENCE if name == "reference" else POLICY
        reward = found.reward
        means.plot([reward.low, reward.high], [y, y], color=color, linewidth=2.5, solid_capstyle="butt")
        means.plot(reward.mean, y, "o", color=color, markersize=7)
    means.set_yticks(range(len(rows)), list(rows))
    means.set_ylim(len(rows) - 0.5, -0.5)
    first = next(iter(after))
    values = [*before.rewards, *after[first].rewards]
    bins = [min(values) + (max(values) - min(values)) * i / 20 for i in range(21)]
    spread.hist(before.rewards, bins, color=REFERENCE, histtype="step", linestyle="--", linewidth=1.5)
    spread.hist(after[first].rewards, bins, color=POLICY, alpha=0.55)
    spread.legend(
        handles=[
            Line2D([], [], color=REFERENCE, linestyle="--", label="reference"),
            Patch(color=POLICY, alpha=0.55, label=first),
        ]
    )
    label(means, "true reward, mean and 95 % interval", "", "Mean of the held-out samples")
    label(spread, "true reward of one completion", "completions", "All samples")
    return figure
