"""From comparisons to triplets: votes of annotators, or a known reward with Bradley-Terry noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.checks import check_batch, check_positive

LABELS = ("A", "B", "tie")


def majority_vote(votes: Sequence[str]) -> str:
    """What most annotators said about one comparison of completion A with completion B.

    A completion wins only with more than half of all votes; "tie" votes count among all. Anything else is a
    tie, and is called one: it is not for the code to pick a winner where the annotators found none.

    Args:
        votes: one "A", "B" or "tie" an annotator; at least one.

    Returns:
        "A", "B" or "tie".

    Raises:
        ValueError: no votes, or another label.
    """
    check_votes(votes)
    for label in ("A", "B"):
        if votes.count(label) > len(votes) / 2:
            return label
    return "tie"


def soft_label(votes: Sequence[str], prior: float = 0.0) -> float:
    """The votes' estimate of P(A beats B): keeps the disagreement that a majority vote discards.

    p = (n_A + n_tie / 2 + prior) / (n + 2 prior)

    Args:
        votes: one "A", "B" or "tie" an annotator; at least one. A tie is half a vote each way.
        prior: votes added on either side. Three votes of three for A are not certainty: prior 0.5 says 0.875.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: no votes, another label, or a negative prior.
    """
    check_votes(votes)
    if prior < 0:
        raise ValueError(f"prior must be >= 0 votes, got {prior}")
    return (votes.count("A") + votes.count("tie") / 2 + prior) / (len(votes) + 2 * prior)


def triplets_from_votes(comparisons: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[int]]:
    """Turn comparisons that were voted on into preference pairs.

    Args:
        comparisons: rows with `prompt`, `A`, `B` (two completions) and `votes` (see `majority_vote`).

    Returns:
        The pairs, in order, with `prompt`, `chosen`, `rejected` and `label`: the soft label of the chosen
        one, P(chosen wins). And the numbers of the comparisons that were ties: they give no pair, but they
        are not lost from sight.

    Raises:
        ValueError: a comparison's votes are empty or hold another label.
    """
    pairs, ties = [], []
    for number, row in enumerate(comparisons):
        winner = majority_vote(row["votes"])
        if winner == "tie":
            ties.append(number)
            continue
        loser = "B" if winner == "A" else "A"
        p_a = soft_label(row["votes"])
        label = p_a if winner == "A" else 1 - p_a
        pairs.append({"prompt": row["prompt"], "chosen": row[winner], "rejected": row[loser], "label": label})
    return pairs, ties


def label_by_bradley_terry(
    rewards_a: Tensor, rewards_b: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Draw which completion of each pair is preferred by an annotator who follows Bradley-Terry.

    P(A ≻ B) = σ((r_A − r_B) / temperature)

    Args:
        rewards_a: (B,), true rewards of the first completions.
        rewards_b: (B,), true rewards of the second.
        temperature: the annotator's noise, in units of the reward. Near 0 the better one always wins, except
            that equal rewards stay a fair coin; at infinity every pair is a fair coin.
        generator: source of the draws; torch's global one if None.

    Returns:
        (B,) bool, true where A is the chosen one.

    Raises:
        ValueError: shapes differ or are not (B,), a reward is NaN, or temperature ≤ 0.
    """
    check_batch(rewards_a=rewards_a, rewards_b=rewards_b)
    check_positive(temperature=temperature)
    p_a = torch.sigmoid((rewards_a - rewards_b) / temperature)
    return torch.bernoulli(p_a, generator=generator).bool()


def check_votes(votes: Sequence[str]) -> None:
    """Raise ValueError unless there is a vote and every one is "A", "B" or "tie"."""
    if len(votes) == 0:
        raise ValueError("votes is empty: a comparison needs at least one annotator")
    unknown = [vote for vote in votes if vote not in LABELS]
    if unknown:
        raise ValueError(f"votes must be 'A', 'B' or 'tie', got {unknown}")
