"""DPO itself: a pure function of four `(batch,)` tensors of sequence log-probabilities, and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.checks import check_batch, check_fraction, check_positive


def stable_log_sigmoid(margins: Tensor) -> Tensor:
    """log σ(m) without overflow, for any finite m, and with the right gradient σ(−m).

    log σ(m) = −log(1 + e^(−m)) = min(m, 0) − log(1 + e^(−|m|))

    The last form only ever takes the exponential of a number ≤ 0. `torch.nn.functional.logsigmoid` does the same.

    Args:
        margins: any shape, floating, in nats.

    Returns:
        The same shape and dtype; every entry ≤ 0 and finite.
    """
    # minimum, not clamp: at m = 0, where every DPO run starts, clamp's gradient is 1 and not ½
    return torch.minimum(margins, torch.zeros_like(margins)) - torch.log1p(torch.exp(-margins.abs()))


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """DPO loss and implicit rewards of each pair.

    L = −(1 − ε) log σ(m) − ε log σ(−m),   m = r_w − r_l,   r = β (log π − log π_ref)
    (Rafailov et al. 2023, eq. 7; label smoothing ε: Mitchell 2023, "cDPO")

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats, summed over the completion's tokens.
        policy_rejected_logps: (B,), log π(y_l|x).
        ref_chosen_logps: (B,), log π_ref(y_w|x), without gradient.
        ref_rejected_logps: (B,), log π_ref(y_l|x), without gradient.
        beta: weight of the KL term, > 0; higher stays closer to the reference.
        label_smoothing: ε in [0, 0.5), the probability that a label is flipped.

    Returns:
        losses, chosen_rewards, rejected_rewards: each (B,); only the losses carry a gradient.

    Raises:
        ValueError: shapes differ or are not (B,), a log-prob is NaN, beta ≤ 0, label_smoothing outside [0, 0.5).
    """
    check_batch(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        ref_chosen_logps=ref_chosen_logps,
        ref_rejected_logps=ref_rejected_logps,
    )
    check_positive(beta=beta)
    check_fraction(label_smoothing=label_smoothing)
    chosen_rewards = beta * (policy_chosen_logps - ref_chosen_logps)
    rejected_rewards = beta * (policy_rejected_logps - ref_rejected_logps)
    margins = chosen_rewards - rejected_rewards
    # logsigmoid, not log(sigmoid): sigmoid(-110) is 0 in float32, and its log is -inf
    losses = -(1 - label_smoothing) * logsigmoid(margins) - label_smoothing * logsigmoid(-margins)
    return losses, chosen_rewards.detach(), rejected_rewards.detach()


def dpo_gradient(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Gradient of each pair's loss, without label smoothing, in the policy's two log-probs: a closed form.

    (Rafailov et al. 2023, section 4, before the chain rule into the weights)

    Args:
        policy_chosen_logps: (B,), log π(y_w|x) in nats.
        policy_rejected_logps: (B,), log π(y_l|x).
        ref_chosen_logps: (B,), log π_ref(y_w|x).
        ref_rejected_logps: (B,), log π_ref(y_l|x).
        beta: weight of the KL term, > 0.

    Returns:
        chosen_gradients, rejected_gradients: each (B,), ∂L/∂log π(y_w|x) and ∂L/∂log π(y_l|x).

    Raises:
        ValueError: shapes differ or are not (B,), a log-prob is NaN, or beta ≤ 0.
    """
    _, chosen_rewards, rejected_rewards = dpo_loss(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta
    )
    weights = torch.sigmoid(rejected_rewards - chosen_rewards)  # how wrong the implicit rewards have the pair
    return -beta * weights, beta * weights
