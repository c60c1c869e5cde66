from __future__ import annotations

import json
import math
from collections import Counter

import pytest

from dpo_lab import everyday_recipe
from dpo_lab.everyday_recipe import make_pairs, read_jsonl
from dpo_lab.preferences import load_pairs
from dpo_lab.worlds.everyday import (
    HELDOUT_ITEMS,
    HELDOUT_PAIRS,
    ITEMS,
    SAMPLES,
    TRAIN_ITEMS,
    TRAIN_PAIRS,
    prompt_for,
    split_items,
    true_reward,
)

SHIPPED = {"train": (TRAIN_PAIRS, TRAIN_ITEMS, 400), "heldout": (HELDOUT_PAIRS, HELDOUT_ITEMS, 100)}
SPLITS = pytest.mark.parametrize("split", SHIPPED)


def test_items_are_many_and_the_split_is_clean():
    assert len(set(ITEMS)) == len(ITEMS) >= 180
    assert len(HELDOUT_ITEMS) >= 40
    assert not set(TRAIN_ITEMS) & set(HELDOUT_ITEMS)
    assert set(TRAIN_ITEMS) | set(HELDOUT_ITEMS) == set(ITEMS)
    assert split_items() == (TRAIN_ITEMS, HELDOUT_ITEMS)
    assert split_items(seed=1)[1] != HELDOUT_ITEMS
    with pytest.raises(ValueError, match="held_out"):
        split_items(held_out=0)


def test_reward_by_hand():
    """VADER's compound is s/sqrt(s² + 15); the lexicon has great 3.1, horrible -2.5, and 'not' weighs -0.74."""
    assert true_reward("A great kettle.") == pytest.approx(3.1 / math.sqrt(3.1**2 + 15), abs=1e-4)
    assert true_reward("A horrible kettle.") == pytest.approx(-2.5 / math.sqrt(2.5**2 + 15), abs=1e-4)
    assert true_reward("The kettle is not great.") == pytest.approx(
        -2.294 / math.sqrt(2.294**2 + 15), abs=1e-4
    )
    assert true_reward("A kettle.") == true_reward("") == 0


@SPLITS
def test_shipped_pairs_are_what_the_recipe_makes(split):
    path, items, _ = SHIPPED[split]
    assert read_jsonl(path) == make_pairs(read_jsonl(SAMPLES), items)[0]


@SPLITS
def test_shipped_pairs_are_what_the_datasheet_says(split):
    path, items, least = SHIPPED[split]
    pairs = read_jsonl(path)
    assert len(pairs) >= least
    assert {pair["item"] for pair in pairs} <= set(items)
    for pair in pairs:
        chosen, rejected = pair["chosen"][0]["content"], pair["rejected"][0]["content"]
        assert pair["prompt"] == prompt_for(pair["item"])
        assert chosen and rejected and chosen != rejected
        assert [m["role"] for m in pair["chosen"] + pair["rejected"]] == ["assistant", "assistant"]
        gap = pair["chosen_reward"] - pair["rejected_reward"]
        assert pair["p_chosen"] == pytest.approx(1 / (1 + math.exp(-gap / 0.2)), abs=1e-4)


@SPLITS
def test_shipped_pairs_load_and_carry_their_true_rewards(split):
    path, _, least = SHIPPED[split]
    pairs = load_pairs(path)
    assert len(pairs) >= least
    for pair in pairs.select(range(20)):
        assert pair["chosen_reward"] == true_reward(pair["chosen"][0]["content"])
        assert pair["rejected_reward"] == true_reward(pair["rejected"][0]["content"])


@SPLITS
def test_labels_are_noisy_as_bradley_terry_says(split):
    """How often the better one is chosen, against the sum of its probabilities, within 4 standard errors."""
    pairs = [pair for pair in read_jsonl(SHIPPED[split][0]) if pair["p_chosen"] != 0.5]
    better = sum(pair["p_chosen"] > 0.5 for pair in pairs)
    p = [max(pair["p_chosen"], 1 - pair["p_chosen"]) for pair in pairs]
    assert abs(better - sum(p)) < 4 * math.sqrt(sum(q * (1 - q) for q in p))
    assert better < len(pairs), "labels without any noise are not Bradley-Terry's"


def test_no_text_is_in_both_splits():
    def texts(path):
        return {pair[side][0]["content"] for pair in read_jsonl(path) for side in ("chosen", "rejected")}

    assert not texts(TRAIN_PAIRS) & texts(HELDOUT_PAIRS)


def row(text, finished=True, item="kettle"):
    return {"item": item, "text": text, "finished": finished, "true_reward": true_reward(text)}


def test_what_is_left_out_is_counted():
    samples = [
        row("good"),
        row("bad"),
        row("good"),
        row("cut of", finished=False),
        row(""),
        row("fine", item="mop"),
    ]
    pairs, left_out = make_pairs(samples, ["kettle", "mop"])
    assert len(pairs) == 1
    assert left_out == {"unfinished": 1, "empty": 1, "identical texts of one item": 1, "without a partner": 1}


@pytest.mark.parametrize(("samples", "uses"), [(4, [1, 1, 1, 1]), (5, [1, 1, 1, 1, 2])])
def test_every_sample_is_paired_and_at_most_one_twice(samples, uses):
    pairs, _ = make_pairs([row(f"text {i}") for i in range(samples)], ["kettle"])
    texts = Counter(pair[side][0]["content"] for pair in pairs for side in ("chosen", "rejected"))
    assert sorted(texts.values()) == uses


def test_describe_writes_nothing(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["everyday_recipe", "--describe"])
    monkeypatch.setattr(everyday_recipe, "write_jsonl", lambda *_: pytest.fail("wrote"))
    everyday_recipe.main()
    assert "true reward of all samples: mean" in capsys.readouterr().out


def test_interrupted_sampling_goes_on(tmp_path, monkeypatch):
    drawn = []

    def fake(policy, chunk):
        drawn.append(chunk)
        return [{"item": ITEMS[chunk], "text": "line\u2028break", "finished": True, "true_reward": 0.0}]

    monkeypatch.setattr(everyday_recipe, "sample_chunk", fake)
    first = everyday_recipe.resample(None, tmp_path)
    (tmp_path / "chunk_03.jsonl").unlink()
    drawn.clear()
    assert everyday_recipe.resample(None, tmp_path) == first
    assert drawn == [3]
    assert json.loads(json.dumps(first)) == first
