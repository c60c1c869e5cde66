"""From one score a completion to one advantage a token: KL penalty, GAE, whitening.

All tensors are (B, T): B completions, their T tokens from the left, `mask` true at a completion's own tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpo_lab.checks import check_same_shape, rows_where


def kl_shaped_rewards(scores: Tensor, logps: Tensor, ref_logps: Tensor, mask: Tensor, beta: float) -> Tensor:
    """The reward of every token: a price on leaving the reference at each, the score on top at the last.

    r_t = −β (log π(y_t|·) − log π_ref(y_t|·)) + [t is the last token] · score   (Ziegler et al. 2019, arXiv 1909.08593)

    Added up over a completion: score − β (log π(y|x) − log π_ref(y|x)), whose mean over the policy's samples is the
    objective that DPO solves in closed form.

    Args:
        scores: (B,), what the reward model, or the true reward, says of each completion.
        logps: (B, T), log π of each sampled token under the policy that sampled it, without gradient.
        ref_logps: (B, T), the same tokens under the reference.
        mask: (B, T) bool, true at the completion's tokens, from column 0 on without a gap.
        beta: weight of the KL penalty, ≥ 0.

    Returns:
        (B, T) rewards, 0 where the mask is false.

    Raises:
        ValueError: shapes disagree, or a row has no token.
    """
    check_tokens(mask, logps=logps, ref_logps=ref_logps)
    check_same_shape(scores=scores, row_of_mask=mask[:, 0])
    rewards = (-beta * (logps - ref_logps)).masked_fill(~mask, 0.0)
    last = mask.sum(dim=-1) - 1
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, last] += scores
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95) -> Tensor:
    """Generalised advantage estimates: how much better each token turned out than the value model expected.

    δ_t = r_t + γ V_{t+1} − V_t,    A_t = δ_t + γ λ A_{t+1}          (Schulman et al. 2016, eq. 16)

    with V and A zero behind the last token: the episode ends there. λ = 0 trusts the value model for all but the next
    reward, λ = 1 not at all.

    Args:
        rewards: (B, T), r_t.
        values: (B, T), V_t, the value model's estimate of the rewards still to come *before* token t is chosen.
        mask: (B, T) bool, true at the completion's tokens. Rewards and values elsewhere may be anything.
        gamma: discount of a token's delay, in [0, 1]; 1 for language, where a late word counts as much as an early one.
        lam: λ in [0, 1].

    Returns:
        (B, T) advantages, 0 where the mask is false. Adding `values` gives the returns that the value model learns.

    Raises:
        ValueError: shapes disagree, a row has no token, or gamma or lam is outside [0, 1].
    """
    check_tokens(mask, rewards=rewards, values=values)
    check_unit(gamma=gamma, lam=lam)
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = delta + gamma * lam * next_advantage
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages


def whiten(advantages: Tensor, mask: Tensor) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over the batch's tokens: the learning rate's scale is then free
    of the reward's.

    Args:
        advantages: (B, T).
        mask: (B, T) bool.

    Returns:
        (B, T), 0 where the mask is false.

    Raises:
        ValueError: shapes disagree, or a row has no token.
    """
    check_tokens(mask, advantages=advantages)
    real = advantages[mask]
    spread = real.std(unbiased=False)
    return ((advantages - real.mean()) / (spread + 1e-8)).masked_fill(~mask, 0.0)


def check_tokens(mask: Tensor, **tensors: Tensor) -> None:
    """Raise ValueError unless all are (B, T), the mask is bool, and each row has a token and no gap."""
    check_same_shape(mask=mask, **tensors)
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise ValueError(f"mask must be a (B, T) bool tensor, got {mask.dtype} {tuple(mask.shape)}")
    if (empty := ~mask.any(dim=-1)).any():
        raise ValueError(f"rows {rows_where(empty)} of mask have no token: every completion needs one")
    if (gaps := (mask[:, 1:] & ~mask[:, :-1]).any(dim=-1)).any():
        raise ValueError(
            f"rows {rows_where(gaps)} of mask have a gap: a completion's tokens start in column 0 and follow each other"
        )


def check_unit(**values: float) -> None:
    """Raise ValueError unless every value lies in [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
