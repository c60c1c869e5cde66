"""The review world: its grammar, its rewards, the pairs made in it."""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest

from dpo_lab.worlds import review
from dpo_lab.worlds.review import (
    ADJECTIVES,
    ADVERBS,
    ITEMS,
    VALENCE,
    prompts,
    review_pairs,
    sample_reviews,
    shipped_pairs,
    staff_reward,
    true_reward,
    valence,
    vocabulary,
)


@pytest.fixture(scope="module")
def reviews() -> list[dict[str, str]]:
    return sample_reviews(4000, seed=7)


def test_true_reward_adds_up_the_table():
    assert true_reward("the soup was wonderfully delicious but the bill was high .") == 0.5 + 1.0 - 0.5
    assert true_reward("delicious delicious") == 2 * VALENCE["delicious"]
    assert true_reward("") == 0.0
    assert true_reward("words of no table") == 0.0


def test_staff_reward_is_one_or_zero():
    assert staff_reward("the waiter and the cook was slow .") == 1.0
    assert staff_reward("the soup was delicious .") == 0.0


def test_rewards_of_the_grammar_centre_on_zero_and_spread(reviews):
    rewards = [true_reward(row["completion"]) for row in reviews]
    assert abs(statistics.mean(rewards)) < 0.1
    assert 1.0 < statistics.pstdev(rewards) < 2.0
    assert 0.2 < statistics.mean(staff_reward(row["completion"]) for row in reviews) < 0.5


def test_lengths_vary_around_thirteen_tokens(reviews):
    lengths = [len(row["completion"].split()) + 1 for row in reviews]  # the EOS counts
    assert 12 < statistics.mean(lengths) < 14
    assert min(lengths) <= 7 and max(lengths) >= 25


def test_every_word_is_in_the_vocabulary_and_every_valued_word_occurs(reviews):
    seen = {word for row in reviews for word in f"{row['prompt']} {row['completion']}".split()}
    assert seen == set(vocabulary())
    assert 60 <= len(vocabulary()) <= 70
    assert set(VALENCE) <= seen


def test_and_keeps_the_sign_but_turns_it(reviews):
    signed = {word for words in ADJECTIVES.values() for word in words} | set(review.VERBS)
    for row in reviews[:500]:
        words = row["completion"].split(" . ")[0].split()
        signs = [valence(word) > 0 for word in words if word in signed]
        links = [word for word in words if word in ("and", "but")]
        assert len(signs) == len(links) + 1
        for before, link, after in zip(signs, links, signs[1:], strict=False):
            assert (before == after) == (link == "and"), row


def test_intensifiers_stand_before_their_own_sign(reviews):
    for row in reviews[:500]:
        words = row["completion"].split()
        for adverb, adjective in pairwise(words):
            for sign in (1, -1):
                assert adverb not in ADVERBS[sign] or sign * valence(adjective) > 0


def test_a_review_is_about_the_item_of_its_prompt(reviews):
    for row in reviews[:200]:
        assert row["prompt"].split()[3] in row["completion"].split()


def test_seed_decides_the_reviews():
    assert sample_reviews(20, seed=1) == sample_reviews(20, seed=1)
    assert sample_reviews(20, seed=1) != sample_reviews(20, seed=2)


def test_splits_share_no_item():
    assert not set(ITEMS["train"]) & set(ITEMS["heldout"])
    assert prompts("all") == prompts("train") + prompts("heldout")
    assert prompts("train")[0] == "review of the soup :"
    with pytest.raises(ValueError, match="split must be one of train, heldout, all, got 'test'"):
        prompts("test")


def test_shipped_pairs_are_as_documented():
    for split, n in {"train": 2048, "heldout": 256}.items():
        pairs = shipped_pairs(split)
        assert len(pairs) == n
        assert all(set(pair) == {"prompt", "chosen", "rejected"} for pair in pairs)
        assert all(pair["chosen"] != pair["rejected"] for pair in pairs)
        assert {pair["prompt"] for pair in pairs} == set(prompts(split))
        better = statistics.mean(true_reward(p["chosen"]) > true_reward(p["rejected"]) for p in pairs)
        assert 0.65 < better < 0.9  # Bradley-Terry's judges err, mostly where the reviews are about as good
    with pytest.raises(ValueError, match="split must be one of train, heldout"):
        shipped_pairs("all")


class Scripted:
    """Stands in for `sampling.sample`: gives prepared answers, whatever the policy."""

    def __init__(self, *rounds: list[str]) -> None:
        self.rounds = list(rounds)
        self.asked: list[list[str]] = []

    def __call__(self, policy, prompts, **settings) -> list[str]:
        self.asked.append(list(prompts))
        return self.rounds.pop(0)


def test_identical_and_empty_draws_are_dropped_counted_and_drawn_again(monkeypatch):
    # first answers, then second answers, of three prompts; two of the three fail and are drawn again
    script = Scripted(["tasty", "same", "", "bland", "same", "rude"], ["fair", "lovely", "high", "dirty"])
    monkeypatch.setattr(review, "sample", script)
    made = review_pairs(None, 3)
    assert (made.identical, made.empty, len(made.pairs)) == (1, 1, 3)
    assert [len(asked) for asked in script.asked] == [6, 4]
    assert {frozenset((p["chosen"], p["rejected"])) for p in made.pairs} == {
        frozenset(("tasty", "bland")),
        frozenset(("fair", "high")),
        frozenset(("lovely", "dirty")),
    }


def test_labels_follow_bradley_terry(monkeypatch):
    n = 4000
    monkeypatch.setattr(review, "sample", Scripted(["delicious"] * n + ["bland"] * n))
    pairs = review_pairs(None, n, seed=3).pairs
    won = statistics.mean(pair["chosen"] == "delicious" for pair in pairs)
    assert won == pytest.approx(0.8176, abs=0.02)  # σ(1.5)


def test_a_collapsed_policy_is_reported(monkeypatch):
    monkeypatch.setattr(review, "sample", lambda policy, prompts, **settings: ["lovely"] * len(prompts))
    with pytest.raises(RuntimeError, match="found 0 of 8 pairs; 160 draws gave one text twice"):
        review_pairs(None, 8)
    with pytest.raises(ValueError, match="n must be >= 1"):
        review_pairs(None, 0)
