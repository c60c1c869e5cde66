"""Borders, EOS, truncation, padding: the rows that the loss sees."""

from __future__ import annotations

import pytest
import torch

from dpo_lab.encoding import collate, encode_pair
from dpo_lab.logprobs import completion_logprobs, sequence_logprobs


def completion_of(row):
    return [token for token, inside in zip(row.input_ids, row.completion_mask, strict=True) if inside]


def test_prompt_then_completion_then_one_eos(toy_tokenizer):
    row = encode_pair(toy_tokenizer, "the soup", "was good")
    assert toy_tokenizer.convert_ids_to_tokens(row.input_ids) == ["the", "soup", "was", "good", "<eos>"]
    assert row.completion_mask == [False, False, True, True, True]
    assert encode_pair(toy_tokenizer, "the soup", "was good <eos>") == row


def test_truncation_takes_the_prompt_from_the_left(toy_tokenizer):
    row = encode_pair(toy_tokenizer, "the room was warm and the soup", "was good", max_length=5)
    assert toy_tokenizer.convert_ids_to_tokens(row.input_ids) == ["the", "soup", "was", "good", "<eos>"]
    with pytest.raises(ValueError, match="completion has 3 tokens, max_length is 3"):
        encode_pair(toy_tokenizer, "the soup", "was good", max_length=3)


def test_what_does_not_fit_is_refused_in_words(toy_tokenizer):
    with pytest.raises(ValueError, match="completion is empty"):
        encode_pair(toy_tokenizer, "the soup", "  ")
    with pytest.raises(ValueError, match=r"exceed the window of 64; pass max_length"):
        encode_pair(toy_tokenizer, "the soup " * 40, "was good")
    with pytest.raises(ValueError, match="in one form"):
        encode_pair(toy_tokenizer, "the soup", [{"role": "assistant", "content": "was good"}])
    with pytest.raises(ValueError, match="2 and 1"):
        collate(
            [encode_pair(toy_tokenizer, "the", "soup")] * 2, [encode_pair(toy_tokenizer, "the", "room")], 0
        )


def test_padding_side_and_pad_id_change_nothing(toy_policy, toy_pairs):
    encoded = [
        [encode_pair(toy_policy.tokenizer, p["prompt"], p[k]) for p in toy_pairs]
        for k in ("chosen", "rejected")
    ]
    right = completion_logprobs(toy_policy.model, collate(*encoded, pad_token_id=0))
    left = completion_logprobs(toy_policy.model, collate(*encoded, pad_token_id=0, padding_side="left"))
    as_eos = completion_logprobs(toy_policy.model, collate(*encoded, pad_token_id=1))
    assert left.tolist() == pytest.approx(right.tolist(), rel=1e-5)
    assert as_eos.tolist() == pytest.approx(right.tolist(), rel=1e-5)


def test_completion_logprobs_equals_the_textbook_form(toy_policy, toy_pairs):
    encoded = [
        [encode_pair(toy_policy.tokenizer, p["prompt"], p[k]) for p in toy_pairs]
        for k in ("chosen", "rejected")
    ]
    batch = collate(*encoded, pad_token_id=0)
    logits = toy_policy.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    textbook = sequence_logprobs(logits, batch["input_ids"], batch["completion_mask"])
    assert completion_logprobs(toy_policy.model, batch).tolist() == pytest.approx(textbook.tolist(), rel=1e-5)


def test_low_precision_logits_are_summed_in_float32():
    logits = torch.randn(2, 40, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    ids = torch.randint(50, (2, 40), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 40, dtype=torch.bool)
    got = sequence_logprobs(logits, ids, mask)
    assert got.dtype == torch.float32
    assert got.tolist() == pytest.approx(sequence_logprobs(logits.double(), ids, mask).tolist(), rel=1e-6)


def test_an_empty_completion_is_named_by_row():
    mask = torch.tensor([[False, True, True], [True, False, False]])
    with pytest.raises(ValueError, match=r"rows \[1\] have an empty completion"):
        sequence_logprobs(torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.long), mask)
    with pytest.raises(ValueError, match="shapes must agree"):
        sequence_logprobs(torch.zeros(2, 3, 5), torch.zeros(2, 4, dtype=torch.long), torch.ones(2, 4))


def test_smollm2_chat_rows_end_in_the_turn_end(smollm2_tokenizer):
    prompt = [{"role": "user", "content": "Name a fruit."}]
    row = encode_pair(smollm2_tokenizer, prompt, [{"role": "assistant", "content": "A pear."}])
    assert smollm2_tokenizer.decode(completion_of(row)) == "A pear.<|im_end|>"
    text = smollm2_tokenizer.decode(row.input_ids)
    assert text.endswith("<|im_start|>assistant\nA pear.<|im_end|>") and text.count("Name a fruit.") == 1
    assert encode_pair(smollm2_tokenizer, prompt, "A pear.") == row
    assert smollm2_tokenizer.pad_token_id == smollm2_tokenizer.eos_token_id  # the masking trap, alive
