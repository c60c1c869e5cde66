"""DPO on the language model with pairs made once, in rounds, or every few steps, for the same number of labels."""

from __future__ import annotations

import random
from typing import Any

from dpo_lab.collecting import judge_by_reward
from dpo_lab.evaluation import pair_accuracies
from dpo_lab.experiments.language import whole_epochs
from dpo_lab.lab import Lab
from dpo_lab.online import OnlineConfig, train_online
from dpo_lab.policies import Policy
from dpo_lab.trainer import DPOConfig, train_dpo

METHODS: dict[str, dict[str, Any]] = {
    "offline": {},
    "offline, lr × 1.5": {"lr": 1.5},
    "iterative": {"rounds": 4, "refresh_reference": True},
    "online": {"rounds": 8},
    "best of 4": {"rounds": 1, "samples_per_prompt": 4},
    "active": {"rounds": 4, "candidates": 3},
}


def rounds_run(
    method: str,
    seed: int,
    *,
    beta: float = 0.3,
    budget: int = 512,
    steps: int = 32,
    batch_size: int = 16,
    lr: float = 2e-4,
    samples: int = 128,
) -> dict[str, float]:
    """Train a fresh policy by one of the `METHODS`, and measure it on held-out prompts.

    Offline training takes pairs that are there already; they were sampled from the same reference and labelled by the
    same rule as the others' pairs are.

    Args:
        method: a key of `METHODS`.
        seed: of pairs, labels, batch order and samples.
        beta: weight of the KL term.
        budget: labels, the same for all methods.
        steps: optimiser steps, the same for all methods.
        batch_size: pairs a step.
        lr: peak learning rate, times the method's own factor.
        samples: completions to measure on.

    Returns:
        `reward`, `kl` (to the first reference), `length` (tokens), `accuracy` (reward accuracy on held-out pairs), and
        what it took: `labels`, `pairs`, `sampled` (tokens that were sampled for training).
    """
    lab = Lab.auto()
    policy = lab.fresh_policy()
    options = dict(METHODS[method])
    lr *= options.pop("lr", 1.0)
    settings = {"beta": beta, "lr": lr, "batch_size": batch_size, "seed": seed, "progress": False}
    if "rounds" not in options:
        drawn = random.Random(seed).sample(range(len(lab.pairs)), budget)
        rows, epochs = whole_epochs([lab.pairs[i] for i in drawn], steps, batch_size)
        train_dpo(policy, lab.reference, rows, DPOConfig(epochs=epochs, **settings))
        spent = {"labels": budget, "pairs": len(rows), "sampled": 0}
    else:
        spent = in_rounds(lab, policy, options, budget, steps, settings)
    found = lab.measure(policy, samples, seed=seed)
    return spent | {
        "reward": found.reward.mean,
        "kl": lab.kl(policy, found),
        "length": sum(map(len, found.token_ids)) / samples,
        "accuracy": pair_accuracies(policy, lab.reference, lab.heldout_pairs)["rewards/accuracies"],
    }


def in_rounds(
    lab: Lab, policy: Policy, options: dict[str, Any], budget: int, steps: int, settings: dict[str, Any]
) -> dict[str, int]:
    """Train `policy` with `train_online` on the lab's prompts and true reward; what it took."""
    rounds = options["rounds"]
    config = OnlineConfig(
        labels_per_round=budget // rounds,
        steps_per_round=steps // rounds,
        max_new_tokens=min(48, lab.max_new_tokens),  # as the shipped pairs were sampled
        **settings,
        **options,
    )
    prompts = list({str(row["prompt"]): row["prompt"] for row in lab.pairs}.values())
    run = train_online(policy, lab.reference, prompts, judge_by_reward(lab.true_reward), config)
    return {"labels": run.labels, "pairs": len(run.pairs), "sampled": run.tokens}
