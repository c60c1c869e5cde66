"""The loop: it learns, it resumes to the same numbers, and it says what is wrong."""

from __future__ import annotations

import copy
import math
import os
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_lab.history import History
from dpo_lab.loop import epoch_batches, out_of_patience
from dpo_lab.policies import Policy, frozen_reference, load_policy
from dpo_lab.trainer import DPOConfig, SFTConfig, encode_pairs, train_dpo, train_sft

FAST = {"lr": 3e-3, "epochs": 4, "batch_size": 2, "progress": False}


def trained(policy, pairs, **settings):
    policy = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.name)
    history = train_dpo(policy, frozen_reference(policy), pairs, DPOConfig(**{**FAST, **settings}))
    return policy, history


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.model.parameters()])


def test_dpo_starts_at_ln_2_and_learns(toy_policy, toy_pairs):
    _, history = trained(toy_policy, toy_pairs, epochs=10, beta=0.5, batch_size=5)
    assert history["loss"][0] == pytest.approx(math.log(2), abs=1e-6)
    assert history["rewards/margins"][0] == pytest.approx(0, abs=1e-5)
    assert history["loss"][-1] < 0.3
    assert history["rewards/accuracies"][-1] == 1.0
    assert {
        "rewards/chosen",
        "rewards/rejected",
        "logps/chosen",
        "logps/rejected",
        "grad_norm",
        "learning_rate",
    } <= set(history.names())


def test_same_seed_same_run_and_other_seed_other_run(toy_policy, toy_pairs):
    first, again, other = (trained(toy_policy, toy_pairs, seed=seed) for seed in (0, 0, 1))
    assert first[1] == again[1]
    assert torch.equal(weights(first[0]), weights(again[0]))
    assert first[1] != other[1]


def test_micro_batches_add_up_to_the_batch(toy_policy, toy_pairs):
    whole = trained(toy_policy, toy_pairs, batch_size=5)
    parts = trained(toy_policy, toy_pairs, batch_size=5, micro_batch_size=2)
    assert weights(parts[0]) == pytest.approx(weights(whole[0]), abs=1e-5)
    assert parts[1]["loss"] == pytest.approx(whole[1]["loss"], rel=1e-5)


def test_resumed_run_equals_the_unbroken_one(toy_policy, toy_pairs, tmp_path):
    for layer in toy_policy.model.model.layers:
        layer.self_attn.attention_dropout = (
            0.1  # dropout draws random numbers: their state must be taken up as well
        )
    unbroken, history = trained(toy_policy, toy_pairs, output_dir=str(tmp_path / "whole"))

    class Killed(Exception):
        pass

    def kill(history):
        if len(history) == 5:
            raise Killed

    policy = Policy(copy.deepcopy(toy_policy.model), toy_policy.tokenizer, "toy")
    settings = {**FAST, "output_dir": str(tmp_path / "broken"), "save_every": 2}
    reference = frozen_reference(policy)
    with pytest.raises(Killed):
        train_dpo(policy, reference, toy_pairs, DPOConfig(**settings), callback=kill)
    policy = Policy(copy.deepcopy(toy_policy.model), toy_policy.tokenizer, "toy")
    resumed = train_dpo(policy, reference, toy_pairs, DPOConfig(**settings, resume=True))
    assert resumed == history
    assert torch.equal(weights(policy), weights(unbroken))
    assert History.load(tmp_path / "broken" / "history.jsonl") == history


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(toy_policy, toy_pairs, tmp_path):
    _, history = trained(toy_policy, toy_pairs)
    policy = Policy(copy.deepcopy(toy_policy.model), toy_policy.tokenizer, "toy")
    settings = {**FAST, "output_dir": str(tmp_path)}

    def press(history):
        if len(history) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = train_dpo(
        policy, frozen_reference(toy_policy), toy_pairs, DPOConfig(**settings), callback=press
    )
    assert len(stopped) == 3
    assert load_policy(tmp_path / "checkpoint").name.endswith("checkpoint")
    resumed = train_dpo(policy, frozen_reference(toy_policy), toy_pairs, DPOConfig(**settings, resume=True))
    assert resumed == history


def test_a_run_is_never_overwritten(toy_policy, toy_pairs, tmp_path):
    trained(toy_policy, toy_pairs, output_dir=str(tmp_path))
    with pytest.raises(ValueError, match="resume=True"):
        trained(toy_policy, toy_pairs, output_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"beta: 0\.1 then, 0\.2 now"):
        trained(toy_policy, toy_pairs, output_dir=str(tmp_path), beta=0.2, resume=True)


def test_trained_policy_loads_in_plain_transformers(toy_policy, toy_pairs, tmp_path):
    policy, _ = trained(toy_policy, toy_pairs, output_dir=str(tmp_path))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(model(ids).logits, policy.model(ids).logits)


def test_gradients_are_clipped_and_the_rate_warms_up(toy_policy, toy_pairs):
    _, history = trained(toy_policy, toy_pairs, warmup_ratio=0.25, max_grad_norm=1e-4)
    rates = history["learning_rate"]
    assert rates[0] == 0 and max(rates) == pytest.approx(3e-3) and rates[-1] < 1e-3
    assert all(norm > 1e-4 for norm in history["grad_norm"])  # logged before clipping


def test_early_stopping_returns_to_the_best_weights(toy_policy, toy_pairs):
    swapped = [{**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]} for pair in toy_pairs]
    policy = Policy(copy.deepcopy(toy_policy.model), toy_policy.tokenizer, "toy")
    config = DPOConfig(**FAST, eval_every=1, patience=2)
    history = train_dpo(policy, frozen_reference(policy), toy_pairs, config, eval_pairs=swapped)
    best = history["eval_loss"].index(min(history["eval_loss"]))
    assert len(history) == best + 3 < 12
    reference = frozen_reference(toy_policy)
    again = train_dpo(
        policy, reference, toy_pairs, DPOConfig(**{**FAST, "lr": 1e-12}, eval_every=1), eval_pairs=swapped
    )
    assert again["eval_loss"][0] == pytest.approx(min(history["eval_loss"]), abs=1e-6)


def test_out_of_patience_counts_from_the_first_best():
    assert not out_of_patience([], 1)
    assert not out_of_patience([3.0, 2.0], 1)
    assert out_of_patience([2.0, 2.0], 1)
    assert not out_of_patience([3.0, 1.0, 2.0], 2)
    assert out_of_patience([3.0, 1.0, 2.0, 1.5], 2)


def test_every_epoch_is_a_shuffle_of_all_rows():
    config = DPOConfig(batch_size=3, seed=4)
    first, second = (epoch_batches(10, epoch, config) for epoch in (0, 1))
    assert [len(batch) for batch in first] == [3, 3, 3, 1]
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(10))
    assert first != second and first == epoch_batches(10, 0, config)


def test_bf16_autocast_keeps_float32_weights_and_logprobs(toy_policy, toy_pairs):
    policy, history = trained(toy_policy, toy_pairs, precision="bf16", epochs=10, batch_size=5)
    assert all(p.dtype == torch.float32 for p in policy.model.parameters())
    assert history["loss"][-1] < history["loss"][0]
    assert policy.model(torch.tensor([[3, 4]])).logits.dtype == torch.float32  # autocast is gone with the run


def test_sft_learns_its_examples(toy_policy):
    examples = [
        {"prompt": "the soup", "completion": "was good"},
        {"prompt": "the room", "completion": "was cold again"},
    ]
    config = SFTConfig(lr=1e-2, epochs=30, batch_size=2, progress=False)
    history = train_sft(toy_policy, examples, config, eval_examples=examples)
    assert history["loss"][0] == pytest.approx(math.log(16), rel=0.2)
    assert history["loss"][-1] < 0.2
    assert history["eval_loss"][-1] < 0.2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": ""}, "pair 1: completion is empty"),
        ({"rejected": "was warm and good"}, "pair 1: chosen and rejected are the same"),
        ({"prompt": ""}, "pair 1: prompt has no token"),
    ],
)
def test_a_bad_pair_is_named_by_its_number(toy_policy, toy_pairs, change, words):
    toy_pairs[1] = {**toy_pairs[1], **change}
    with pytest.raises(ValueError, match=words):
        trained(toy_policy, toy_pairs)


def test_bad_settings_and_missing_columns(toy_policy, toy_pairs):
    for settings in (
        {"beta": 0},
        {"lr": -1},
        {"label_smoothing": 0.5},
        {"precision": "fp8"},
        {"resume": True},
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            DPOConfig(**settings)
    with pytest.raises(ValueError, match="pairs is empty"):
        trained(toy_policy, [])
    with pytest.raises(ValueError, match="pair 0 has no 'rejected'"):
        trained(toy_policy, [{"prompt": "the soup", "chosen": "was good"}])


def test_a_long_answer_cuts_the_prompt_of_its_pair_on_both_sides(toy_tokenizer):
    pair = {
        "prompt": "the room was warm and the soup",
        "chosen": "was good",
        "rejected": "was very cold and bad",
    }
    chosen, rejected = encode_pairs(toy_tokenizer, [pair], max_length=9)
    words = toy_tokenizer.convert_ids_to_tokens
    assert words(chosen[0].input_ids) == "and the soup was good <eos>".split()
    assert words(rejected[0].input_ids) == "and the soup was very cold and bad <eos>".split()
    whole = encode_pairs(toy_tokenizer, [pair])
    assert [row.completion_mask.index(True) for (row,) in whole] == [7, 7]
