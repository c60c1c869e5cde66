"""Figures of rewards and the preferences that they make: curves, a tournament, a likelihood without a maximum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dpo_lab.bradley_terry import bradley_terry_loss, preference_probability
from dpo_lab.plots.style import ACCENT, CHOSEN, GUIDE_LINE, REJECTED, SEQUENCE, label, subplots

DIFFERENCE = "reward difference r_w − r_l"


def draw_comparison(chosen_reward: float, rejected_reward: float, shift: float = 0.0) -> Figure:
    """Two rewards as bars, their win probability, and the loss of the label "the first one wins".

    Args:
        chosen_reward: r_w.
        rejected_reward: r_l.
        shift: added to both.
    """
    chosen, rejected = chosen_reward + shift, rejected_reward + shift
    differences = torch.linspace(-10, 10, 201)
    zeros, here = torch.zeros_like(differences), torch.tensor([chosen - rejected], dtype=torch.float32)
    probability = preference_probability(here, torch.zeros(1))
    loss = bradley_terry_loss(here, torch.zeros(1))
    figure, (bars, curve, cost) = subplots(columns=3, width=3.9)
    bars.bar([0, 1], [chosen, rejected], color=[CHOSEN, REJECTED], width=0.55)
    bars.axhline(0, color="#444444", linewidth=1)
    bars.set_xticks([0, 1], ["chosen", "rejected"])
    bars.set_ylim(-15.5, 15.5)
    curve.plot(differences, preference_probability(differences, zeros), color=ACCENT)
    curve.plot(here, probability, "o", color="black", markersize=8)
    cost.plot(differences, bradley_terry_loss(differences, zeros), color=ACCENT)
    cost.plot(here, loss, "o", color="black", markersize=8)
    for axes in (curve, cost):
        axes.axvline(0, **GUIDE_LINE)
    label(bars, "", "reward", f"r_w = {chosen:+.1f}, r_l = {rejected:+.1f}")
    label(curve, DIFFERENCE, "P(chosen wins)", f"P = {probability.item():.4f}")
    label(cost, DIFFERENCE, "loss (nats)", f"loss = {loss.item():.4f}")
    return figure


def plot_fitted_rewards(true_rewards: Tensor, fits: Mapping[int, Tensor], names: Sequence[str]) -> Figure:
    """Fitted rewards against the number of games a pair, one line a player; dashes mark the true rewards.

    Args:
        true_rewards: (N,), zero mean.
        fits: games a pair → (N,) fitted rewards.
        names: N names of players.
    """
    figure, axes = subplots(width=7.2, height=3.8)
    games = list(fits)
    for i, (name, color) in enumerate(zip(names, SEQUENCE, strict=False)):
        axes.plot(games, [fits[g][i].item() for g in games], "o-", color=color, label=name, markersize=4)
        axes.axhline(true_rewards[i].item(), color=color, linestyle="--", linewidth=1.2)
    axes.set_xscale("log")
    axes.set_xticks(games, [f"{g:,}" for g in games])
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="review")
    label(axes, "games of each pair", "reward (mean 0)", "More games, closer to the true rewards (dashed)")
    return figure


def plot_likelihood_slices(
    tables: Mapping[str, Tensor], rewards: Tensor, player: int = 0, name: str = "A"
) -> Figure:
    """Log-likelihood of win tables against one review's reward, the others held where they are.

    Args:
        tables: name → (N, N) wins.
        rewards: (N,) rewards of all reviews; the player's own is replaced by each value on the axis.
        player: index of the review whose reward moves.
        name: what the axis calls it.
    """
    figure, axes = subplots(width=6.6)
    values = torch.linspace(-0.5, 8, 171, dtype=torch.float64)
    moved = rewards.repeat(len(values), 1)
    moved[:, player] = values
    gaps = moved[:, :, None] - moved[:, None, :]
    log_wins = -bradley_terry_loss(gaps.flatten(), torch.zeros(gaps.numel(), dtype=gaps.dtype)).view(
        gaps.shape
    )
    for (legend, table), color in zip(tables.items(), (SEQUENCE[1], ACCENT), strict=False):
        likelihood = (table * log_wins).sum(dim=(1, 2))
        likelihood = likelihood - likelihood.max()
        axes.plot(values, likelihood, color=color, label=legend)
        best = int(likelihood.argmax())
        if best < len(values) - 1:
            axes.plot(values[best], 0, "o", color=color)
    axes.set_ylim(-25, 2)
    axes.legend(loc="lower right")
    label(
        axes,
        f"reward of review {name} (the others fixed)",
        "log-likelihood − highest shown (nats)",
        "Unbeaten: no maximum in sight",
    )
    return figure


def plot_loss_of_label() -> Figure:
    """Win probability (left) and loss (right) against the reward difference."""
    differences = torch.linspace(-6, 6, 241)
    zeros = torch.zeros_like(differences)
    figure, (left, right) = subplots(columns=2)
    left.plot(differences, preference_probability(differences, zeros), color=ACCENT)
    right.plot(differences, bradley_terry_loss(differences, zeros), color=ACCENT)
    left.plot([0], [0.5], "o", color=ACCENT)
    right.plot([0], [math.log(2)], "o", color=ACCENT)
    right.plot(differences, -differences.clamp(max=0), **GUIDE_LINE)
    right.annotate(
        "1 nat per unit", (-1.1, 1.1), xytext=(-4.8, 0.6), arrowprops={"arrowstyle": "-"}, fontsize=9.5
    )
    left.axvline(0, **GUIDE_LINE)
    right.axvline(0, **GUIDE_LINE)
    label(left, DIFFERENCE, "P(chosen wins)", "A difference becomes a probability")
    label(right, DIFFERENCE, "loss of the label (nats)", "A label becomes a loss")
    return figure
