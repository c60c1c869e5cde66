"""How far annotators agree, beyond what chance would give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from dpo_lab.checks import rows_where
from dpo_lab.preferences.labelling import LABELS


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Agreement of two annotators on the same items, corrected for chance.

    κ = (p_o − p_e) / (1 − p_e),  p_o = share of equal labels,  p_e = Σ_k p_a(k) p_b(k)         (Cohen 1960)

    Args:
        a: the first annotator's labels, one an item.
        b: the second's, in the same order.

    Returns:
        1 for perfect agreement, 0 for what chance gives, negative for less. NaN if both gave the same one
        label throughout: chance then explains all agreement, and there is nothing left to measure.

    Raises:
        ValueError: different lengths, or no items.
    """
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(f"a and b must label the same items, at least one: got {len(a)} and {len(b)} labels")
    items = len(a)
    counts_a, counts_b = Counter(a), Counter(b)
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / items
    by_chance = sum(counts_a[label] * counts_b[label] for label in counts_a) / items**2
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def fleiss_kappa(counts: Tensor) -> float:
    """Agreement of any number of annotators, who need not be the same for every item, corrected for chance.

    κ = (P̄ − P̄_e) / (1 − P̄_e)          (Fleiss 1971)
    P̄ = mean over items of the share of annotator pairs that agree
    P̄_e = Σ_k p_k²,  p_k = share of all votes for label k

    Args:
        counts: (N, K), `counts[i, k]` is how many annotators gave item i label k; each row sums to the same
            n ≥ 2.

    Returns:
        1 for perfect agreement, 0 for what chance gives. NaN if every vote is for one label, as in
        `cohen_kappa`.

    Raises:
        ValueError: `counts` is not (N, K) with N ≥ 1, has a negative or fractional entry, rows of different
            sums, or fewer than two votes an item.
    """
    counts = check_counts(counts)
    votes = counts[0].sum()
    agreeing_pairs = (counts * (counts - 1)).sum(dim=1) / (votes * (votes - 1))
    shares = counts.sum(dim=0) / counts.sum()
    observed, by_chance = agreeing_pairs.mean().item(), (shares**2).sum().item()
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def count_votes(votes: Sequence[Sequence[str]], labels: Sequence[str] = LABELS) -> Tensor:
    """Count each item's votes by label: the table that `fleiss_kappa` reads.

    Args:
        votes: for each of N items, its votes.
        labels: the K labels, in the order of the table's columns.

    Returns:
        (N, K) int64.

    Raises:
        ValueError: a vote is none of `labels`.
    """
    unknown = sorted({vote for row in votes for vote in row if vote not in labels})
    if unknown:
        raise ValueError(f"votes hold {unknown}, which are not among the labels {list(labels)}")
    return torch.tensor([[list(row).count(label) for label in labels] for row in votes])


def check_counts(counts: Tensor) -> Tensor:
    """A float64 copy of a vote table; ValueError unless it is (N, K) whole counts with one row sum n ≥ 2."""
    if counts.ndim != 2 or counts.numel() == 0:
        raise ValueError(f"counts must have shape (N, K), one row an item, got {tuple(counts.shape)}")
    table = counts.double()
    wrong = ((table < 0) | (table != table.round())).any(dim=1)
    if wrong.any():
        raise ValueError(f"counts must be whole numbers >= 0; look at rows {rows_where(wrong)}")
    votes = table.sum(dim=1)
    if votes[0] < 2:
        raise ValueError(f"agreement needs two votes an item; row 0 has {int(votes[0])}")
    if (votes != votes[0]).any():
        unlike = rows_where(votes != votes[0])
        raise ValueError(f"each item needs {int(votes[0])} votes, as row 0 has; rows {unlike} differ")
    return table
