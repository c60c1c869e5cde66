"""The budget against real runs: peak memory within 15 %, adapters counted exactly, the 7B estimate line by line."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, LlamaConfig

from dpo_lab.budget import Plan, Shape, cost, flops, memory
from dpo_lab.budget_command import add_arguments, budget_command, config_of
from dpo_lab.packing import pack, packed_logprobs, score_pairs
from dpo_lab.policies import load_policy, with_lora
from dpo_lab.preferences import load_pairs
from dpo_lab.trainer import encode_pairs

GB = 1e9


def measured_peak(step, folder) -> int:
    """Most bytes that PyTorch held on the CPU above what it held before `step()`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    path = folder / "trace.json"
    profiler.export_chrome_trace(str(path))
    events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("name") == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def step_of(policy, chosen, rejected):
    """A step as the trainer does it: forward, backward, AdamW, whose moments are there already."""
    trained = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def update():
        optimizer.step()
        optimizer.zero_grad()

    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    update()

    def step():
        chosen_logps, rejected_logps = score_pairs(
            policy.model, chosen, rejected, policy.tokenizer.pad_token_id
        )
        (rejected_logps - chosen_logps).mean().backward()
        update()

    return step


@pytest.mark.parametrize(
    ("name", "data", "pairs", "method"),
    [
        ("tiny", "review_train", 64, "full"),
        ("tiny", "review_train", 64, "lora"),
        ("smollm2", "everyday_train", 3, "full"),
    ],
)
def test_peak_memory_is_within_15_percent_of_a_real_step(name, data, pairs, method, tmp_path):
    policy = load_policy(name, device="cpu", dtype=torch.float32)
    if method == "lora":
        policy = with_lora(policy, rank=8)
    rows = list(load_pairs(data).select(range(pairs)))
    chosen, rejected = encode_pairs(policy.tokenizer, rows)
    packed = pack(list(zip(chosen, rejected, strict=True)), policy.tokenizer.pad_token_id)
    prompt = (
        packed.input_ids.numel() - len(packed.targets)
    ) / pairs  # gaps count as prompt: they cost as much
    plan = Plan(
        pairs=pairs,
        prompt=prompt,
        completion=len(packed.targets) / pairs / 2,
        method=method,
        precision="fp32",
        rank=8,
    )
    lines = memory(Shape.of(load_policy(name, device="cpu").model.config), plan)
    standing = sum(lines.get(part, 0.0) for part in ("frozen weights", "policy weights", "adam moments"))
    measured = measured_peak(step_of(policy, chosen, rejected), tmp_path)
    assert lines["peak"] - standing == pytest.approx(
        measured, rel=0.15
    )  # stricter than the whole peak would be


@pytest.mark.parametrize("rank", [4, 16])
def test_adapters_are_counted_exactly(rank):
    policy = load_policy("tiny", device="cpu", dtype=torch.float32)
    shape = Shape.of(policy.model.config)
    adapted = with_lora(policy, rank=rank).model
    assert shape.lora_parameters(rank) == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_seven_billion_parameters_line_by_line():
    """What the notes put at 80 to 90 GB: 16 bytes a parameter for the policy and 2 for the reference."""
    shape = Shape.of(LlamaConfig())
    assert shape.parameters == 6_738_415_616
    billions = shape.parameters / GB
    lines = memory(shape, Plan(pairs=0, precision="zero", reference="model"))
    assert {name: value / GB / billions for name, value in lines.items() if name != "peak"} == pytest.approx(
        {"policy weights": 2, "gradients": 2, "master weights": 4, "adam moments": 8, "reference weights": 2}
    )
    assert lines["peak"] / GB == pytest.approx(18 * billions)
    seven = {name: value * 7 / billions / GB for name, value in lines.items()}
    assert seven["adam moments"] == pytest.approx(56) and seven["peak"] == pytest.approx(126)


def test_what_saves_memory_saves_it():
    shape = Shape.of(LlamaConfig())
    base = {"pairs": 64, "prompt": 256, "completion": 256}  # so many that activations outweigh gradients

    def peak(**changes):
        return memory(shape, Plan(**base | changes))["peak"]

    assert peak(method="qlora") < peak(method="lora") < peak(method="full")
    assert peak(checkpointing=True) < peak()
    assert peak(reference="cached") < peak(reference="model")
    assert peak(accumulate=True) > peak()
    halves = [memory(shape, Plan(pairs=0, shards=shards))["peak"] for shards in (1, 2)]
    assert halves[1] == pytest.approx(halves[0] / 2)
    assert peak(pairs=96) - peak(pairs=80) == pytest.approx(peak(pairs=80) - peak(pairs=64))


def test_flops_agree_with_the_profilers_count():
    from torch.utils.flop_counter import FlopCounterMode

    policy = load_policy("tiny", device="cpu", dtype=torch.float32)
    pairs = list(load_pairs("review_train").select(range(32)))
    chosen, rejected = encode_pairs(policy.tokenizer, pairs)
    packed = pack(list(zip(chosen, rejected, strict=True)), policy.tokenizer.pad_token_id)
    rows, width = packed.input_ids.shape
    with FlopCounterMode(display=False) as counter:
        packed_logprobs(policy.model, packed, torch.device("cpu")).sum().backward()
    shape = Shape.of(policy.model.config)
    scored = len(packed.targets)
    linear = 6.0 * (rows * width * shape.linear + scored * shape.hidden * shape.vocabulary)
    matmuls = sum(
        count for name, count in counter.get_flop_counts()["Global"].items() if "attention" not in str(name)
    )
    assert matmuls == pytest.approx(linear, rel=0.05)  # the first layer's input needs no gradient


def test_cost_scales_with_pairs_and_shards():
    shape = Shape.of(AutoConfig.for_model("llama", num_hidden_layers=2))
    plan = Plan(pairs=4)
    one = cost(shape, plan, pairs=1000, peak_flops=1e14, hourly=2.0)
    assert cost(shape, plan, pairs=2000, peak_flops=1e14, hourly=2.0).hours == pytest.approx(2 * one.hours)
    split = cost(shape, Plan(pairs=4, shards=4), pairs=1000, peak_flops=1e14, hourly=2.0)
    assert split.hours == pytest.approx(one.hours / 4) and split.price == pytest.approx(one.price)
    assert one.flops == pytest.approx(250 * flops(shape, plan))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "prefix"}, "method must be one of full, lora, qlora"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"completion": 0}, "completion"),
        ({"pairs": -1}, "pairs must be >= 0"),
    ],
)
def test_bad_plans_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Plan(**settings)


def test_command_prints_the_seven_billion_table(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    plain = "--model llama-7b --precision zero --reference model --batch 1 --completion 1 --prompt 1"
    assert budget_command(parser.parse_args(plain.split())) == 0
    out = capsys.readouterr().out
    assert "6.74B parameters" in out and "adam moments" in out and "53.91" in out  # 8 bytes x 6.74e9
    assert budget_command(parser.parse_args(["--model", "no such model"])) == 1
    assert "unknown policy 'no such model'" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "billions"), [("llama-13b", 13.02), ("llama-70b", 68.98)])
def test_well_known_sizes_have_their_published_parameters(name, billions):
    assert Shape.of(config_of(name)).parameters / GB == pytest.approx(billions, abs=0.01)
