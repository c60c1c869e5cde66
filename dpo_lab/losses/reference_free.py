"""Losses without a reference model: half the forward passes, and nothing that says how far is too far.

They take the reference's log-probs as the others do, so that one call fits all, and don't read them. Their rewards are
β log π, without a reference too: not comparable with the implicit rewards of the others.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.checks import check_batch, check_positive
from dpo_lab.losses.anchored import chosen_nll


def simpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor | None = None,
    ref_rejected_logps: Tensor | None = None,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """SimPO: the mean log-prob of a token is the reward, and a win must be by a margin.

    L = −log σ(r_w − r_l − γ),   r = β log π(y|x)/|y|          (Meng et al. 2024, arXiv 2405.14734, eq. 6)

    Args:
        policy_chosen_logps: (B,), log π(y_w|x)/|y_w| in nats a token: means over the completion, not sums.
        policy_rejected_logps: (B,), log π(y_l|x)/|y_l|.
        ref_chosen_logps: not read.
        ref_rejected_logps: not read.
        beta: scale of the reward, > 0. A mean is some ten times smaller than a sum, so β is some ten times larger than
            DPO's.
        gamma: γ ≥ 0, the margin that the rewards shall be apart by.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,); only the losses carry a gradient.

    Raises:
        ValueError: shapes differ or are not (B,), a log-prob is NaN, beta ≤ 0, or gamma < 0.
    """
    check_batch(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    check_positive(beta=beta)
    if not gamma >= 0:
        raise ValueError(f"gamma must be >= 0, got {gamma}")
    chosen_rewards = beta * policy_chosen_logps
    rejected_rewards = beta * policy_rejected_logps
    losses = -logsigmoid(chosen_rewards - rejected_rewards - gamma)
    return losses, chosen_rewards.detach(), rejected_rewards.detach()


def orpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor | None = None,
    ref_rejected_logps: Tensor | None = None,
    beta: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """ORPO: the SFT loss on the chosen completion, and a log-odds ratio that sets it apart from the rejected one.

    L = −log p_w − β log σ(log odds(p_w) − log odds(p_l)),   odds(p) = p/(1 − p),   log p = log π(y|x)/|y|
    (Hong et al. 2024, arXiv 2403.07691, eq. 6 and 7; β is their λ)

    Args:
        policy_chosen_logps: (B,), log p_w = log π(y_w|x)/|y_w| in nats a token, below 0: means, not sums.
        policy_rejected_logps: (B,), log p_l.
        ref_chosen_logps: not read.
        ref_rejected_logps: not read.
        beta: weight of the odds-ratio term, > 0; the SFT term has weight 1.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,); the rewards are β log p, as TRL logs them.

    Raises:
        ValueError: shapes differ or are not (B,), a log-prob is NaN or not below 0, or beta ≤ 0.
    """
    check_batch(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    check_positive(beta=beta)
    chosen_odds = log_odds(policy_chosen_logps)
    rejected_odds = log_odds(policy_rejected_logps)
    losses = -policy_chosen_logps - beta * logsigmoid(chosen_odds - rejected_odds)
    return losses, beta * policy_chosen_logps.detach(), beta * policy_rejected_logps.detach()


def log_odds(logps: Tensor) -> Tensor:
    """log(p/(1 − p)) from log p, any shape, without rounding where p is near 1.

    Raises:
        ValueError: a log p is not below 0: a probability of 1 has infinite odds.
    """
    if not (logps < 0).all():
        raise ValueError(f"log-probs must be below 0, got {logps.max().item()}")
    return logps - torch.log(-torch.expm1(logps))


def cpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor | None = None,
    ref_rejected_logps: Tensor | None = None,
    chosen_lengths: Tensor | None = None,
    rejected_lengths: Tensor | None = None,
    beta: float = 0.1,
    alpha: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """CPO: DPO with a uniform reference, and the chosen completion's NLL (Xu et al. 2024, arXiv 2401.08417).

    L = −log σ(β (log π(y_w|x) − log π(y_l|x))) − α log π(y_w|x)/|y_w|

    Args:
        chosen_lengths: (B,), completion tokens of the chosen rows, as floats; needed where alpha > 0.
        rejected_lengths: not read.
        beta: scale of the reward, > 0.
        alpha: weight of the NLL, ≥ 0.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_batch(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    check_positive(beta=beta)
    if not alpha >= 0:
        raise ValueError(f"alpha must be >= 0, got {alpha}")
    losses = -logsigmoid(beta * (policy_chosen_logps - policy_rejected_logps))
    if alpha > 0:
        if chosen_lengths is None:
            raise ValueError(
                "chosen_lengths is missing: the NLL is a mean over tokens; pass them, or alpha=0"
            )
        losses = losses + alpha * chosen_nll(policy_chosen_logps, chosen_lengths)
    return losses, beta * policy_chosen_logps.detach(), beta * policy_rejected_logps.detach()
