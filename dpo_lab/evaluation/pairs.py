"""What held-out pairs say: accuracy by implicit reward and by the policy's own log-probs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.checks import check_batch
from dpo_lab.encoding import encode_pairs
from dpo_lab.evaluation.intervals import Interval, wilson_interval
from dpo_lab.policies import Policy
from dpo_lab.trainer import pair_logprobs


def pair_margins(
    policy: Policy, reference: Policy, pairs: Iterable[Mapping[str, Any]]
) -> tuple[Tensor, Tensor]:
    """By how much a policy prefers the chosen completions, in two ways that are often taken for one.

    Args:
        policy: the trained model.
        reference: the frozen one.
        pairs: N rows with `prompt`, `chosen`, `rejected`.

    Returns:
        Two (N,) tensors in nats. Reward margins, (log π − log π_ref)(chosen) − (log π − log π_ref)(rejected): β times
        this is the margin of the implicit rewards. Ranking margins, log π(chosen) − log π(rejected).

    Raises:
        ValueError: no pairs, or a pair that can't be used.
    """
    encoded = encode_pairs(policy.tokenizer, pairs)
    chosen, rejected = pair_logprobs(policy, *encoded)
    ref_chosen, ref_rejected = pair_logprobs(reference, *encoded)
    return (chosen - ref_chosen) - (rejected - ref_rejected), chosen - rejected


def pair_accuracies(
    policy: Policy, reference: Policy, pairs: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Two accuracies that are often taken for one, on held-out pairs (Chen et al. 2024, arXiv 2405.19534).

    Args:
        policy: the trained model.
        reference: the frozen one.
        pairs: rows with `prompt`, `chosen`, `rejected`.

    Returns:
        `rewards/accuracies`: share of pairs whose implicit reward (log-ratio to the reference) is higher for the chosen
        one; `ranking_accuracy`: the same of the policy's own log-probs. Ties count as wrong.

    Raises:
        ValueError: no pairs, or a pair that can't be used.
    """
    rewarded, ranked = pair_margins(policy, reference, pairs)
    return {
        "rewards/accuracies": (rewarded > 0).double().mean().item(),
        "ranking_accuracy": (ranked > 0).double().mean().item(),
    }


def accuracy_by_group(margins: Tensor, groups: Sequence[str]) -> dict[str, Interval]:
    """Share of pairs with a margin above 0 in each group, with its 95 % Wilson interval.

    Args:
        margins: (N,), by how much the chosen completion of each pair is preferred; a margin of 0 counts as wrong.
        groups: N names, such as the pair's topic.

    Returns:
        One interval a group, in the order in which the groups first occur.

    Raises:
        ValueError: margins is not (N,) or holds NaN, or there are not N names.
    """
    check_batch(margins=margins)
    if len(groups) != len(margins):
        raise ValueError(f"need one group a pair, got {len(margins)} margins and {len(groups)} groups")
    members = {name: torch.tensor([group == name for group in groups]) for name in dict.fromkeys(groups)}
    right = margins.cpu() > 0
    return {name: wilson_interval(int(right[rows].sum()), int(rows.sum())) for name, rows in members.items()}
