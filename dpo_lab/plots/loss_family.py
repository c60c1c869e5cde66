"""Figures of the losses side by side: shape and slope of each, one pair under a loss of one's choice, a race."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dpo_lab.losses import LOSSES
from dpo_lab.plots.optimum import KL
from dpo_lab.plots.style import ACCENT, CHOSEN, GUIDE_LINE, REJECTED, SEQUENCE, label, subplots

FAMILIES = {
    "the margin alone": ("sigmoid", "robust", "hinge", "ipo", "exo_pair", "discopop"),
    "the margin and a term more": ("dpop", "dpo_nll"),
    "each completion alone": ("kto", "bco_pair", "nca_pair", "sppo_hard", "apo_zero", "apo_down"),
    "no reference": ("simpo", "orpo", "cpo"),
}
COLORS = dict(zip(FAMILIES, (SEQUENCE[1], SEQUENCE[2], ACCENT, "#E69F00"), strict=True))
FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}
MARKERS = dict(
    zip(("sigmoid", "hinge", "ipo", "exo_pair", "kto", "bco_pair", "simpo", "orpo"), "osDv^<>P", strict=True)
)
TOKENS = 10.0  # of each completion in the drawings; under the reference it has −40 nats
REF_LOGP = -40.0
SHOWN = {
    "robust": {"label_smoothing": 0.2},
    "dpop": {"penalty": 3.0},
}  # settings that show what the loss is about


def loss_and_slopes(
    name: str, chosen: Tensor, rejected: Tensor, beta: float, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Each pair's loss and its slopes in both log-probs, by autograd.

    Args:
        name: a key of `LOSSES`.
        chosen: (B,) log-ratios of the chosen completions, in nats; each is ten tokens long and has −40 nats under the
            reference. Losses that take means see a tenth of the sums.
        rejected: (B,) log-ratios of the rejected ones.
        beta: the loss's strength.
        options: of the loss.

    Returns:
        losses, slopes in the chosen, slopes in the rejected log-probs: each (B,).
    """
    loss = LOSSES[name]
    moved = [(REF_LOGP + ratio.double()).requires_grad_() for ratio in (chosen, rejected)]
    four = [*moved, *[torch.full_like(moved[0], REF_LOGP)] * 2]
    if loss.average:
        four = [logps / TOKENS for logps in four]
    if loss.lengths:
        options |= dict.fromkeys(("chosen_lengths", "rejected_lengths"), torch.full_like(moved[0], TOKENS))
    if loss.mismatched:
        options.setdefault("mismatched_log_ratios", torch.zeros(1, dtype=torch.float64))
    losses, *_ = loss.function(*four, beta=beta, **options)
    slopes = torch.autograd.grad(losses.sum(), moved, allow_unused=True)
    return losses.detach(), *[torch.zeros_like(losses) if slope is None else slope for slope in slopes]


def plot_loss_family(span: float = 6.0) -> Figure:
    """A panel a loss: its value (solid) and its slope (dashed) against the margin, DPO's value behind it in grey."""
    names = [name for names in FAMILIES.values() for name in names]
    figure, panels = subplots(columns=6, rows=3, width=2.25, height=2.1, sharex=True, sharey=True)
    margins = torch.linspace(-span, span, 241, dtype=torch.float64)
    plain = shape("sigmoid", margins)[0]
    for axes, name in zip(panels.flat, names, strict=False):
        losses, slopes = shape(name, margins)
        color = COLORS[FAMILY_OF[name]]
        axes.plot(margins, plain, color="#bbbbbb", linewidth=1.5)
        axes.plot(margins, losses, color=color)
        axes.plot(margins, slopes, "--", color=color, linewidth=1.5)
        axes.axvline(0, **GUIDE_LINE)
        axes.set_title(name, color=color)
    panels[0, 0].set_ylim(-2.2, 4.2)
    last = panels.flat[len(names)]
    last.axis("off")
    lines = [axes_line(last, color, family) for family, color in COLORS.items()]
    lines += [axes_line(last, "#444444", "slope dL/dm", "--"), axes_line(last, "#bbbbbb", "DPO's loss")]
    last.legend(handles=lines, loc="center left", fontsize=8.5, borderpad=0)
    figure.supxlabel("margin m: the chosen reward is +m/2, the rejected one −m/2", fontsize=10.5)
    figure.supylabel("loss, from its value at m = 0; slope", fontsize=10.5)
    return figure


def shape(name: str, margins: Tensor) -> tuple[Tensor, Tensor]:
    """Loss, from its value at margin 0, and its slope in the margin, at β = 1; token means are taken for rewards."""
    unit = (
        TOKENS if LOSSES[name].average else 1.0
    )  # so that a margin of 1 is a margin of 1 in what the loss sees
    options = SHOWN.get(name, {})
    losses, up, down = loss_and_slopes(name, unit * margins / 2, -unit * margins / 2, 1.0, **options)
    middle = loss_and_slopes(name, torch.zeros(1), torch.zeros(1), 1.0, **options)[0]
    return losses - middle, unit * (up - down) / 2


def axes_line(axes: Axes, color: str, text: str, style: str = "-") -> Any:
    """A line for the legend that is not in the panel."""
    (line,) = axes.plot([], [], style, color=color, label=text)
    return line


def draw_one_pair(loss: str, beta: float, chosen_ratio: float, rejected_ratio: float) -> Figure:
    """One pair under a loss: the loss as the chosen completion moves (left), the push on both completions (right)."""
    chosen = torch.linspace(-30, 30, 301, dtype=torch.float64)
    losses, *_ = loss_and_slopes(loss, chosen, torch.full_like(chosen, rejected_ratio), beta)
    here, up, down = (
        x.item()
        for x in loss_and_slopes(loss, torch.tensor([chosen_ratio]), torch.tensor([rejected_ratio]), beta)
    )
    figure, (left, right) = subplots(columns=2)
    left.plot(chosen, losses, color=COLORS.get(FAMILY_OF.get(loss, ""), "#444444"))
    left.plot([chosen_ratio], [here], "o", color="black", markersize=8)
    left.axvline(0, **GUIDE_LINE)
    label(left, "chosen log-ratio (nats)", "loss of the pair", f"{loss}: loss {here:.3f}")
    right.barh([1, 0], [-up / beta, -down / beta], color=[CHOSEN, REJECTED], height=0.5, alpha=0.8)
    right.axvline(0, color="#444444", linewidth=1)
    right.set_yticks([1, 0], ["chosen", "rejected"])
    most = max(1.0, 1.15 * abs(up / beta), 1.15 * abs(down / beta))
    right.set_xlim(-most, most)
    right.locator_params(axis="x", nbins=5)
    label(
        right,
        "push of a gradient step on the log-prob, over β",
        "",
        f"chosen {-up / beta:+.2f}, rejected {-down / beta:+.2f}".replace("-", "−"),
    )
    return figure


def plot_best_gaps(curves: pd.DataFrame) -> Figure:
    """Best log-ratio gap against the label's probability; `curves` has loss, p, trained, formula."""
    figure, axes = subplots(width=6.8, height=3.9)
    colors = (SEQUENCE[1], ACCENT, "#E69F00")
    for (name, rows), color in zip(curves.groupby("loss", sort=False), colors, strict=False):
        axes.plot(rows["p"], rows["formula"], "-", color=color, label=name)
        axes.plot(rows["p"], rows["trained"], "o", color=color, markersize=5)
    axes.axhline(0, **GUIDE_LINE)
    axes.legend()
    label(
        axes,
        "probability p that the label calls the first word chosen",
        "log-ratio gap δ (nats)",
        "Only DPO's gap has no bound",
    )
    return figure


def plot_exact_race(runs: pd.DataFrame, losses: Sequence[str]) -> Figure:
    """Share of the frontier's gain against KL, a panel a share of flipped labels; `runs` as `exact_race_run` gives."""
    shares = list(dict.fromkeys(runs["flipped"]))
    figure, panels = subplots(columns=len(shares), width=5.2, height=4.2, sharey=True, squeeze=False)
    for axes, share in zip(panels[0], shares, strict=True):
        for name in losses:
            draw_strengths(
                axes, runs[(runs["flipped"] == share) & (runs["loss"] == name)], "efficiency", name
            )
        axes.axhline(1, **GUIDE_LINE)
        axes.set_xlim(left=0)
        label(axes, KL, "", "clean labels" if share == 0 else f"{share:.0%} of the labels flipped")
    panels[0][0].set_ylabel("reward gained, as a share of the frontier's")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def draw_strengths(axes: Axes, runs: pd.DataFrame, value: str, name: str) -> None:
    """A small mark a run, and a line through the means over seeds, strength after strength."""
    color, marker = COLORS[FAMILY_OF[name]], MARKERS.get(name, "o")
    axes.plot(runs["kl"], runs[value], marker, color=color, alpha=0.3, markersize=4, linestyle="none")
    means = runs.groupby("beta")[["kl", value]].mean()
    axes.plot(means["kl"], means[value], marker=marker, color=color, markersize=7, label=name, linewidth=1.5)


def plot_race(runs: pd.DataFrame, losses: Sequence[str]) -> Figure:
    """Reward (left) and length (right) against KL on the language model, a line a loss through its strengths."""
    figure, panels = subplots(columns=2, width=5.2, height=4.2)
    for axes, value, name in zip(
        panels, ("reward", "length"), ("true reward on held-out prompts", "tokens a completion"), strict=True
    ):
        for loss in losses:
            draw_strengths(axes, runs[runs["loss"] == loss], value, loss)
        label(axes, KL, name)
    panels[0].set_title("Reward bought with distance")
    panels[1].set_title("Some of it is length")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(losses))
    return figure
