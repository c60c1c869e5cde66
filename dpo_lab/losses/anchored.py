"""DPO and one term more: what holds the chosen completion up, and what takes length out of the margin."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from dpo_lab.checks import check_batch, check_positive
from dpo_lab.losses.dpo import dpo_loss
from dpo_lab.losses.ratios import log_ratios


def dpop_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    penalty: float = 50.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """DPO-Positive: a chosen completion below its reference costs (Pal et al. 2024, arXiv 2402.13228, eq. 3).

    L = −log σ(m − β λ max(0, log π_ref(y_w) − log π(y_w))),   m the implicit-reward margin

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats.
        policy_rejected_logps: (B,), log π(y_l|x).
        ref_chosen_logps: (B,), log π_ref(y_w|x), without gradient.
        ref_rejected_logps: (B,), log π_ref(y_l|x), without gradient.
        beta: weight of the KL term, > 0.
        penalty: λ ≥ 0, what a nat of the chosen completion's fall weighs against a nat of margin; 0 is DPO.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,); the rewards are DPO's, without the penalty.
    """
    check_positive(beta=beta)
    if not penalty >= 0:
        raise ValueError(f"penalty must be >= 0, got {penalty}")
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = -logsigmoid(beta * (chosen - rejected - penalty * relu(-chosen)))
    return losses, beta * chosen.detach(), beta * rejected.detach()


def r_dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float = 0.1,
    alpha: float = 0.01,
) -> tuple[Tensor, Tensor, Tensor]:
    """R-DPO: length-regularised DPO (Park et al. 2024, arXiv 2403.19159).

    L = −log σ(m + α (|y_w| − |y_l|)),   m the implicit-reward margin

    It is DPO for the objective E[r − α |y|] − β KL: where the longer answer won, length already explains part of the
    win, and only the rest is left for the margin to explain.

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats.
        policy_rejected_logps: (B,), log π(y_l|x).
        ref_chosen_logps: (B,), log π_ref(y_w|x), without gradient.
        ref_rejected_logps: (B,), log π_ref(y_l|x), without gradient.
        chosen_lengths: (B,), completion tokens of the chosen rows, as floats.
        rejected_lengths: (B,), completion tokens of the rejected rows, as floats.
        beta: weight of the KL term, > 0.
        alpha: reward that a token costs, in nats; 0 is DPO.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,); the rewards are DPO's, without the length term.
    """
    check_positive(beta=beta)
    check_batch(
        policy_chosen_logps=policy_chosen_logps,
        chosen_lengths=chosen_lengths,
        rejected_lengths=rejected_lengths,
    )
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = -logsigmoid(beta * (chosen - rejected) + alpha * (chosen_lengths - rejected_lengths))
    return losses, beta * chosen.detach(), beta * rejected.detach()


def chosen_nll(policy_chosen_logps: Tensor, chosen_lengths: Tensor) -> Tensor:
    """Negative log-prob of the chosen completion, a mean over its tokens (Pang et al. 2024, arXiv 2404.19733, eq. 1).

    Added to DPO's loss it holds up what DPO leaves free to fall: log π(y_w|x) itself.

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats, summed over the completion.
        chosen_lengths: (B,), completion tokens of the chosen rows, as floats.

    Returns:
        (B,), in nats a token.
    """
    check_batch(policy_chosen_logps=policy_chosen_logps, chosen_lengths=chosen_lengths)
    return -policy_chosen_logps / chosen_lengths


def dpo_nll_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float = 0.1,
    alpha: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """DPO plus the chosen completion's NLL (Pang et al. 2024, "iterative RPO", arXiv 2404.19733, eq. 1).

    L = −log σ(m) − α log π(y_w|x)/|y_w|,   m the implicit-reward margin

    Args:
        chosen_lengths: (B,), completion tokens of the chosen rows, as floats.
        rejected_lengths: (B,), likewise; not read.
        beta: weight of the KL term, > 0.
        alpha: weight of the NLL, ≥ 0; 0 is DPO.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,); the rewards are DPO's.
    """
    if not alpha >= 0:
        raise ValueError(f"alpha must be >= 0, got {alpha}")
    losses, *rewards = dpo_loss(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta
    )
    return losses + alpha * chosen_nll(policy_chosen_logps, chosen_lengths), *rewards
