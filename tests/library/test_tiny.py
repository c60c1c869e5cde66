"""The shipped `tiny` policy and the recipe that rebuilds it."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch

from dpo_lab import tiny_recipe
from dpo_lab.encoding import encode_pair
from dpo_lab.policies import TINY_FOLDER, Policy, load_policy
from dpo_lab.sampling import sample
from dpo_lab.tiny_recipe import build_tokenizer, untrained_policy
from dpo_lab.trainer import train_sft
from dpo_lab.worlds.review import prompts, review_pairs, sample_reviews, true_reward, vocabulary


@pytest.fixture(scope="module")
def tiny() -> Policy:
    return load_policy("tiny", device="cpu")


@pytest.fixture(scope="module")
def texts(tiny) -> list[str]:
    return sample(tiny, prompts("heldout") * 64, max_new_tokens=64, seed=5, batch_size=256)


def test_checkpoint_is_small_and_is_what_the_recipe_builds(tiny):
    fresh = untrained_policy()
    assert (TINY_FOLDER / "model.safetensors").stat().st_size < 3e6
    assert 0.55e6 < sum(p.numel() for p in tiny.model.parameters()) < 0.65e6
    shapes = {name: tensor.shape for name, tensor in tiny.model.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in fresh.model.state_dict().items()}
    assert tiny.tokenizer.get_vocab() == fresh.tokenizer.get_vocab()


def test_tokenizer_gives_a_token_a_word():
    tokenizer = build_tokenizer()
    text = "the soup was wonderfully delicious . we will return ."
    assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == text.split()
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    assert tokenizer("The soup was delicious.").input_ids == tokenizer("the soup was delicious .").input_ids
    assert len(tokenizer) == 3 + len(vocabulary())
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3
    assert tokenizer("a submarine").input_ids == [tokenizer.unk_token_id] * 2


def test_tokenizer_survives_saving(tiny):
    assert tiny.tokenizer.pad_token == "<pad>" and tiny.tokenizer.eos_token == "<eos>"
    row = encode_pair(tiny.tokenizer, "review of the soup :", "the soup was tasty .")
    assert tiny.tokenizer.convert_ids_to_tokens(row.input_ids) == [
        *("review", "of", "the", "soup", ":"),
        *("the", "soup", "was", "tasty", ".", "<eos>"),
    ]
    assert row.completion_mask == [False] * 5 + [True] * 6


def test_it_writes_as_the_grammar_does(texts):
    rewards = [true_reward(text) for text in texts]
    assert abs(statistics.mean(rewards)) < 0.4
    assert statistics.pstdev(rewards) > 1
    assert 11 < statistics.mean(len(text.split()) + 1 for text in texts) < 15  # tokens, the EOS included
    assert len(set(texts)) > 0.8 * len(texts)
    assert statistics.mean(text.endswith(" .") for text in texts) > 0.98


def test_it_makes_pairs_on_policy(tiny):
    made = review_pairs(tiny, 32, seed=9, split="heldout")
    assert len(made.pairs) == 32 and made.pairs == review_pairs(tiny, 32, seed=9, split="heldout").pairs
    assert {pair["prompt"] for pair in made.pairs} == set(prompts("heldout"))


def test_the_recipe_repeats_itself_and_learns():
    runs = []
    for _ in range(2):
        policy = untrained_policy()
        config = replace(tiny_recipe.SFT, batch_size=16)
        history = train_sft(policy, sample_reviews(6 * config.batch_size), config)
        runs.append((history["loss"], policy.model.lm_head.weight.detach()))
    assert runs[0][0] == runs[1][0] and torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0][-1] < runs[0][0][0] - 0.3


def test_the_recipe_writes_pairs(tiny, tmp_path, capsys):
    tiny_recipe.write_pairs(tiny, tmp_path, train=8, heldout=4)
    assert len((tmp_path / "review_train.jsonl").read_text().splitlines()) == 8
    assert len((tmp_path / "review_heldout.jsonl").read_text().splitlines()) == 4
    assert "train: 8 pairs" in capsys.readouterr().out
