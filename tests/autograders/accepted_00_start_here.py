"""Right answers in other words: each must pass."""

from __future__ import annotations

import torch


def by_a_loop(policy_rewards, reference_rewards):
    score = 0.0
    for ours, theirs in zip(policy_rewards, reference_rewards, strict=True):
        if ours > theirs:
            score += 1
        elif ours == theirs:
            score += 0.5
    return score / len(policy_rewards)


def by_signs(policy_rewards, reference_rewards):
    return float(((policy_rewards - reference_rewards).sign() + 1).double().mean() / 2)


def by_heaviside(policy_rewards, reference_rewards):
    half = torch.tensor(0.5, dtype=torch.float64)
    return torch.heaviside((policy_rewards - reference_rewards).double(), half).mean().item()


ACCEPTED = {"win_rate": [by_a_loop, by_signs, by_heaviside]}
