"""Where to ask for labels, in the exact world: reward and KL of every run are sums, so the spread is the labels' own.

Policies are π ∝ π_ref exp(features · weights), as in `noisy_labels`: what is learnt of one word carries over to others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpo_lab.collecting import best_and_worst
from dpo_lab.diagnostics.active import select_active_pairs
from dpo_lab.experiments.noisy_labels import features, world
from dpo_lab.losses import dpo_loss

METHODS: dict[str, dict[str, Any]] = {
    "offline": {},
    "offline, β / 4": {"beta": 0.25},
    "iterative": {"rounds": 4, "refresh": True},
    "online": {"rounds": 4},
    "best of 4": {"n": 4},
    "active": {"rounds": 4, "candidates": 4},
}


def where_run(method: str, seed: int, *, n_labels: int = 512, beta: float = 0.5) -> dict[str, float]:
    """Spend a budget of labels by one of the `METHODS`, and measure the policy exactly.

    With a fixed reference each round trains anew on all pairs so far: a label stays true whoever drew the pair. With a
    refreshed one a round trains on its own pairs. A policy that collapsed has no two words to compare: the rest of its
    labels stays unspent.

    Args:
        method: a key of `METHODS`.
        seed: of pairs and labels.
        n_labels: comparisons in all.
        beta: weight of the KL term, times the method's own factor.

    Returns:
        `reward`, `kl` to the first reference, `gain` (of E[r] − β KL over the reference, as a share of what the best
        policy gains), `pairs`, and `drawn`, completions sampled.
    """
    options = {"rounds": 1, "beta": 1.0, "refresh": False, "n": 2, "candidates": 1} | METHODS[method]
    generator = torch.Generator().manual_seed(seed)
    start, weights = torch.zeros(2, features().shape[1], dtype=torch.float64)
    gaps: list[Tensor] = []
    pairs = drawn = 0
    for _ in range(options["rounds"]):
        if options["refresh"]:
            start, gaps = weights, []
        margins = features() @ (weights - start)
        fresh, sampled = label(weights, margins, n_labels // options["rounds"], options, generator)
        if not len(fresh):
            break  # the policy writes one word only: there is nothing left to compare
        gaps.append(fresh)
        pairs, drawn = pairs + len(fresh), drawn + sampled
        weights = start + fit(torch.cat(gaps), beta * options["beta"])
    return worth(log_policy(weights), beta) | {"pairs": pairs, "drawn": drawn}


def log_policy(weights: Tensor) -> Tensor:
    """(N,) log-probs of π ∝ π_ref exp(features · weights)."""
    return (world().ref_logps + features() @ weights).log_softmax(dim=-1)


def worth(logps: Tensor, beta: float) -> dict[str, float]:
    """`reward`, `kl` and `gain` of a policy."""
    nothing, best = (world().objective(p, beta) for p in (world().ref_logps, world().optimal_logps(beta)))
    gain = (world().objective(logps, beta) - nothing) / (best - nothing)
    return {"reward": world().expected_reward(logps), "kl": world().kl(logps), "gain": gain}


def label(
    weights: Tensor, log_ratios: Tensor, budget: int, options: dict[str, Any], generator: torch.Generator
) -> tuple[Tensor, int]:
    """(n, F) features of chosen minus rejected completions of fresh pairs, and how many completions were drawn."""
    asked = 0

    def beats(first: int, second: int) -> bool:
        nonlocal asked
        asked += 1
        wins = world().win_probabilities[first, second].item()
        return torch.rand((), generator=generator).item() < wins

    size = options["n"]
    count = 2 * budget * options["candidates"]  # half of them to spare: groups of one word fall out
    words = log_policy(weights).exp().multinomial(count * size, True, generator=generator).view(count, size)
    groups = [list(dict.fromkeys(row)) for row in words.tolist()]
    usable = [number for number, row in enumerate(groups) if len(row) > 1]
    if options["candidates"] > 1:
        usable = usable[: budget * options["candidates"]]
        first, second = words[usable].unbind(dim=1)
        usable_margins = log_ratios[first] - log_ratios[second]
        chosen = select_active_pairs(usable_margins, min(budget, len(usable)))
        drawn, usable = size * (max(usable, default=0) + 1), [usable[i] for i in chosen]
    pairs, last = [], 0
    for last in usable:
        affordable = (budget - asked + 3) // 2
        pairs.append(best_and_worst(groups[last][:affordable], beats))
        if asked == budget:
            break
    drawn = drawn if options["candidates"] > 1 else size * (last + 1)
    better, worse = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(dim=1)
    return features()[better] - features()[worse], drawn


def fit(gaps: Tensor, beta: float, steps: int = 200) -> Tensor:
    """(F,) weights that DPO gives the features, by Adam steps on all pairs at once."""
    weights = torch.zeros(gaps.shape[1], dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(len(gaps), dtype=torch.float64)
    search = torch.optim.Adam([weights], lr=0.05 / beta)
    for _ in range(steps):
        search.zero_grad()
        dpo_loss(gaps @ weights, nothing, nothing, nothing, beta)[0].mean().backward()
        search.step()
    return weights.detach()
