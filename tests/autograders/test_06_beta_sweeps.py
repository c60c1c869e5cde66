"""Lesson 06: the frontier, the gaps, best-of-n, the controller, the spread. Oracles are float64 loops and searches."""

from __future__ import annotations

import math
from itertools import product

import torch
from mistakes_06_beta_sweeps import MISTAKES

from dpo_lab.course import exercise, raises


def small_world(fresh, size=7):
    """log π_ref and rewards of a few completions, float64."""
    logits = torch.tensor([fresh.rng.normal() for _ in range(size)], dtype=torch.float64)
    rewards = torch.tensor([2 * fresh.rng.normal() for _ in range(size)], dtype=torch.float64)
    return logits.log_softmax(dim=-1), rewards


def point_by_loop(ref_logps, rewards, beta):
    """KL and reward of the tilted reference, over Python numbers; the largest exponent is taken out first."""
    exponents = [
        logp + reward / beta for logp, reward in zip(ref_logps.tolist(), rewards.tolist(), strict=True)
    ]
    top = max(exponents)
    weights = [math.exp(exponent - top) for exponent in exponents]
    kl = reward = 0.0
    for weight, logp, value in zip(weights, ref_logps.tolist(), rewards.tolist(), strict=True):
        probability = weight / sum(weights)
        reward += probability * value
        if probability > 0:
            kl += probability * (math.log(probability) - logp)
    return kl, reward


@exercise("frontier_point", points=3)
def test_frontier_point_matches_a_loop(submission, fresh):
    """KL and reward of the optimum, against a loop over completions."""
    ref_logps, rewards = small_world(fresh)
    beta = fresh.uniform(0.4, 0.8)
    expected = point_by_loop(ref_logps, rewards, beta)
    submission.compare(
        "frontier_point", (ref_logps, rewards, beta), expected, mistakes=MISTAKES, parts=("kl", "reward")
    )


@exercise("frontier_point")
def test_frontier_point_at_both_ends_of_beta(submission, fresh):
    """A tiny β gives the best completion alone, a huge one the reference: finite numbers at both."""
    ref_logps, rewards = small_world(fresh)
    best = rewards.argmax()
    for beta, expected in (
        (1e-3, point_by_loop(ref_logps, rewards, 1e-3)),
        (1e-6, (-ref_logps[best].item(), rewards[best].item())),
        (1e9, (0.0, (ref_logps.exp() * rewards).sum().item())),
    ):
        submission.compare(
            "frontier_point", (ref_logps, rewards, beta), expected, mistakes=MISTAKES, parts=("kl", "reward")
        )


def least_expected_loss(p, beta, loss):
    """The gap at which the derivative of the expected loss changes sign, by bisection."""

    def slope(gap):
        if loss == "ipo":
            return 2 * p * (gap - 1 / (2 * beta)) + 2 * (1 - p) * (gap + 1 / (2 * beta))
        return beta * (1 / (1 + math.exp(-beta * gap)) - p)

    low, high = -1000.0, 1000.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


@exercise("optimal_gap", points=3)
def test_optimal_gap_is_where_the_slope_is_zero(submission, fresh):
    """The gap at which the slope of the expected loss changes its sign."""
    beta = fresh.uniform(0.15, 0.45)
    probabilities = torch.tensor(
        [fresh.uniform(0.1, 0.4), fresh.uniform(0.55, 0.9), 0.8], dtype=torch.float64
    )
    for loss in ("sigmoid", "ipo"):
        expected = torch.tensor(
            [least_expected_loss(p, beta, loss) for p in probabilities.tolist()], dtype=torch.float64
        )
        submission.compare(
            "optimal_gap", (probabilities, beta), expected, mistakes=MISTAKES, kwargs={"loss": loss}
        )


@exercise("optimal_gap")
def test_optimal_gap_of_certain_labels(submission, fresh):
    """A label that never changes: DPO's gap has no end, IPO's has one."""
    beta = fresh.uniform(0.2, 0.8)
    certain = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    ends = {"sigmoid": [-math.inf, 0.0, math.inf], "ipo": [-0.5 / beta, 0.0, 0.5 / beta]}
    for loss, expected in ends.items():
        submission.compare(
            "optimal_gap",
            (certain, beta),
            torch.tensor(expected, dtype=torch.float64),
            mistakes=MISTAKES,
            kwargs={"loss": loss},
        )


@exercise("optimal_gap")
def test_optimal_gap_takes_dpo_by_default_and_refuses_other_losses(submission, fresh):
    """DPO by default; a loss of another name raises ValueError."""
    probabilities = torch.tensor([fresh.uniform(0.6, 0.9)], dtype=torch.float64)
    expected = torch.tensor([least_expected_loss(probabilities.item(), 0.3, "sigmoid")], dtype=torch.float64)
    submission.compare("optimal_gap", (probabilities, 0.3), expected, mistakes=MISTAKES)
    submission.compare(
        "optimal_gap", (probabilities, 0.3), raises(ValueError), mistakes=MISTAKES, kwargs={"loss": "hinge"}
    )


def best_of_n_by_enumeration(ref_logps, rewards, n):
    """Add up the probability of every sequence of n draws; the first of the best draws is kept."""
    kept = [0.0] * len(rewards)
    for draws in product(range(len(rewards)), repeat=n):
        probability = math.prod(math.exp(ref_logps[i].item()) for i in draws)
        kept[max(draws, key=lambda i: rewards[i].item())] += probability  # max returns the first maximum
    return torch.tensor([math.log(p) for p in kept], dtype=torch.float64)


@exercise("best_of_n_logps", points=4)
def test_best_of_n_logps_matches_every_sequence_of_draws(submission, fresh):
    """The probability of each completion, added up over every possible sequence of n draws."""
    ref_logps, rewards = small_world(fresh, size=5)
    for n in (3, 1):
        expected = best_of_n_by_enumeration(ref_logps, rewards, n)
        submission.compare("best_of_n_logps", (ref_logps, rewards, n), expected, mistakes=MISTAKES)


@exercise("best_of_n_logps")
def test_best_of_n_logps_shares_ties(submission, fresh):
    """Two completions with one reward: whichever was drawn first is kept."""
    ref_logps, rewards = small_world(fresh, size=5)
    rewards[3] = rewards[1]
    expected = best_of_n_by_enumeration(ref_logps, rewards, 4)
    submission.compare("best_of_n_logps", (ref_logps, rewards, 4), expected, mistakes=MISTAKES)


@exercise("best_of_n_logps")
def test_best_of_n_logps_of_a_rare_completion(submission, fresh):
    """A completion of probability e⁻⁶⁰ with the highest reward: n chances to draw it, in finite numbers."""
    logits, rewards = small_world(fresh, size=4)
    ref_logps = torch.cat([torch.tensor([-60.0 - fresh.uniform(0, 1)], dtype=torch.float64), logits])
    rewards = torch.cat([rewards.max()[None] + 1, rewards])
    expected = best_of_n_by_enumeration(ref_logps, rewards, 4)
    expected[0] = ref_logps[0] + math.log(4)
    submission.compare("best_of_n_logps", (ref_logps, rewards, 4), expected, mistakes=MISTAKES)


@exercise("adapt_beta", points=2)
def test_adapt_beta_is_proportional_near_the_target(submission, fresh):
    """Close to the target β changes in proportion to the relative error."""
    beta, target, gain = fresh.uniform(0.05, 0.5), fresh.uniform(0.4, 0.6), fresh.uniform(0.3, 0.6)
    for share in (0.1, -0.15):
        expected = beta + beta * gain * share
        inputs = (beta, target + share * target, target)
        submission.compare("adapt_beta", inputs, expected, mistakes=MISTAKES, kwargs={"gain": gain})


@exercise("adapt_beta")
def test_adapt_beta_clips_a_large_error(submission, fresh):
    """Far from the target the error counts as 0.2 or −0.2; an estimate may be negative."""
    beta, target, gain = fresh.uniform(0.05, 0.5), fresh.uniform(0.5, 3.0), fresh.uniform(0.3, 2.0)
    for kl, error in ((40.0, 0.2), (-0.05, -0.2), (0.5 * target, -0.2)):
        expected = beta * (1 + gain * error)
        submission.compare(
            "adapt_beta", (beta, kl, target), expected, mistakes=MISTAKES, kwargs={"gain": gain}
        )


@exercise("adapt_beta")
def test_adapt_beta_has_the_papers_gain_by_default(submission, fresh):
    """K is 0.1 unless told otherwise; at the target β stays."""
    beta, target = fresh.uniform(0.05, 0.5), fresh.uniform(1.0, 3.0)
    submission.compare("adapt_beta", (beta, 9 * target, target), 1.02 * beta, mistakes=MISTAKES)
    submission.compare("adapt_beta", (beta, target, target), beta, mistakes=MISTAKES, kwargs={"gain": 0.7})


def spread_by_hand(values):
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def seeded_runs(fresh, settings=(3.0, 0.1, 1.0), seeds=4):
    """Runs with the seed varying slowest, so that runs of one setting do not stand side by side."""
    return [
        {"beta": beta, "seed": seed, "kl": fresh.uniform(0, 5), "reward": fresh.rng.normal()}
        for seed in range(seeds)
        for beta in settings
    ]


def rows_by_hand(runs, settings):
    rows = []
    for beta in settings:
        row = {"beta": beta, "runs": sum(run["beta"] == beta for run in runs)}
        for name in ("kl", "reward"):
            row[name], row[f"{name} ±"] = spread_by_hand([run[name] for run in runs if run["beta"] == beta])
        rows.append(row)
    return rows


@exercise("summarise_runs", points=3)
def test_summarise_runs_gives_mean_and_deviation(submission, fresh):
    """One row a setting: mean and sample standard deviation, in the order of first occurrence."""
    settings = (3.0, 0.1, 1.0)
    runs = seeded_runs(fresh, settings)
    submission.compare("summarise_runs", (runs, "beta"), rows_by_hand(runs, settings), mistakes=MISTAKES)


@exercise("summarise_runs")
def test_summarise_runs_of_one_seed_has_no_spread(submission, fresh):
    """One run has a mean but no spread."""
    runs = seeded_runs(fresh, seeds=1)
    expected = [
        {"beta": run["beta"], "runs": 1, "kl": run["kl"], "kl ±": math.nan}
        | {"reward": run["reward"], "reward ±": math.nan}
        for run in runs
    ]
    submission.compare("summarise_runs", (runs, "beta"), expected, mistakes=MISTAKES)


@exercise("summarise_runs")
def test_summarise_runs_keeps_a_run_that_diverged(submission, fresh):
    """A NaN among the runs makes mean and spread NaN."""
    settings = (0.3, 1.0)
    runs = seeded_runs(fresh, settings)
    expected = rows_by_hand(runs, settings)
    runs[2]["kl"] = math.nan
    expected[0] |= {"kl": math.nan, "kl ±": math.nan}
    submission.compare("summarise_runs", (runs, "beta"), expected, mistakes=MISTAKES)


@exercise("summarise_runs")
def test_summarise_runs_over_another_name(submission, fresh):
    """Any setting, and runs told apart by any name."""
    draws = [fresh.rng.normal() for _ in range(4)]
    runs = [{"loss": "ipo", "fold": fold, "kl": value} for fold, value in enumerate(draws)]
    mean, spread = spread_by_hand(draws)
    expected = [{"loss": "ipo", "runs": 4, "kl": mean, "kl ±": spread}]
    submission.compare("summarise_runs", (runs, "loss"), expected, mistakes=MISTAKES, kwargs={"over": "fold"})
