"""Lesson 11 in the exact world: KL estimators against the true KL, and a learned reward against the true one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from dpo_lab.evaluation.kl import KL_ESTIMATORS, kl_terms
from dpo_lab.worlds.exact import ExactWorld, IndexPairs


def estimator_run(beta: float, *, samples: int = 64, repeats: int = 4000, seed: int = 0) -> dict[str, Any]:
    """Estimate KL(π* ‖ π_ref) of one β again and again, and compare with the sum over all completions.

    Args:
        beta: of the optimal policy whose KL it is.
        samples: completions an estimate.
        repeats: estimates.
        seed: of the draws.

    Returns:
        `kl`, the exact one; for each estimator its exact bias `k1_bias`, the exact standard deviation of one estimate
        `k1_std`, and of the repeated estimates `k1_mean`, `k1_median`, `k1_seen` (their standard deviation).
    """
    world = ExactWorld()
    logps = world.optimal_logps(beta)
    weights, exact = logps.exp(), world.kl(logps)
    generator = torch.Generator().manual_seed(seed)
    drawn = weights.multinomial(samples * repeats, replacement=True, generator=generator)
    found: dict[str, Any] = {"kl": exact}
    for name in KL_ESTIMATORS:
        terms = kl_terms(logps, world.ref_logps, name)
        expected = (weights * terms).sum()
        variance = (weights * (terms - expected) ** 2).sum() / samples
        estimates = terms[drawn].view(repeats, samples).mean(dim=1)
        found |= {
            f"{name}_bias": expected.item() - exact,
            f"{name}_std": variance.sqrt().item(),
            f"{name}_mean": estimates.mean().item(),
            f"{name}_median": estimates.median().item(),
            f"{name}_seen": estimates.std().item(),
        }
    return found


def proxy_run(
    neighbours: bool,
    seed: int,
    *,
    pairs: int = 300,
    betas: Sequence[float] = (3, 1, 0.5, 0.3, 0.2, 0.1, 0.05),
) -> dict[str, list[float]]:
    """Learn a reward from pairs, optimise it ever harder, and watch the true reward (after Gao et al. 2022).

    Args:
        neighbours: whether the learned reward sees letters and pairs of neighbours, as the true one does, or letters
            alone.
        seed: of the pairs.
        pairs: drawn from the reference, each labelled once.
        betas: weights of the KL term; the smaller, the harder the learned reward is optimised.

    Returns:
        Lists over the betas: `kl`, `proxy` and `true`, the gain of the learned and of the true expected reward over the
        reference's.
    """
    world = ExactWorld()
    learned = learn_reward(features(world, neighbours), world.sample_pairs(pairs, seed))
    rows = []
    for beta in betas:
        logps = (world.ref_logps + learned / beta).log_softmax(dim=-1)
        gained = logps.exp() - world.ref_logps.exp()
        rows.append((world.kl(logps), (gained * learned).sum().item(), (gained * world.rewards).sum().item()))
    return dict(zip(("kl", "proxy", "true"), map(list, zip(*rows, strict=True)), strict=True))


def features(world: ExactWorld, neighbours: bool) -> Tensor:
    """(N, F) counts of each letter and, if asked, of each pair of neighbouring letters."""
    size = len(world.alphabet)
    letters = one_hot(world.letters, size).sum(dim=1)
    if not neighbours:
        return letters.double()
    places = world.letters[:, :-1] * size + world.letters[:, 1:]
    return torch.cat([letters, one_hot(places, size**2).sum(dim=1)], dim=1).double()


def learn_reward(inputs: Tensor, pairs: IndexPairs, decay: float = 1e-3) -> Tensor:
    """(N,) rewards of a linear Bradley-Terry model, with a little weight decay so that it stays finite."""
    differences = inputs[pairs.chosen] - inputs[pairs.rejected]
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = -logsigmoid(differences @ weights).mean() + decay / 2 * weights.square().sum()
        loss.backward()
        return loss

    search.step(closure)
    return (inputs @ weights).detach()
