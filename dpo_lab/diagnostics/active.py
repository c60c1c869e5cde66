"""Which pairs to have labelled, and how often."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpo_lab.checks import check_batch


def select_active_pairs(margins: Tensor, n: int) -> list[int]:
    """The n unlabelled pairs that the policy is least sure of: uncertainty sampling.

    With margin m the policy gives the first completion the win probability σ(m); it is least sure at m = 0. Margins are
    compared by |m|, not by |σ(m) − ½|, which rounding makes equal for large margins.

    Args:
        margins: (N,), implicit-reward margin of each unlabelled pair, first completion minus second; either sign.
        n: how many to have labelled, 0 ≤ n ≤ N.

    Returns:
        n row numbers, the least sure first; of equally unsure pairs the earlier row comes first.

    Raises:
        ValueError: margins is not (N,) or has a NaN, or n lies outside [0, N].
    """
    check_batch(margins=margins)
    if not 0 <= n <= len(margins):
        raise ValueError(f"n must lie between 0 and the {len(margins)} pairs there are, got {n}")
    return torch.argsort(margins.abs(), stable=True)[:n].tolist()


def majority_error(flipped: float, votes: int) -> float:
    """How often the majority of several annotators is wrong, if each errs independently.

    P(wrong) = Σ_{k > votes/2} C(votes, k) εᵏ (1 − ε)^(votes − k) + ½ P(tie)

    Args:
        flipped: ε in [0, 1], the probability that one annotator gives the wrong label.
        votes: annotators a pair, >= 1. With an even number there can be a tie, which a fair coin settles.

    Returns:
        A probability.

    Raises:
        ValueError: flipped outside [0, 1], or votes < 1.
    """
    if not 0 <= flipped <= 1:
        raise ValueError(f"flipped must lie in [0, 1], got {flipped}")
    if votes < 1:
        raise ValueError(f"votes must be at least 1, got {votes}")
    error = 0.0
    for wrong in range(votes + 1):
        probability = math.comb(votes, wrong) * flipped**wrong * (1 - flipped) ** (votes - wrong)
        share = 1.0 if 2 * wrong > votes else 0.5 if 2 * wrong == votes else 0.0
        error += share * probability
    return error
