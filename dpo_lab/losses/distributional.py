"""Losses of whole batches: the distribution of chosen scores shall lie above that of the rejected ones.

AOT (Melnyk et al. 2024, arXiv 2406.05882) sorts both sides and compares them quantile by quantile: a soft version of
first-order stochastic dominance. Entry i of the losses is about quantile i, not about pair i; only their mean means
something, and it depends on the batch size.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.checks import check_fraction, check_positive
from dpo_lab.losses.ratios import log_ratios


def aot_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """AOT, paired: the policy's gaps, sorted, against the reference's gaps, sorted.

    d = sort(log π(y_w) − log π(y_l)) − sort(log π_ref(y_w) − log π_ref(y_l))
    L = −(1 − ε) log σ(β d) − ε log σ(−β d)

    Args:
        beta: weight of the KL term, > 0.
        label_smoothing: ε in [0, 0.5).

    Returns:
        losses: (B,), by quantile. chosen_rewards, rejected_rewards: (B,), by pair, as in DPO.
    """
    check_positive(beta=beta)
    check_fraction(label_smoothing=label_smoothing)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    policy_gaps = (policy_chosen_logps - policy_rejected_logps).sort().values
    ref_gaps = (ref_chosen_logps - ref_rejected_logps).sort().values
    losses = smoothed_logistic(beta * (policy_gaps - ref_gaps), label_smoothing)
    return losses, beta * chosen.detach(), beta * rejected.detach()


def aot_unpaired_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """AOT, unpaired: chosen log-ratios, sorted, against rejected log-ratios, sorted.

    d = sort(log π(y_w) − log π_ref(y_w)) − sort(log π(y_l) − log π_ref(y_l))
    L = −(1 − ε) log σ(β d) − ε log σ(−β d)

    Arguments and returns as in `aot_loss`; chosen and rejected need not answer one prompt.
    """
    check_positive(beta=beta)
    check_fraction(label_smoothing=label_smoothing)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps
    )
    losses = smoothed_logistic(beta * (chosen.sort().values - rejected.sort().values), label_smoothing)
    return losses, beta * chosen.detach(), beta * rejected.detach()


def smoothed_logistic(margins: Tensor, label_smoothing: float) -> Tensor:
    """−(1 − ε) log σ(m) − ε log σ(−m), as in `dpo_loss`."""
    return -(1 - label_smoothing) * logsigmoid(margins) - label_smoothing * logsigmoid(-margins)
