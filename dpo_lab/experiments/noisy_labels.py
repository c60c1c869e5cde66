"""The exact world with a policy that generalises: how much data DPO needs, and what wrong labels cost it.

Everything here is logistic regression on 42 numbers, so a run takes a fraction of a second and can be repeated often.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpo_lab.diagnostics.active import select_active_pairs
from dpo_lab.losses import dpo_loss, robust_dpo_loss
from dpo_lab.worlds.exact import ExactWorld

BETA = 0.5
LOSSES: dict[str, Callable[..., tuple[Tensor, Tensor, Tensor]]] = {
    "sigmoid": dpo_loss,
    "robust": robust_dpo_loss,
}


class Comparisons(NamedTuple):
    """Pairs of completions, and what each of several annotators said."""

    differences: Tensor
    """(n, F) features of the first completion minus those of the second."""
    first_wins: Tensor
    """(n, votes) bool."""


@cache
def world() -> ExactWorld:
    """The world of these runs."""
    return ExactWorld(seed=0)


@cache
def features() -> Tensor:
    """(N, F) how often each letter and each pair of neighbours occurs in each word; F = 6 + 36.

    The true reward is linear in them, so the best policy is among π ∝ π_ref exp(features · weights).
    """
    letters = torch.nn.functional.one_hot(world().letters, len(world().alphabet)).double()
    neighbours = letters[:, :-1, :, None] * letters[:, 1:, None, :]
    return torch.cat([letters.sum(dim=1), neighbours.sum(dim=1).flatten(1)], dim=1)


def compare(n: int, seed: int, flipped: float = 0.0, votes: int = 1) -> Comparisons:
    """Draw n pairs from the reference; each annotator judges by Bradley-Terry, then errs with probability `flipped`."""
    generator = torch.Generator().manual_seed(seed)
    first, second = world().ref_logps.exp().multinomial(2 * n, True, generator=generator).view(2, n)
    clean = world().win_probabilities[first, second]
    heard = clean * (1 - flipped) + (1 - clean) * flipped
    said = torch.rand(n, votes, generator=generator, dtype=torch.float64) < heard[:, None]
    return Comparisons(features()[first] - features()[second], said)


def fit(gaps: Tensor, loss: str = "sigmoid", label_smoothing: float = 0.0, steps: int = 300) -> Tensor:
    """(F,) weights that DPO gives the features, by a fixed number of Adam steps on all pairs at once.

    Args:
        gaps: (n, F), features of the chosen completion minus those of the rejected one; a log-ratio gap is this times
            the weights, since log Z cancels.
        loss: "sigmoid" or "robust".
        label_smoothing: the loss's.
        steps: where the pairs can be told apart without error there is no optimum, and this bounds the drift.
    """
    weights = torch.zeros(gaps.shape[1], dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(len(gaps), dtype=torch.float64)
    search = torch.optim.Adam([weights], lr=0.05 / BETA)
    for _ in range(steps):
        search.zero_grad()
        four = (gaps @ weights, nothing, nothing, nothing)
        LOSSES[loss](*four, beta=BETA, label_smoothing=label_smoothing)[0].mean().backward()
        search.step()
    return weights.detach()


def judge(weights: Tensor) -> dict[str, float]:
    """What a policy is worth, exactly.

    Returns:
        `gain`: the objective E[r] − β KL gained over the reference, as a share of what the best policy gains;
        `reward`, `kl`; `scale`: slope of the implicit reward against the true one, 1 where it is right; `accuracy`:
        how often the implicit reward orders two draws from the reference as the true reward does.
    """
    logps = (world().ref_logps + features() @ weights).log_softmax(dim=-1)
    nothing, best = (world().objective(p, BETA) for p in (world().ref_logps, world().optimal_logps(BETA)))
    drawn, true = world().ref_logps.exp(), world().rewards
    implicit = BETA * (logps - world().ref_logps)
    implicit, true = implicit - drawn @ implicit, true - drawn @ true
    agree = (implicit[:, None] - implicit) * (true[:, None] - true) > 0
    return {
        "gain": (world().objective(logps, BETA) - nothing) / (best - nothing),
        "reward": world().expected_reward(logps),
        "kl": world().kl(logps),
        "scale": ((drawn * implicit) @ true / ((drawn * true) @ true)).item(),
        "accuracy": (drawn @ agree.double() @ drawn).item(),
    }


def labels_run(n: int, seed: int, *, flipped: float = 0.0, votes: int = 1, **loss: Any) -> dict[str, float]:
    """Train on n pairs whose label is the majority of an odd number of erring annotators, and judge the policy.

    Args:
        n: pairs.
        seed: of pairs and labels.
        flipped: how often an annotator's answer is turned round.
        votes: annotators a pair, an odd number.
        loss: `loss` and `label_smoothing` of `fit`.
    """
    drawn = compare(n, seed, flipped, votes)
    first_wins = drawn.first_wins.double().mean(dim=1) > 0.5
    return judge(fit(signed(drawn.differences, first_wins), **loss))


def signed(differences: Tensor, first_wins: Tensor) -> Tensor:
    """(n, F) chosen minus rejected."""
    return torch.where(first_wins[:, None], differences, -differences)


def active_run(
    rule: str, seed: int, *, pool: int = 2000, start: int = 64, batch: int = 64, rounds: int = 4
) -> dict[str, list[float]]:
    """Let a rule choose which pairs of a pool are labelled next; train anew after each round.

    Args:
        rule: "random", or "uncertain" and "certain": those whose margin under the present policy is nearest to 0, or
            farthest from it.
        seed: of the pool, its labels and the first pairs.
        pool: unlabelled pairs.
        start: pairs labelled at random first.
        batch: pairs labelled a round.
        rounds: how many rounds.

    Returns:
        `labels`, `gain` and `accuracy` after the start and after each round, lists.
    """
    drawn = compare(pool, seed)
    gaps = signed(drawn.differences, drawn.first_wins[:, 0])
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(pool, generator=generator).tolist()
    labelled, waiting = order[:start], order[start:]
    found: dict[str, list[float]] = {"labels": [], "gain": [], "accuracy": []}
    for turn in range(rounds + 1):
        weights = fit(gaps[labelled])
        worth = judge(weights)
        for name in ("gain", "accuracy"):
            found[name].append(worth[name])
        found["labels"].append(len(labelled))
        if turn < rounds:
            margins = BETA * drawn.differences[waiting] @ weights
            places = choose(rule, margins, batch)
            labelled = labelled + [waiting[i] for i in places]
            waiting = [row for i, row in enumerate(waiting) if i not in set(places)]
    return found


def choose(rule: str, margins: Tensor, n: int) -> list[int]:
    """Positions of the n pairs that a rule wants labelled next; `waiting` is in random order already."""
    if rule == "random":
        return list(range(n))
    if rule == "certain":
        return margins.abs().argsort(descending=True)[:n].tolist()
    if rule == "uncertain":
        return select_active_pairs(margins, n)
    raise ValueError(f"rule must be random, uncertain or certain, got {rule!r}")
