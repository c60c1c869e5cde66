"""A mild leaning of the annotators towards one trait, and how far training carries it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.diagnostics.amplification import amplification
from dpo_lab.experiments.failures import Pair, clauses, train
from dpo_lab.lab import Lab
from dpo_lab.worlds import review

TRAIT_CURES: dict[str, dict[str, Any]] = {
    "none": {},
    "label smoothing 0.2": {"label_smoothing": 0.2},
    "β = 1": {"beta": 1.0},
    "balanced pairs": {},
}


def staff_pairs(share: float, n: int, seed: int = 0) -> list[Pair]:
    """Pairs of two-clause reviews of which one mentions the staff: the chosen one in exactly a `share` of them."""
    rng = random.Random(seed)
    by: dict[tuple[str, bool], list[str]] = {}
    for row in review.sample_reviews(20_000, seed=100 + seed):
        if clauses(row["completion"]) == 2:
            key = row["prompt"], mentions_staff(row["completion"])
            by.setdefault(key, []).append(row["completion"])
    wins = [number < round(share * n) for number in range(n)]
    rng.shuffle(wins)
    prompts, pairs = review.prompts("train"), []
    for number, win in enumerate(wins):
        prompt = prompts[number % len(prompts)]
        staff, other = by[prompt, True].pop(), by[prompt, False].pop()
        chosen, rejected = (staff, other) if win else (other, staff)
        pairs.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return pairs


def mentions_staff(text: str) -> bool:
    """Whether a review mentions anyone who works there."""
    return review.staff_reward(text) > 0


def traits(texts: Sequence[str]) -> Tensor:
    """(N,) bool, which texts mention the staff."""
    return torch.tensor([mentions_staff(text) for text in texts])


def trait_run(cure: str, seed: int, *, steps: int = 60, samples: int = 160) -> dict[str, float]:
    """DPO on pairs of which the annotators prefer the one with staff 60 to 40, with one of `TRAIT_CURES`.

    Returns:
        `data`, `reference`, `policy`: shares with staff (of chosen completions; of samples with more than one clause),
        `asked` and `moved` (see `amplification`), and `theory`, what DPO's optimum would have moved.
    """
    lab = Lab.auto("tiny")
    policy = lab.fresh_policy()
    pairs = staff_pairs(0.5 if cure == "balanced pairs" else 0.6, 480)
    settings = {"beta": 0.1} | TRAIT_CURES[cure]
    train(policy, lab, pairs, steps, seed, **settings)
    chosen, rejected = (traits([pair[side] for pair in pairs]) for side in ("chosen", "rejected"))
    before, after = (
        traits([text for text in lab.measure(scored, samples, seed=seed).texts if clauses(text) > 1])
        for scored in (lab.reference, policy)
    )
    asked, moved = amplification(chosen, rejected, before, after)
    share = {"data": chosen, "reference": before, "policy": after}
    return {name: has.double().mean().item() for name, has in share.items()} | {
        "asked": asked,
        "moved": moved,
        "theory": asked / settings["beta"],
    }
