"""Does the policy show a trait more than the annotators asked for?"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Amplification(NamedTuple):
    """What the data asked of a trait, and what the policy did; both in nats of log-odds."""

    asked: float
    """log-odds of "the completion with the trait is the chosen one", among pairs that differ in it."""
    moved: float
    """log-odds of the trait in the policy's samples, minus its log-odds in the reference's."""


def amplification(
    chosen_has: Tensor, rejected_has: Tensor, reference_has: Tensor, policy_has: Tensor
) -> Amplification:
    """By how much the data prefer a trait, and by how much training moved the policy towards it.

    If the trait is all that the annotators care about, DPO's optimum has moved = asked / β. Each log-odds is estimated
    as log((k + ½)/(n − k + ½)), k of n with the trait, which stays finite at 0 and at n (Haldane 1956).

    Args:
        chosen_has: (N,) bool, whether each pair's chosen completion has the trait.
        rejected_has: (N,) bool, whether its rejected one has.
        reference_has: (M,) bool, of samples of the reference.
        policy_has: (K,) bool, of samples of the policy for the same prompts.

    Returns:
        asked and moved; moved well above asked is an amplified preference.

    Raises:
        ValueError: a tensor is empty or not boolean, the first two differ in shape, or no pair differs in the trait.
    """
    check_traits(
        chosen_has=chosen_has, rejected_has=rejected_has, reference_has=reference_has, policy_has=policy_has
    )
    if chosen_has.shape != rejected_has.shape:
        raise ValueError(
            f"chosen_has {tuple(chosen_has.shape)} and rejected_has {tuple(rejected_has.shape)} "
            "must have one entry a pair"
        )
    decided = chosen_has != rejected_has
    if not decided.any():
        raise ValueError("no pair differs in the trait: the data say nothing about it")
    return Amplification(
        asked=log_odds(chosen_has[decided]), moved=log_odds(policy_has) - log_odds(reference_has)
    )


def log_odds(has: Tensor) -> float:
    """log((k + ½)/(n − k + ½)) of n booleans, k of them true."""
    count = int(has.sum())
    return math.log((count + 0.5) / (len(has) - count + 0.5))


def check_traits(**tensors: Tensor) -> None:
    """Raise ValueError unless each is a non-empty row of booleans."""
    for name, has in tensors.items():
        if str(has.dtype) != "torch.bool" or has.ndim != 1 or not len(has):
            raise ValueError(
                f"{name} must be a non-empty (N,) bool tensor, got {has.dtype} {tuple(has.shape)}"
            )
