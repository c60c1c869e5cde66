"""Lesson 07: the detectors. Oracles are loops over Python lists, enumerations, and counts that one can do by hand."""

from __future__ import annotations

import itertools
import math

import torch
from mistakes_07_failure_modes import MISTAKES

from dpo_lab.course import exercise

WORDS = ("the", "soup", "was", "fresh", "and", "cook", "slow")


def random_texts(fresh, count=6):
    """Texts of 4 to 9 words of a small vocabulary, so that n-grams repeat; their ends would make new n-grams."""
    return [
        " ".join(WORDS[fresh.integer(0, len(WORDS))] for _ in range(4 + fresh.integer(0, 6)))
        for _ in range(count)
    ]


def share_of_different(texts, n):
    """Count by membership in lists, without sets."""
    seen, total = [], 0
    for text in texts:
        parts = text.split(" ")
        for start in range(len(parts)):
            if start + n <= len(parts):
                gram = "|".join(parts[start : start + n])
                total += 1
                if gram not in seen:
                    seen.append(gram)
    return len(seen) / total


@exercise("distinct_n", points=2)
def test_distinct_n_counts_ngrams_of_all_texts(submission, fresh):
    texts = [*random_texts(fresh), "was the soup slow the cook", "cook the slow"]
    for n in (2, 3):
        expected = share_of_different(texts, n)
        submission.compare("distinct_n", (texts,), expected, mistakes=MISTAKES, kwargs={"n": n})


@exercise("distinct_n")
def test_distinct_n_of_short_texts(submission, fresh):
    texts = [*random_texts(fresh, 2), "slow", "the soup"]
    expected = share_of_different(texts, 3)
    submission.compare("distinct_n", (texts,), expected, mistakes=MISTAKES, kwargs={"n": 3})
    submission.compare("distinct_n", (["the soup was"] * 5,), 0.2, mistakes=MISTAKES)


def judged_pairs(fresh, size=11):
    """Margins of both signs and three of 0, lengths with two ties."""
    margins = torch.randn(size, generator=fresh.torch)
    chosen = torch.randint(4, 30, (size,), generator=fresh.torch).float()
    more = torch.randint(1, 9, (size,), generator=fresh.torch).float()
    rejected = chosen + torch.where(torch.rand(size, generator=fresh.torch) < 0.4, -more, more)
    margins[1:4] = torch.tensor([0.7, -2.0, 1.5])
    rejected[2:4] = chosen[2:4]
    rejected[4:6], margins[4:6] = chosen[4:6] + 4, torch.tensor([-4.0, -0.3])
    # more ties where the chosen one is longer, so that giving ties to either side is not right by chance
    margins[[0, 6, 7]] = 0.0
    rejected[[0, 6, 7]] = chosen[[0, 6, 7]] + torch.tensor([-2.0, -1.0, 3.0])
    return margins, chosen, rejected


def votes_for_longer(margins, chosen, rejected):
    votes = []
    for margin, c, r in zip(margins.tolist(), chosen.tolist(), rejected.tolist(), strict=True):
        if c > r:
            votes.append(1.0 if margin > 0 else 0.0 if margin < 0 else 0.5)
        elif r > c:
            votes.append(0.0 if margin > 0 else 1.0 if margin < 0 else 0.5)
    return sum(votes) / len(votes)


@exercise("prefers_longer", points=3)
def test_prefers_longer_is_the_share_of_votes_for_the_longer(submission, fresh):
    for _ in range(3):
        inputs = judged_pairs(fresh)
        submission.compare("prefers_longer", inputs, votes_for_longer(*inputs), mistakes=MISTAKES)


@exercise("prefers_longer")
def test_prefers_longer_of_data_and_of_an_extreme_judge(submission, fresh):
    _, chosen, rejected = judged_pairs(fresh, 9)
    ones = torch.ones(9)
    submission.compare(
        "prefers_longer",
        (ones, chosen, rejected),
        votes_for_longer(ones, chosen, rejected),
        mistakes=MISTAKES,
    )
    by_length = (chosen - rejected) * 0.01
    submission.compare("prefers_longer", (by_length, chosen, rejected), 1.0, mistakes=MISTAKES)


def scored_texts(fresh, size=7):
    """Summed log-probs of texts of very different lengths."""
    lengths = torch.randint(2, 40, (size,), generator=fresh.torch).float()
    lengths[0], lengths[1] = 3.0, 60.0
    return -lengths * (0.4 + 1.6 * torch.rand(size, generator=fresh.torch)), lengths


@exercise("perplexity", points=2)
def test_perplexity_is_over_all_tokens(submission, fresh):
    logps, lengths = scored_texts(fresh)
    nats = tokens = 0.0
    for logp, length in zip(logps.tolist(), lengths.tolist(), strict=True):
        nats, tokens = nats - logp, tokens + length
    submission.compare("perplexity", (logps, lengths), math.e ** (nats / tokens), mistakes=MISTAKES)


@exercise("perplexity")
def test_perplexity_of_uniform_choice_is_the_number_of_choices(submission, fresh):
    choices = 2 + fresh.integer(1, 30)
    lengths = torch.tensor([2.0, 5.0, 11.0])
    logps = -lengths * math.log(choices)
    submission.compare("perplexity", (logps, lengths), float(choices), mistakes=MISTAKES)


def booleans(fresh, share, size):
    found = torch.rand(size, generator=fresh.torch) < share
    found[0], found[1] = True, False
    return found


def pair_traits(fresh, size=40):
    """Pairs of which some agree in the trait: both have it more often than neither."""
    chosen, rejected = booleans(fresh, 0.7, size), booleans(fresh, 0.5, size)
    chosen[2:8], rejected[2:8] = True, True
    chosen[8:15], rejected[8:15] = True, False
    chosen[15:19], rejected[15:19] = False, True
    return chosen, rejected


def by_counting(chosen, rejected, reference, policy):
    wins = losses = 0
    for c, r in zip(chosen.tolist(), rejected.tolist(), strict=True):
        wins, losses = wins + (c and not r), losses + (r and not c)
    odds = []
    for has in (reference.tolist(), policy.tolist()):
        count = sum(1 for value in has if value)
        odds.append((count + 0.5) / (len(has) - count + 0.5))
    return math.log((wins + 0.5) / (losses + 0.5)), math.log(odds[1] / odds[0])


@exercise("amplification", points=4)
def test_amplification_compares_log_odds(submission, fresh):
    for _ in range(2):
        inputs = (*pair_traits(fresh), booleans(fresh, 0.3, 50), booleans(fresh, 0.8, 35))
        submission.compare("amplification", inputs, by_counting(*inputs), mistakes=MISTAKES)


@exercise("amplification")
def test_amplification_is_finite_when_every_sample_has_the_trait(submission, fresh):
    inputs = (*pair_traits(fresh), booleans(fresh, 0.3, 20), torch.ones(30, dtype=torch.bool))
    submission.compare("amplification", inputs, by_counting(*inputs), mistakes=MISTAKES)


def pairs_of_every_kind(fresh):
    """Four log-probs a pair: learnt or not, chosen risen, fallen or unmoved, ranked either way; in random order."""
    chosen = [-3.0, -3.0, -3.0, -1.0, 2.0, 2.0, -4.0, 0.0, 0.0, 1.0, -2.0]
    rejected = [-6.0, -5.0, -1.0, -2.0, -1.0, 4.0, -6.0, -2.0, 0.0, -3.0, 3.0]
    order = fresh.rng.permutation(len(chosen))
    chosen, rejected = torch.tensor(chosen)[order], torch.tensor(rejected)[order]
    ref_chosen, ref_rejected = (-10.0 - torch.randint(0, 30, (2, len(order)), generator=fresh.torch)).float()
    return ref_chosen + chosen, ref_rejected + rejected, ref_chosen, ref_rejected


def displaced(four):
    hits = [pc < rc and pc - rc > pr - rr for pc, pr, rc, rr in zip(*[t.tolist() for t in four], strict=True)]
    return sum(hits) / len(hits)


@exercise("displaced_share", points=3)
def test_displaced_share_counts_learnt_pairs_whose_chosen_fell(submission, fresh):
    for _ in range(3):
        four = pairs_of_every_kind(fresh)
        submission.compare("displaced_share", four, displaced(four), mistakes=MISTAKES)


@exercise("displaced_share")
def test_displaced_share_is_zero_before_training(submission, fresh):
    reference = fresh.logps(5)[2:]
    submission.compare("displaced_share", (*reference, *reference), 0.0, mistakes=MISTAKES)


@exercise("displaced_share")
def test_displaced_share_on_random_pairs(submission, fresh):
    for _ in range(3):
        four = fresh.logps(23)
        submission.compare("displaced_share", four, displaced(four), mistakes=MISTAKES)


def expected_calibration_error(predicted, outcomes, bins):
    """By the definition, forecast by forecast."""
    found = {}
    for forecast, outcome in zip(predicted.double().tolist(), outcomes.double().tolist(), strict=True):
        place = max(k for k in range(bins) if forecast >= k / bins)
        found.setdefault(place, []).append((forecast, outcome))
    total = 0.0
    for members in found.values():
        forecast, outcome = (sum(part) / len(members) for part in zip(*members, strict=True))
        total += len(members) / len(predicted) * abs(outcome - forecast)
    return total


def forecasts(fresh, size=60):
    predicted = torch.rand(size, generator=fresh.torch, dtype=torch.float64) ** 0.6
    outcomes = (torch.rand(size, generator=fresh.torch) < 0.35).double()
    return predicted, outcomes


@exercise("calibration_error", points=4)
def test_calibration_error_matches_the_definition(submission, fresh):
    for bins in (10, 4):
        predicted, outcomes = forecasts(fresh)
        # both bins beside the middle are wrong, in opposite directions
        outcomes[(predicted > 0.25) & (predicted < 0.5)] = 1.0
        expected = expected_calibration_error(predicted, outcomes, bins)
        submission.compare(
            "calibration_error", (predicted, outcomes), expected, mistakes=MISTAKES, kwargs={"bins": bins}
        )


@exercise("calibration_error")
def test_calibration_error_puts_forecasts_on_an_edge_into_the_right_bin(submission, fresh):
    edges = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 1.0], dtype=torch.float64)
    predicted = torch.cat([edges, torch.tensor([0.05, 0.3, 0.45, 0.6, 0.8, 0.93], dtype=torch.float64)])
    outcomes = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0], dtype=torch.float64)
    order = torch.randperm(12, generator=fresh.torch)
    predicted, outcomes = predicted[order], outcomes[order]
    expected = expected_calibration_error(predicted, outcomes, 4)
    submission.compare(
        "calibration_error", (predicted, outcomes), expected, mistakes=MISTAKES, kwargs={"bins": 4}
    )


@exercise("calibration_error")
def test_calibration_error_is_zero_for_an_honest_forecaster(submission, fresh):
    level = fresh.integer(1, 8) / 8 + 0.01
    predicted = torch.full((8,), level, dtype=torch.float64)
    outcomes = torch.full((8,), level, dtype=torch.float64)
    submission.compare("calibration_error", (predicted, outcomes), 0.0, mistakes=MISTAKES)


def least_sure(margins, n):
    return sorted(range(len(margins)), key=lambda row: abs(margins[row]))[:n]  # Python's sort is stable


@exercise("select_active_pairs", points=2)
def test_select_active_pairs_takes_the_least_sure(submission, fresh):
    for n in (1, 4, 9):
        margins = fresh.normal(12, scale=3.0)
        expected = least_sure(margins.tolist(), n)
        submission.compare("select_active_pairs", (margins, n), expected, mistakes=MISTAKES)


@exercise("select_active_pairs")
def test_select_active_pairs_keeps_the_order_of_equals(submission, fresh):
    margins = torch.tensor([2.0, -1.0, 1.0, -2.0, 0.5, -0.5, 1.0, 0.0, 2.0, -0.5] * 4)
    margins = margins[torch.randperm(len(margins), generator=fresh.torch)]
    submission.compare(
        "select_active_pairs", (margins, 15), least_sure(margins.tolist(), 15), mistakes=MISTAKES
    )


@exercise("select_active_pairs")
def test_select_active_pairs_may_take_none_or_all(submission, fresh):
    margins = fresh.normal(6)
    for n in (0, 6):
        submission.compare(
            "select_active_pairs", (margins, n), least_sure(margins.tolist(), n), mistakes=MISTAKES
        )


def by_enumeration(flipped, votes):
    """Every way in which the annotators can err, one by one."""
    total = 0.0
    for errs in itertools.product((0, 1), repeat=votes):
        probability = math.prod(flipped if err else 1 - flipped for err in errs)
        wrong = sum(errs)
        total += probability * (1.0 if wrong > votes - wrong else 0.5 if 2 * wrong == votes else 0.0)
    return total


@exercise("majority_error", points=3)
def test_majority_error_matches_an_enumeration(submission, fresh):
    for votes in (5, 7, 3):
        flipped = fresh.uniform(0.1, 0.4)
        expected = by_enumeration(flipped, votes)
        submission.compare("majority_error", (flipped, votes), expected, mistakes=MISTAKES)


@exercise("majority_error")
def test_majority_error_settles_ties_by_a_coin(submission, fresh):
    for votes in (2, 4, 6):
        flipped = fresh.uniform(0.1, 0.4)
        expected = by_enumeration(flipped, votes)
        submission.compare("majority_error", (flipped, votes), expected, mistakes=MISTAKES)


@exercise("majority_error")
def test_majority_error_of_one_annotator_and_of_coins(submission, fresh):
    flipped = fresh.uniform(0.05, 0.45)
    submission.compare("majority_error", (flipped, 1), flipped, mistakes=MISTAKES)
    submission.compare("majority_error", (0.5, fresh.integer(2, 9)), 0.5, mistakes=MISTAKES)
    submission.compare("majority_error", (0.0, 5), 0.0, mistakes=MISTAKES)
