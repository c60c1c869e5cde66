"""What β does: training against closed forms, best-of-n against its bound, the controller, the summary."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lab.beta import adapt_beta, best_of_n_kl_bound, best_of_n_logps, frontier_point, optimal_gap
from dpo_lab.experiments.exact_beta import exact_run
from dpo_lab.spread import summarise_runs
from dpo_lab.worlds.exact import ExactWorld


@pytest.fixture(scope="module")
def world() -> ExactWorld:
    return ExactWorld()


@pytest.mark.parametrize(
    ("loss", "beta"),
    [("sigmoid", 0.3), ("sigmoid", 1.0), ("sigmoid", 3.0), ("ipo", 0.1), ("ipo", 0.3), ("ipo", 1.0)],
)
def test_infinite_data_end_at_the_closed_form(loss, beta):
    found = exact_run(beta, loss=loss)
    assert found["kl"] == pytest.approx(found["limit_kl"], abs=1e-2)
    assert found["reward"] == pytest.approx(found["limit_reward"], abs=1e-2)


def test_many_soft_labels_end_near_the_closed_form_of_their_beta():
    for beta in (0.3, 1.0, 3.0):
        found = exact_run(beta, pairs=20_000, soft=True)
        assert found["kl"] == pytest.approx(found["limit_kl"], abs=2e-2)
        assert found["reward"] == pytest.approx(found["limit_reward"], abs=1e-2)


def test_hard_labels_end_in_one_place_at_every_beta_and_ipo_does_not():
    weak, strong = (exact_run(beta, pairs=2000) for beta in (0.3, 3.0))
    assert weak["kl"] > 10 and weak["kl"] == pytest.approx(strong["kl"], abs=1e-2)
    weak, strong = (exact_run(beta, pairs=2000, loss="ipo") for beta in (0.1, 1.0))
    assert strong["kl"] < 0.1 < weak["kl"] < 10


def test_frontier_point_is_a_row_of_the_worlds_frontier(world):
    for row in world.frontier([0.2, 1.0, 20.0]):
        assert frontier_point(world.ref_logps, world.rewards, row["beta"]) == pytest.approx(
            (row["kl"], row["reward"])
        )


@pytest.mark.parametrize(
    ("p", "beta", "dpo", "ipo"),
    [(0.6, 0.05, 8.109302, 2.0), (0.8, 0.1, 13.862944, 3.0), (0.95, 0.5, 5.888878, 0.9)],
)
def test_optimal_gaps_are_the_tables(p, beta, dpo, ipo):
    win = torch.tensor([p], dtype=torch.float64)
    assert optimal_gap(win, beta).item() == pytest.approx(dpo, abs=1e-6)
    assert optimal_gap(win, beta, "ipo").item() == pytest.approx(ipo, abs=1e-6)


def test_best_of_n_is_a_distribution_below_its_kl_bound_and_below_the_frontier(world):
    points = [(0.0, world.expected_reward(world.ref_logps))]
    for n in (1, 2, 5, 50):
        logps = best_of_n_logps(world.ref_logps, world.rewards, n)
        assert logps.exp().sum().item() == pytest.approx(1)
        assert world.kl(logps) <= best_of_n_kl_bound(n) + 1e-12
        points.append((world.kl(logps), world.expected_reward(logps)))
    assert points == sorted(points)
    for row in world.frontier([0.2, 0.5, 1.0, 2.0]):
        assert all(reward <= row["reward"] for kl, reward in points if kl <= row["kl"])


def test_best_of_n_reaches_its_bound_where_no_completion_is_likely():
    size, n = 2000, 4
    ref_logps = torch.full((size,), -math.log(size), dtype=torch.float64)
    logps = best_of_n_logps(ref_logps, torch.arange(size, dtype=torch.float64), n)
    kl = (logps.exp() * (logps - ref_logps)).sum().item()
    assert kl == pytest.approx(best_of_n_kl_bound(n), abs=2e-3)


def test_the_controller_holds_a_system_at_its_target():
    """A made-up policy whose KL is 1/β."""
    beta = 5.0
    for _ in range(400):
        beta = adapt_beta(beta, 1 / beta, target_kl=2.0)
    assert 1 / beta == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adapt_beta(0.1, 1.0, 2.0, gain=5.0), "gain must lie in"),
        (lambda: adapt_beta(0.0, 1.0, 2.0), "beta must be a finite number > 0"),
        (lambda: optimal_gap(torch.tensor([0.6]), 0.1, "hinge"), "loss must be"),
        (lambda: best_of_n_logps(torch.zeros(1), torch.zeros(1), 0), "n must be at least 1"),
        (lambda: best_of_n_kl_bound(0), "n must be at least 1"),
        (lambda: ExactWorld().fit(1.0, loss="hinge"), "loss must be one of"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_summary_of_runs():
    runs = [{"beta": 1.0, "seed": seed, "kl": float(seed)} for seed in range(3)] + [
        {"beta": 0.1, "seed": 0, "kl": 5.0}
    ]
    first, second = summarise_runs(runs, by="beta")
    assert first == {"beta": 1.0, "runs": 3, "kl": 1.0, "kl ±": 1.0}
    assert second["runs"] == 1 and math.isnan(second["kl ±"])
