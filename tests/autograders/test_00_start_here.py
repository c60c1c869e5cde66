"""Lesson 00: the warm-up. The oracle counts in a Python loop."""

from __future__ import annotations

import torch
from mistakes_00_start_here import MISTAKES

from dpo_lab.course import exercise


def count(policy_rewards, reference_rewards):
    score = 0.0
    for ours, theirs in zip(policy_rewards.tolist(), reference_rewards.tolist(), strict=True):
        score += 1.0 if ours > theirs else 0.5 if ours == theirs else 0.0
    return score / len(policy_rewards)


@exercise("win_rate", points=1)
def test_win_rate_counts_wins_and_half_of_the_ties(submission, fresh):
    ours = torch.cat([torch.tensor([1.0, 1.0, 2.0, 0.0]), torch.randn(7, generator=fresh.torch)])
    theirs = torch.cat([torch.tensor([0.0, 1.0, 2.0, 5.0]), torch.randn(7, generator=fresh.torch)])
    submission.compare("win_rate", (ours, theirs), count(ours, theirs), mistakes=MISTAKES)


@exercise("win_rate")
def test_win_rate_compares_prompt_by_prompt(submission, fresh):
    # both sides hold the same scores: only the pairing by prompt makes all but one of them a win
    prompts = fresh.integer(6, 13)
    order = torch.randperm(prompts, generator=fresh.torch)
    ladder = torch.linspace(-1, 1, prompts) * fresh.uniform(1, 5)
    ours, theirs = ladder.roll(-1)[order], ladder[order]
    submission.compare("win_rate", (ours, theirs), count(ours, theirs), mistakes=MISTAKES)


@exercise("win_rate")
def test_win_rate_of_a_policy_against_itself_is_one_half(submission, fresh):
    rewards = torch.randn(6, generator=fresh.torch)
    submission.compare("win_rate", (rewards, rewards), 0.5, mistakes=MISTAKES)
