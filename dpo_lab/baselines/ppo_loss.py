"""PPO's two losses and what one watches while they fall. All tensors are (B, T), `mask` true at real tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from dpo_lab.baselines.advantages import check_tokens
from dpo_lab.checks import check_positive


def ppo_policy_loss(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, mask: Tensor, clip_range: float = 0.2
) -> tuple[Tensor, Tensor]:
    """PPO's clipped loss (Schulman et al. 2017, arXiv 1707.06347, eq. 7), negated so that it is minimised.

    ρ_t = π(y_t|·) / π_old(y_t|·),    L = −mean_t min(ρ_t A_t, clip(ρ_t, 1 − ε, 1 + ε) A_t)

    Once a token's ratio has left the range in the direction its advantage asks for, its gradient is 0: these samples
    have nothing more to say about it. In the other direction nothing is clipped.

    Args:
        logps: (B, T), log π of the sampled tokens under the policy that learns.
        old_logps: (B, T), the same under the policy that sampled them, without gradient.
        advantages: (B, T), without gradient.
        mask: (B, T) bool.
        clip_range: ε > 0.

    Returns:
        loss: a scalar, differentiable in `logps`; the mean over the batch's real tokens.
        clip_fraction: a scalar, the share of real tokens for which the clipped term is the smaller one.

    Raises:
        ValueError: shapes disagree, a row has no token, or clip_range ≤ 0.
    """
    check_tokens(mask, logps=logps, old_logps=old_logps, advantages=advantages)
    check_positive(clip_range=clip_range)
    ratios = (logps - old_logps).exp()
    plain = ratios * advantages
    clipped = ratios.clamp(1 - clip_range, 1 + clip_range) * advantages
    loss = -torch.minimum(plain, clipped)[mask].mean()
    return loss, (clipped < plain)[mask].to(logps.dtype).mean()


def ppo_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip_range: float = 0.2
) -> Tensor:
    """Half the squared error of the value model, whose estimates are kept near the old ones.

    L = ½ mean_t max((V_t − R_t)², (V_t^clip − R_t)²),    V_t^clip = V_t^old + clip(V_t − V_t^old, −ε_V, ε_V)

    As in OpenAI's implementation of PPO; the maximum makes the loss the more pessimistic of the two.

    Args:
        values: (B, T), V_t of the value model that learns.
        old_values: (B, T), what it said when the completions were sampled, without gradient.
        returns: (B, T), advantages + old values, without gradient.
        mask: (B, T) bool.
        clip_range: ε_V > 0, in units of reward.

    Returns:
        A scalar, differentiable in `values`.

    Raises:
        ValueError: shapes disagree, a row has no token, or clip_range ≤ 0.
    """
    check_tokens(mask, values=values, old_values=old_values, returns=returns)
    check_positive(clip_range=clip_range)
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)[mask].mean()


def approximate_kl(logps: Tensor, old_logps: Tensor, mask: Tensor) -> Tensor:
    """How far an update has moved the policy from the one that sampled, in nats a token: ½ mean (log π − log π_old)².

    To second order that is KL(π_old ‖ π), and it never comes out below 0. TRL logs it as `policy/approxkl_avg`.
    """
    check_tokens(mask, logps=logps, old_logps=old_logps)
    return 0.5 * ((logps - old_logps) ** 2)[mask].mean()
