"""Lesson 11: estimators, intervals, tests, judges, bins. Oracles are loops over Python numbers and enumerations."""

from __future__ import annotations

import math
from itertools import product

import torch
from mistakes_11_evaluation import MISTAKES

from dpo_lab.course import exercise, raises


def sampled_logps(fresh, size=7):
    """Log-probs of a policy's samples and the reference's of the same, float64."""
    ref = torch.tensor([-8.0 - 10 * fresh.uniform(0, 1) for _ in range(size)], dtype=torch.float64)
    return ref + torch.tensor([1.2 * fresh.rng.normal() for _ in range(size)], dtype=torch.float64), ref


FORMULAS = {
    "k1": lambda p, q: math.log(p / q),
    "k2": lambda p, q: 0.5 * math.log(p / q) ** 2,
    "k3": lambda p, q: q / p - 1 + math.log(p / q),
}


@exercise("kl_terms", points=3)
def test_kl_terms_match_a_loop(submission, fresh):
    """Each estimator's terms, from probabilities instead of log-probs."""
    policy, ref = sampled_logps(fresh)
    for name, formula in FORMULAS.items():
        expected = [
            formula(math.exp(p), math.exp(q)) for p, q in zip(policy.tolist(), ref.tolist(), strict=True)
        ]
        submission.compare("kl_terms", (policy, ref, name), expected, mistakes=MISTAKES)


@exercise("kl_terms")
def test_kl_terms_k3_of_improbable_completions(submission, fresh):
    """Long completions have log-probs near −200, whose probabilities float32 can't hold: r needs the difference."""
    gap = torch.tensor([fresh.uniform(-1, 1) for _ in range(5)])
    ref = torch.tensor([-200.0 - fresh.integer(0, 30) for _ in range(5)])
    policy = ref - gap
    exact = (ref.double() - policy.double()).tolist()
    expected = [math.exp(x) - 1 - x for x in exact]
    submission.compare("kl_terms", (policy, ref, "k3"), expected, mistakes=MISTAKES, rtol=1e-4, atol=1e-5)


@exercise("kl_terms")
def test_kl_terms_take_k1_by_default_and_refuse_other_names(submission, fresh):
    """k1 by default; a name that is none of the three raises ValueError."""
    policy, ref = sampled_logps(fresh)
    submission.compare("kl_terms", (policy, ref), (policy - ref).tolist(), mistakes=MISTAKES)
    submission.compare("kl_terms", (policy, ref, "k4"), raises(ValueError), mistakes=MISTAKES)


def score_ends(wins, n, level):
    """Where |p̂ − p| is z standard errors of p itself: by bisection, on either side of p̂."""
    from statistics import NormalDist

    z, share = NormalDist().inv_cdf(1 - (1 - level) / 2), wins / n

    def outside(p):
        return abs(share - p) > z * math.sqrt(p * (1 - p) / n)

    ends = []
    for far in (0.0, 1.0):
        inner, outer = share, far
        for _ in range(200):
            middle = (inner + outer) / 2
            inner, outer = (inner, middle) if outside(middle) else (middle, outer)
        ends.append(inner)
    return {"mean": share, "low": ends[0], "high": ends[1]}


@exercise("wilson_interval", points=3)
def test_wilson_interval_ends_where_the_share_is_z_errors_away(submission, fresh):
    """The ends are the true shares from which the measured one is just z standard errors away."""
    for level in (0.95, fresh.uniform(0.7, 0.9)):
        n = fresh.integer(9, 40)
        wins = fresh.integer(2, n - 2)
        submission.compare(
            "wilson_interval",
            (wins, n),
            score_ends(wins, n, level),
            mistakes=MISTAKES,
            kwargs={"level": level},
        )


@exercise("wilson_interval")
def test_wilson_interval_keeps_its_width_at_the_edges(submission, fresh):
    """Nothing lost, nothing won, and half a point for a tie."""
    n = fresh.integer(5, 30)
    for wins in (n, 0, n // 2 + 0.5):
        expected = score_ends(wins, n, 0.95)
        submission.compare("wilson_interval", (wins, n), expected, mistakes=MISTAKES, atol=1e-9)


def share_as_lopsided(wins, losses):
    """Count the sequences of coin flips that are at least as lopsided as this result."""
    n, gap = wins + losses, abs(wins - losses)
    flips = product((-1, 1), repeat=n)
    return sum(abs(sum(sequence)) >= gap for sequence in flips) / 2**n


@exercise("sign_test", points=3)
def test_sign_test_counts_sequences_of_flips(submission, fresh):
    """The share of coin-flip sequences at least as lopsided, counted one by one."""
    n = fresh.integer(9, 12)
    many = fresh.integer(n // 2 + 2, n - 1)
    for wins, losses in ((many, n - many), (n - many, many), (n, 0)):
        expected = share_as_lopsided(wins, losses)
        submission.compare("sign_test", (wins, losses), expected, mistakes=MISTAKES)


@exercise("sign_test")
def test_sign_test_of_an_even_result_is_one(submission, fresh):
    """As many wins as losses, and no decided comparison at all: a p-value of 1."""
    k = fresh.integer(2, 6)
    for wins, losses in ((k, k), (0, 0)):
        submission.compare("sign_test", (wins, losses), 1.0, mistakes=MISTAKES)


def rejected_by_loop(n, alpha):
    """Numbers of wins with a two-sided p-value of at most alpha, from whole numbers."""
    kept = []
    for wins in range(n + 1):
        tail = sum(math.comb(n, k) for k in range(max(wins, n - wins), n + 1))
        if min(1.0, 2 * tail / 2**n) <= alpha:
            kept.append(wins)
    return kept


@exercise("sign_test_power", points=3)
def test_sign_test_power_adds_up_what_is_rejected(submission, fresh):
    """Binomial probabilities of all results that the test rejects."""
    n, p = fresh.integer(18, 30), fresh.uniform(0.55, 0.66)
    for alpha in (0.05, fresh.uniform(0.25, 0.39)):
        expected = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in rejected_by_loop(n, alpha))
        submission.compare(
            "sign_test_power", (n, p), expected, mistakes=MISTAKES, kwargs={"alpha": alpha}, rtol=1e-7
        )
    edge = p**5 + (1 - p) ** 5  # five of five has a p-value of exactly 1/16
    submission.compare(
        "sign_test_power", (5, p), edge, mistakes=MISTAKES, kwargs={"alpha": 0.0625}, rtol=1e-7
    )


@exercise("sign_test_power")
def test_sign_test_power_of_a_coin_and_of_too_few(submission, fresh):
    """At p = ½ the rate of false alarms; five comparisons can never be significant; a certain winner is always seen."""
    n = fresh.integer(20, 40)
    alarms = sum(math.comb(n, k) for k in rejected_by_loop(n, 0.05)) / 2**n
    for inputs, expected in (((n, 0.5), alarms), ((5, fresh.uniform(0.8, 0.95)), 0.0), ((12, 1.0), 1.0)):
        submission.compare("sign_test_power", inputs, float(expected), mistakes=MISTAKES, atol=1e-9)


def opinionated(prompt, first, second):
    """A judge with a leaning to the first place, who ties where the difference is small."""
    difference = len(first) - len(second) + len(prompt)
    return 0.5 if abs(difference) <= 1 else float(difference > 0)


def answers(fresh, size=9):
    """Prompts and both sides' answers, of random lengths."""
    texts = [["x" * fresh.integer(1, 12) for _ in range(size)] for _ in range(2)]
    return ["p" * fresh.integer(0, 5) for _ in range(size)], *texts


def verdicts_by_loop(judge, prompts, ours, theirs):
    scores, first = [], []
    for prompt, mine, other in zip(prompts, ours, theirs, strict=True):
        shown_first, shown_second = judge(prompt, mine, other), judge(prompt, other, mine)
        scores.append(0.5 * shown_first + 0.5 * (1 - shown_second))
        first += [shown_first, shown_second]
    return torch.tensor(scores, dtype=torch.float64), sum(first) / len(first)


# one comparison of each kind (won twice, won and tied, one each, lost twice), and five more that ours wins
PROMPTS = ["ppp", "ppp", "ppp", "", *["p"] * 5]
OURS = ["x" * size for size in (9, 6, 5, 1, 20, 21, 22, 23, 24)]
THEIRS = ["x" * size for size in (2, 3, 4, 3, 1, 2, 3, 4, 5)]


@exercise("judge_both_orders", points=3)
def test_judge_both_orders_averages_two_votes(submission, fresh):
    """Each comparison is asked twice, the second vote turned round; `first` counts votes as they were cast."""
    drawn = answers(fresh, size=4)
    prompts, ours, theirs = (own + rest for own, rest in zip((PROMPTS, OURS, THEIRS), drawn, strict=True))
    expected = verdicts_by_loop(opinionated, prompts, ours, theirs)
    submission.compare("judge_both_orders", (opinionated, prompts, ours, theirs), expected, mistakes=MISTAKES)


def first_always(prompt, first, second):
    return 1.0


@exercise("judge_both_orders")
def test_judge_both_orders_cancels_a_judge_who_takes_the_first(submission, fresh):
    """A judge who always takes the first answer: ½ for every comparison, and a first place that always wins."""
    prompts, ours, theirs = answers(fresh, size=4)
    expected = torch.full((4,), 0.5, dtype=torch.float64), 1.0
    submission.compare(
        "judge_both_orders", (first_always, prompts, ours, theirs), expected, mistakes=MISTAKES
    )


def forecasts(fresh, size=40):
    """Forecasts between 0.4 and 0.97, three of them at edges of eighths, one of exactly 1; and what came of them."""
    predicted = [fresh.uniform(0.4, 0.97) for _ in range(size)] + [0.5, 0.625, 0.75, 1.0]
    outcomes = [float(fresh.uniform(0, 1) < p) for p in predicted]
    return torch.tensor(predicted, dtype=torch.float64), torch.tensor(outcomes, dtype=torch.float64)


def bins_by_loop(predicted, outcomes, bins):
    rows = {name: [] for name in ("count", "predicted", "measured", "low", "high")}
    pairs = list(zip(predicted.tolist(), outcomes.tolist(), strict=True))
    for k in range(bins):
        last = k == bins - 1
        inside = [(p, won) for p, won in pairs if k / bins <= p < (k + 1) / bins or (last and p == 1)]
        rows["count"].append(float(len(inside)))
        if not inside:
            for name in ("predicted", "measured", "low", "high"):
                rows[name].append(math.nan)
            continue
        wins = sum(won for _, won in inside)
        ends = score_ends(wins, len(inside), 0.95)
        rows["predicted"].append(sum(p for p, _ in inside) / len(inside))
        rows["measured"].append(wins / len(inside))
        rows["low"].append(ends["low"])
        rows["high"].append(ends["high"])
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}


@exercise("reliability_bins", points=3)
def test_reliability_bins_match_a_loop(submission, fresh):
    """Counts, means, shares and Wilson intervals of eight bins, edges and empty bins included."""
    predicted, outcomes = forecasts(fresh)
    expected = bins_by_loop(predicted, outcomes, 8)
    submission.compare(
        "reliability_bins", (predicted, outcomes), expected, mistakes=MISTAKES, kwargs={"bins": 8}, atol=1e-9
    )


@exercise("reliability_bins")
def test_reliability_bins_of_ten_by_default_and_of_one(submission, fresh):
    """Ten bins unless told otherwise; one bin holds everything."""
    predicted, outcomes = forecasts(fresh)
    inside = predicted[:40].clamp(0.41, 0.96)
    submission.compare(
        "reliability_bins", (inside, outcomes[:40]), bins_by_loop(inside, outcomes[:40], 10), mistakes=MISTAKES,
        atol=1e-9,
    )  # fmt: skip
    submission.compare(
        "reliability_bins", (predicted, outcomes), bins_by_loop(predicted, outcomes, 1), mistakes=MISTAKES,
        kwargs={"bins": 1}, atol=1e-9,
    )  # fmt: skip


def count_calls(function, prompts, ours, theirs):
    """How often the learner's function asks the judge."""
    calls = []

    def counting(prompt, first, second):
        calls.append(prompt)
        return opinionated(prompt, first, second)

    function(counting, prompts, ours, theirs)
    return len(calls)


@exercise("judge_both_orders")
def test_judge_both_orders_asks_each_question_once(submission, fresh):
    """2N calls: a judge costs money, and one that draws answers anew each time."""
    drawn = answers(fresh, size=5)
    submission.compare("judge_both_orders", drawn, 10, mistakes=MISTAKES, via=count_calls)
