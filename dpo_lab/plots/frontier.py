"""Figures of what β does: points on and off the frontier, KL against β in three regimes, a controller at work."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dpo_lab.plots.optimum import KL, draw_curve
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
from dpo_lab.worlds.exact import ExactWorld

FAR_BETAS = tuple(0.1 * 10 ** (-step / 30) for step in range(31))
REWARD = "expected reward E[r]"
BETA = "β"
# loss and kind of label → how its points look
MARKS = {
    ("sigmoid", False): {"marker": "X", "color": POLICY, "label": "DPO, hard labels"},
    ("sigmoid", True): {"marker": "o", "color": POLICY, "label": "DPO, soft labels"},
    ("ipo", False): {"marker": "X", "color": ACCENT, "label": "IPO, hard labels"},
    ("ipo", True): {"marker": "o", "color": ACCENT, "label": "IPO, soft labels"},
}


def plot_converged(world: ExactWorld, runs: pd.DataFrame) -> Figure:
    """The closed-form frontier and where DPO's training on infinite data ended; `runs` has beta, kl, reward."""
    figure, axes = subplots(width=7.0, height=4.2)
    draw_curve(axes, world)
    ring = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 2, "linestyle": "none"}
    axes.plot(runs["kl"], runs["reward"], "o", color=ACCENT, label="DPO, trained to the end", **ring)
    for row in runs.to_dict("records"):
        axes.annotate(
            f"β = {row['beta']:g}",
            (row["kl"], row["reward"]),
            xytext=(-12, 5),
            textcoords="offset points",
            ha="right",
        )
    axes.set_xlim(-0.9, 5.6)
    axes.set_ylim(top=2.7)
    axes.legend(loc="lower right")
    label(axes, KL, REWARD, "On infinite data DPO ends on the frontier")
    return figure


def plot_finite(world: ExactWorld, runs: pd.DataFrame) -> Figure:
    """Where DPO and IPO end with finitely many pairs, a panel a number of pairs, a point a run.

    Args:
        world: whose frontier is drawn.
        runs: columns pairs, soft, loss, kl, reward.
    """
    sizes = list(dict.fromkeys(runs["pairs"]))
    figure, panels = subplots(columns=len(sizes), width=3.9, height=3.9, sharey=True, squeeze=False)
    for axes, size in zip(panels[0], sizes, strict=True):
        draw_curve(axes, world)
        draw_far_end(axes, world)
        for (loss, soft), look in MARKS.items():
            chosen = runs[(runs["pairs"] == size) & (runs["loss"] == loss) & (runs["soft"] == soft)]
            axes.scatter(chosen["kl"], chosen["reward"], s=42, alpha=0.75, linewidths=0, **look)
        axes.set_xlim(-0.6, 15)
        label(axes, KL, "", f"{size:,} pairs")
    panels[0][0].set_ylabel(REWARD)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def draw_far_end(axes: Axes, world: ExactWorld) -> None:
    """The frontier from where `draw_curve` stops, β = 0.1, down to 0.01: as far as hard labels drive a policy."""
    rows = world.frontier(FAR_BETAS)
    axes.plot([row["kl"] for row in rows], [row["reward"] for row in rows], **POLICY_LINE)


def plot_runaway(runs: pd.DataFrame) -> Figure:
    """KL against the steps of training, a line a name; `runs` has name, step, kl, a row a seed."""
    figure, axes = subplots(width=8.0, height=4.0)
    looks = zip(dict.fromkeys(runs["name"]), (*SEQUENCE[1:4], POLICY, ACCENT), strict=False)
    for name, color in looks:
        own = runs[runs["name"] == name]
        means = own.groupby("step")["kl"].mean()
        line = "-" if name.endswith("hard") and name.startswith("DPO") else "--"
        axes.plot(own["step"], own["kl"], ".", color=color, alpha=0.5)
        axes.plot(means.index, means, line, color=color, label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    label(axes, "steps", KL, "On hard labels a larger β delays the drift; it does not end it")
    return figure


def draw_seeds(axes: Axes, runs: pd.DataFrame, name: str, color: str = POLICY, legend: str = "") -> None:
    """A dot a run and a line through the means over seeds, against β."""
    axes.plot(runs["beta"], runs[name], ".", color=color, alpha=0.55, markersize=8)
    means = runs.groupby("beta")[name].mean()
    axes.plot(means.index, means, "-", color=color, label=legend or None)
    axes.set_xscale("log")


def plot_beta_regimes(regimes: Mapping[str, pd.DataFrame]) -> Figure:
    """KL against β, a panel a way of training; each table has beta, seed, kl.

    A panel whose means span more than a factor of 50 has a logarithmic scale, with a linear piece around 0, where
    an estimate may be negative.
    """
    figure, panels = subplots(columns=len(regimes), width=3.9, height=3.6)
    for axes, (title, runs) in zip(panels, regimes.items(), strict=True):
        draw_seeds(axes, runs, "kl")
        means = runs.groupby("beta")["kl"].mean()
        if means.max() > 50 * abs(means.min()):
            axes.set_yscale("symlog", linthresh=0.01)
            axes.set_ylim(-0.005, 5)
        else:
            axes.set_ylim(bottom=0)
        label(axes, BETA, "", title)
    panels[0].set_ylabel(KL)
    return figure


def plot_beta_metrics(runs: pd.DataFrame) -> Figure:
    """Everything that a sweep over β measured, a panel a metric, a dot a seed."""
    figure, panels = subplots(columns=3, rows=2, width=3.9, height=3.0)
    titles = {
        "kl": (KL, "Distance"),
        "reward": ("true reward", "Reward"),
        "length": ("tokens a completion", "Length"),
        "distinct_2": ("distinct-2", "Variety"),
        "logps/chosen": ("log-prob (nats)", "Held-out pairs"),
        "rewards/accuracies": ("share of held-out pairs", "Reward accuracy"),
    }
    for axes, (name, (unit, title)) in zip(panels.flat, titles.items(), strict=True):
        paired = name == "logps/chosen"
        draw_seeds(axes, runs, name, CHOSEN if paired else POLICY, "chosen" if paired else "")
        if paired:
            draw_seeds(axes, runs, "logps/rejected", REJECTED, "rejected")
            axes.legend()
        label(axes, BETA, unit, title)
    return figure


def plot_reward_against_kl(
    runs: pd.DataFrame, best_of_n: pd.DataFrame, sft: pd.DataFrame, reference_reward: float
) -> Figure:
    """Reward against KL of a sweep over β, with two baselines; bars are one standard deviation over seeds.

    Args:
        runs: DPO runs with beta, seed, kl, reward.
        best_of_n: rows with n, seed, kl (an upper bound) and reward.
        sft: runs of SFT on the chosen completions, with kl and reward.
        reference_reward: mean true reward of the reference.
    """
    figure, axes = subplots(width=7.4, height=4.6)
    draw_cloud(axes, runs, "beta", "β = {:g}", {"color": POLICY, "marker": "o", "linestyle": "-"}, "DPO")
    name = "best of n (KL: upper bound)"
    draw_cloud(axes, best_of_n, "n", "n = {:g}", {"color": CHOSEN, "marker": "s", "linestyle": ":"}, name)
    look = {"color": ACCENT, "marker": "D", "linestyle": "none"}
    draw_cloud(axes, sft.assign(all=0), "all", "", look, "SFT on chosen")
    axes.plot([0], [reference_reward], "s", color=REFERENCE, markersize=8, label="reference")
    axes.axhline(reference_reward, **GUIDE_LINE)
    axes.set_ylim(top=3.2)
    axes.legend(loc="upper right")
    label(axes, KL, "true reward", "What each nat buys")
    return figure


def draw_cloud(
    axes: Axes, runs: pd.DataFrame, by: str, text: str, look: Mapping[str, str], name: str
) -> None:
    """Mean and spread over seeds in both directions, a named point for each value of `by`."""
    grouped = runs.groupby(by)[["kl", "reward"]]
    means, spread = grouped.mean(), grouped.std().fillna(0.0)
    axes.errorbar(
        means["kl"],
        means["reward"],
        xerr=spread["kl"],
        yerr=spread["reward"],
        capsize=2,
        elinewidth=1,
        linewidth=1.2,
        label=name,
        **look,
    )
    for value, row in means.iterrows():
        axes.annotate(
            text.format(value),
            (row["kl"], row["reward"]),
            # best of n is the upper curve, so its names go above it, and the others below
            xytext=(-8, 4) if by == "n" else (4, -13),
            textcoords="offset points",
            ha="right" if by == "n" else "left",
            fontsize=9,
        )


def plot_controller(runs: pd.DataFrame, target_kl: float) -> Figure:
    """Measured KL (left) and β (right) against the step; a thin line a seed, a thick one their mean.

    Args:
        runs: columns name, and step, measured_kl, used_beta, each a list.
        target_kl: drawn as a line.
    """
    figure, (left, right) = subplots(columns=2, width=5.2, height=3.8)
    looks = zip((REFERENCE, SEQUENCE[1], SEQUENCE[3]), ("--", "-", "-"), strict=True)
    for (name, own), (color, line) in zip(runs.groupby("name", sort=False), looks, strict=False):
        for axes, column in ((left, "measured_kl"), (right, "used_beta")):
            for _, run in own.iterrows():
                axes.plot(run["step"], run[column], line, color=color, linewidth=0.8, alpha=0.5)
            mean = pd.DataFrame(own[column].tolist()).mean()
            axes.plot(own["step"].iloc[0], mean, line, color=color, label=name)
    left.axhline(target_kl, **GUIDE_LINE)
    left.annotate("target", (0, target_kl), xytext=(2, 4), textcoords="offset points", fontsize=9.5)
    left.set_xlim(left=0)
    left.set_ylim(bottom=0)
    right.set_yscale("log")
    right.legend(loc="best", fontsize=9)
    label(left, "step", KL, "Where the policy is")
    label(right, "step", BETA, "What the controller does")
    return figure


@cache
def explorer_world() -> ExactWorld:
    """64 completions: a fit takes a fraction of a second."""
    return ExactWorld(seed=1, alphabet="abcd", length=3)


def draw_trained(beta: float, pairs: int | None, soft: bool, loss: str) -> Figure:
    """One trained policy of a small world: its place beside the frontier, and its likeliest completions.

    Args:
        beta: weight of the KL term; IPO's τ.
        pairs: how many, or None for infinite data.
        soft: soft labels instead of hard ones.
        loss: "sigmoid" or "ipo".
    """
    world = explorer_world()
    drawn = None if pairs is None else world.sample_pairs(pairs, soft=soft)
    trained = world.fit(beta, drawn, steps=100, loss=loss)
    kl, reward = world.kl(trained), world.expected_reward(trained)
    figure, (left, right) = subplots(columns=2, width=5.4, height=3.8)
    draw_curve(left, world)
    left.plot(kl, reward, "o", color="black", markersize=9)
    left.set_xlim(-0.3, max(6.0, 1.1 * kl))
    left.legend(loc="lower right")
    label(left, KL, REWARD, f"KL = {kl:.3f}, E[r] = {reward:.3f}")
    draw_likeliest(right, world, trained)
    return figure


def draw_likeliest(axes: Axes, world: ExactWorld, logps: Tensor) -> None:
    """The ten likeliest completions, with what the reference gives them and their true reward."""
    top = logps.argsort(descending=True)[:10].flip(0)
    places = range(len(top))
    axes.barh([p + 0.2 for p in places], logps.exp()[top], 0.4, color=POLICY, label="policy")
    axes.barh(
        [p - 0.2 for p in places],
        world.ref_logps.exp()[top],
        0.4,
        color="white",
        edgecolor=REFERENCE,
        hatch="////",
        label="reference",
    )
    axes.set_yticks(places, [f"{world.completions[i]}  {world.rewards[i]:+.1f}" for i in top.tolist()])
    axes.set_xlim(0, 1.02)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower right")
    label(axes, "probability", "", "Its ten likeliest completions, and their reward")
