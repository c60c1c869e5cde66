"""Losses that judge each completion alone, against its reference: chosen and rejected need not answer one prompt.

So they can learn from thumbs up and thumbs down. The price: what is added to both log-ratios of a pair no longer
cancels, log Z(x) included. All take the four log-probs of `dpo_loss` and raise ValueError for the same bad input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.checks import check_batch, check_positive, check_same_shape
from dpo_lab.losses.ratios import log_ratios


def kto_loss(
    policy_logps: Tensor,
    ref_logps: Tensor,
    thumbs_up: Tensor,
    mismatched_log_ratios: Tensor,
    beta: float = 0.1,
    up_weight: float = 1.0,
    down_weight: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """KTO: each completion against the zero point z, liked ones above it, disliked ones below.

    L = λ_up (1 − σ(β (ρ − z)))     for a thumb up,   ρ = log π(y|x) − log π_ref(y|x)
    L = λ_down (1 − σ(β (z − ρ)))   for a thumb down
    z = max(0, mean of the mismatched log-ratios), an estimate of KL(π ‖ π_ref) that carries no gradient
    (Ethayarajh et al. 2024, arXiv 2402.01306, section 4)

    Args:
        policy_logps: (B,), log π(y|x) in nats, summed over the completion's tokens.
        ref_logps: (B,), log π_ref(y|x), without gradient.
        thumbs_up: (B,) bool, whether the completion was liked; the counts of the two kinds may differ.
        mismatched_log_ratios: (M,), log π(y'|x) − log π_ref(y'|x), where y' is another prompt's completion.
        beta: how steep the value function is, > 0; higher stays closer to the reference.
        up_weight: λ_up > 0, weight of a liked completion.
        down_weight: λ_down > 0, weight of a disliked one.

    Returns:
        losses, rewards: each (B,); rewards are β ρ. Only the losses carry a gradient, and only into `policy_logps`.

    Raises:
        ValueError: shapes differ or are not (B,), a log-prob is NaN, or beta or a weight ≤ 0.
    """
    check_batch(policy_logps=policy_logps, ref_logps=ref_logps)
    check_same_shape(policy_logps=policy_logps, thumbs_up=thumbs_up)
    check_batch(mismatched_log_ratios=mismatched_log_ratios)
    check_positive(beta=beta, up_weight=up_weight, down_weight=down_weight)
    log_ratio = policy_logps - ref_logps
    zero_point = (
        mismatched_log_ratios.detach().mean().clamp(min=0)
    )  # a KL is never negative, its estimate can be
    gains = beta * (log_ratio - zero_point)
    losses = torch.where(
        thumbs_up, up_weight * (1 - torch.sigmoid(gains)), down_weight * (1 - torch.sigmoid(-gains))
    )
    return losses, beta * log_ratio.detach()


def kto_pair_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    mismatched_log_ratios: Tensor,
    beta: float = 0.1,
    up_weight: float = 1.0,
    down_weight: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """`kto_loss` with a thumb up for each chosen completion and a thumb down for each rejected one.

    Args:
        mismatched_log_ratios: (M,), as in `kto_loss`, and so are the others.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,). A loss is the mean of its two rows', so that the mean over
        pairs is the mean over rows.
    """
    log_ratios(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps)
    up = torch.ones_like(policy_chosen_logps, dtype=torch.bool)
    shared = (mismatched_log_ratios, beta, up_weight, down_weight)
    chosen_losses, chosen_rewards = kto_loss(policy_chosen_logps, ref_chosen_logps, up, *shared)
    rejected_losses, rejected_rewards = kto_loss(policy_rejected_logps, ref_rejected_logps, ~up, *shared)
    return (chosen_losses + rejected_losses) / 2, chosen_rewards, rejected_rewards


def bco_pair_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    delta: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """BCO: a classifier of chosen against rejected whose logit is the reward (Jung et al. 2024, arXiv 2404.04656).

    L = −log σ(r_w − δ) − log σ(−(r_l − δ)),   r = β (log π − log π_ref)

    Args:
        beta: weight of the KL term, > 0.
        delta: δ, the mean reward of recent completions of both kinds; 0 is what TRL 1.16 always takes.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_positive(beta=beta)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = -logsigmoid(beta * chosen - delta) - logsigmoid(delta - beta * rejected)
    return losses, beta * chosen.detach(), beta * rejected.detach()


def nca_pair_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """NCA: noise-contrastive, each completion against a draw from the reference (Chen et al. 2024, arXiv 2402.05369).

    L = −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l),   r = β (log π − log π_ref)

    In r_w alone it is least at log 2: the chosen completion rises, and stops.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_positive(beta=beta)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    chosen_rewards, rejected_rewards = beta * chosen, beta * rejected
    noise = logsigmoid(-chosen_rewards) + logsigmoid(-rejected_rewards)
    losses = -logsigmoid(chosen_rewards) - 0.5 * noise
    return losses, chosen_rewards.detach(), rejected_rewards.detach()


def sppo_hard_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """SPPO with win rates of 1 and 0: each log-ratio to its own target (Wu et al. 2024, arXiv 2405.00675, eq. 4.7).

    L = (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))²,   ρ = log π − log π_ref

    IPO aims at a gap of 1/(2τ) between the two; here each side has a place of its own, the gap being 1/β.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_positive(beta=beta)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = (chosen - 1 / (2 * beta)) ** 2 + (rejected + 1 / (2 * beta)) ** 2
    return losses, beta * chosen.detach(), beta * rejected.detach()


def apo_zero_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """APO-zero: chosen up, rejected down; for data better than the model (D'Oosterlinck et al. 2024, eq. 7).

    L = 1 − σ(r_w) + σ(r_l),   r = β (log π − log π_ref)          (arXiv 2408.06266)

    It is KTO with the zero point held at 0, but for a factor of 2.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_positive(beta=beta)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = 1 - torch.sigmoid(beta * chosen) + torch.sigmoid(beta * rejected)
    return losses, beta * chosen.detach(), beta * rejected.detach()


def apo_down_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """APO-down: both down, rejected more; for data worse than the model (D'Oosterlinck et al. 2024, eq. 8).

    L = σ(r_w) + 1 − σ(r_w − r_l),   r = β (log π − log π_ref)          (arXiv 2408.06266)

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_positive(beta=beta)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = torch.sigmoid(beta * chosen) + 1 - torch.sigmoid(beta * (chosen - rejected))
    return losses, beta * chosen.detach(), beta * rejected.detach()
