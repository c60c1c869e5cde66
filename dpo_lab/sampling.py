"""Sampling: completions from a policy, seeded, for prompts that are text or chats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GenerationConfig

from dpo_lab.encoding import Messages, encode_prompt
from dpo_lab.policies import Policy
from dpo_lab.quiet import quiet_transformers


def sample(
    policy: Policy,
    prompts: Sequence[str | Messages],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
    progress: str | None = None,
) -> list[str]:
    """One completion of each prompt, in order, as text without special tokens.

    Arguments and errors as in `sample_ids`. A completion that reached `max_new_tokens` without an EOS looks like any
    other text here; `sample_ids` can tell them apart.
    """
    rows = sample_ids(
        policy,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    return [policy.tokenizer.decode(row, skip_special_tokens=True) for row in rows]


def sample_ids(
    policy: Policy,
    prompts: Sequence[str | Messages],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
    progress: str | None = None,
) -> list[list[int]]:
    """One completion of each prompt, in order, as token ids; the last id is EOS exactly where it finished.

    The same seed and batch size give the same completions on one machine; another batch size draws others. The global
    random state and the model's train or eval mode are as before on return.

    Args:
        policy: sampled in eval mode, without gradients.
        prompts: N texts or lists of chat messages, the assistant's turn being next.
        max_new_tokens: longest completion, in tokens.
        temperature: divides the logits; 1 samples π itself, 0 takes the most likely token each time.
        top_p: 1 samples from the whole vocabulary, less from the smallest set of tokens with this probability.
        seed: of this call's random draws.
        batch_size: rows in one forward pass.
        progress: label of a progress bar; None shows none.

    Returns:
        N lists of ids, prompt and padding cut off.

    Raises:
        ValueError: an argument is out of range, a prompt is empty, or prompt and completion exceed the window.
    """
    check_sampling(max_new_tokens, temperature, top_p, batch_size)
    encoded = [prompt_ids(policy, prompt, max_new_tokens, row) for row, prompt in enumerate(prompts)]
    config = generation_config(policy, max_new_tokens, temperature, top_p)
    rows: list[list[int]] = []
    bar = tqdm(total=len(encoded), desc=progress, unit="sample", disable=progress is None)
    with seeded(seed), eval_mode(policy), quiet_transformers(), torch.no_grad(), bar:
        for start in range(0, len(encoded), batch_size):
            batch = left_padded(encoded[start : start + batch_size], policy)
            out = policy.model.generate(**batch, **shared_prefill(policy, batch), generation_config=config)
            new = out[:, batch["input_ids"].shape[1] :].tolist()
            rows += [up_to_eos(row, policy.tokenizer.eos_token_id) for row in new]
            bar.update(len(new))
    return rows


def check_sampling(max_new_tokens: int, temperature: float, top_p: float, batch_size: int) -> None:
    """Raise ValueError unless the sampling arguments are in range."""
    for name, value in {"max_new_tokens": max_new_tokens, "batch_size": batch_size}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number >= 0, got {temperature}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}")


def prompt_ids(policy: Policy, prompt: str | Messages, max_new_tokens: int, row: int) -> list[int]:
    """Ids of a prompt that leaves room for its completion; ValueError, with the row's number, where it doesn't."""
    ids, window = encode_prompt(policy.tokenizer, prompt), policy.tokenizer.model_max_length
    if not ids:
        raise ValueError(f"prompts[{row}] has no token: there is nothing to continue")
    if len(ids) + max_new_tokens > window:
        raise ValueError(
            f"prompts[{row}] has {len(ids)} tokens; with max_new_tokens={max_new_tokens} it exceeds the window of "
            f"{window}. Shorten one of them"
        )
    return ids


def generation_config(
    policy: Policy, max_new_tokens: int, temperature: float, top_p: float
) -> GenerationConfig:
    """Every setting that shapes the distribution, spelt out: what is left None a model's own file would fill in."""
    tokens = {"eos_token_id": policy.tokenizer.eos_token_id, "pad_token_id": policy.tokenizer.pad_token_id}
    plain = {"num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "use_cache": True}
    choice: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        choice = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0, "min_p": 0.0}
    return GenerationConfig(max_new_tokens=max_new_tokens, **tokens, **plain, **choice)


def left_padded(rows: list[list[int]], policy: Policy) -> dict[str, Tensor]:
    """(B, T) ids and attention mask, padded on the left: every prompt must end where its completion begins."""
    width = max(len(row) for row in rows)
    ids = [[policy.tokenizer.pad_token_id] * (width - len(row)) + row for row in rows]
    attended = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return {
        "input_ids": torch.tensor(ids, device=policy.device),
        "attention_mask": torch.tensor(attended, device=policy.device),
    }


def shared_prefill(policy: Policy, batch: dict[str, Tensor]) -> dict[str, Any]:
    """Keys and values of the prompts but their last token, each different prompt run once; {} if it saves too little.

    Many samples of one prompt would else pay for that prompt once each, which on a CPU is most of the time.
    """
    together = torch.cat([batch["input_ids"], batch["attention_mask"]], dim=1)
    unique, row_of = together.unique(dim=0, return_inverse=True)
    if len(unique) > len(together) / 2 or batch["input_ids"].shape[1] < 2:
        return {}
    ids, attended = unique.chunk(2, dim=1)
    positions = (attended.cumsum(dim=1) - 1).clamp_min(0)[:, :-1]
    out = policy.model(ids[:, :-1], attention_mask=attended[:, :-1], position_ids=positions, use_cache=True)
    out.past_key_values.batch_select_indices(row_of)
    return {"past_key_values": out.past_key_values}


def up_to_eos(row: list[int], eos: int) -> list[int]:
    """The row up to its first EOS, that included: what `generate` writes behind it is padding."""
    return row[: row.index(eos) + 1] if eos in row else row


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator inside; put all of them back as they were afterwards."""
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)


@contextmanager
def eval_mode(policy: Policy) -> Iterator[None]:
    """Dropout off inside; the model's train or eval mode is restored afterwards."""
    was_training = policy.model.training
    policy.model.eval()
    try:
        yield
    finally:
        policy.model.train(was_training)
