"""Losses of the margin alone: what matters of a pair is how far its chosen side has moved ahead of its rejected one.

Whatever is added to both log-ratios of a pair cancels, so log Z(x) never shows. All take the four log-probs of
`dpo_loss`, return its triple, and raise ValueError for the same bad input.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from dpo_lab.checks import check_fraction, check_positive
from dpo_lab.losses.ratios import log_ratios


def ipo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """IPO: pull the log-ratio gap towards 1/(2τ), and no further (Azar et al. 2023, arXiv 2310.12036, eq. 17).

    L = (δ − 1/(2τ))²,   δ = log π(y_w)/π_ref(y_w) − log π(y_l)/π_ref(y_l)

    With labels that win with probability p the mean loss is least at δ = (2p − 1)/(2τ): finite, even at p = 1.

    Args:
        policy_chosen_logps: (B,) in nats; sums over the completion as in the paper, or means as in TRL.
        policy_rejected_logps: (B,), likewise.
        ref_chosen_logps: (B,), likewise, without gradient.
        ref_rejected_logps: (B,), likewise, without gradient.
        beta: the paper's τ, > 0.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,); rewards are τ times the log-ratio.
    """
    check_positive(beta=beta)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = (chosen - rejected - 1 / (2 * beta)) ** 2
    return losses, beta * chosen.detach(), beta * rejected.detach()


def robust_dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Robust DPO: an unbiased estimate of the loss on clean labels (Chowdhury et al. 2024, arXiv 2403.00409).

    L = [−(1 − ε) log σ(m) + ε log σ(−m)] / (1 − 2ε),   m the implicit-reward margin

    Averaged over labels that were flipped with probability ε this equals DPO's loss on the labels before the flips.

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats.
        policy_rejected_logps: (B,), log π(y_l|x).
        ref_chosen_logps: (B,), log π_ref(y_w|x), without gradient.
        ref_rejected_logps: (B,), log π_ref(y_l|x), without gradient.
        beta: weight of the KL term, > 0.
        label_smoothing: ε in [0, 0.5), the probability that a label is flipped.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,); a loss can lie below 0.
    """
    check_positive(beta=beta)
    check_fraction(label_smoothing=label_smoothing)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    margins = beta * (chosen - rejected)
    clean, flipped = -logsigmoid(margins), -logsigmoid(-margins)
    losses = ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)
    return losses, beta * chosen.detach(), beta * rejected.detach()


def hinge_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """A straight slope until the margin is 1, then nothing (RSO: Liu et al. 2023, arXiv 2309.06657, "hinge-norm").

    L = max(0, 1 − m),   m the implicit-reward margin

    SLiC (Zhao et al. 2023, arXiv 2305.10425) is the same on log-probs without a reference.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_positive(beta=beta)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = relu(1 - beta * (chosen - rejected))
    return losses, beta * chosen.detach(), beta * rejected.detach()


def exo_pair_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 1e-3,
) -> tuple[Tensor, Tensor, Tensor]:
    """EXO on pairs: KL(policy ‖ labels), cDPO's the other way round (Ji et al. 2024, arXiv 2402.00856, eq. 16).

    L = q log(q/(1 − ε)) + (1 − q) log((1 − q)/ε),   q = σ(m)

    Args:
        beta: weight of the KL term, > 0.
        label_smoothing: ε in (0, 0.5); at ε = 0 the loss would be infinite, the paper takes 1e-3.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_positive(beta=beta, label_smoothing=label_smoothing)
    check_fraction(label_smoothing=label_smoothing)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    margins = beta * (chosen - rejected)
    right = torch.sigmoid(margins) * (logsigmoid(margins) - math.log1p(-label_smoothing))
    wrong = torch.sigmoid(-margins) * (logsigmoid(-margins) - math.log(label_smoothing))
    return right + wrong, beta * chosen.detach(), beta * rejected.detach()


def discopop_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    temperature: float = 0.05,
) -> tuple[Tensor, Tensor, Tensor]:
    """DiscoPOP, found by a language model's search over code (Lu et al. 2024, arXiv 2406.08414, eq. 5).

    L = (1 − s) · (−log σ(m)) + s · exp(−m),   s = σ(m/temperature)

    The logistic loss for pairs that are wrong, the exponential one for pairs that are right. It is not convex.

    Args:
        beta: weight of the KL term, > 0.
        temperature: how sharply the one gives way to the other, > 0.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,).
    """
    check_positive(beta=beta, temperature=temperature)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    margins = beta * (chosen - rejected)
    share = torch.sigmoid(margins / temperature)
    # share · exp(−m) in one exponential: where a pair is very wrong, the product of the two would be 0 · ∞
    exponential = torch.exp(logsigmoid(margins / temperature) - margins)
    losses = (1 - share) * -logsigmoid(margins) + exponential
    return losses, beta * chosen.detach(), beta * rejected.detach()
