"""Right answers in other words: each must pass."""

from __future__ import annotations

import torch


def scores_by_flip(values, completion_mask):
    from_the_right = completion_mask.flip(-1).int().argmax(dim=-1)
    last = completion_mask.shape[1] - 1 - from_the_right
    return values[torch.arange(len(values)), last]


def scores_by_loop(values, completion_mask):
    return torch.stack([row[mask][-1] for row, mask in zip(values, completion_mask, strict=True)])


def scores_by_border(values, completion_mask):
    following = torch.cat([completion_mask[:, 1:], torch.zeros_like(completion_mask[:, :1])], dim=1)
    return values[completion_mask & ~following]


def rewards_by_one_hot(scores, logps, ref_logps, mask, beta):
    last = torch.nn.functional.one_hot(mask.sum(dim=1) - 1, mask.shape[1])
    penalty = torch.where(mask, beta * (ref_logps - logps), 0.0)
    return penalty + last * scores[:, None]


def rewards_by_loop(scores, logps, ref_logps, mask, beta):
    rewards = torch.zeros_like(logps)
    for row in range(len(scores)):
        length = int(mask[row].sum())
        rewards[row, :length] = beta * ref_logps[row, :length] - beta * logps[row, :length]
        rewards[row, length - 1] = rewards[row, length - 1] + scores[row]
    return rewards


def rewards_by_border(scores, logps, ref_logps, mask, beta):
    last = mask & ~torch.nn.functional.pad(mask, (0, 1))[:, 1:]
    total = -beta * (logps - ref_logps) + torch.where(last, scores[:, None], torch.zeros_like(logps))
    return torch.where(mask, total, torch.zeros_like(total))


def gae_by_matrix(rewards, values, mask, gamma=1.0, lam=0.95):
    zero = torch.zeros_like(values)
    r, v = torch.where(mask, rewards, zero), torch.where(mask, values, zero)
    deltas = r + gamma * torch.nn.functional.pad(v, (0, 1))[:, 1:] - v
    length = rewards.shape[1]
    steps = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    decay = torch.where(steps >= 0, (gamma * lam) ** steps.clamp(min=0).to(deltas), 0.0)
    return (deltas @ decay).masked_fill(~mask, 0.0)


def gae_by_rows(rewards, values, mask, gamma=1.0, lam=0.95):
    result = torch.zeros_like(rewards)
    for row in range(len(rewards)):
        carried, following = 0.0, 0.0
        for t in range(int(mask[row].sum()) - 1, -1, -1):
            carried = rewards[row, t] + gamma * following - values[row, t] + gamma * lam * carried
            following = values[row, t]
            result[row, t] = carried
    return result


def gae_by_returns(rewards, values, mask, gamma=1.0, lam=0.95):
    """The λ-return G_t = r_t + γ ((1 − λ) V_{t+1} + λ G_{t+1}), minus V_t."""
    found, ahead, value = [], torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        here = rewards[:, t] + gamma * ((1 - lam) * value + lam * ahead)
        ahead = torch.where(mask[:, t], here, torch.zeros_like(here))
        value = torch.where(mask[:, t], values[:, t], torch.zeros_like(here))
        found.insert(0, ahead - value)
    return torch.stack(found, dim=1)


def policy_loss_by_maximum(logps, old_logps, advantages, mask, clip_range=0.2):
    ratios = torch.exp(logps - old_logps)
    losses = torch.stack([-ratios * advantages, -ratios.clip(1 - clip_range, 1 + clip_range) * advantages])
    worse = losses.max(dim=0).values
    fraction = ((losses[1] > losses[0]) & mask).sum() / mask.sum()
    return (worse * mask).sum() / mask.sum(), fraction.to(logps.dtype)


def policy_loss_by_cases(logps, old_logps, advantages, mask, clip_range=0.2):
    ratios = logps.exp() / old_logps.exp()
    limit = 1 + clip_range * advantages.sign()
    beyond = ((ratios - limit) * advantages.sign() > 0) & (advantages != 0)
    used = torch.where(beyond, limit, ratios)
    return -(used * advantages)[mask].mean(), beyond[mask].to(logps.dtype).mean()


def policy_loss_on_real_tokens(logps, old_logps, advantages, mask, clip_range=0.2):
    new, old, advantage = logps[mask], old_logps[mask], advantages[mask]
    ratio = (new - old).exp()
    near = torch.clamp(ratio, min=1 - clip_range, max=1 + clip_range)
    smaller = torch.min(ratio * advantage, near * advantage)
    return -smaller.mean(), torch.mean((near * advantage < ratio * advantage).to(new.dtype))


def value_loss_by_stack(values, old_values, returns, mask, clip_range=0.2):
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    errors = torch.stack([values - returns, clipped - returns]).square().amax(dim=0)
    return (errors * mask).sum() / mask.sum() / 2


def value_loss_by_distance(values, old_values, returns, mask, clip_range=0.2):
    v, old, goal = values[mask], old_values[mask], returns[mask]
    near = old + (v - old).clip(-clip_range, clip_range)
    return torch.maximum((v - goal).abs(), (near - goal).abs()).pow(2).mean() * 0.5


def value_loss_by_where(values, old_values, returns, mask, clip_range=0.2):
    near = torch.min(torch.max(values, old_values - clip_range), old_values + clip_range)
    plain, clipped = (values - returns) ** 2, (near - returns) ** 2
    worse = torch.where(plain > clipped, plain, clipped) / 2
    return worse.masked_select(mask).mean()


def size_of(tensors):
    return sum(tensor.nelement() * tensor.element_size() for tensor in tensors)


def memory_by_storage(models, optimizers):
    parameters = list({p.data_ptr(): p for m in models for p in m.parameters()}.values())
    states = {}
    for optimizer in optimizers:
        for state in optimizer.state.values():
            states |= {id(x): x for x in state.values() if torch.is_tensor(x)}
    return {
        "parameters": sum(p.untyped_storage().nbytes() for p in parameters),
        "gradients": size_of(p.grad for p in parameters if p.grad is not None),
        "optimizer": size_of(states.values()),
    }


def memory_by_module_list(models, optimizers):
    together = torch.nn.ModuleList(models)  # parameters() gives each one once
    parameters = list(together.parameters())
    kept = [
        v for o in optimizers for s in o.state.values() for v in s.values() if isinstance(v, torch.Tensor)
    ]
    return {
        "parameters": size_of(parameters),
        "gradients": size_of(p.grad for p in parameters if p.grad is not None),
        "optimizer": size_of(kept),
    }


def memory_by_seen(models, optimizers):
    seen, found = set(), {"parameters": 0, "gradients": 0, "optimizer": 0}

    def add(name, tensor):
        if tensor is not None and id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] += tensor.numel() * tensor.dtype.itemsize

    for model in models:
        for parameter in model.parameters():
            if id(parameter) not in seen:
                add("parameters", parameter)
                add("gradients", parameter.grad)
    for optimizer in optimizers:
        for state in optimizer.state.values():
            for value in state.values():
                add("optimizer", value if hasattr(value, "numel") else None)
    return found


ACCEPTED = {
    "completion_scores": [scores_by_flip, scores_by_loop, scores_by_border],
    "kl_shaped_rewards": [rewards_by_one_hot, rewards_by_loop, rewards_by_border],
    "gae": [gae_by_matrix, gae_by_rows, gae_by_returns],
    "ppo_policy_loss": [policy_loss_by_maximum, policy_loss_by_cases, policy_loss_on_real_tokens],
    "ppo_value_loss": [value_loss_by_stack, value_loss_by_distance, value_loss_by_where],
    "training_memory": [memory_by_storage, memory_by_module_list, memory_by_seen],
}
