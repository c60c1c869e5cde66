"""Distribution shift in lesson 07: pairs whose deciding words no training pair ever compared."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from dpo_lab.evaluation import pair_accuracies
from dpo_lab.experiments.failures import Pair, clauses, train
from dpo_lab.lab import Lab
from dpo_lab.worlds import review

NEW_WORDS = {word for aspect in ("staff", "price", "room") for word in review.ADJECTIVES[aspect]}


def split_clause(text: str) -> tuple[str, str]:
    """A review's first clause, which is the one about the food, and all that follows it."""
    found = text.split()
    end = min(found.index(mark) for mark in ("and", "but", ".") if mark in found)
    return " ".join(found[:end]), " ".join(found[end:])


def first_reward(text: str) -> float:
    """True reward of a review's first clause."""
    return review.true_reward(split_clause(text)[0])


def only_new_words(text: str) -> bool:
    """Whether two clauses make the review, and nothing of worth follows the first but adjectives that are not of food.

    One-clause pairs have endings (`best to avoid`) and adverbs (`very`) in them: a group that is to be new must not.
    """
    later = split_clause(text)[1].split()
    return clauses(text) == 2 and all(word in NEW_WORDS for word in later if review.valence(word))


def sorted_pairs(
    keep: Callable[[str], bool],
    items: str,
    n: int,
    seed: int,
    alike: Callable[[str], Any] = lambda text: None,
) -> list[Pair]:
    """Pairs of grammar reviews of one prompt, the one of higher true reward chosen, without noise.

    Args:
        keep: which reviews may be in a pair.
        items: "train" or "heldout".
        n: number of pairs.
        seed: of reviews and pairing.
        alike: both reviews of a pair have the same value of this.
    """
    rng, asked = random.Random(seed), set(review.prompts(items))
    by: dict[Any, list[str]] = {}
    for row in review.sample_reviews(12_000, seed=300 + seed):
        if row["prompt"] in asked and keep(row["completion"]):
            by.setdefault((row["prompt"], alike(row["completion"])), []).append(row["completion"])
    keys, pairs = [key for key, texts in by.items() if len(texts) > 1], []
    while len(pairs) < n:
        key = rng.choice(keys)
        worse, better = sorted(rng.sample(by[key], 2), key=review.true_reward)
        if review.true_reward(worse) < review.true_reward(better):
            pairs.append({"prompt": key[0], "chosen": better, "rejected": worse})
    return pairs


def shift_groups(n: int = 200) -> dict[str, list[Pair]]:
    """Test pairs that are less and less like training pairs of one clause, which all speak of food."""
    return {
        "same kind": sorted_pairs(lambda text: clauses(text) == 1, "train", n, 1),
        "new items": sorted_pairs(lambda text: clauses(text) == 1, "heldout", n, 2),
        "long": sorted_pairs(lambda text: clauses(text) >= 3, "train", n, 3),
        "new words": sorted_pairs(only_new_words, "train", n, 4, alike=first_reward),
    }


def shift_run(pairs: str, seed: int, *, steps: int = 32) -> dict[str, float]:
    """DPO on 512 `narrow` pairs (one clause) or as many `broad` ones (up to three), then each group's accuracy."""
    lab = Lab.auto("tiny")
    policy = lab.fresh_policy()
    most = {"narrow": 1, "broad": 3}[pairs]
    made = sorted_pairs(lambda text: clauses(text) <= most, "train", 512, 5)
    train(policy, lab, made, steps, seed, beta=0.3)
    return {
        name: pair_accuracies(policy, lab.reference, rows)["rewards/accuracies"]
        for name, rows in shift_groups().items()
    }
