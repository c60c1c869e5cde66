"""Packed scoring equals padded scoring: values, gradients, every model type that is packed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_lab import packing
from dpo_lab.encoding import Encoded, collate_rows
from dpo_lab.logprobs import completion_logprobs
from dpo_lab.packing import PACKABLE, WIDTH, can_pack, first_fit, pack, packed_logprobs, score_groups
from dpo_lab.policies import Policy, with_lora

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
SIZES |= {"intermediate_size": 64, "head_dim": 8, "vocab_size": 40, "max_position_embeddings": 256}
GPT2_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 40, "n_positions": 256}
PAD = 0


def random_model(kind: str, attention: str = "sdpa", **extra) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = GPT2_SIZES if kind == "gpt2" else SIZES
        config = AutoConfig.for_model(
            kind, **sizes, **{"bos_token_id": None, "eos_token_id": 1, "pad_token_id": PAD} | extra
        )
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.2)  # fresh models are almost uniform
    return model.double().eval()


def ragged_groups(seed: int, groups: int = 9, longest: int = 40) -> list[list[Encoded]]:
    """Groups of one, two or three completions of one prompt, of very different lengths."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    def tokens(count: int) -> list[int]:
        return torch.randint(40, (count,), generator=generator).tolist()

    made = []
    for number in range(groups):
        prompt = tokens(draw(1, 8))
        answers = [tokens(draw(1, longest)) for _ in range(1 + number % 3)]
        made.append([Encoded([*prompt, *a], [False] * len(prompt) + [True] * len(a)) for a in answers])
    return made


def padded(model: torch.nn.Module, groups: list[list[Encoded]]) -> torch.Tensor:
    return completion_logprobs(model, collate_rows([row for group in groups for row in group], PAD))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", sorted(PACKABLE))
def test_packed_equals_padded_in_value_and_gradient(kind, attention):
    model, groups = random_model(kind, attention), ragged_groups(seed=1)
    assert can_pack(model, longest=48)
    weights = torch.randn(sum(map(len, groups)), generator=torch.Generator().manual_seed(2)).double()
    outcomes = []
    for scored in (score_groups(model, groups, PAD), padded(model, groups)):
        model.zero_grad()
        (scored * weights).sum().backward()
        outcomes.append((scored.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (packed_logps, packed_grad), (padded_logps, padded_grad) = outcomes
    torch.testing.assert_close(packed_logps, padded_logps, rtol=1e-6, atol=1e-5)  # norms round to float32
    torch.testing.assert_close(packed_grad, padded_grad, rtol=1e-4, atol=1e-4)


def test_a_pair_costs_its_prompt_once_and_nothing_looks_across():
    groups = ragged_groups(seed=3)
    packed = pack(groups, PAD)
    prompts = [group[0].completion_mask.index(True) for group in groups]
    completions = [sum(sum(row.completion_mask) for row in group) for group in groups]
    rows, width = packed.input_ids.shape
    assert width == WIDTH
    assert (
        rows <= -(-(sum(prompts) + sum(completions)) // width) + 1
    )  # at most one row more than without gaps
    seen = packed.attention_mask[:, 0].sum(dim=-1)
    for source, target, owner in zip(packed.sources, packed.targets, packed.owners, strict=True):
        row, column = divmod(int(source), width)
        visible = packed.input_ids[row][packed.attention_mask[row, 0, column]].tolist()
        encoded = [row for group in groups for row in group][int(owner)]
        assert seen[row, column] == packed.position_ids[row, column] + 1
        assert [*visible, int(target)] == encoded.input_ids[: len(visible) + 1]


def test_rows_whose_prompts_differ_are_scored_apart():
    model = random_model("llama")
    mixed = [[group[0] for group in ragged_groups(seed=4)]]
    torch.testing.assert_close(score_groups(model, mixed, PAD), padded(model, mixed), rtol=1e-6, atol=1e-5)


def test_a_row_longer_than_the_usual_width_gets_a_wider_rectangle():
    model, groups = random_model("llama"), ragged_groups(seed=5, groups=3, longest=180)
    torch.testing.assert_close(score_groups(model, groups, PAD), padded(model, groups), rtol=1e-6, atol=1e-5)


def test_adapters_stay_in_the_packed_pass():
    model, groups = random_model("llama").float(), ragged_groups(seed=6)
    before = score_groups(model, groups, PAD)
    adapted = with_lora(Policy(model, None, "toy")).model
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    after = score_groups(adapted, groups, PAD)
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(after, padded(adapted, groups), rtol=1e-4, atol=1e-4)


def test_models_whose_attention_would_ignore_the_mask_are_padded():
    bloom = AutoConfig.for_model("bloom", hidden_size=32, n_layer=2, n_head=4, vocab_size=40)
    model = AutoModelForCausalLM.from_config(bloom).double().eval()
    assert not can_pack(model, longest=10)
    groups = ragged_groups(seed=7)
    torch.testing.assert_close(score_groups(model, groups, PAD), padded(model, groups))
    narrow = random_model("mistral", sliding_window=16)
    assert can_pack(narrow, longest=16) and not can_pack(narrow, longest=17)


def test_a_row_without_a_prompt_is_refused():
    with pytest.raises(ValueError, match="no prompt token"):
        pack([[Encoded([3, 4], [True, True])]], PAD)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(60, 140))
def test_first_fit_places_every_length_once_and_never_overfills(lengths, width):
    rows = first_fit(lengths, width)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= width for row in rows)
    half_full = [row for row in rows if 2 * sum(lengths[index] for index in row) <= width]
    assert len(half_full) <= 1  # two such rows would have been one


def test_chunks_change_neither_values_nor_gradients(monkeypatch):
    model, groups = random_model("llama"), ragged_groups(seed=9)
    whole, parts = [], []
    for outcome, chunk in ((whole, 2**24), (parts, 40 * 7)):
        monkeypatch.setattr(packing, "CHUNK", chunk)
        model.zero_grad()
        logps = score_groups(model, groups, PAD)
        (logps**2).sum().backward()
        outcome += [logps.detach(), *(parameter.grad.clone() for parameter in model.parameters())]
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_float32_stays_close_to_float64():
    model, groups = random_model("llama"), ragged_groups(seed=8)
    exact = score_groups(model, groups, PAD)
    device = torch.device("cpu")
    rounded = packed_logprobs(model.float(), pack(groups, PAD), device)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-5, atol=1e-4)
