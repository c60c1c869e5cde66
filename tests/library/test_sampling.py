from __future__ import annotations

import math

import pytest
import torch
from tiny_models import random_policy

from dpo_lab import sampling
from dpo_lab.encoding import encode_pair
from dpo_lab.sampling import sample, sample_ids

PROMPTS = ["the kettle is", "a bus stop was very", [{"role": "user", "content": "the bus is slow"}], "the"]


@pytest.fixture
def policy():
    return random_policy()


def test_same_seed_same_samples_and_nothing_else_moves(policy):
    policy.model.train()
    state, side = torch.get_rng_state(), policy.tokenizer.padding_side
    first = sample(policy, PROMPTS, max_new_tokens=8, seed=1)
    assert len(first) == len(PROMPTS) and all(isinstance(text, str) for text in first)
    assert torch.equal(torch.get_rng_state(), state)
    assert policy.model.training and policy.tokenizer.padding_side == side
    torch.rand(3)
    assert sample(policy, PROMPTS, max_new_tokens=8, seed=1) == first
    assert sample(policy, PROMPTS, max_new_tokens=8, seed=2) != first


def test_text_is_the_ids_without_special_tokens(policy):
    ids = sample_ids(policy, PROMPTS, max_new_tokens=30)
    texts = sample(policy, PROMPTS, max_new_tokens=30)
    assert texts == policy.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert not any("<eos>" in text for text in texts)


def test_rows_end_at_their_first_eos_or_at_the_limit(policy):
    eos = policy.tokenizer.eos_token_id
    rows = sample_ids(policy, PROMPTS * 8, max_new_tokens=12)
    assert {row[-1] == eos for row in rows} == {True, False}
    assert all(eos not in row[:-1] for row in rows)
    assert all(len(row) == 12 for row in rows if row[-1] != eos)


def test_greedy_samples_are_those_of_a_loop_whatever_the_batch(policy):
    """Left padding, order and batching change nothing: the oracle is a loop over single unpadded prompts."""
    eos = policy.tokenizer.eos_token_id
    expected = []
    for prompt in PROMPTS:
        encoded = encode_pair(policy.tokenizer, prompt, "good")
        ids = encoded.input_ids[: encoded.completion_mask.index(True)]
        start = len(ids)
        while len(ids) < start + 9 and eos not in ids[start:]:
            with torch.no_grad():
                ids = [*ids, policy.model(torch.tensor([ids])).logits[0, -1].argmax().item()]
        expected.append(ids[start:])
    for size in (1, 3, 64):
        assert sample_ids(policy, PROMPTS, max_new_tokens=9, temperature=0, batch_size=size) == expected
    shared = sample_ids(policy, PROMPTS * 3, max_new_tokens=9, temperature=0)
    assert shared == expected * 3


def test_one_prefill_for_equal_prompts_draws_the_same(policy, monkeypatch):
    prompts = PROMPTS * 4
    shared = sample_ids(policy, prompts, max_new_tokens=6, seed=5)
    monkeypatch.setattr(sampling, "shared_prefill", lambda *_: {})
    assert sample_ids(policy, prompts, max_new_tokens=6, seed=5) == shared


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_first_tokens_follow_the_model(policy, temperature):
    """Frequencies of 4,000 draws against the softmax, each within 5 standard errors."""
    n = 4000
    rows = sample_ids(policy, ["the kettle is"] * n, max_new_tokens=1, temperature=temperature, batch_size=n)
    counts = torch.bincount(torch.tensor([row[0] for row in rows]), minlength=22)
    with torch.no_grad():
        logits = policy.model(torch.tensor([policy.tokenizer("the kettle is").input_ids])).logits[0, -1]
    for count, p in zip(counts.tolist(), (logits / temperature).softmax(-1).tolist(), strict=True):
        assert abs(count - n * p) < 5 * math.sqrt(n * p) + 5


def test_a_model_file_can_not_change_the_distribution(policy):
    plain = sample(policy, PROMPTS, max_new_tokens=8)
    policy.model.generation_config.update(top_k=1, repetition_penalty=3.0, temperature=0.1, do_sample=False)
    assert sample(policy, PROMPTS, max_new_tokens=8) == plain


def test_no_prompts_no_samples(policy):
    assert sample(policy, [], max_new_tokens=3) == []


@pytest.mark.parametrize(
    ("prompts", "arguments", "message"),
    [
        (["the"], {"max_new_tokens": 0}, "max_new_tokens"),
        (["the"], {"batch_size": 0}, "batch_size"),
        (["the"], {"temperature": -1.0}, "temperature"),
        (["the"], {"temperature": math.nan}, "temperature"),
        (["the"], {"top_p": 0.0}, "top_p"),
        (["the", ""], {}, r"prompts\[1\] has no token"),
        (["the", "the " * 60], {"max_new_tokens": 5}, r"prompts\[1\] has 60 tokens.*window of 64"),
    ],
)
def test_bad_arguments_are_named(policy, prompts, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(policy, prompts, **{"max_new_tokens": 4, **arguments})


def test_an_error_leaves_the_policy_in_its_mode(policy, monkeypatch):
    policy.model.train()
    monkeypatch.setattr(policy.model, "generate", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample(policy, PROMPTS, max_new_tokens=4)
    assert policy.model.training
