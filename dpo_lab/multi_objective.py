"""Two rewards at once: weighted margins, weighted losses, and the Pareto front that policies are judged by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.bradley_terry import optimal_policy
from dpo_lab.checks import check_batch, check_positive

Loss = tuple[Tensor, Tensor, Tensor]


def weighted_margin_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    other_margins: Tensor,
    weight: float,
    beta: float = 0.1,
) -> Loss:
    """DPO on the labels of one objective, with the other objective's reward as a margin.

    −log σ( (β δ − (1 − w) Δ₂) / w ),  δ the log-ratio gap        (Zhou et al. 2023, arXiv 2310.03708, MODPO)

    On unlimited labels from Bradley-Terry on r₁ the optimum is β δ = w Δ₁ + (1 − w) Δ₂: the rewards are averaged.

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats; y_w is what objective 1 chose.
        policy_rejected_logps: (B,), log π(y_l|x).
        ref_chosen_logps: (B,), log π_ref(y_w|x).
        ref_rejected_logps: (B,), log π_ref(y_l|x).
        other_margins: (B,), Δ₂ = r₂(x, y_w) − r₂(x, y_l), the reward of objective 2, known or learned before.
        weight: w of objective 1, 0 < w ≤ 1; objective 2 has 1 − w.
        beta: weight of the KL term, > 0.

    Returns:
        losses: (B,), differentiable in the policy's log-probs.
        chosen_rewards, rejected_rewards: (B,), implicit rewards β (log π − log π_ref), detached.

    Raises:
        ValueError: shapes differ or are not (B,), a value is NaN, weight outside (0, 1], or beta ≤ 0.
    """
    check_batch(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        ref_chosen_logps=ref_chosen_logps,
        ref_rejected_logps=ref_rejected_logps,
        other_margins=other_margins,
    )
    check_weight(weight)
    check_positive(beta=beta)
    chosen_rewards = beta * (policy_chosen_logps - ref_chosen_logps)
    rejected_rewards = beta * (policy_rejected_logps - ref_rejected_logps)
    margins = (chosen_rewards - rejected_rewards - (1 - weight) * other_margins) / weight
    return -logsigmoid(margins), chosen_rewards.detach(), rejected_rewards.detach()


def weighted_label_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    other_agrees: Tensor,
    weight: float,
    beta: float = 0.1,
) -> Loss:
    """The weighted sum of two DPO losses of one pair, one for each objective's label.

    w L(β δ) + (1 − w) L(±β δ),  L(m) = −log σ(m),  the sign − where objective 2 prefers the rejected completion

    On unlimited labels the optimum is σ(β δ) = w p₁ + (1 − w) p₂: the win probabilities are averaged, so that no label
    of an objective counts for more than its one vote, however much is at stake.

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats; y_w is what objective 1 chose.
        policy_rejected_logps: (B,), log π(y_l|x).
        ref_chosen_logps: (B,), log π_ref(y_w|x).
        ref_rejected_logps: (B,), log π_ref(y_l|x).
        other_agrees: (B,), floats, 1 where objective 2's label chose the same completion, else 0.
        weight: w of objective 1, 0 < w ≤ 1; objective 2 has 1 − w.
        beta: weight of the KL term, > 0.

    Returns:
        As `weighted_margin_loss`.

    Raises:
        ValueError: as there.
    """
    check_batch(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        ref_chosen_logps=ref_chosen_logps,
        ref_rejected_logps=ref_rejected_logps,
        other_agrees=other_agrees,
    )
    check_weight(weight)
    check_positive(beta=beta)
    chosen_rewards = beta * (policy_chosen_logps - ref_chosen_logps)
    rejected_rewards = beta * (policy_rejected_logps - ref_rejected_logps)
    margins = chosen_rewards - rejected_rewards
    other = other_agrees * logsigmoid(margins) + (1 - other_agrees) * logsigmoid(-margins)
    losses = -weight * logsigmoid(margins) - (1 - weight) * other
    return losses, chosen_rewards.detach(), rejected_rewards.detach()


def pareto_front(points: Tensor) -> list[int]:
    """Which policies are on the Pareto front: those that no other policy dominates.

    Point i dominates point j if it is at least as high in every objective and higher in at least one.

    Args:
        points: (N, K), what each of N policies earns in each of K objectives; higher is better in all.

    Returns:
        Row numbers, ascending. Equal points do not dominate each other: all of them are on the front, or none.

    Raises:
        ValueError: points is not (N, K) with N, K ≥ 1, or has a NaN.
    """
    if points.ndim != 2 or points.numel() == 0 or points.isnan().any():
        raise ValueError(
            f"points must have shape (N, K) with N, K >= 1 and no NaN, got {tuple(points.shape)}"
        )
    at_least = (points[:, None, :] >= points[None, :, :]).all(dim=-1)
    higher = (points[:, None, :] > points[None, :, :]).any(dim=-1)
    return torch.nonzero(~(at_least & higher).any(dim=0)).flatten().tolist()


@dataclass(frozen=True)
class Tradeoff:
    """One point of the true front: the optimum for one weight."""

    weight: float
    beta: float
    rewards: list[float]
    logps: Tensor


def true_front(
    ref_logps: Tensor, rewards: Tensor, weights: Sequence[float], kl: float, steps: int = 60
) -> list[Tradeoff]:
    """The best trade-offs of two rewards that any policy within `kl` nats of the reference can have.

    For a weight w the policy of highest w E[r₁] + (1 − w) E[r₂] at that distance is π_ref exp(r_w / β) / Z with
    r_w = w r₁ + (1 − w) r₂ and the β that gives it this KL, which is found by bisection.

    Args:
        ref_logps: (N,), log π_ref of all completions.
        rewards: (2, N), both rewards of all completions.
        weights: of the first reward, each in [0, 1].
        kl: distance in nats, > 0, less than that of the best completion alone.
        steps: of the bisection over log β between e⁻⁷ and e⁷.

    Raises:
        ValueError: rewards is not (2, N), a weight outside [0, 1], or kl ≤ 0.
    """
    check_positive(kl=kl)
    if rewards.shape != (2, len(ref_logps)):
        raise ValueError(f"rewards must have shape (2, {len(ref_logps)}), got {tuple(rewards.shape)}")
    front = []
    for weight in weights:
        if not 0 <= weight <= 1:
            raise ValueError(f"weights must lie in [0, 1], got {weight}")
        mixed = weight * rewards[0] + (1 - weight) * rewards[1]
        low, high = -7.0, 7.0
        for _ in range(steps):
            middle = (low + high) / 2
            logps = optimal_policy(ref_logps, mixed, math.exp(middle))
            too_far = (logps.exp() * (logps - ref_logps)).sum().item() > kl
            low, high = (middle, high) if too_far else (low, middle)
        front.append(Tradeoff(weight, math.exp(high), (rewards @ logps.exp()).tolist(), logps))
    return front


def check_weight(weight: float) -> None:
    """Raise ValueError unless 0 < weight ≤ 1."""
    if not 0 < weight <= 1:
        raise ValueError(
            f"weight must lie in (0, 1], got {weight}; for objective 2 alone, train plain DPO on its labels"
        )
