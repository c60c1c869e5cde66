"""Distribution shift in lesson 07: pairs whose deciding words no training pair ever compared."""

from __future__ import annotations

from dpo_lab.evaluation import pair_accuracies
from dpo_lab.experiments.failures import Pair, clauses, first_reward, sorted_pairs, train
from dpo_lab.lab import Lab
from dpo_lab.worlds import review

NEW_WORDS = {word for aspect in ("staff", "price", "room") for word in review.ADJECTIVES[aspect]}


def later_words(text: str) -> list[str]:
    """The words of a review from the end of its first clause on."""
    found = text.split()
    return found[min(found.index(mark) for mark in ("and", "but", ".") if mark in found) :]


def only_new_words(text: str) -> bool:
    """Whether two clauses make the review, and nothing of worth follows the first but adjectives that are not of food.

    One-clause pairs have endings (`best to avoid`) and adverbs (`very`) in them: a group that is to be new must not.
    """
    return clauses(text) == 2 and all(word in NEW_WORDS for word in later_words(text) if review.valence(word))


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
