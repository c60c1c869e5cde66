"""Figures of PPO's parts, and of PPO beside DPO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from dpo_lab.baselines.advantages import gae
from dpo_lab.plots.style import (
    ACCENT,
    CHOSEN,
    GUIDE_LINE,
    POLICY,
    REFERENCE,
    REFERENCE_LINE,
    REJECTED,
    SEQUENCE,
    label,
    subplots,
)
from dpo_lab.worlds.exact import ExactWorld

COLORS = {
    "DPO": POLICY,
    "PPO, reward model": SEQUENCE[1],
    "PPO, reward model, low β": SEQUENCE[5],
    "PPO, true reward": ACCENT,
}
WORDS = ("the", "soup", "was", "delicious", "but", "the", "staff", "was", "rude", "EOS")
EXPECTED = (
    0.2,
    0.2,
    0.2,
    0.2,
    1.1,
    0.9,
    0.8,
    0.7,
    0.5,
    0.0,
)  # a good value model: what is to come before each token


def plot_clipping(clip_range: float = 0.2) -> Figure:
    """PPO's objective of one token against its ratio, for an advantage of 1 and of −1."""
    figure, _ = subplots(columns=2, width=4.4, height=3.1, sharey=True)
    ratios = np.linspace(0.4, 1.6, 241)
    for panel, advantage in zip(figure.axes, (1.0, -1.0), strict=True):
        clipped = ratios.clip(1 - clip_range, 1 + clip_range) * advantage
        panel.plot(ratios, ratios * advantage, **REFERENCE_LINE, label="ρ A")
        panel.plot(ratios, np.minimum(ratios * advantage, clipped), color=POLICY, label="min(ρ A, clip(ρ) A)")
        for edge in (1 - clip_range, 1 + clip_range):
            panel.axvline(edge, **GUIDE_LINE)
        panel.plot(1, advantage, "o", color=ACCENT)
        sense = "better" if advantage > 0 else "worse"
        label(panel, "ratio ρ", "objective", f"A = {advantage:+.0f}: {sense} than expected")
    figure.axes[0].legend(loc="lower right")
    return figure


def draw_advantages(lam: float, error: float, score: float) -> Figure:
    """Advantages of a ten-token review by λ, with a value model that is wrong at one token.

    Args:
        lam: λ of GAE.
        error: what the value model says too much before the fifth token, `but`.
        score: the review's reward, at its EOS.
    """
    values = torch.tensor([EXPECTED])
    values[0, 4] += error
    rewards = torch.zeros(1, len(WORDS))
    rewards[0, -1] = score
    mask = torch.ones(1, len(WORDS), dtype=torch.bool)
    found = gae(rewards, values, mask, 1.0, lam)[0].tolist()
    figure, axes = subplots(width=7.6, height=3.4)
    axes.bar(range(len(WORDS)), found, color=[CHOSEN if a > 0 else REJECTED for a in found], width=0.65)
    axes.plot(range(len(WORDS)), values[0], "o--", color=REFERENCE, markersize=4, linewidth=1.2, label="V")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(WORDS)), WORDS)
    axes.set_ylim(-3, 3)
    axes.legend(loc="upper left")
    label(axes, "", "advantage, in units of reward", f"λ = {lam:.2f}")
    return figure


def plot_exact_rivals(
    world: ExactWorld, true_reward: pd.DataFrame, pairs: pd.DataFrame, betas: Sequence[float]
) -> Figure:
    """The exact world's frontier; left PPO on the true reward, right DPO and PPO from the same pairs.

    Args:
        world: gives the curve.
        true_reward: runs with `kl` and `reward`.
        pairs: runs with `method`, `rewards`, `kl`, `reward`.
        betas: whose optima are marked.
    """
    figure, _ = subplots(columns=2, width=5.0, height=3.8, sharey=True)
    curve = pd.DataFrame(world.frontier([10 ** (i / 20) for i in range(-16, 30)]))
    optima = pd.DataFrame(world.frontier(betas))
    for panel in figure.axes:
        panel.plot(curve["kl"], curve["reward"], color="#999999", linewidth=1.5, zorder=1)
        panel.plot(
            optima["kl"], optima["reward"], "s", color="black", markersize=5, label="π* of each β", zorder=2
        )
        panel.plot(0, world.expected_reward(world.ref_logps), "D", color=REFERENCE, label="reference")
    left, right = figure.axes
    left.plot(true_reward["kl"], true_reward["reward"], "o", color=ACCENT, mfc="none", ms=8, label="PPO")
    marks = {"table": "^", "features": "o"}
    for (rewards, method), runs in pairs.groupby(["rewards", "method"], sort=False):
        style = {"color": COLORS["DPO"], "mfc": COLORS["DPO"], "ms": 5}
        if method == "PPO":
            style = {"color": COLORS["PPO, reward model"], "mfc": "none", "ms": 9}
        name = f"{method}, {rewards}"
        right.plot(runs["kl"], runs["reward"], marks[rewards], linestyle="none", label=name, **style)
    for panel, title in ((left, "Given the true reward"), (right, "Given 2,000 labelled pairs")):
        panel.legend(loc="lower right", fontsize=9)
        label(panel, "KL(π ‖ π_ref), nats", "expected true reward", title)
    return figure


def plot_search(search: pd.DataFrame) -> Figure:
    """Left: scores of the random draws, best first. Right: score against the learning rate."""
    figure, _ = subplots(columns=2, width=4.8, height=3.5, sharey=True)
    ranked, by_rate = figure.axes
    for method, color in (("DPO", POLICY), ("PPO", SEQUENCE[1])):
        runs = search[search["method"] == method]
        shown = runs["score"].clip(lower=-1)
        ranked.plot(
            range(1, len(runs) + 1), sorted(shown, reverse=True), "o-", color=color, ms=4, label=method
        )
        by_rate.plot(runs["lr"], shown, "o", color=color, ms=5, alpha=0.8)
    for panel in figure.axes:
        panel.axhline(0, **REFERENCE_LINE)
        panel.axhline(1, **GUIDE_LINE)
    by_rate.set_xscale("log")
    ranked.legend(loc="lower left")
    label(ranked, "rank of the draw", "share of the best objective", "Best to worst draw")
    label(by_rate, "learning rate", "", "The rate decides most")
    return figure


def plot_rivals(looks: pd.DataFrame, timed: Sequence[str]) -> Figure:
    """True reward along training: a thin line a run, a colour a method.

    Args:
        looks: one row a look: `method`, `seed`, `seconds`, `reward`, `kl`.
        timed: the methods whose seconds can be compared; the left panel shows them alone.
    """
    figure, _ = subplots(columns=2, width=5.0, height=3.8, sharey=True)
    for panel, x in zip(figure.axes, ("seconds", "kl"), strict=True):
        for method, color in COLORS.items():
            runs = looks[looks["method"] == method]
            if x == "seconds" and method not in timed:
                continue
            for index, (_, run) in enumerate(runs.groupby("seed")):
                named = {"label": method} if index == 0 else {}
                panel.plot(run[x], run["reward"], "o-", color=color, ms=3, linewidth=1.2, **named)
    by_time, by_kl = figure.axes
    by_time.legend(loc="lower right", fontsize=9)
    by_kl.legend(loc="lower right", fontsize=9)
    label(by_time, "seconds of training", "true reward, mean", "What the seconds buy")
    label(by_kl, "KL(π ‖ π_ref), nats a completion", "", "What the distance buys")
    return figure


def plot_over_optimisation(runs: pd.DataFrame) -> Figure:
    """What the reward model says (solid) and the truth (dashed): PPO by batch, best-of-n by n. A line a seed."""
    figure, _ = subplots(columns=2, width=5.0, height=3.6)
    ppo, best = figure.axes
    for index, run in enumerate(runs.to_dict("records")):
        for name, color, style in (("learned", SEQUENCE[1], "-"), ("true", ACCENT, "--")):
            smooth = pd.Series(run[name]).rolling(3, min_periods=1).mean()
            named = {"label": f"{name} reward"} if index == 0 else {}
            ppo.plot(range(1, len(smooth) + 1), smooth, color=color, linestyle=style, linewidth=1.3, **named)
            best.plot(
                run["n"], run[f"bon_{name}"], color=color, linestyle=style, linewidth=1.3, marker="o", ms=3
            )
    best.set_xscale("log", base=2)
    best.set_xticks(runs.iloc[0]["n"], [str(n) for n in runs.iloc[0]["n"]])
    best.minorticks_off()
    ppo.legend(loc="best", fontsize=9)
    label(ppo, "batch", "mean reward of a batch", "PPO on the reward model")
    label(best, "n", "mean reward of what is kept", "Best of n by the reward model")
    return figure
