"""Right answers in other words: each must pass."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus


def by_softplus(margins):
    return -softplus(-margins)


def by_torch(margins):
    return logsigmoid(margins)


def by_logaddexp(margins):
    return -torch.logaddexp(torch.zeros_like(margins), -margins)


def by_cross_entropy(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    margin = beta * (pc - pr - (rc - rr))
    target = torch.full_like(margin, 1 - label_smoothing)
    losses = binary_cross_entropy_with_logits(margin, target, reduction="none")
    with torch.no_grad():
        return losses, beta * (pc - rc), beta * (pr - rr)


def by_a_loop(
    policy_chosen_logps,
    policy_rejected_logps,
    ref_chosen_logps,
    ref_rejected_logps,
    beta=0.1,
    label_smoothing=0.0,
):
    losses, chosen, rejected = [], [], []
    rows = zip(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, strict=True)
    for pc, pr, rc, rr in rows:
        good, bad = beta * (pc - rc), beta * (pr - rr)
        losses.append(label_smoothing * softplus(good - bad) + (1 - label_smoothing) * softplus(bad - good))
        chosen.append(good.detach())
        rejected.append(bad.detach())
    return torch.stack(losses), torch.stack(chosen), torch.stack(rejected)


def by_matrix_product(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    signs = torch.tensor([[1.0, 0, -1, 0], [0, 1, 0, -1]]).to(pc)
    chosen, rejected = beta * signs @ torch.stack([pc, pr, rc, rr])
    margin = chosen - rejected
    losses = -logsigmoid(margin) + label_smoothing * margin
    return losses, chosen.detach(), rejected.detach()


def gradient_by_autograd(pc, pr, rc, rr, beta=0.1):
    pc, pr = pc.detach().requires_grad_(), pr.detach().requires_grad_()
    losses = -logsigmoid(beta * ((pc - rc) - (pr - rr)))
    return torch.autograd.grad(losses.sum(), (pc, pr))


def gradient_by_one_minus(pc, pr, rc, rr, beta=0.1):
    push = beta * (1 - torch.sigmoid(beta * ((pc - rc) - (pr - rr))))
    return [-push, push]


def gradient_by_the_logistic(pc, pr, rc, rr, beta=0.1):
    push = beta / (1 + torch.exp(beta * ((pc - rc) - (pr - rr))))
    return -push, push


def metrics_by_stack(losses, chosen, rejected, policy_chosen=None, policy_rejected=None):
    table = torch.stack([losses, chosen, rejected, (chosen > rejected).to(losses), chosen - rejected]).mean(
        dim=1
    )
    names = ["loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"]
    found = dict(zip(names, table.tolist(), strict=True))
    if policy_chosen is not None:
        found["logps/chosen"] = policy_chosen.mean().item()
    if policy_rejected is not None:
        found["logps/rejected"] = policy_rejected.mean().item()
    return found


def metrics_by_python(losses, chosen, rejected, policy_chosen=None, policy_rejected=None):
    mean = lambda values: sum(values.tolist()) / len(values)  # noqa: E731
    wins = sum(c > r for c, r in zip(chosen.tolist(), rejected.tolist(), strict=True))
    found = {"loss": mean(losses), "rewards/chosen": mean(chosen), "rewards/rejected": mean(rejected)}
    found |= {"rewards/accuracies": wins / len(losses), "rewards/margins": mean(chosen) - mean(rejected)}
    given = {"logps/chosen": policy_chosen, "logps/rejected": policy_rejected}
    return found | {name: mean(value) for name, value in given.items() if value is not None}


def metrics_as_tensors_then_floats(losses, chosen, rejected, policy_chosen=None, policy_rejected=None):
    found = {
        "rewards/margins": torch.mean(chosen) - torch.mean(rejected),
        "rewards/accuracies": torch.gt(chosen, rejected).sum() / chosen.numel(),
        "rewards/rejected": torch.mean(rejected),
        "rewards/chosen": torch.mean(chosen),
        "loss": torch.mean(losses),
    }
    if policy_chosen is not None:
        found["logps/chosen"] = torch.mean(policy_chosen)
    if policy_rejected is not None:
        found["logps/rejected"] = torch.mean(policy_rejected)
    return {name: float(value) for name, value in found.items()}


ACCEPTED = {
    "stable_log_sigmoid": [by_softplus, by_torch, by_logaddexp],
    "dpo_loss": [by_cross_entropy, by_a_loop, by_matrix_product],
    "dpo_gradient": [gradient_by_autograd, gradient_by_one_minus, gradient_by_the_logistic],
    "preference_metrics": [metrics_by_stack, metrics_by_python, metrics_as_tensors_then_floats],
}
