"""Figures of a run's history."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from dpo_lab.history import History
from dpo_lab.plots.style import CHOSEN, GUIDE_LINE, POLICY_LINE, REJECTED, label, subplots


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
    loss.legend()
    for axes, name in ((rewards, "rewards"), (logps, "logps")):
        for side, color in (("chosen", CHOSEN), ("rejected", REJECTED)):
            axes.plot(history.steps(f"{name}/{side}"), history[f"{name}/{side}"], color=color, label=side)
        axes.legend()
    rewards.axhline(0, **GUIDE_LINE)
    label(loss, "step", "loss (nats)", "Loss")
    label(rewards, "step", "β · log-ratio (nats)", "Implicit rewards")
    label(logps, "step", "log π(y|x) (nats)", "Log-probs")
    return figure
