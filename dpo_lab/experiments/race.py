"""One loss against another on the language model: the same pairs, steps and batches, labels clean or flipped."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_lab.experiments.language import whole_epochs
from dpo_lab.lab import Lab
from dpo_lab.trainer import DPOConfig, train_dpo

Rows = list[dict[str, Any]]


def race_run(
    loss: str,
    beta: float,
    seed: int,
    *,
    flipped: float = 0.0,
    thumbs: bool = False,
    steps: int = 32,
    batch_size: int = 16,
    lr: float = 3e-4,
    samples: int = 96,
    **config: Any,
) -> dict[str, float]:
    """Train a fresh policy of this machine's tier with one loss, and measure what it writes on held-out prompts.

    Args:
        loss: a key of `LOSSES`.
        beta: the loss's own strength: β, IPO's τ, ORPO's λ.
        seed: of the flips, the batch order and the samples.
        flipped: share of the pairs whose label is turned round.
        thumbs: break the pairs up first, as `thumbs_rows` does.
        steps: optimiser steps.
        batch_size: pairs a step.
        lr: peak learning rate, the same for all.
        samples: completions to measure on.
        config: other settings of `DPOConfig`.

    Returns:
        `reward` (mean true reward), `kl` to the SFT policy (nats a completion), `length` (tokens, EOS included), and
        the last `loss`.
    """
    lab = Lab.auto()
    pairs, epochs = whole_epochs(lab.pairs, steps, batch_size)
    rows = flip_pairs(pairs, flipped, seed)
    if loss == "simpo":  # the paper tunes the ratio γ/β, and finds about a half
        config = {"loss_options": {"gamma": beta / 2}, **config}
    settings = DPOConfig(
        loss=loss, beta=beta, seed=seed, lr=lr, batch_size=batch_size, epochs=epochs, progress=False, **config
    )
    policy = lab.fresh_policy()
    history = train_dpo(policy, lab.reference, thumbs_rows(rows, seed) if thumbs else rows, settings)
    found = lab.measure(policy, samples, seed=seed)
    return {
        "reward": found.reward.mean,
        "kl": lab.kl(policy, found),
        "length": sum(map(len, found.token_ids)) / samples,
        "last loss": history["loss"][-1],
    }


def flip_pairs(pairs: Sequence[Mapping[str, Any]], share: float, seed: int) -> Rows:
    """The pairs, with chosen and rejected exchanged in exactly that share of them, drawn anew for each seed."""
    wrong = set(random.Random(seed).sample(range(len(pairs)), round(share * len(pairs))))
    return [
        {
            "prompt": pair["prompt"],
            "chosen": pair["rejected" if i in wrong else "chosen"],
            "rejected": pair["chosen" if i in wrong else "rejected"],
        }
        for i, pair in enumerate(pairs)
    ]


def thumbs_rows(pairs: Sequence[Mapping[str, Any]], seed: int) -> Rows:
    """Thumbs out of pairs: of each pair one side is kept, the liked one or the disliked one, never both.

    The rows go through the trainer two by two, a liked and a disliked completion, each with its own prompt; half as
    many rows come out as pairs went in.
    """
    order = random.Random(seed).sample(range(len(pairs)), len(pairs))
    half = len(pairs) // 2
    return [
        {
            "prompt": pairs[up]["prompt"],
            "chosen": pairs[up]["chosen"],
            "rejected_prompt": pairs[down]["prompt"],
            "rejected": pairs[down]["rejected"],
        }
        for up, down in zip(order[:half], order[half : 2 * half], strict=True)
    ]
