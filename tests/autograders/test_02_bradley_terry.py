"""Lesson 02: preferences, rewards and the optimal policy. Oracles are float64 loops, Decimal sums, Newton's method."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import torch
from mistakes_02_bradley_terry import MISTAKES

from dpo_lab.course import exercise, raises


def probability(difference: float) -> float:
    """exp(r_w) / (exp(r_w) + exp(r_l)) as a function of r_w − r_l, by whichever form does not overflow."""
    if difference > 0:
        return 1 / (1 + math.exp(-difference))
    return math.exp(difference) / (1 + math.exp(difference))


def loss_of(difference: float) -> float:
    return (
        math.log1p(math.exp(-difference)) if difference > 0 else math.log1p(math.exp(difference)) - difference
    )


def differences(chosen, rejected):
    return [c - r for c, r in zip(chosen.double().tolist(), rejected.double().tolist(), strict=True)]


def two_rewards(fresh, size):
    return fresh.normal(size, scale=2.0), fresh.normal(size, scale=2.0)


def far_apart(fresh):
    chosen = torch.tensor([-150.0, 150.0, -80.0, 20.0, 0.0, -500.0, 500.0]) + fresh.normal(7)
    rejected = torch.tensor([150.0, -150.0, 90.0, 21.0, -120.0, 500.0, -500.0]) + fresh.normal(7)
    return chosen, rejected


@exercise("preference_probability", points=2)
def test_preference_probability_matches_the_formula(submission, fresh):
    inputs = two_rewards(fresh, 7)
    expected = [probability(d) for d in differences(*inputs)]
    submission.compare("preference_probability", inputs, expected, mistakes=MISTAKES)


@exercise("preference_probability")
def test_preference_probability_is_a_number_for_large_rewards(submission, fresh):
    inputs = far_apart(fresh)
    expected = [probability(d) for d in differences(*inputs)]
    submission.compare("preference_probability", inputs, expected, mistakes=MISTAKES)


@exercise("bradley_terry_loss", points=2)
def test_bradley_terry_loss_is_the_negative_log_probability(submission, fresh):
    inputs = two_rewards(fresh, 7)
    expected = [loss_of(d) for d in differences(*inputs)]
    submission.compare("bradley_terry_loss", inputs, expected, mistakes=MISTAKES)


@exercise("bradley_terry_loss")
def test_bradley_terry_loss_is_finite_for_large_rewards(submission, fresh):
    inputs = far_apart(fresh)
    expected = [loss_of(d) for d in differences(*inputs)]
    submission.compare("bradley_terry_loss", inputs, expected, mistakes=MISTAKES)


@exercise("bradley_terry_loss")
def test_bradley_terry_loss_has_the_right_gradient(submission, fresh):
    inputs = two_rewards(fresh, 6)
    for wrt, sign in ((0, -1.0), (1, 1.0)):
        expected = [sign * probability(-d) for d in differences(*inputs)]
        submission.compare(
            "bradley_terry_loss", inputs, expected, mistakes=MISTAKES, via="grad", kwargs_via={"wrt": wrt}
        )


def expected_table(fresh, players):
    """Wins exactly as often as the rewards expect, with unequal numbers of games; and those rewards."""
    rewards = fresh.rng.uniform(-1.5, 1.5, size=players)
    rewards -= rewards.mean()
    wins = torch.zeros(players, players, dtype=torch.float64)
    for i in range(players):
        wins[i, i] = fresh.integer(50, 500)  # to be ignored
        for j in range(i):
            games = fresh.integer(20, 400)
            wins[i, j] = games * probability(rewards[i] - rewards[j])
            wins[j, i] = games * probability(rewards[j] - rewards[i])
    return wins, rewards.tolist()


def newtons_fit(wins):
    """The likelihood's maximum by Newton's method, with the mean held at 0."""
    table = np.array(wins.double().tolist())
    np.fill_diagonal(table, 0.0)
    size = len(table)
    rewards = np.zeros(size)
    for _ in range(50):
        p = 1 / (1 + np.exp(rewards[None, :] - rewards[:, None]))
        games = table + table.T
        gradient = table.sum(axis=1) - (games * p).sum(axis=1)
        weights = games * p * (1 - p)
        curvature = np.diag(weights.sum(axis=1)) - weights
        rewards = rewards + np.linalg.solve(curvature + np.ones((size, size)), gradient)
    return (rewards - rewards.mean()).tolist()


ENOUGH = (
    500  # sweeps: twice what any of 2,000 tables needed, and a short wait for an answer that never converges
)
CONVERGED, STUCK, NEVER = "it converged", "one sweep, as it never converges", "it never even ends one sweep"


def fit_or_first_sweep(function, wins):
    """The fit; where it doesn't converge, the first sweep, which shows what is wrong with the formula."""
    for state, stop in ((CONVERGED, {"iterations": ENOUGH}), (STUCK, {"iterations": 1, "tolerance": 1e9})):
        try:
            result = function(wins, **stop)
        except NotImplementedError:  # a RuntimeError, too, but it means that nothing is written yet
            raise
        except RuntimeError:
            continue
        return {"state": state, "rewards": result, "dtype": str(getattr(result, "dtype", "no tensor"))}
    return {"state": NEVER}


@exercise("fit_bradley_terry", points=5)
def test_fit_bradley_terry_recovers_rewards_from_expected_wins(submission, fresh):
    wins, rewards = expected_table(fresh, 5)
    rewards = torch.tensor(rewards, dtype=torch.float64)
    expected = {"state": CONVERGED, "rewards": rewards, "dtype": "torch.float64"}
    submission.compare("fit_bradley_terry", (wins,), expected, mistakes=MISTAKES, via=fit_or_first_sweep)


@exercise("fit_bradley_terry")
def test_fit_bradley_terry_finds_the_maximum_for_counted_wins(submission, fresh):
    wins = torch.randint(1, 30, (6, 6), generator=fresh.torch)
    submission.compare(
        "fit_bradley_terry", (wins,), newtons_fit(wins), mistakes=MISTAKES, kwargs={"iterations": ENOUGH}
    )


@exercise("fit_bradley_terry")
def test_fit_bradley_terry_gives_two_players_the_log_of_their_odds(submission, fresh):
    won, lost = fresh.integer(5, 20), fresh.integer(1, 4)
    wins = torch.tensor([[0.0, won], [lost, 0.0]])
    half = 0.5 * math.log(won / lost)
    submission.compare(
        "fit_bradley_terry", (wins,), [half, -half], mistakes=MISTAKES, kwargs={"iterations": ENOUGH}
    )


@exercise("fit_bradley_terry")
def test_fit_bradley_terry_refuses_an_unbeaten_player(submission, fresh):
    wins = torch.randint(1, 9, (4, 4), generator=fresh.torch).double()
    wins[:, fresh.integer(0, 4)] = 0
    submission.compare(
        "fit_bradley_terry", (wins,), raises(ValueError), mistakes=MISTAKES, kwargs={"iterations": ENOUGH}
    )


def how_it_ends(function, wins, tolerance, iterations):
    """Whether a fit returns or gives up."""
    try:
        function(wins, iterations=iterations, tolerance=tolerance)
    except NotImplementedError:
        raise
    except RuntimeError:
        return "RuntimeError"
    return "returned"


@exercise("fit_bradley_terry")
def test_fit_bradley_terry_says_when_it_has_not_converged(submission, fresh):
    wins, _ = expected_table(fresh, 5)
    submission.compare(
        "fit_bradley_terry", (wins, 1e-10, 1), "RuntimeError", mistakes=MISTAKES, via=how_it_ends
    )


@exercise("fit_bradley_terry")
def test_fit_bradley_terry_stops_within_the_tolerance(submission, fresh):
    """A huge tolerance is met by the first sweep."""
    wins, _ = expected_table(fresh, 5)
    submission.compare("fit_bradley_terry", (wins, 1e9, 3), "returned", mistakes=MISTAKES, via=how_it_ends)


@exercise("fit_bradley_terry")
def test_fit_bradley_terry_waits_for_the_last_reward_to_settle(submission, fresh):
    """One sweep moves some rewards by less than this tolerance and others by more: not settled yet."""
    rates = torch.tensor([0.0, -0.9, 1.0, 0.1, -0.2], dtype=torch.float64)
    rates = 2 * rates + 0.1 * fresh.normal(5).double()
    wins = 100 * torch.sigmoid(rates[:, None] - rates[None, :])
    submission.compare(
        "fit_bradley_terry", (wins, 0.4, 1), "RuntimeError", mistakes=MISTAKES, via=how_it_ends
    )


@exercise("fit_bradley_terry")
def test_fit_bradley_terry_waits_for_the_reward_that_falls(submission, fresh):
    """One sweep takes one reward down by more than this tolerance, and all others up by less: not settled yet."""
    rates = torch.tensor([0.5, 0.5, 0.5, 0.5, -2.0], dtype=torch.float64) + 0.05 * fresh.normal(5).double()
    wins = 100 * torch.sigmoid(rates[:, None] - rates[None, :])
    submission.compare(
        "fit_bradley_terry", (wins, 0.65, 1), "RuntimeError", mistakes=MISTAKES, via=how_it_ends
    )


def log_sum(ref_logps: list[float], rewards: list[float], beta: float) -> float:
    """log Σ π_ref exp(r/β) with decimal numbers, whose exponents don't overflow."""
    total = sum(
        Decimal(p).exp() * (Decimal(r) / Decimal(beta)).exp() for p, r in zip(ref_logps, rewards, strict=True)
    )
    return float(total.ln())


def tilted(ref_logps: list[float], rewards: list[float], beta: float) -> list[float]:
    """Log-probs of the optimum, one completion at a time."""
    whole = log_sum(ref_logps, rewards, beta)
    return [p + r / beta - whole for p, r in zip(ref_logps, rewards, strict=True)]


def reference_and_rewards(fresh, *shape):
    """Log-probs that sum to 1 over the last axis, and rewards; float64."""
    logits = torch.tensor(fresh.rng.normal(size=shape) * 1.5)
    return logits.log_softmax(dim=-1), torch.tensor(fresh.rng.normal(size=shape))


def far_from_zero(fresh):
    """Inputs whose exp(r/β) is beyond any float at β = 0.0005, whatever was drawn."""
    ref_logps, rewards = reference_and_rewards(fresh, 6)
    return ref_logps, rewards.abs() + 2


def for_each_prompt(oracle, ref_logps, rewards, beta):
    """The oracle's answer for each row of (B, N) inputs."""
    return [oracle(p, r, beta) for p, r in zip(ref_logps.tolist(), rewards.tolist(), strict=True)]


@exercise("log_partition", points=3)
def test_log_partition_sums_over_all_completions(submission, fresh):
    inputs = reference_and_rewards(fresh, 7)
    beta = fresh.uniform(0.2, 0.7)
    expected = log_sum(*[tensor.tolist() for tensor in inputs], beta)
    submission.compare("log_partition", (*inputs, beta), expected, mistakes=MISTAKES)


@exercise("log_partition")
def test_log_partition_gives_each_prompt_its_own(submission, fresh):
    inputs = reference_and_rewards(fresh, 4, 4)
    beta = fresh.uniform(0.2, 0.7)
    submission.compare(
        "log_partition", (*inputs, beta), for_each_prompt(log_sum, *inputs, beta), mistakes=MISTAKES
    )


@exercise("log_partition")
def test_log_partition_does_not_overflow_at_small_beta(submission, fresh):
    inputs = far_from_zero(fresh)
    expected = log_sum(*[tensor.tolist() for tensor in inputs], 0.0005)
    submission.compare("log_partition", (*inputs, 0.0005), expected, mistakes=MISTAKES)


@exercise("optimal_policy", points=3)
def test_optimal_policy_tilts_the_reference(submission, fresh):
    inputs = reference_and_rewards(fresh, 7)
    beta = fresh.uniform(0.2, 0.7)
    expected = tilted(*[tensor.tolist() for tensor in inputs], beta)
    submission.compare("optimal_policy", (*inputs, beta), expected, mistakes=MISTAKES)


@exercise("optimal_policy")
def test_optimal_policy_normalises_each_prompt(submission, fresh):
    inputs = reference_and_rewards(
        fresh, 4, 4
    )  # square, so that a wrong broadcast is not caught by its shape
    beta = fresh.uniform(0.2, 0.7)
    submission.compare(
        "optimal_policy", (*inputs, beta), for_each_prompt(tilted, *inputs, beta), mistakes=MISTAKES
    )


@exercise("optimal_policy")
def test_optimal_policy_is_finite_at_small_beta(submission, fresh):
    inputs = far_from_zero(fresh)
    expected = tilted(*[tensor.tolist() for tensor in inputs], 0.0005)
    submission.compare("optimal_policy", (*inputs, 0.0005), expected, mistakes=MISTAKES)


@exercise("implicit_rewards", points=2)
def test_implicit_rewards_are_scaled_log_ratios(submission, fresh):
    policy, _, reference, _ = fresh.logps(6)
    beta = fresh.uniform(0.05, 0.6)
    pairs = zip(policy.double().tolist(), reference.double().tolist(), strict=True)
    expected = [beta * (p - r) for p, r in pairs]
    # β log π − β log π_ref is right, too: float32 rounds each of its terms, of up to 40, by 2e-6
    submission.compare("implicit_rewards", (policy, reference, beta), expected, mistakes=MISTAKES, atol=1e-5)


@exercise("implicit_rewards")
def test_implicit_rewards_are_numbers_for_long_completions(submission, fresh):
    reference = -300.0 + 100.0 * torch.rand(5, generator=fresh.torch)
    policy = reference + fresh.normal(5, scale=4.0)
    pairs = zip(policy.double().tolist(), reference.double().tolist(), strict=True)
    expected = [0.3 * (p - r) for p, r in pairs]
    # float32 keeps a log-prob of −300 nats to about 2e-5
    submission.compare("implicit_rewards", (policy, reference, 0.3), expected, mistakes=MISTAKES, atol=1e-4)


@exercise("implicit_rewards")
def test_implicit_rewards_take_every_completion_of_several_prompts(submission, fresh):
    policy, _ = reference_and_rewards(fresh, 3, 5)
    reference, _ = reference_and_rewards(fresh, 3, 5)
    expected = [
        [0.4 * math.log(math.exp(p) / math.exp(r)) for p, r in zip(row, other, strict=True)]
        for row, other in zip(policy.tolist(), reference.tolist(), strict=True)
    ]
    submission.compare("implicit_rewards", (policy, reference, 0.4), expected, mistakes=MISTAKES)


@exercise("implicit_rewards")
def test_implicit_rewards_carry_a_gradient(submission, fresh):
    policy, _, reference, _ = fresh.logps(5)
    beta = fresh.uniform(0.05, 0.6)
    submission.compare(
        "implicit_rewards", (policy, reference, beta), torch.full((5,), beta), mistakes=MISTAKES, via="grad"
    )
