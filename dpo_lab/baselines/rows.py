"""Prompts and sampled token ids as rows for a model, and what PPO calls a reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.encoding import Encoded, Messages, encode_prompt

Scorer = Callable[[Sequence[str | Messages], Sequence[list[int]]], Tensor]
"""A reward: N prompts and the token ids of N completions (EOS included, where they end) to (N,) numbers."""


def encode_completions(
    tokenizer: Any, prompts: Sequence[str | Messages], token_ids: Sequence[list[int]]
) -> list[Encoded]:
    """Rows of prompts and the very tokens that were sampled: a cut completion gets no EOS that it never had."""
    rows = []
    for prompt, completion_ids in zip(prompts, token_ids, strict=True):
        prompt_ids = encode_prompt(tokenizer, prompt)
        mask = [False] * len(prompt_ids) + [True] * len(completion_ids)
        rows.append(Encoded([*prompt_ids, *completion_ids], mask))
    return rows


def text_scorer(tokenizer: Any, reward: Callable[[str], float]) -> Scorer:
    """A reward of the completion's text, such as a world's true reward, in the form that PPO takes."""

    def score(prompts: Sequence[str | Messages], token_ids: Sequence[list[int]]) -> Tensor:
        texts = [tokenizer.decode(row, skip_special_tokens=True) for row in token_ids]
        return torch.tensor([reward(text) for text in texts])

    return score
