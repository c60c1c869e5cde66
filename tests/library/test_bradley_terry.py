"""Fitted rewards against a generic optimiser, the optimum against brute force, and what can't be fitted."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lab.bradley_terry import (
    bradley_terry_loss,
    fit_bradley_terry,
    implicit_rewards,
    log_partition,
    optimal_policy,
    play_tournament,
    preference_probability,
)


def test_fit_equals_the_likelihoods_maximum():
    generator = torch.Generator().manual_seed(3)
    wins = torch.randint(1, 40, (6, 6), generator=generator).double()
    rewards = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [rewards], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        off_diagonal = wins * (1 - torch.eye(6))
        loss = -(off_diagonal * torch.nn.functional.logsigmoid(rewards[:, None] - rewards[None, :])).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    best = rewards.detach() - rewards.detach().mean()
    assert fit_bradley_terry(wins).tolist() == pytest.approx(best.tolist(), abs=1e-6)


def test_fit_recovers_the_rewards_from_expected_wins():
    true = torch.tensor([1.5, 0.2, -0.4, -1.3], dtype=torch.float64)
    wins = 1000 * torch.sigmoid(true[:, None] - true[None, :])
    assert fit_bradley_terry(wins).tolist() == pytest.approx(true.tolist(), abs=1e-8)


def test_a_table_without_a_maximum_is_refused():
    with pytest.raises(ValueError, match="no chain of wins leads from player 1 to player 0"):
        fit_bradley_terry(torch.tensor([[0.0, 3.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="square"):
        fit_bradley_terry(torch.zeros(2, 3))


def test_optimum_beats_every_other_policy():
    generator = torch.Generator().manual_seed(0)
    ref = torch.randn(50, generator=generator, dtype=torch.float64).log_softmax(0)
    rewards, beta = torch.randn(50, generator=generator, dtype=torch.float64), 0.7

    def objective(logps):
        return (logps.exp() * (rewards - beta * (logps - ref))).sum().item()

    best = optimal_policy(ref, rewards, beta)
    assert best.exp().sum().item() == pytest.approx(1)
    assert objective(best) == pytest.approx(
        beta * log_partition(ref, rewards, beta).item()
    )  # the optimum's value
    for _ in range(20):
        other = (best + 0.1 * torch.randn(50, generator=generator, dtype=torch.float64)).log_softmax(0)
        assert objective(other) < objective(best)


def test_implicit_rewards_invert_the_optimum_up_to_a_constant():
    ref = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64).log()
    rewards = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    recovered = implicit_rewards(optimal_policy(ref, rewards, 0.3), ref, 0.3)
    offset = recovered - rewards
    assert offset.tolist() == pytest.approx([-0.3 * log_partition(ref, rewards, 0.3).item()] * 3)


def test_far_apart_rewards_keep_a_finite_loss():
    chosen, rejected = torch.tensor([-500.0, 500.0]), torch.tensor([500.0, -500.0])
    assert bradley_terry_loss(chosen, rejected).tolist() == [1000.0, 0.0]
    assert preference_probability(chosen, rejected).tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="rejected_rewards"):
        preference_probability(chosen, rejected[:, None])


def test_fit_converges_where_the_players_fall_into_two_camps():
    two = fit_bradley_terry(torch.tensor([[0.0, 3.0], [1.0, 0.0]]))
    assert two.tolist() == pytest.approx([0.5 * math.log(3), -0.5 * math.log(3)])
    chain = fit_bradley_terry(torch.tensor([[0.0, 3.0, 0.0], [1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]))
    assert (chain[0] - chain[1]).item() == pytest.approx(math.log(3))
    assert (chain[1] - chain[2]).item() == pytest.approx(math.log(2))


def test_a_tournament_counts_every_game_once():
    rewards = torch.tensor([1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    wins = play_tournament(rewards, games=4000, seed=1)
    assert torch.equal(wins + wins.T, 4000 * (1 - torch.eye(4, dtype=torch.float64)))
    assert fit_bradley_terry(wins).tolist() == pytest.approx((rewards - rewards.mean()).tolist(), abs=0.1)
    assert (play_tournament(rewards, 50, seed=1) <= wins).all()
    with pytest.raises(ValueError, match="games must be >= 1"):
        play_tournament(rewards, 0)
