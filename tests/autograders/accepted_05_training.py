"""Right answers in other words: each must pass."""

from __future__ import annotations

import copy
import math

import torch
from torch.nn.functional import log_softmax, softplus

from dpo_lab.policies import Policy


def copies_the_policy(policy):
    reference = copy.deepcopy(policy)
    reference.name = "frozen"
    reference.model.eval()
    for parameter in reference.model.parameters():
        parameter.requires_grad = False
    return reference


def copies_by_memo(policy):
    reference = Policy(copy.deepcopy(policy.model), copy.deepcopy(policy.tokenizer), policy.name)
    reference.model.requires_grad_(False).train(False)
    return reference


def copies_then_loads(policy):
    model = copy.deepcopy(policy.model)
    model.load_state_dict(policy.model.state_dict())
    for parameter in model.parameters():
        parameter.detach_()
    for module in model.modules():
        module.training = False
    return Policy(model=model, tokenizer=policy.tokenizer, name="reference")


def scores(model, batch):
    ids, scored = batch["input_ids"], batch["completion_mask"].bool()
    logits = model(input_ids=ids, attention_mask=batch["attention_mask"]).logits.float()
    tokens = log_softmax(logits[:, :-1], dim=-1).gather(-1, ids[:, 1:, None])[..., 0]
    return torch.where(scored[:, 1:], tokens, torch.zeros_like(tokens)).sum(1)


def metrics_of(losses, good, bad, chosen, rejected):
    found = {
        "logps/chosen": chosen,
        "logps/rejected": rejected,
        "rewards/margins": good - bad,
        "rewards/accuracies": (good > bad).double(),
        "rewards/rejected": bad,
        "rewards/chosen": good,
        "loss": losses,
    }
    return {name: value.detach().mean().item() for name, value in found.items()}


def from_the_logits(model, batch, ref_chosen, ref_rejected, beta=0.1, label_smoothing=0.0):
    rows = scores(model, batch)
    chosen, rejected = rows[: len(ref_chosen)], rows[len(ref_chosen) :]
    good, bad = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
    losses = softplus(bad - good) + label_smoothing * (good - bad)
    return losses.mean(), metrics_of(losses, good, bad, chosen, rejected)


def by_reshaping(model, batch, ref_chosen, ref_rejected, beta=0.1, label_smoothing=0.0):
    policy = scores(model, batch).reshape(2, -1)
    rewards = beta * (policy - torch.stack([ref_chosen, ref_rejected]))
    margins = rewards[0] - rewards[1]
    losses = (1 - label_smoothing) * softplus(-margins) + label_smoothing * softplus(margins)
    return losses.sum() / len(losses), metrics_of(losses, *rewards, *policy)


def pair_by_pair(model, batch, ref_chosen, ref_rejected, beta=0.1, label_smoothing=0.0):
    rows, size = scores(model, batch), len(ref_chosen)
    losses, good, bad = [], [], []
    for i in range(size):
        good.append(beta * (rows[i] - ref_chosen[i]))
        bad.append(beta * (rows[size + i] - ref_rejected[i]))
        margin = good[-1] - bad[-1]
        losses.append(label_smoothing * softplus(margin) + (1 - label_smoothing) * softplus(-margin))
    columns = [torch.stack(column) for column in (losses, good, bad)]
    return sum(losses) / size, metrics_of(*columns, rows[:size], rows[size:])


def clips_by_hand(optimizer, schedule, max_grad_norm):
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = math.sqrt(sum(float(p.grad.double().pow(2).sum()) for p in parameters))
    if math.isinf(norm) or math.isnan(norm):
        raise FloatingPointError(norm)
    for p in parameters:
        p.grad.mul_(min(1.0, max_grad_norm / norm))
    optimizer.step()
    schedule.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def clears_before_the_schedule(optimizer, schedule, max_grad_norm):
    parameters = sum((group["params"] for group in optimizer.param_groups), [])
    norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in parameters])).item()
    if not math.isfinite(norm):
        raise FloatingPointError("not finite")
    if norm > max_grad_norm:
        for p in parameters:
            p.grad = p.grad * (max_grad_norm / norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    schedule.step()
    return norm


def lets_torch_raise(optimizer, schedule, max_grad_norm):
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    try:
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm, error_if_nonfinite=True)
    except RuntimeError as error:
        raise FloatingPointError(str(error)) from error
    optimizer.step()
    schedule.step()
    for parameter in parameters:
        parameter.grad = None
    return float(norm)


def by_half_angle(step, warmup_steps, total_steps):
    if warmup_steps and step <= warmup_steps:
        return step / warmup_steps
    return math.cos(math.pi * (step - warmup_steps) / (2 * (total_steps - warmup_steps))) ** 2


def by_sine(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return 1 - (warmup_steps - step) / warmup_steps
    return 1 - math.sin(0.5 * math.pi * (step - warmup_steps) / (total_steps - warmup_steps)) ** 2


def by_torch(step, warmup_steps, total_steps):
    rise = torch.tensor(step / max(warmup_steps, 1), dtype=torch.float64)
    angle = torch.tensor(math.pi * (step - warmup_steps) / (total_steps - warmup_steps), dtype=torch.float64)
    return torch.where(torch.tensor(step < warmup_steps), rise, 0.5 + 0.5 * torch.cos(angle)).item()


def difference_of_means(policy_logps, ref_logps):
    return policy_logps.mean() - ref_logps.mean()


def by_einsum(policy_logps, ref_logps):
    return torch.einsum("n->", policy_logps - ref_logps) / policy_logps.numel()


def by_a_loop(policy_logps, ref_logps):
    total = torch.zeros(())
    for ours, theirs in zip(policy_logps, ref_logps, strict=True):
        total = total + ours - theirs
    return total / len(ref_logps)


def by_counter(eval_losses, patience):
    lowest, waited = float("inf"), 0
    for loss in eval_losses:
        waited += 1
        if loss < lowest:
            lowest, waited = loss, 0
    return waited >= patience


def by_the_last_ones(eval_losses, patience):
    if len(eval_losses) <= patience:
        return False
    return min(eval_losses[-patience:]) >= min(eval_losses[:-patience])


def by_argmin(eval_losses, patience):
    if len(eval_losses) == 0:
        return False
    best = min(range(len(eval_losses)), key=lambda i: (eval_losses[i], i))
    return best + patience < len(eval_losses)


ACCEPTED = {
    "frozen_reference": [copies_the_policy, copies_by_memo, copies_then_loads],
    "dpo_step_loss": [from_the_logits, by_reshaping, pair_by_pair],
    "apply_gradients": [clips_by_hand, clears_before_the_schedule, lets_torch_raise],
    "warmup_cosine": [by_half_angle, by_sine, by_torch],
    "kl_estimate": [difference_of_means, by_einsum, by_a_loop],
    "out_of_patience": [by_counter, by_the_last_ones, by_argmin],
}
