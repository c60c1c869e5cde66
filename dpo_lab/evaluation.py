"""How good is a policy? Accuracy on held-out pairs, true reward with an interval, distance from the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpo_lab.checks import check_batch
from dpo_lab.encoding import Encoded, Messages, collate_rows, encode_pair
from dpo_lab.logprobs import completion_logprobs
from dpo_lab.loop import split
from dpo_lab.policies import Policy
from dpo_lab.trainer import encode_pairs, pair_logprobs, to_device


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


def bootstrap_interval(
    values: Sequence[float] | Tensor, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean (Efron 1979).

    For a before-after comparison on the same prompts give the differences: pairing removes the prompts' own spread.

    Args:
        values: N independent measurements, N ≥ 2.
        level: share of such intervals that hold the true mean, in (0, 1).
        resamples: draws of N values with replacement.
        seed: of the draws.

    Returns:
        The mean and the interval.

    Raises:
        ValueError: fewer than two values, one that is not finite, or a level outside (0, 1).
    """
    data = torch.as_tensor(values, dtype=torch.float64).flatten()
    if len(data) < 2 or not data.isfinite().all():
        raise ValueError(f"values must hold at least two finite numbers, got {len(data)}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(data), (resamples, len(data)), generator=generator)
    means = data[draws].mean(dim=1)
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(data.mean().item(), low, high)


def win_rate(policy_rewards: Tensor, reference_rewards: Tensor) -> float:
    """How often the policy's completion beats the reference's for the same prompt.

    Args:
        policy_rewards: (N,), a judge's score of the policy's completion for each of N prompts; higher is better.
        reference_rewards: (N,), the scores of the reference's completions for the same prompts.

    Returns:
        A number from 0 to 1: each win counts 1, each tie one half, so that a policy against itself gets 0.5.

    Raises:
        ValueError: shapes differ or are not (N,), or a score is NaN.
    """
    check_batch(policy_rewards=policy_rewards, reference_rewards=reference_rewards)
    wins = policy_rewards > reference_rewards
    ties = policy_rewards == reference_rewards
    return (wins.double() + 0.5 * ties.double()).mean().item()


def kl_estimate(policy_logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Monte-Carlo estimate of KL(π ‖ π_ref), in nats a completion.

    KL(π ‖ π_ref) = E_{y ~ π} [log π(y|x) − log π_ref(y|x)]

    Args:
        policy_logps: (N,), log π of completions that were sampled **from the policy**.
        ref_logps: (N,), log π_ref of the same completions.

    Returns:
        A scalar. Unbiased, so it can come out below zero on few samples, which the KL itself never is.

    Raises:
        ValueError: shapes differ or are not (N,), or a log-prob is NaN.
    """
    check_batch(policy_logps=policy_logps, ref_logps=ref_logps)
    return (policy_logps - ref_logps).mean()


@torch.no_grad()
def score_rows(policy: Policy, rows: Sequence[Encoded], batch_size: int = 64) -> Tensor:
    """log π(y|x) of encoded rows, in nats: the sum over their completion tokens.

    Args:
        policy: any policy or reference; evaluated with dropout off.
        rows: N encoded prompts with completions.
        batch_size: rows a forward pass.

    Returns:
        (N,) float32 on the CPU.
    """
    policy.model.eval()
    parts = [
        completion_logprobs(
            policy.model, to_device(collate_rows(part, policy.tokenizer.pad_token_id), policy.model)
        )
        for part in split(list(rows), batch_size)
    ]
    return torch.cat(parts).cpu()


def score_completions(
    policy: Policy, prompts: Sequence[str | Messages], completions: Sequence[str]
) -> Tensor:
    """log π(y|x) of given texts, in nats, EOS included.

    Args:
        policy: any policy or reference.
        prompts: N prompts, text or chat messages.
        completions: N texts, one a prompt.

    Returns:
        (N,) float32 on the CPU.

    Raises:
        ValueError: lengths differ, or a completion is empty.
    """
    if len(prompts) != len(completions):
        raise ValueError(
            f"need one completion a prompt, got {len(prompts)} prompts, {len(completions)} completions"
        )
    return score_rows(
        policy, [encode_pair(policy.tokenizer, x, y) for x, y in zip(prompts, completions, strict=True)]
    )


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
    encoded = encode_pairs(policy.tokenizer, pairs)
    policy_chosen, policy_rejected = pair_logprobs(policy, *encoded)
    ref_chosen, ref_rejected = pair_logprobs(reference, *encoded)
    rewarded = policy_chosen - ref_chosen > policy_rejected - ref_rejected
    ranked = policy_chosen > policy_rejected
    return {
        "rewards/accuracies": rewarded.double().mean().item(),
        "ranking_accuracy": ranked.double().mean().item(),
    }
