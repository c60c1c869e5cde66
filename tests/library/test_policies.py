from __future__ import annotations

import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import random_policy, save, word_tokenizer

from dpo_lab import download, policies
from dpo_lab.policies import Policy, check_same_tokenizer, frozen_reference, load_policy, with_lora

IDS = torch.tensor([[3, 5, 8, 10]])


def logits(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.model(IDS).logits


def test_a_folder_loads_in_eval_mode_with_pad_and_window(tmp_path):
    policy = load_policy(save(tmp_path), device="cpu")
    assert policy.device == torch.device("cpu") and policy.model.dtype == torch.float32
    assert not policy.model.training and all(p.requires_grad for p in policy.model.parameters())
    assert policy.tokenizer.pad_token_id == policy.tokenizer.eos_token_id
    assert policy.tokenizer.model_max_length == 64


def test_a_pad_token_that_is_there_stays(tmp_path):
    assert load_policy(save(tmp_path, pad="<pad>"), device="cpu").tokenizer.pad_token == "<pad>"


def test_dtype_is_the_one_asked_for(tmp_path):
    assert load_policy(save(tmp_path), device="cpu", dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_loading_says_nothing(tmp_path, capfd):
    save(tmp_path)
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_policy(tmp_path, device="cpu")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["smolm2", "", "./nowhere", "/no/such/folder", "a/b/c"])
def test_unknown_name_lists_what_is_possible(name):
    with pytest.raises(ValueError, match=r"'tiny', 'smollm2', a folder"):
        load_policy(name)


def test_folder_without_model(tmp_path):
    with pytest.raises(ValueError, match="holds no model"):
        load_policy(tmp_path)


def test_tiny_that_is_not_built(tmp_path, monkeypatch):
    monkeypatch.setattr(policies, "TINY_FOLDER", tmp_path / "tiny")
    with pytest.raises(FileNotFoundError, match="tiny checkpoint is not in"):
        load_policy("tiny")


def test_missing_weights_are_not_made_up(tmp_path):
    file = save(tmp_path) / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights.*up_proj"):
        load_policy(tmp_path, device="cpu")


def test_tokenizer_larger_than_the_embedding(tmp_path):
    with pytest.raises(ValueError, match=r"22 tokens, the model's embedding only 10 rows"):
        load_policy(save(tmp_path, rows=10), device="cpu")


def test_the_reference_stays_while_the_policy_moves():
    policy = random_policy()
    policy.model.train()
    reference = frozen_reference(policy)
    before = logits(reference)
    assert policy.model.training and not reference.model.training
    assert not any(p.requires_grad for p in reference.model.parameters())
    assert all(p.requires_grad for p in policy.model.parameters())
    policy.model(IDS).logits.sum().backward()
    torch.optim.SGD(policy.model.parameters(), lr=0.1).step()
    assert torch.equal(logits(reference), before)
    policy.model.eval()
    assert not torch.allclose(logits(policy), before)


def test_same_tokenizer_passes_and_others_name_the_difference():
    policy = random_policy()
    check_same_tokenizer(policy, frozen_reference(policy))
    check_same_tokenizer(policy, Policy(policy.model, word_tokenizer("<pad>"), "other pad is harmless"))
    other = word_tokenizer()
    other.chat_template = "{{ messages }}"
    with pytest.raises(ValueError, match="differ in chat_template"):
        check_same_tokenizer(policy, Policy(policy.model, other, "other"))
    other.add_tokens(["teapot"])
    with pytest.raises(ValueError, match=r"different tokenizers \(22 and 23 tokens\)"):
        check_same_tokenizer(policy, Policy(policy.model, other, "other"))


def test_lora_starts_at_the_policy_and_trains_little():
    policy = random_policy()
    before, state = logits(policy), torch.get_rng_state()
    adapted = with_lora(policy, rank=2)
    assert torch.equal(logits(adapted), before)
    assert torch.equal(torch.get_rng_state(), state)
    trainable = [name for name, p in adapted.model.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in name for name in trainable)
    with pytest.raises(ValueError, match="rank"):
        with_lora(policy, rank=0)


@pytest.mark.skipif(not download.is_complete(download.model_folder()), reason="SmolLM2 is not in the cache")
def test_smollm2_is_what_the_course_says():
    policy = load_policy("smollm2", device="cpu")
    assert policy.model.num_parameters() == 134_515_008
    assert policy.tokenizer.pad_token == policy.tokenizer.eos_token == "<|im_end|>"
    assert policy.tokenizer.model_max_length == 8192
    chat = policy.tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert "<|im_start|>user\nHi<|im_end|>\n" in chat
