"""Right answers in other words: each must pass."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, softplus

from dpo_lab.bradley_terry import check_wins


def probability_by_softmax(chosen_rewards, rejected_rewards):
    return torch.stack([chosen_rewards, rejected_rewards], dim=1).softmax(dim=1)[:, 0]


def probability_by_tanh(chosen_rewards, rejected_rewards):
    return 0.5 * (1 + torch.tanh((chosen_rewards - rejected_rewards) / 2))


def probability_by_the_logistic(chosen_rewards, rejected_rewards):
    return 1 / (1 + torch.exp(rejected_rewards - chosen_rewards))


def loss_by_softplus(chosen_rewards, rejected_rewards):
    return softplus(rejected_rewards - chosen_rewards)


def loss_by_cross_entropy(chosen_rewards, rejected_rewards):
    logits = torch.stack([chosen_rewards, rejected_rewards], dim=1)
    return cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="none")


def loss_by_binary_cross_entropy(chosen_rewards, rejected_rewards):
    logits = chosen_rewards - rejected_rewards
    return binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")


def loss_by_logsumexp(chosen_rewards, rejected_rewards):
    return torch.logaddexp(chosen_rewards, rejected_rewards) - chosen_rewards


def fit_by_loops(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins).tolist()
    players = range(len(table))
    strengths = [1.0 for _ in players]
    for _ in range(iterations):
        new = []
        for i in players:
            games = sum(
                (table[i][j] + table[j][i]) / (strengths[i] + strengths[j]) for j in players if j != i
            )
            new.append(sum(table[i]) / games)
        logs = torch.tensor(new, dtype=torch.float64).log()
        logs -= logs.mean()
        moved = (logs - torch.tensor(strengths, dtype=torch.float64).log()).abs().max()
        if moved < tolerance:
            return logs
        strengths = logs.exp().tolist()
    raise RuntimeError("still moving")


def fit_player_by_player(wins, iterations=10_000, tolerance=1e-10):
    """Newman's update, one player after the other."""
    table = check_wins(wins)
    rewards = torch.zeros(len(table), dtype=torch.float64)
    for _ in range(iterations):
        before = rewards.clone()
        for i in range(len(table)):
            strengths = rewards.exp()
            pooled = strengths[i] + strengths
            rewards[i] = ((table[i] * strengths / pooled).sum() / (table[:, i] / pooled).sum()).log()
        rewards -= rewards.mean()
        if torch.max(torch.abs(rewards - before)) < tolerance:
            return rewards
    raise RuntimeError("still moving")


def fit_by_newton(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    games, size = table + table.T, len(table)
    rewards = torch.zeros(size, dtype=torch.float64)
    for _ in range(iterations):
        p = torch.sigmoid(rewards[:, None] - rewards)
        weights = games * p * (1 - p)
        curvature = torch.diag(weights.sum(1)) - weights + torch.ones(size, size, dtype=torch.float64)
        step = torch.linalg.solve(curvature, (table - games * p).sum(1))
        rewards = rewards + step.clamp(-1, 1)
        rewards = rewards - rewards.mean()
        if step.abs().max() < tolerance:
            return rewards
    raise RuntimeError("still moving")


def partition_by_shift(ref_logps, rewards, beta):
    terms = ref_logps + rewards / beta
    top = terms.amax(dim=-1, keepdim=True)
    return (terms - top).exp().sum(dim=-1).log() + top.squeeze(-1)


def partition_by_logaddexp(ref_logps, rewards, beta):
    total = torch.full(ref_logps.shape[:-1], -torch.inf, dtype=ref_logps.dtype)
    for term in (ref_logps + rewards / beta).unbind(dim=-1):
        total = torch.logaddexp(total, term)
    return total


def partition_from_the_softmax(ref_logps, rewards, beta):
    terms = ref_logps + rewards / beta
    return (terms - terms.log_softmax(dim=-1))[..., 0]


def policy_by_log_softmax(ref_logps, rewards, beta):
    return (ref_logps + rewards / beta).log_softmax(dim=-1)


def policy_by_logsumexp(ref_logps, rewards, beta):
    tilted = ref_logps + rewards / beta
    return tilted - torch.logsumexp(tilted, dim=-1, keepdim=True)


def policy_by_categorical(ref_logps, rewards, beta):
    return torch.distributions.Categorical(logits=ref_logps + rewards / beta).logits


def implicit_expanded(policy_logps, ref_logps, beta):
    return beta * policy_logps - beta * ref_logps


def implicit_by_sub(policy_logps, ref_logps, beta):
    return torch.mul(torch.sub(policy_logps, ref_logps), beta)


def implicit_by_einsum(policy_logps, ref_logps, beta):
    signs = torch.tensor([beta, -beta], dtype=policy_logps.dtype)
    return torch.einsum("k,k...->...", signs, torch.stack([policy_logps, ref_logps]))


ACCEPTED = {
    "preference_probability": [probability_by_softmax, probability_by_tanh, probability_by_the_logistic],
    "bradley_terry_loss": [
        loss_by_softplus,
        loss_by_cross_entropy,
        loss_by_binary_cross_entropy,
        loss_by_logsumexp,
    ],
    "fit_bradley_terry": [fit_by_loops, fit_player_by_player, fit_by_newton],
    "log_partition": [partition_by_shift, partition_by_logaddexp, partition_from_the_softmax],
    "optimal_policy": [policy_by_log_softmax, policy_by_logsumexp, policy_by_categorical],
    "implicit_rewards": [implicit_expanded, implicit_by_sub, implicit_by_einsum],
}
