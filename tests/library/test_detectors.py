"""Each detector on something healthy and on something sick, and on hand-made cases with known answers."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lab.diagnostics.amplification import amplification
from dpo_lab.diagnostics.forgetting import forgetting, perplexity
from dpo_lab.diagnostics.lengths import prefers_longer
from dpo_lab.diagnostics.variety import distinct_n, self_bleu
from dpo_lab.experiments.failures import (
    LENGTH_PRICE,
    balance_lengths,
    house_pairs,
    length_pairs,
    log_ratio_gaps,
    mask_item,
    pair_lengths,
    train,
)
from dpo_lab.experiments.shift import sorted_pairs, split_clause
from dpo_lab.experiments.traits import staff_pairs, traits
from dpo_lab.lab import Lab
from dpo_lab.worlds import review


@pytest.fixture(scope="module")
def lab():
    return Lab.auto("tiny", "cpu")


def grammar(n: int = 64) -> list[str]:
    return [row["completion"] for row in review.sample_reviews(n, seed=1)]


def test_variety_falls_when_one_text_takes_over():
    healthy = grammar()
    sick = ["i loved the soup ."] * 62 + sorted(healthy, key=len)[:2]
    assert distinct_n(healthy) > 2 * distinct_n(sick)
    assert self_bleu(healthy) < self_bleu(sick)


def test_self_bleu_at_its_ends_and_by_hand():
    assert self_bleu(["a b c", "a b c"]) == pytest.approx(1)
    assert self_bleu(["a b c", "d e f"]) == 0
    # one text's words and bigrams: 2 of 3 and 1 of 2 are in the other; same length, so no penalty
    assert self_bleu(["a b c", "a b d"], n=2) == pytest.approx(math.sqrt(2 / 3 * 1 / 2))
    # a word counts as often as the other text has it
    assert self_bleu(["a a", "a b"], n=1) == pytest.approx(0.5)
    # "a" against "a b c": all found, but shorter by two words: e^(1 − 3) ; "a b c": 1 of 3
    assert self_bleu(["a", "a b c"], n=1) == pytest.approx((math.exp(-2) + 1 / 3) / 2)


def test_self_bleu_matches_a_slow_loop():
    texts = grammar(12)
    assert self_bleu(texts, n=3) == pytest.approx(slow_self_bleu(texts, 3))


def slow_self_bleu(texts, n):
    """BLEU's definition, text by text and reference by reference."""
    total = 0.0
    for number, text in enumerate(texts):
        own, others = text.split(), [other.split() for k, other in enumerate(texts) if k != number]
        logs = []
        for order in range(1, min(n, len(own)) + 1):
            grams = [own[i : i + order] for i in range(len(own) - order + 1)]
            hits = 0
            for gram in {tuple(gram) for gram in grams}:
                in_others = [
                    sum(other[i : i + order] == list(gram) for i in range(len(other) - order + 1))
                    for other in others
                ]
                hits += min(grams.count(list(gram)), max(in_others))
            logs.append(math.log(hits / len(grams)) if hits else -math.inf)
        closest = sorted(others, key=lambda other: (abs(len(other) - len(own)), len(other)))[0]
        total += math.exp(sum(logs) / len(logs) + min(0, 1 - len(closest) / len(own)))
    return total / len(texts)


@pytest.mark.parametrize(("texts", "n"), [(["one"], 2), (["a", ""], 2), (["a", "b"], 0)])
def test_self_bleu_refuses(texts, n):
    with pytest.raises(ValueError):
        self_bleu(texts, n)


def test_prefers_longer_tells_biased_labels_from_fair_ones():
    fair, biased = length_pairs(0.0), length_pairs(LENGTH_PRICE)
    shares = [prefers_longer(torch.ones(len(rows)), *pair_lengths(rows)) for rows in (fair, biased)]
    assert abs(shares[0] - 0.5) < 0.03 < shares[1] - 0.5
    balanced = balance_lengths(biased)
    assert prefers_longer(torch.ones(len(balanced)), *pair_lengths(balanced)) == 0.5


def test_prefers_longer_refuses_equal_lengths():
    with pytest.raises(ValueError, match="equal length"):
        prefers_longer(torch.ones(2), torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0]))


def test_forgetting_is_one_for_the_reference_and_more_after_a_reckless_run(lab):
    examples = review.sample_reviews(60, seed=9)
    assert forgetting(lab.reference, lab.reference, examples) == pytest.approx(1)
    policy = lab.fresh_policy()
    train(policy, lab, list(lab.pairs)[:96], 6, 0, beta=0.05, lr=2e-3)
    assert forgetting(policy, lab.reference, examples) > 1.1


def test_perplexity_of_a_uniform_choice():
    lengths = torch.tensor([2.0, 7.0])
    assert perplexity(-lengths * math.log(9), lengths) == pytest.approx(9)
    with pytest.raises(ValueError, match="at least one token"):
        perplexity(torch.tensor([0.0]), torch.tensor([0.0]))


def test_forgetting_refuses_nothing(lab):
    with pytest.raises(ValueError, match="nothing to remember"):
        forgetting(lab.policy, lab.reference, [])


def test_amplification_of_a_faithful_policy_and_of_an_amplified_one():
    def share(k: int, n: int = 200) -> torch.Tensor:
        return torch.arange(n) < k

    chosen, rejected = share(120), ~share(120)  # preferred 60 to 40, every pair differs
    faithful = amplification(chosen, rejected, share(100), share(120))
    assert faithful.asked == pytest.approx(faithful.moved)
    assert faithful.asked == pytest.approx(math.log(120.5 / 80.5))
    amplified = amplification(chosen, rejected, share(100), share(190))
    assert amplified.moved > 5 * amplified.asked


def test_amplification_refuses():
    yes, no = torch.tensor([True, True]), torch.tensor([False, True])
    with pytest.raises(ValueError, match="no pair differs"):
        amplification(yes, yes, no, yes)
    with pytest.raises(ValueError, match="bool"):
        amplification(yes.float(), no, yes, yes)
    with pytest.raises(ValueError, match="one entry a pair"):
        amplification(yes, no[:1], yes, yes)


def test_made_pairs_are_what_they_say():
    staff = staff_pairs(0.6, 200)
    chosen, rejected = (traits([pair[side] for pair in staff]) for side in ("chosen", "rejected"))
    assert (chosen ^ rejected).all() and int(chosen.sum()) == 120
    house = house_pairs(128)
    won = [mask_item(pair["prompt"], pair["chosen"]) == "i loved the ITEM ." for pair in house]
    assert len(house) == 128 and 0.6 < sum(won) / 128 < 0.9
    assert split_clause("the soup was tasty but the room was dirty .") == (
        "the soup was tasty",
        "but the room was dirty .",
    )
    rows = sorted_pairs(lambda text: True, "heldout", 30, 0)
    assert all(review.true_reward(row["chosen"]) > review.true_reward(row["rejected"]) for row in rows)


def test_log_ratio_gaps_of_the_reference_are_zero(lab):
    assert log_ratio_gaps(lab.policy, lab.reference, list(lab.heldout_pairs)[:8]).abs().max() < 1e-4
