"""Figures of preference data: label noise, annotators, agreement, length, leaks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dpo_lab.plots.style import ACCENT, GUIDE_LINE, SEQUENCE, label, subplots

# One meaning each in this file; the course's colours of chosen, rejected, policy and reference stay free.
WRONG = ACCENT
RAW_AGREEMENT = SEQUENCE[1]
DIFFICULTY = {"flipped": WRONG, "equal": "#C4C4C4", "hard": SEQUENCE[4], "easy": SEQUENCE[2]}
BAR = "#D9D9D9"


def plot_label_noise(
    margins: Tensor, difficulty: Sequence[str], temperatures: Sequence[float], flipped: Tensor
) -> Figure:
    """Margins of labelled pairs by difficulty (left), and the share of flipped labels against noise (right).

    Args:
        margins: (B,), true reward of the chosen minus the rejected completion, in the labels at hand.
        difficulty: B names, each "easy", "hard", "flipped" or "equal".
        temperatures: T noise levels, in units of the reward.
        flipped: (T, R), share of the labels that contradict the reward, in R repeated labellings.
    """
    figure, (left, right) = subplots(columns=2)
    bins = torch.arange(-6.125, 6.2, 0.25).tolist()  # margins are multiples of 0.25: 0 has a bar of its own
    shown = margins.clamp(-6, 6)
    parts = [shown[[d == name for d in difficulty]].tolist() for name in DIFFICULTY]
    left.hist(
        parts, bins=bins, stacked=True, color=list(DIFFICULTY.values()), label=list(DIFFICULTY), rwidth=0.9
    )
    left.legend()
    label(left, "true margin: reward of chosen − rejected", "pairs", "Left of 0 the label is wrong")
    means = flipped.mean(dim=1)
    right.errorbar(
        temperatures, means, yerr=flipped.std(dim=1), fmt="o", color=WRONG, capsize=3, label="drawn labels"
    )
    right.plot(
        temperatures, _expected_flips(margins, temperatures), color="black", linewidth=1.2, label="expected"
    )
    right.axhline(0.5, **GUIDE_LINE)
    right.annotate("coin", (temperatures[0], 0.5), xytext=(2, -12), textcoords="offset points", fontsize=9)
    right.set_xscale("log")
    right.set_xticks(temperatures, [f"{t:g}" for t in temperatures], minor=False)
    right.set_xticks([], minor=True)
    right.set_ylim(0, 0.55)
    right.legend(loc="lower right")
    label(right, "temperature (units of reward)", "share of flipped labels", "More noise, more flips")
    return figure


def _expected_flips(margins: Tensor, temperatures: Sequence[float]) -> list[float]:
    """Probability that a label is flipped, averaged over the pairs whose rewards differ."""
    sizes = margins[margins != 0].abs()
    return [torch.sigmoid(-sizes / temperature).mean().item() for temperature in temperatures]


def plot_annotators(counts: Sequence[int], wrong: Mapping[str, Tensor]) -> Figure:
    """Share of wrong majority labels against the number of annotators, one line a kind of pair.

    Args:
        counts: K numbers of annotators.
        wrong: name → (R, K), shares of wrong labels in R repeated collections.
    """
    figure, axes = subplots(width=6.2)
    for (name, shares), color in zip(
        wrong.items(), (DIFFICULTY["easy"], "black", DIFFICULTY["hard"]), strict=True
    ):
        mean, spread = shares.mean(dim=0), shares.std(dim=0)
        axes.plot(counts, mean, "o-", color=color, label=name)
        axes.fill_between(counts, mean - 2 * spread, mean + 2 * spread, color=color, alpha=0.2, linewidth=0)
    axes.set_xticks(list(counts))
    axes.set_ylim(0, 0.35)
    axes.legend(reverse=True)
    label(axes, "annotators a pair", "share of wrong labels", "Votes clean up easy pairs first")
    return figure


def table_of_two(share: float, accuracy: float) -> Tensor:
    """Joint probabilities of two annotators' labels A and B, (2, 2).

    Args:
        share: how often A is the right label.
        accuracy: how often each annotator is right, independently of the other.
    """
    right_a, right_b = torch.tensor([accuracy, 1 - accuracy]), torch.tensor([1 - accuracy, accuracy])
    return share * torch.outer(right_a, right_a) + (1 - share) * torch.outer(right_b, right_b)


def agreement_of(table: Tensor) -> tuple[float, float, float]:
    """Raw agreement, chance agreement and κ of a (2, 2) table of joint probabilities; κ is NaN at chance 1."""
    observed, chance = table.trace().item(), (table.sum(0) @ table.sum(1)).item()
    return observed, chance, (observed - chance) / (1 - chance) if chance < 1 - 1e-9 else math.nan


def draw_agreement(share: float, accuracy: float) -> Figure:
    """Two annotators' table (left); raw agreement, chance agreement and κ against the skew (right)."""
    figure, (left, right) = subplots(columns=2)
    table = table_of_two(share, accuracy)
    left.imshow(table, cmap="Greys", vmin=0, vmax=1)
    for i in range(2):
        for j in range(2):
            value = table[i, j].item()
            left.text(
                j, i, f"{value:.3f}", ha="center", va="center", color="white" if value > 0.5 else "black"
            )
    left.set_xticks([0, 1], ["A", "B"])
    left.set_yticks([0, 1], ["A", "B"])
    left.grid(False)
    label(left, "second annotator", "first annotator", "Share of items in each cell")
    _agreement_curves(right, share, accuracy)
    return figure


def _agreement_curves(axes: Axes, share: float, accuracy: float) -> None:
    """Agreement, chance and κ for every skew; dots mark the given one, the title has their values."""
    grid = [0.5 + 0.005 * i for i in range(101)]
    curves = list(zip(*[agreement_of(table_of_two(q, accuracy)) for q in grid], strict=True))
    here = agreement_of(table_of_two(share, accuracy))
    styles = (("raw agreement", RAW_AGREEMENT, "-"), ("by chance", RAW_AGREEMENT, ":"), ("κ", "black", "-"))
    for (name, color, line), curve, value in zip(styles, curves, here, strict=True):
        axes.plot(grid, curve, color=color, linestyle=line, label=name)
        axes.plot([share], [value], "o", color=color)
    axes.set_ylim(-0.05, 1.22)
    axes.legend(loc="upper left", ncols=3, columnspacing=1.2)
    label(
        axes, "share of items whose right label is A", "agreement", f"agree {here[0]:.2f}, κ = {here[2]:.2f}"
    )


def plot_longer_wins(groups: Mapping[str, tuple[int, int]]) -> Figure:
    """How often the longer completion was chosen, with 95 % intervals, one row a set of pairs.

    Args:
        groups: name → (pairs whose longer completion was chosen, pairs of unequal length).
    """
    figure, axes = subplots(width=6.8, height=0.55 * len(groups) + 1.3)
    for row, (wins, total) in enumerate(groups.values()):
        low, high = wilson(wins, total)
        axes.plot([low, high], [row, row], color="black", linewidth=2)
        axes.plot([wins / total], [row], "o", color="black")
    axes.axvline(0.5, **GUIDE_LINE)
    axes.set_yticks(range(len(groups)), [f"{name} (n = {total})" for name, (_, total) in groups.items()])
    axes.invert_yaxis()
    axes.margins(y=0.15)
    label(
        axes, "share of pairs in which the longer one was chosen", "", "Does length alone predict the label?"
    )
    return figure


def wilson(successes: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927); 95 % for z = 1.96."""
    share, extra = successes / total, z**2 / total
    middle = share + extra / 2
    half = z * math.sqrt(share * (1 - share) / total + extra / (4 * total))
    return (middle - half) / (1 + extra), (middle + half) / (1 + extra)


def plot_leak(scores: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Accuracy of several judges on two kinds of split: one dot a seed, a bar for the mean.

    Args:
        scores: split → judge → (R,) accuracies.
    """
    figure, panels = subplots(columns=len(scores), width=3.8, sharey=True)
    for axes, (split, judges) in zip(panels, scores.items(), strict=True):
        for place, values in enumerate(judges.values()):
            axes.bar([place], [values.mean().item()], color=BAR, width=0.55)
            jitter = torch.linspace(-0.15, 0.15, len(values))
            axes.plot(place + jitter, values, ".", color="black", markersize=5)
        axes.axhline(0.5, **GUIDE_LINE)
        axes.set_xticks(range(len(judges)), list(judges))
        axes.set_ylim(0, 1)
        label(axes, "", "held-out accuracy" if axes is panels[0] else "", split)
    return figure
