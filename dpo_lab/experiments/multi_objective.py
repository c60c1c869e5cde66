"""Runs of lesson 09 on two rewards at once: on the language model, and in the exact world where the front is known."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor

from dpo_lab.bradley_terry import optimal_policy
from dpo_lab.lab import Lab
from dpo_lab.multi_objective_training import train_in_stages, train_weighted
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.worlds import review
from dpo_lab.worlds.exact import ExactWorld
from dpo_lab.worlds.two_rewards import helpfulness, safety

Pair = dict[str, Any]


def twice_judged(n: int, seed: int) -> list[Pair]:
    """Pairs of shipped reviews, each judged once for helpfulness and once for safety, by Bradley-Terry on each.

    Returns:
        n rows: `prompt`; `chosen` and `rejected` as the helpfulness label says; `other_agrees`, whether the safety
        label says the same; `other_margin`, the safety of the chosen one minus that of the rejected one.
    """
    rng = random.Random(seed)
    pairs = []
    for row in rng.sample(review.shipped_pairs(), n):
        first, second = row["chosen"], row["rejected"]
        wins = []
        for reward in (helpfulness, safety):
            wins.append(rng.random() < 1 / (1 + math.exp(reward(second) - reward(first))))
        chosen, rejected = (first, second) if wins[0] else (second, first)
        pairs.append(
            {
                "prompt": row["prompt"],
                "chosen": chosen,
                "rejected": rejected,
                "other_agrees": wins[0] == wins[1],
                "other_margin": safety(chosen) - safety(rejected),
            }
        )
    return pairs


def safety_pairs(pairs: list[Pair]) -> list[Pair]:
    """The same pairs as the safety label says."""
    return [
        pair
        if pair["other_agrees"]
        else pair
        | {"chosen": pair["rejected"], "rejected": pair["chosen"], "other_margin": -pair["other_margin"]}
        for pair in pairs
    ]


def tradeoff_run(
    way: str, weight: float, seed: int, *, beta: float = 0.5, steps: int = 24, samples: int = 96
) -> dict[str, float]:
    """Train the tiny policy on pairs with two labels, and measure both rewards.

    Args:
        way: "margins" or "losses" (`train_weighted`), or "safety first" (`train_in_stages`, half of the steps each,
            with β/(1 − weight) for safety, then β/weight for helpfulness). With weight 1 or 0 all are plain DPO on one
            objective's labels.
        weight: of helpfulness, in [0, 1].
        seed: of pairs, labels, batch order and samples.
        beta: weight of the KL term for the weighted reward.
        steps: optimiser steps of 16 pairs.
        samples: completions to measure on.

    Returns:
        Means over samples for held-out prompts: `helpfulness`, `safety`, `length` (words); and `kl` to the first
        reference.
    """
    lab = Lab.auto("tiny")
    policy = lab.fresh_policy()
    pairs = twice_judged(16 * steps, seed)
    shared = {"lr": 3e-4, "batch_size": 16, "seed": seed, "progress": False}
    if weight in (0, 1):
        train_dpo(
            policy, lab.reference, pairs if weight else safety_pairs(pairs), DPOConfig(beta=beta, **shared)
        )
    elif way == "safety first":
        half = len(pairs) // 2
        stages = [
            (safety_pairs(pairs)[:half], DPOConfig(beta=beta / (1 - weight), **shared)),
            (pairs[half:], DPOConfig(beta=beta / weight, **shared)),
        ]
        train_in_stages(policy, lab.reference, stages)
    else:
        config = DPOConfig(beta=beta, **shared)
        train_weighted(policy, lab.reference, pairs, config, way=way, weight=weight)
    return earned(lab, policy, samples, seed)


def earned(lab: Lab, policy: Any, samples: int, seed: int) -> dict[str, float]:
    """Both rewards, length and distance of a policy on held-out prompts."""
    found = lab.measure(policy, samples, seed=seed)
    return {
        "helpfulness": sum(map(helpfulness, found.texts)) / samples,
        "safety": sum(map(safety, found.texts)) / samples,
        "length": sum(len(text.split()) for text in found.texts) / samples,
        "kl": lab.kl(policy, found),
    }


# --- the exact world, where the front is known


def conflicting_rewards(world: ExactWorld, conflict: float = 0.7) -> Tensor:
    """(2, N): the world's own reward, and one that is correlated with it by −`conflict` under the reference.

    The second is another world's reward with the same spread, mixed with the negative of the first.
    """
    probabilities = world.ref_logps.exp()

    def standard(values: Tensor) -> Tensor:
        values = values - probabilities @ values
        return values / (probabilities @ values**2).sqrt()

    first = standard(world.rewards)
    other = standard(ExactWorld(seed=7, alphabet=world.alphabet, length=len(world.completions[0])).rewards)
    other = standard(other - (probabilities @ (other * first)) * first)
    return torch.stack([first, -conflict * first + math.sqrt(1 - conflict**2) * other])


def weighted_labels_optimum(world: ExactWorld, rewards: Tensor, weight: float, beta: float) -> Tensor:
    """(N,) log-probs that the weighted sum of two DPO losses leads to on unlimited labels: DPO on mixed labels."""
    won = [(reward[:, None] - reward[None, :]).sigmoid() for reward in rewards]
    mixed = ExactWorld(alphabet=world.alphabet, length=len(world.completions[0]))
    mixed.win_probabilities = weight * won[0] + (1 - weight) * won[1]
    return mixed.fit(beta)


def exact_tradeoff_run(
    way: str, weight: float, *, stakes: float = 1.0, kl: float = 1.0, conflict: float = 0.7
) -> dict[str, float]:
    """Where a way of weighting ends on unlimited labels, at the β that takes it `kl` nats from the reference.

    Args:
        way: "margins", whose optimum is π_ref exp((w r₁ + (1 − w) r₂)/β)/Z; "losses" (`weighted_labels_optimum`); or
            "safety first", the optimum of r₂ at β/(1 − w), then of r₁ at β/w from there.
        weight: of the first reward, in (0, 1).
        stakes: both rewards are multiplied by it before labels are made: the higher, the surer the labels.
        kl: distance, in nats.
        conflict: see `conflicting_rewards`.

    Returns:
        `first` and `second`, the expected rewards before that, the `beta` that was found, and `kl` again as `distance`.
    """
    world = ExactWorld(alphabet="abcd", length=3)
    rewards = stakes * conflicting_rewards(world, conflict)

    def optimum(beta: float) -> Tensor:
        if way == "losses":
            return weighted_labels_optimum(world, rewards, weight, beta)
        if way == "safety first":
            staged = optimal_policy(world.ref_logps, rewards[1], beta / (1 - weight))
            return optimal_policy(staged, rewards[0], beta / weight)
        return optimal_policy(world.ref_logps, weight * rewards[0] + (1 - weight) * rewards[1], beta)

    low, high = math.log(0.02), math.log(50.0)
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if world.kl(optimum(math.exp(middle))) > kl else (low, middle)
    logps = optimum(math.exp(high))
    first, second = (rewards @ logps.exp() / stakes).tolist()
    return {"first": first, "second": second, "beta": math.exp(high), "distance": world.kl(logps)}
