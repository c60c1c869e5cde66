"""Figures of the KL-regularised optimum: policies as bars, the frontier, implicit against true rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpo_lab.plots.style import ACCENT, GUIDE_LINE, POLICY, POLICY_LINE, REFERENCE, SEQUENCE, label, subplots
from dpo_lab.worlds.exact import ExactWorld

KL = "KL(π ‖ π_ref) (nats)"
CURVE_BETAS = tuple(torch.logspace(-1, 2, 61).tolist())


def plot_optimal_policies(world: ExactWorld, betas: Sequence[float]) -> Figure:
    """Reference and optimal policy over a small world's completions, a panel a β; words ordered by reward."""
    figure, panels = subplots(columns=len(betas), width=3.5, height=3.7, sharey=True)
    for axes, beta in zip(panels, betas, strict=True):
        draw_bars(axes, world, beta)
    panels[0].set_ylabel("probability")
    panels[0].legend(loc="upper left")
    return figure


def draw_bars(axes: Axes, world: ExactWorld, beta: float) -> None:
    """Reference and optimal policy of one β as bars, with each word's reward below its name."""
    order = world.rewards.argsort()
    places = torch.arange(len(world))
    reference, optimum = world.ref_logps.exp()[order], world.optimal_logps(beta).exp()[order]
    axes.bar(
        places - 0.2, reference, 0.4, color="white", edgecolor=REFERENCE, hatch="////", label="reference"
    )
    axes.bar(places + 0.2, optimum, 0.4, color=POLICY, label="optimal policy")
    axes.set_xticks(
        places, [f"{world.completions[i]}\n{world.rewards[i]:+.1f}" for i in order.tolist()], fontsize=10
    )
    axes.set_ylim(0, 1.02)
    axes.grid(visible=False, axis="x")
    label(axes, "completion, and its reward below", "", f"β = {beta:.3g}")


@cache
def small_world() -> ExactWorld:
    """Eight completions: few enough to see every one."""
    return ExactWorld(seed=2, alphabet="ab", length=3)


def draw_optimum(beta: float) -> Figure:
    """The optimal policy of the eight-word world (left) and its place on the frontier (right)."""
    world = small_world()
    figure, (left, right) = subplots(columns=2, width=5.4)
    draw_bars(left, world, beta)
    left.set_ylabel("probability")
    left.legend(loc="upper left")
    draw_curve(right, world)
    optimum = world.optimal_logps(beta)
    right.plot(world.kl(optimum), world.expected_reward(optimum), "o", color="black", markersize=8)
    highest = world.rewards.max().item()
    right.axhline(highest, **GUIDE_LINE)
    right.annotate("highest reward", (0, highest), xytext=(4, -12), textcoords="offset points", fontsize=9.5)
    title = f"KL = {world.kl(optimum):.3f}, E[r] = {world.expected_reward(optimum):.3f}"
    label(right, KL, "expected reward E[r]", title)
    return figure


def draw_curve(axes: Axes, world: ExactWorld) -> None:
    """The frontier of a world: its closed-form optima for β from 100 down to 0.1, and the reference."""
    rows = world.frontier(CURVE_BETAS)
    axes.plot(
        [row["kl"] for row in rows], [row["reward"] for row in rows], label="closed form", **POLICY_LINE
    )
    start = world.expected_reward(world.ref_logps)
    axes.plot([0], [start], "s", color=REFERENCE, label="reference", markersize=7)


def plot_frontier(
    world: ExactWorld,
    betas: Sequence[float],
    trained: Mapping[float, torch.Tensor],
    others: Sequence[torch.Tensor],
) -> Figure:
    """Expected reward against KL: the closed form's curve, DPO's optima on it, other policies below it.

    Args:
        world: where both are sums.
        betas: which optima to name on the curve.
        trained: β → (N,) log-probs of a policy that DPO trained.
        others: (N,) log-probs of policies to compare with.
    """
    figure, axes = subplots(width=7.4, height=4.4)
    reached = [(world.kl(logps), world.expected_reward(logps)) for logps in others]
    axes.plot(*zip(*reached, strict=True), ".", color="#bbbbbb", label="other policies", markersize=5)
    draw_curve(axes, world)
    # above the curve, where no policy lies: a label covers nothing there
    text = {"xytext": (-11, 5), "textcoords": "offset points", "ha": "right", "fontsize": 9.5}
    for row in world.frontier(betas):
        axes.annotate(f"β = {row['beta']:g}", (row["kl"], row["reward"]), **text)
        axes.plot(row["kl"], row["reward"], "o", color=POLICY, markersize=5)
    places = [(world.kl(logps), world.expected_reward(logps)) for logps in trained.values()]
    ring = {"markersize": 12, "markerfacecolor": "none", "markeredgewidth": 2, "linestyle": "none"}
    axes.plot(*zip(*places, strict=True), "o", color=ACCENT, label="trained with DPO", **ring)
    axes.legend(loc="lower right")
    axes.set_xlim(-0.75, 5.6)
    axes.set_ylim(top=2.65)
    label(axes, KL, "expected reward E[r]", "Higher β stays closer to the reference")
    return figure


def plot_implicit_rewards(worlds: Mapping[str, ExactWorld], beta: float) -> Figure:
    """Implicit against true reward of every completion at the optimum, one colour a prompt.

    Args:
        worlds: name of a prompt → its world.
        beta: weight of the KL term, > 0.
    """
    figure, axes = subplots(width=5.6, height=4.2)
    for (name, world), color, marker in zip(
        worlds.items(), (SEQUENCE[1], SEQUENCE[3]), ("o", "^"), strict=False
    ):
        implicit = beta * (world.optimal_logps(beta) - world.ref_logps)
        axes.plot(world.rewards, implicit, marker, color=color, markersize=3, label=name)
    axes.axline((0, 0), slope=1, **GUIDE_LINE)
    axes.legend(markerscale=2)
    label(axes, "true reward r(x, y)", "implicit reward β log π*/π_ref", "Two prompts, two offsets")
    return figure
