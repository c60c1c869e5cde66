"""The exact world: DPO against its own closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from dpo_lab.bradley_terry import implicit_rewards
from dpo_lab.worlds.exact import ExactWorld


@pytest.fixture(scope="module")
def world() -> ExactWorld:
    return ExactWorld()


@pytest.fixture(scope="module")
def small() -> ExactWorld:
    return ExactWorld(seed=3, alphabet="ab", length=3)


def test_reference_is_an_autoregressive_distribution(world):
    assert len(world) == 6**4 == len(set(world.completions))
    assert world.ref_logps.dtype == torch.float64
    assert world.ref_logps.exp().sum().item() == pytest.approx(1, abs=1e-12)
    prefixes = world.ref_logps.exp().view(6, 6, 36).sum(dim=-1)  # π(first, second letter)
    assert torch.allclose(prefixes.sum(dim=1), world.ref_logps.exp().view(6, 216).sum(dim=1))


def test_reward_adds_letters_and_neighbours(world):
    index = world.completions.index("fade")
    letters = [world.alphabet.index(letter) for letter in "fade"]
    expected = sum(world.letter_values[i].item() for i in letters)
    expected += sum(world.pair_values[i, j].item() for i, j in pairwise(letters))
    assert world.rewards[index].item() == pytest.approx(expected)
    assert world.rewards.std() > 0.5


def test_same_seed_same_world_another_seed_another(world):
    assert torch.equal(world.ref_logps, ExactWorld(seed=0).ref_logps)
    assert not torch.equal(world.ref_logps, ExactWorld(seed=1).ref_logps)


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0, 10.0])
def test_dpo_on_infinite_data_arrives_at_the_closed_form(world, beta):
    trained, optimum = world.fit(beta), world.optimal_logps(beta)
    assert abs(world.expected_reward(trained) - world.expected_reward(optimum)) < 1e-2
    assert abs(world.kl(trained) - world.kl(optimum)) < 1e-2
    assert world.kl(optimum) > 1e-3  # both far enough from the reference for the comparison to mean something
    inverted = implicit_rewards(trained, world.ref_logps, beta) + beta * world.log_partition(beta)
    assert (inverted - world.rewards).abs().max() < 1e-2


def test_optimum_is_never_beaten(world):
    beta = 0.7
    best = world.objective(world.optimal_logps(beta), beta)
    assert best == pytest.approx(beta * world.log_partition(beta).item())  # the maximum is β log Z
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = 0.3 * torch.randn(len(world), generator=generator, dtype=torch.float64)
        assert world.objective((world.optimal_logps(beta) + noise).log_softmax(dim=-1), beta) < best


def test_frontier_falls_with_beta(world):
    points = world.frontier([0.1, 0.3, 1, 3, 10])
    for name in ("kl", "reward"):
        values = [point[name] for point in points]
        assert values == sorted(values, reverse=True)
    assert points[-1]["reward"] == pytest.approx(world.expected_reward(world.ref_logps), abs=0.15)


def test_limit_loss_equals_a_loop_over_pairs(small):
    beta = 0.4
    logits = torch.linspace(-1, 1, len(small), dtype=torch.float64)
    logps = logits - math.log(sum(math.exp(x) for x in logits.tolist()))
    expected = 0.0
    for i in range(len(small)):
        for j in range(len(small)):
            drawn = math.exp(small.ref_logps[i] + small.ref_logps[j])
            wins = 1 / (1 + math.exp(small.rewards[j] - small.rewards[i]))
            margin = beta * ((logps[i] - small.ref_logps[i]) - (logps[j] - small.ref_logps[j])).item()
            expected += drawn * (
                wins * math.log1p(math.exp(-margin)) + (1 - wins) * math.log1p(math.exp(margin))
            )
    assert small.dpo_limit_loss(logits, beta).item() == pytest.approx(expected, rel=1e-10)
    assert small.pair_weights.sum().item() == pytest.approx(1)


def test_sampled_pairs_follow_reference_and_bradley_terry(small):
    pairs = small.sample_pairs(100_000, seed=1)
    assert not (pairs.chosen == pairs.rejected).any()
    seen = torch.zeros(len(small), len(small), dtype=torch.float64)
    seen.index_put_((pairs.chosen, pairs.rejected), torch.ones(100_000, dtype=torch.float64), accumulate=True)
    expected = small.pair_weights.clone().fill_diagonal_(0)
    assert (seen / 100_000 - expected / expected.sum()).abs().max() < 0.01


def test_soft_labels_change_the_targets_alone(world):
    hard, soft = world.sample_pairs(500, seed=4), world.sample_pairs(500, seed=4, soft=True)
    assert torch.equal(hard.chosen, soft.chosen) and torch.equal(hard.rejected, soft.rejected)
    assert (hard.targets == 1).all()
    assert torch.equal(soft.targets, world.win_probabilities[soft.chosen, soft.rejected])


def test_hard_labels_on_few_pairs_drift_whatever_beta_is_soft_labels_do_not(world):
    for beta in (1.0, 3.0):
        optimum = world.kl(world.optimal_logps(beta))
        assert world.kl(world.fit(beta, world.sample_pairs(500))) > 5 * optimum
        assert world.kl(world.fit(beta, world.sample_pairs(500, soft=True))) < 1.5 * optimum


def test_kl_of_a_policy_that_never_gives_some_completions(world):
    logps = torch.full((len(world),), -math.inf, dtype=torch.float64)
    logps[5] = 0.0
    assert world.kl(logps) == pytest.approx(-world.ref_logps[5].item())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"alphabet": "aab"}, "repeats a letter"), ({"length": 9}, "2 to 4096"), ({"length": 0}, "2 to 4096")],
)
def test_bad_worlds_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ExactWorld(**arguments)


def test_bad_arguments_are_refused(world):
    with pytest.raises(ValueError, match="beta must be a finite number > 0"):
        world.fit(0.0)
    with pytest.raises(ValueError, match="n must be >= 1"):
        world.sample_pairs(0)
    with pytest.raises(ValueError, match="shapes must agree"):
        world.kl(torch.zeros(7))
