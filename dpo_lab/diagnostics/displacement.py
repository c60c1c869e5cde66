"""Did training take the chosen completions down with the rejected ones?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from torch import Tensor

from dpo_lab.checks import check_batch
from dpo_lab.encoding import encode_pairs
from dpo_lab.policies import Policy
from dpo_lab.trainer import pair_logprobs


class Displacement(NamedTuple):
    """What became of the log-probs of a set of pairs."""

    share: float
    """share of the pairs that count as learnt although their chosen completion fell."""
    chosen_change: float
    """mean of log π − log π_ref of the chosen completions, in nats."""
    rejected_change: float
    """the same of the rejected ones."""


def displaced_share(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
) -> float:
    """Share of pairs that are learnt and displaced: the margin is positive, and the chosen completion has lost.

    A pair counts if log π(y_w|x) < log π_ref(y_w|x) and the log-ratio gap is above 0: DPO's loss is content with it
    (Razin et al. 2024, arXiv 2410.08847, call it likelihood displacement).

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats.
        policy_rejected_logps: (B,), log π(y_l|x).
        ref_chosen_logps: (B,), log π_ref(y_w|x).
        ref_rejected_logps: (B,), log π_ref(y_l|x).

    Returns:
        A number in [0, 1]: displaced pairs over all B pairs.

    Raises:
        ValueError: shapes differ or are not (B,), or a log-prob is NaN.
    """
    check_batch(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        ref_chosen_logps=ref_chosen_logps,
        ref_rejected_logps=ref_rejected_logps,
    )
    chosen, rejected = policy_chosen_logps - ref_chosen_logps, policy_rejected_logps - ref_rejected_logps
    return ((chosen < 0) & (chosen > rejected)).double().mean().item()


def displacement(policy: Policy, reference: Policy, pairs: Sequence[Mapping[str, Any]]) -> Displacement:
    """Score pairs with policy and reference, and say whether the margin grew by a fall of both log-probs.

    Args:
        policy: the trained model.
        reference: the frozen one.
        pairs: rows with `prompt`, `chosen`, `rejected`; a fixed set, so that two runs can be compared.

    Raises:
        ValueError: no pairs, or one that can't be used.
    """
    encoded = encode_pairs(policy.tokenizer, pairs)
    chosen, rejected = pair_logprobs(policy, *encoded, batch_size=64)
    ref_chosen, ref_rejected = pair_logprobs(reference, *encoded, batch_size=64)
    return Displacement(
        share=displaced_share(chosen, rejected, ref_chosen, ref_rejected),
        chosen_change=(chosen - ref_chosen).mean().item(),
        rejected_change=(rejected - ref_rejected).mean().item(),
    )


def word_overlap(first: str, second: str) -> float:
    """Share of words that two texts have in common, in order: 1 for equal texts, 0 for none."""
    return SequenceMatcher(None, first.split(), second.split(), autojunk=False).ratio()


def drop_similar(pairs: Sequence[Mapping[str, Any]], most: float = 0.8) -> list[Mapping[str, Any]]:
    """The pairs whose completions overlap by less than `most`: the loss can tell those apart without collateral.

    Args:
        pairs: rows with `chosen` and `rejected` as text.
        most: word overlap from which a pair is left out, in (0, 1].

    Raises:
        ValueError: `most` outside (0, 1], or nothing is left.
    """
    if not 0 < most <= 1:
        raise ValueError(f"most must lie in (0, 1], got {most}")
    kept = [pair for pair in pairs if word_overlap(pair["chosen"], pair["rejected"]) < most]
    if not kept:
        raise ValueError(
            f"all {len(pairs)} pairs overlap by {most} or more: there would be nothing to train on"
        )
    return kept
