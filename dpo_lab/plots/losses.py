"""Figures of the loss against the log-ratio gap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpo_lab.losses import dpo_loss
from dpo_lab.plots.style import ACCENT, CHOSEN, GUIDE_LINE, REJECTED, SEQUENCE, label, subplots

GAP = "log-ratio gap δ (nats)"


def loss_and_slope(
    gaps: torch.Tensor, beta: float, label_smoothing: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and dL/dδ of pairs with the given gaps, by autograd: the gap is put on the chosen log-prob."""
    chosen = gaps.clone().requires_grad_()
    zeros = torch.zeros_like(gaps)
    losses, *_ = dpo_loss(chosen, zeros, zeros, zeros, beta, label_smoothing)
    (slopes,) = torch.autograd.grad(losses.sum(), chosen)
    return losses.detach(), slopes


def plot_loss_and_gradient(betas: Sequence[float], span: float = 40.0) -> Figure:
    """Loss (left) and its slope (right) against the gap, one curve a β."""
    gaps = torch.linspace(-span, span, 401)
    figure, (left, right) = subplots(columns=2)
    for beta, color in zip(betas, SEQUENCE, strict=False):
        losses, slopes = loss_and_slope(gaps, beta)
        left.plot(gaps, losses, color=color, label=f"β = {beta:g}")
        right.plot(gaps, slopes, color=color)
        right.plot([0], [-beta / 2], "o", color=color, markersize=5)
    left.axhline(math.log(2), **GUIDE_LINE)
    left.annotate("ln 2", (-span, math.log(2)), xytext=(2, 3), textcoords="offset points", fontsize=9)
    left.set_ylim(-0.1, 4)
    left.legend()
    for axes in (left, right):
        axes.axvline(0, **GUIDE_LINE)
    label(left, GAP, "loss of the pair (nats)", "All curves cross at ln 2")
    label(right, GAP, "slope dL/dδ", "At δ = 0 the slope is −β/2")
    return figure


def plot_label_smoothing(smoothings: Sequence[float], beta: float, span: float = 60.0) -> Figure:
    """Loss against the gap for several label smoothings; a dot marks each minimum, logit(1 − ε)/β."""
    gaps = torch.linspace(-span, span, 801)
    figure, axes = subplots(width=6.2)
    for smoothing, color in zip(smoothings, SEQUENCE, strict=False):
        losses, _ = loss_and_slope(gaps, beta, smoothing)
        axes.plot(gaps, losses, color=color, label=f"ε = {smoothing:g}")
        if smoothing > 0:
            best = torch.tensor([math.log((1 - smoothing) / smoothing) / beta])
            axes.plot(best, loss_and_slope(best, beta, smoothing)[0], "o", color=color)
    axes.axvline(0, **GUIDE_LINE)
    axes.legend()
    label(axes, GAP, "loss of the pair (nats)", f"With ε > 0 the best gap is finite (β = {beta:g})")
    return figure


def draw_pair_state(
    chosen_ratio: float, rejected_ratio: float, beta: float, label_smoothing: float
) -> Figure:
    """One pair on its loss curve (left) and the push on its two log-probs (right)."""
    gap = chosen_ratio - rejected_ratio
    span = max(60.0, 1.1 * abs(gap))
    gaps = torch.linspace(-span, span, 401)
    losses, _ = loss_and_slope(gaps, beta, label_smoothing)
    here, slope = loss_and_slope(torch.tensor([gap]), beta, label_smoothing)
    figure, (left, right) = subplots(columns=2)
    left.plot(gaps, losses, color=ACCENT)
    left.plot([gap], here, "o", color="black", markersize=8)
    left.axvline(0, **GUIDE_LINE)
    top = max(6.0, 1.15 * here.item())
    left.set_ylim(-top / 30, top)
    label(left, GAP, "loss of the pair (nats)", f"loss {here.item():.4f} at δ = {gap:+.1f}")
    draw_pushes(right, chosen_ratio, rejected_ratio, slope.item() / beta)
    return figure


def draw_pushes(axes: Axes, chosen_ratio: float, rejected_ratio: float, share: float) -> None:
    """Both log-ratios as bars; an arrow on each for the step of gradient descent, as a share of the largest, β."""
    axes.bar([0, 1], [chosen_ratio, rejected_ratio], color=[CHOSEN, REJECTED], width=0.5, alpha=0.75)
    for x, ratio, push in ((0, chosen_ratio, -share), (1, rejected_ratio, share)):
        arrow = {"arrowstyle": "-|>", "lw": 2, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x + 0.38, ratio + 45 * push), xytext=(x + 0.38, ratio), arrowprops=arrow)
    axes.axhline(0, color="#444444", linewidth=1)
    axes.set_xticks([0, 1], ["chosen", "rejected"])
    axes.set_xlim(-0.5, 1.7)
    axes.set_ylim(-75, 75)
    label(axes, "", "log π − log π_ref (nats)", f"arrows: a step pushes with {abs(share):.1%} of β")
