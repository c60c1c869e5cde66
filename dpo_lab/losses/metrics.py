"""What a batch of pairs looks like, whatever the loss."""

from __future__ import annotations

from torch import Tensor

from dpo_lab.checks import check_batch


def preference_metrics(
    losses: Tensor,
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    policy_chosen_logps: Tensor | None = None,
    policy_rejected_logps: Tensor | None = None,
) -> dict[str, float]:
    """Means over a batch, under the names that TRL logs.

    Args:
        losses: (B,), per-pair losses.
        chosen_rewards: (B,), implicit rewards of the chosen completions, in nats times beta.
        rejected_rewards: (B,), implicit rewards of the rejected completions.
        policy_chosen_logps: (B,), optional; logged as `logps/chosen`.
        policy_rejected_logps: (B,), optional; logged as `logps/rejected`.

    Returns:
        `loss`, `rewards/chosen`, `rewards/rejected`, `rewards/accuracies` (share of pairs with chosen above rejected;
        a tie counts as wrong, as in TRL), `rewards/margins`, and `logps/*` where given.

    Raises:
        ValueError: shapes differ or are not (B,), or a value is NaN.
    """
    check_batch(losses=losses, chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards)
    values = {
        "loss": losses,
        "rewards/chosen": chosen_rewards,
        "rewards/rejected": rejected_rewards,
        "rewards/accuracies": (chosen_rewards > rejected_rewards).float(),
        "rewards/margins": chosen_rewards - rejected_rewards,
    }
    if policy_chosen_logps is not None:
        values["logps/chosen"] = policy_chosen_logps
    if policy_rejected_logps is not None:
        values["logps/rejected"] = policy_rejected_logps
    return {name: value.detach().mean().item() for name, value in values.items()}
