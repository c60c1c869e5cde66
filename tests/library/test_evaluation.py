"""Intervals, tests, judges and estimators, each against brute force, a closed form or a simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from dpo_lab.diagnostics.calibration import calibration_error
from dpo_lab.evaluation import (
    NoisyJudge,
    accuracy_by_group,
    bootstrap_interval,
    comparisons_needed,
    judge_both_orders,
    judge_one_order,
    kl_terms,
    length_controlled_win_rate,
    reliability_bins,
    reward_judge,
    sign_test,
    sign_test_power,
    summarise_scores,
    wilson_interval,
)
from dpo_lab.evaluation.significance import binomial_probability
from dpo_lab.worlds.exact import ExactWorld

# intervals


@pytest.mark.parametrize("share", [0.5, 0.6, 0.75])
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_wilson_covers_as_often_as_it_says(n, share):
    wins = np.random.default_rng(n).binomial(n, share, size=20_000)
    ends = {k: wilson_interval(k, n) for k in np.unique(wins).tolist()}
    covered = np.mean([not ends[k].excludes(share) for k in wins.tolist()])
    assert 0.93 <= covered <= 0.97


def test_wilson_holds_where_the_plain_formula_does_not():
    """Close to the edge: exact coverage over all outcomes, of Wilson's ends and of p̂ ± 1.96 standard errors."""
    n, share, wilson, plain = 50, 0.96, 0.0, 0.0
    for k in range(n + 1):
        weight, p = binomial_probability(k, n, share), k / n
        wilson += weight * (not wilson_interval(k, n).excludes(share))
        plain += weight * (abs(p - share) <= 1.96 * math.sqrt(p * (1 - p) / n))
    assert plain < 0.90 < 0.93 < wilson


def test_wilson_ends_solve_the_score_equation():
    found = wilson_interval(37, 90, level=0.9)
    for end in (found.low, found.high):
        assert abs(37 / 90 - end) == pytest.approx(1.6448536 * math.sqrt(end * (1 - end) / 90), rel=1e-6)
    assert found.mean == 37 / 90
    assert wilson_interval(0, 10).low == pytest.approx(0) and wilson_interval(10, 10).high == pytest.approx(1)
    assert wilson_interval(10, 10).low < 0.75


@pytest.mark.parametrize("kind", ["skewed", "scores"])
def test_bootstrap_covers_as_often_as_it_says(kind):
    rng = np.random.default_rng(3)
    draw, mean = {
        "skewed": (lambda size: rng.gamma(2, 1, size), 2.0),
        "scores": (lambda size: rng.choice([0, 0.5, 1], size, p=[0.3, 0.2, 0.5]), 0.6),
    }[kind]
    runs = 2000
    hits = sum(
        not bootstrap_interval(draw(150).tolist(), resamples=400, seed=i).excludes(mean) for i in range(runs)
    )
    assert 0.93 <= hits / runs <= 0.97


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((5, 0), "comparisons"), ((6, 5), "wins"), ((-1, 5), "wins"), ((1, 5, 95), "level")],
)
def test_wilson_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        wilson_interval(*arguments)


# the sign test and its power


def test_sign_test_matches_every_sequence_of_coin_flips():
    for n in range(1, 13):
        heads = [sum(flips) for flips in product((0, 1), repeat=n)]
        for wins in range(n + 1):
            lopsided = sum(abs(2 * k - n) >= abs(2 * wins - n) for k in heads)
            assert sign_test(wins, n - wins) == pytest.approx(lopsided / 2**n, rel=1e-9)


def test_sign_test_of_many_comparisons_matches_whole_numbers():
    for wins, losses in ((530, 470), (1040, 960), (700, 300)):
        n = wins + losses
        tail = sum(math.comb(n, k) for k in range(max(wins, losses), n + 1))
        assert sign_test(wins, losses) == pytest.approx(2 * tail / 2**n, rel=1e-9)
    assert sign_test(0, 0) == 1.0 and sign_test(5, 5) == 1.0
    with pytest.raises(ValueError, match="wins"):
        sign_test(1.5, 2)


def test_power_is_the_rate_of_rejections():
    n, p = 60, 0.68
    wins = np.random.default_rng(0).binomial(n, p, size=40_000).tolist()
    rejected = {k: sign_test(k, n - k) <= 0.05 for k in set(wins)}
    assert sign_test_power(n, p) == pytest.approx(np.mean([rejected[k] for k in wins]), abs=0.01)
    assert sign_test_power(n, 0.5) <= 0.05
    assert sign_test_power(n, p) == pytest.approx(sign_test_power(n, 1 - p), rel=1e-9)


@pytest.mark.parametrize("p", [0.55, 0.6, 0.7, 0.3])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_comparisons_needed_give_the_power_asked_for(p, power):
    assert sign_test_power(comparisons_needed(p, power), p) == pytest.approx(power, abs=0.04)


def test_comparisons_needed_refuses_a_coin():
    with pytest.raises(ValueError, match=r"0\.5"):
        comparisons_needed(0.5)


# judges


def always_first(prompt, first, second):
    return 1.0


TEXTS = [f"{'good ' * (i % 5)}x{i}" for i in range(40)]
OTHERS = [f"{'good ' * ((i * 3 + 1) % 5)}y{i}" for i in range(40)]


def goods(text):
    return float(text.count("good"))


def test_a_judge_who_takes_the_first_place_is_found_and_cancelled():
    verdicts = judge_both_orders(always_first, range(40), TEXTS, OTHERS)
    assert verdicts.first == 1.0
    assert verdicts.scores.tolist() == [0.5] * 40
    assert judge_one_order(always_first, range(40), TEXTS, OTHERS).mean() == 1.0
    found = summarise_scores(verdicts.scores)
    assert (found.wins, found.ties, found.losses, found.p_value) == (0, 40, 0, 1.0)


@pytest.mark.parametrize("position", [-2.0, 0.0, 2.0])
def test_equal_policies_tie_under_any_leaning(position):
    texts = ["good"] * 4000
    verdicts = judge_both_orders(NoisyJudge(goods, position=position), texts, texts, texts)
    assert verdicts.scores.mean().item() == pytest.approx(0.5, abs=0.03)
    assert verdicts.first == pytest.approx(1 / (1 + math.exp(-position)), abs=0.02)


def test_a_leaning_judge_still_sees_the_better_side():
    better, worse = ["good good"] * 4000, ["good"] * 4000
    scores = judge_both_orders(NoisyJudge(goods, position=2.0), better, better, worse).scores
    expected = (1 / (1 + math.exp(-3)) + 1 / (1 + math.exp(1))) / 2
    assert scores.mean().item() == pytest.approx(expected, abs=0.02)


def test_a_fair_judge_ties_and_counts():
    scores = judge_both_orders(reward_judge(goods), range(40), TEXTS, OTHERS).scores
    expected = [
        (goods(a) > goods(b)) + 0.5 * (goods(a) == goods(b)) for a, b in zip(TEXTS, OTHERS, strict=True)
    ]
    assert scores.tolist() == expected
    wide = judge_both_orders(reward_judge(goods, tie_within=4), range(40), TEXTS, OTHERS).scores
    assert wide.tolist() == [0.5] * 40


def test_judges_refuse():
    with pytest.raises(ValueError, match="1 ours"):
        judge_both_orders(always_first, ["x", "y"], ["a"], ["b", "c"])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        judge_both_orders(lambda *_: 2.0, ["x"], ["a"], ["b"])


def test_length_control_takes_out_what_goes_with_length():
    rng = np.random.default_rng(0)
    differences = torch.tensor(rng.normal(3, 4, 6000))
    won = torch.tensor(rng.random(6000)) < (0.3 * differences).sigmoid()
    assert won.double().mean() > 0.6
    assert length_controlled_win_rate(won.double(), differences) == pytest.approx(0.5, abs=0.03)
    fair = torch.tensor(rng.random(6000)) < 0.7
    assert length_controlled_win_rate(fair.double(), differences) == pytest.approx(0.7, abs=0.03)
    assert length_controlled_win_rate(torch.ones(10).double(), torch.zeros(10).double()) > 0.99


# KL


@pytest.mark.parametrize("beta", [3.0, 1.0])
def test_k1_and_k3_are_unbiased_in_the_exact_world(beta):
    world = ExactWorld(seed=1, alphabet="abcd", length=3)
    logps, exact = world.optimal_logps(beta), world.kl(world.optimal_logps(beta))
    drawn = logps.exp().multinomial(200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    for estimator in ("k1", "k3"):
        terms = kl_terms(logps[drawn], world.ref_logps[drawn], estimator)
        error = terms.std().item() / math.sqrt(len(terms))
        assert abs(terms.mean().item() - exact) < 4 * error
        # and without sampling: the expectation is a sum
        expected = (logps.exp() * kl_terms(logps, world.ref_logps, estimator)).sum().item()
        assert expected == pytest.approx(exact, rel=1e-9)
    biased = (logps.exp() * kl_terms(logps, world.ref_logps, "k2")).sum().item()
    assert abs(biased - exact) > 0.01 * exact


def test_k3_is_never_negative_and_spreads_less_nearby():
    world = ExactWorld(seed=1, alphabet="abcd", length=3)
    logps = world.optimal_logps(3.0)
    weights, terms = logps.exp(), {k: kl_terms(logps, world.ref_logps, k) for k in ("k1", "k2", "k3")}
    spread = {k: (weights * (t - (weights * t).sum()) ** 2).sum().sqrt().item() for k, t in terms.items()}
    assert spread["k3"] < spread["k1"] and (terms["k3"] >= 0).all() and (terms["k2"] >= 0).all()
    with pytest.raises(ValueError, match="k4"):
        kl_terms(logps, world.ref_logps, "k4")


# pairs and forecasts


def test_accuracy_by_group_counts_each_group():
    margins = torch.tensor([1.0, -1.0, 0.0, 2.0, 3.0])
    found = accuracy_by_group(margins, ["b", "a", "b", "b", "a"])
    assert list(found) == ["b", "a"]
    assert found["b"] == wilson_interval(2, 3) and found["a"] == wilson_interval(1, 2)
    with pytest.raises(ValueError, match="one group a pair"):
        accuracy_by_group(margins, ["a"])


def test_reliability_bins_add_up_to_the_calibration_error():
    rng = np.random.default_rng(0)
    predicted = torch.tensor(rng.uniform(0.5, 1.0, 300))
    predicted[:2] = torch.tensor([1.0, 0.5])
    outcomes = (torch.tensor(rng.random(300)) < predicted**2).double()
    table = reliability_bins(predicted, outcomes, bins=8)
    assert table["count"].sum() == 300 and table["count"][:4].tolist() == [0, 0, 0, 0]
    assert table["measured"][:4].isnan().all()
    error = (table["count"] / 300 * (table["measured"] - table["predicted"]).abs()).nansum().item()
    assert error == pytest.approx(calibration_error(predicted, outcomes, bins=8), rel=1e-9)
    with pytest.raises(ValueError, match="outcomes"):
        reliability_bins(predicted, outcomes + 1)
