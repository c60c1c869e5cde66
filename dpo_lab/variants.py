"""DPO's relatives: what to change when a run fails in a known way, and the registry that the trainer picks from.

Every loss here is a pure function of the same four `(batch,)` tensors as `losses.dpo_loss`, returns the same triple
`(losses, chosen_rewards, rejected_rewards)`, and raises ValueError for the same bad input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from dpo_lab.checks import check_batch, check_fraction, check_positive
from dpo_lab.losses import dpo_loss


def log_ratios(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
) -> tuple[Tensor, Tensor]:
    """log π − log π_ref of the chosen and of the rejected completions, each (B,), in nats; input checked."""
    check_batch(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        ref_chosen_logps=ref_chosen_logps,
        ref_rejected_logps=ref_rejected_logps,
    )
    return policy_chosen_logps - ref_chosen_logps, policy_rejected_logps - ref_rejected_logps


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


@dataclass(frozen=True)
class Loss:
    """A loss as the trainer calls it.

    Attributes:
        function: of four `(B,)` log-prob tensors, `beta` and options of its own.
        source: the paper.
        average: whether it takes means over the completion's tokens instead of sums.
        lengths: whether it also takes `chosen_lengths` and `rejected_lengths`.
        needs_reference: whether its value depends on the reference's log-probs.
    """

    function: Callable[..., tuple[Tensor, Tensor, Tensor]]
    source: str
    average: bool = False
    lengths: bool = False
    needs_reference: bool = True


LOSSES = {
    "sigmoid": Loss(dpo_loss, "Rafailov et al. 2023, arXiv 2305.18290"),
    "sigmoid_norm": Loss(dpo_loss, "Lambert et al. 2024, arXiv 2411.15124", average=True),
    "ipo": Loss(ipo_loss, "Azar et al. 2023, arXiv 2310.12036"),
    "robust": Loss(robust_dpo_loss, "Chowdhury et al. 2024, arXiv 2403.00409"),
    "dpop": Loss(dpop_loss, "Pal et al. 2024, arXiv 2402.13228"),
    "r_dpo": Loss(r_dpo_loss, "Park et al. 2024, arXiv 2403.19159", lengths=True),
}
"""Names as in TRL, where TRL has the loss. TRL's `ipo` averages over tokens; ours sums, as the paper does."""
