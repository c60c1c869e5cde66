"""Lesson 10: reward model, shaped rewards, GAE, PPO's losses, memory. Oracles are float64 loops over rows and tokens."""

from __future__ import annotations

import math

import torch
from mistakes_10_dpo_vs_ppo import MISTAKES

from dpo_lab.course import exercise


def prefix_mask(fresh, rows=4, length=7):
    """(rows, length) bool, true from column 0 on: the first row full, the second with one token, the others between."""
    lengths = [length, 1, *(fresh.integer(2, length) for _ in range(rows - 2))]
    return torch.arange(length)[None, :] < torch.tensor(lengths)[:, None], lengths


def ragged_tokens(fresh, length=7):
    """A prefix mask of 3 to 6 rows, and its rows' lengths."""
    return prefix_mask(fresh, rows=fresh.integer(3, 7), length=length)


def float64(fresh, *shape, scale=1.0):
    return torch.tensor(scale * fresh.rng.normal(size=shape), dtype=torch.float64)


@exercise("completion_scores", points=2)
def test_completion_scores_reads_the_last_token(submission, fresh):
    """The number at each row's last completion token, padding on either side."""
    for side in ("right", "left"):
        _, _, completion_mask = fresh.ragged_batch(rows=5, length=10, padding_side=side)
        values = float64(fresh, 5, 10)
        last = [max(t for t in range(10) if completion_mask[row, t]) for row in range(5)]
        expected = torch.stack([values[row, t] for row, t in enumerate(last)])
        submission.compare("completion_scores", (values, completion_mask), expected, mistakes=MISTAKES)


@exercise("completion_scores")
def test_completion_scores_sends_the_gradient_to_that_token(submission, fresh):
    """The gradient of the scores is 1 at each row's last completion token and 0 elsewhere."""
    _, _, completion_mask = fresh.ragged_batch(rows=4, length=9)
    values, expected = float64(fresh, 4, 9), torch.zeros(4, 9, dtype=torch.float64)
    for row in range(4):
        expected[row, max(t for t in range(9) if completion_mask[row, t])] = 1.0
    submission.compare(
        "completion_scores", (values, completion_mask), expected, mistakes=MISTAKES, via="grad"
    )


def shaped_by_loop(scores, logps, ref_logps, lengths, beta):
    expected = torch.zeros_like(logps)
    for row, length in enumerate(lengths):
        for t in range(length):
            expected[row, t] = -beta * (logps[row, t] - ref_logps[row, t])
        expected[row, length - 1] += scores[row]
    return expected


@exercise("kl_shaped_rewards", points=3)
def test_kl_shaped_rewards_matches_a_loop(submission, fresh):
    """A price for each token's log-ratio, the score on top at each row's last token, nothing on padding."""
    mask, lengths = ragged_tokens(fresh)
    logps, ref_logps = (-float64(fresh, *mask.shape).abs() - 0.1 for _ in range(2))
    scores, beta = float64(fresh, len(mask), scale=2.0), fresh.uniform(0.1, 0.5)
    expected = shaped_by_loop(scores, logps, ref_logps, lengths, beta)
    submission.compare(
        "kl_shaped_rewards", (scores, logps, ref_logps, mask, beta), expected, mistakes=MISTAKES
    )


@exercise("kl_shaped_rewards")
def test_kl_shaped_rewards_without_a_price(submission, fresh):
    """With beta = 0 only the scores are left, each at its row's last token."""
    mask, lengths = prefix_mask(fresh)
    logps, ref_logps, scores = float64(fresh, 4, 7), float64(fresh, 4, 7), float64(fresh, 4)
    expected = shaped_by_loop(scores, logps, ref_logps, lengths, 0.0)
    submission.compare(
        "kl_shaped_rewards", (scores, logps, ref_logps, mask, 0.0), expected, mistakes=MISTAKES
    )


def gae_by_double_loop(rewards, values, lengths, gamma, lam):
    expected = torch.zeros_like(rewards)
    for row, length in enumerate(lengths):
        v = [*values[row, :length].tolist(), 0.0]
        deltas = [rewards[row, t].item() + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            expected[row, t] = sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, length))
    return expected


@exercise("gae", points=4)
def test_gae_is_a_discounted_sum_of_surprises(submission, fresh):
    """A_t is the sum over later tokens of (γλ)^(s − t) δ_s; padding holds any numbers and counts for nothing."""
    mask, lengths = ragged_tokens(fresh)
    rewards, values = float64(fresh, *mask.shape), float64(fresh, *mask.shape)
    gamma, lam = fresh.uniform(0.8, 0.95), fresh.uniform(0.5, 0.75)
    expected = gae_by_double_loop(rewards, values, lengths, gamma, lam)
    submission.compare("gae", (rewards, values, mask, gamma, lam), expected, mistakes=MISTAKES)


@exercise("gae")
def test_gae_at_both_ends_of_lam(submission, fresh):
    """λ = 1: the rewards still to come minus the value; λ = 0: the next surprise; 0.95 unless told; NaN as padding."""
    mask, lengths = ragged_tokens(fresh)
    rewards, values = float64(fresh, *mask.shape), float64(fresh, *mask.shape)
    for lam in (1.0, 0.0):
        expected = gae_by_double_loop(rewards, values, lengths, 1.0, lam)
        submission.compare("gae", (rewards, values, mask), expected, mistakes=MISTAKES, kwargs={"lam": lam})
    expected = gae_by_double_loop(rewards, values, lengths, 1.0, 0.95)
    rewards, values = rewards.masked_fill(~mask, math.nan), values.masked_fill(~mask, math.nan)
    submission.compare("gae", (rewards, values, mask), expected, mistakes=MISTAKES)


def objective_terms(ratio, advantage, clip_range):
    near = max(1 - clip_range, min(1 + clip_range, ratio))
    return ratio * advantage, near * advantage


def policy_loss_by_loop(logps, old_logps, advantages, lengths, clip_range):
    total = clipped = 0.0
    for row, length in enumerate(lengths):
        for t in range(length):
            ratio = math.exp(logps[row, t].item() - old_logps[row, t].item())
            plain, near = objective_terms(ratio, advantages[row, t].item(), clip_range)
            total -= min(plain, near)
            clipped += near < plain
    return [torch.tensor(x / sum(lengths), dtype=torch.float64) for x in (total, clipped)]


def tokens_of_all_kinds(fresh, mask, clip_range):
    """Log-probs, old ones and advantages: some tokens clipped, and unlike many whose plain term is the smaller."""
    while True:
        old_logps, advantages = -float64(fresh, *mask.shape).abs(), float64(fresh, *mask.shape)
        logps = old_logps + float64(fresh, *mask.shape, scale=0.5)
        ratios = (logps - old_logps).exp()
        moved = (ratios.clamp(1 - clip_range, 1 + clip_range) - ratios)[mask] * advantages[mask]
        clipped, plain = int((moved < 0).sum()), int((moved > 0).sum())
        if 0 < clipped != plain > 0:
            return logps, old_logps, advantages


@exercise("ppo_policy_loss", points=4)
def test_ppo_policy_loss_matches_a_loop(submission, fresh):
    """The mean of the smaller term over real tokens, negated, and how often the clipped one was the smaller."""
    mask, lengths = prefix_mask(fresh, rows=6)
    clip_range = fresh.uniform(0.1, 0.3)
    logps, old_logps, advantages = tokens_of_all_kinds(fresh, mask, clip_range)
    expected = tuple(policy_loss_by_loop(logps, old_logps, advantages, lengths, clip_range))
    submission.compare(
        "ppo_policy_loss",
        (logps, old_logps, advantages, mask, clip_range),
        expected,
        mistakes=MISTAKES,
        parts=("loss", "clip_fraction"),
    )


@exercise("ppo_policy_loss")
def test_ppo_policy_loss_has_the_right_gradient(submission, fresh):
    """−ρA over the number of tokens, and 0 where the ratio left the range (0.2 unless told) as its advantage asks."""
    mask = torch.ones(1, 6, dtype=torch.bool)
    ratios = torch.tensor([[1.25, 1.6, 0.5, 0.75, 1.15, 0.85]], dtype=torch.float64)
    size = fresh.uniform(0.5, 2.0)
    advantages = size * torch.tensor([[1.0, -1.0, 1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    old_logps = float64(fresh, 1, 6)
    slopes = torch.tensor([[0.0, 1.6, -0.5, 0.0, -1.15, 0.85]], dtype=torch.float64) * size / 6
    submission.compare(
        "ppo_policy_loss",
        (old_logps + ratios.log(), old_logps, advantages, mask),
        slopes,
        mistakes=MISTAKES,
        via="grad",
        kwargs_via={"wrt": 0, "pick": 0},
    )


def value_loss_by_loop(values, old_values, returns, lengths, clip_range):
    total = 0.0
    for row, length in enumerate(lengths):
        for t in range(length):
            v, old, goal = values[row, t].item(), old_values[row, t].item(), returns[row, t].item()
            near = old + max(-clip_range, min(clip_range, v - old))
            total += 0.5 * max((v - goal) ** 2, (near - goal) ** 2)
    return torch.tensor(total / sum(lengths), dtype=torch.float64)


@exercise("ppo_value_loss", points=3)
def test_ppo_value_loss_matches_a_loop(submission, fresh):
    """Half the larger of the two squared errors at each token, a mean over real tokens."""
    mask, lengths = prefix_mask(fresh, rows=6)
    old_values, returns = float64(fresh, 6, 7), float64(fresh, 6, 7)
    values, clip_range = old_values + float64(fresh, 6, 7, scale=0.6), fresh.uniform(0.2, 0.5)
    expected = value_loss_by_loop(values, old_values, returns, lengths, clip_range)
    submission.compare(
        "ppo_value_loss", (values, old_values, returns, mask, clip_range), expected, mistakes=MISTAKES
    )


@exercise("ppo_value_loss")
def test_ppo_value_loss_stops_a_value_that_ran_ahead(submission, fresh):
    """No gradient where the clipped error is the larger; else the error over the number. The range is 0.2 unless told."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    old = float64(fresh, 1, 3)
    # moved past the range towards its return; moved past it away from its return; within the range
    for moves, told in (((1.5, -0.6, 0.1), {"clip_range": 0.5}), ((0.25, -0.6, 0.15), {})):
        moved = torch.tensor([moves], dtype=torch.float64)
        expected = (moved - 2.0) / 3
        expected[0, 0] = 0.0
        submission.compare(
            "ppo_value_loss",
            (old + moved, old, old + 2.0, mask),
            expected,
            mistakes=MISTAKES,
            via="grad",
            kwargs=told,
            kwargs_via={"wrt": 0},
        )


def held_by(training_memory, width, momentum, wide):
    """Drive the function on a trained model that shares its trunk with another, and a frozen third one."""
    trunk = torch.nn.Linear(width, width, bias=False)
    policy = torch.nn.Sequential(trunk, torch.nn.Linear(width, 2, bias=False))
    value = torch.nn.Sequential(trunk, torch.nn.Linear(width, 1, bias=False))
    unused = torch.nn.Linear(width, 1, bias=False)  # trainable, but no gradient has come yet
    frozen = torch.nn.Linear(width, 3, bias=False).to(torch.float64 if wide else torch.bfloat16)
    frozen.requires_grad_(False)
    optimizers = [
        torch.optim.SGD(policy.parameters(), lr=0.1, momentum=momentum),
        torch.optim.Adam(value[1].parameters(), lr=0.1),
    ]
    (policy(torch.ones(1, width)).sum() + value(torch.ones(1, width)).sum()).backward()
    for optimizer in optimizers:
        optimizer.step()
    optimizers[0].state[policy[1].weight]["note"] = "not a tensor"
    return training_memory([policy, value, unused, frozen], optimizers)


@exercise("training_memory", points=3)
def test_training_memory_counts_each_tensor_once(submission, fresh):
    """Bytes of parameters, existing gradients and optimiser tensors, shared ones once."""
    width = fresh.integer(5, 12)
    trained = width * width + 2 * width + width
    for momentum, wide in ((0.9, False), (0.0, True)):
        moments = (width * width + 2 * width) * (momentum > 0)
        expected = {
            "parameters": 4 * (trained + width) + (8 if wide else 2) * 3 * width,
            "gradients": 4 * trained,
            "optimizer": 4 * moments + 4 * (2 * width + 1),  # Adam: two moments, and a count of its steps
        }
        submission.compare(
            "training_memory", (width, momentum, wide), expected, mistakes=MISTAKES, via=held_by
        )
