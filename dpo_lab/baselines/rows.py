"""What PPO calls a reward: numbers for prompts and the token ids that were sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.encoding import Messages

Scorer = Callable[[Sequence[str | Messages], Sequence[list[int]]], Tensor]
"""A reward: N prompts and the token ids of N completions (EOS included, where they end) to (N,) numbers."""


def text_scorer(tokenizer: Any, reward: Callable[[str], float]) -> Scorer:
    """A reward of the completion's text, such as a world's true reward, in the form that PPO takes."""

    def score(prompts: Sequence[str | Messages], token_ids: Sequence[list[int]]) -> Tensor:
        texts = [tokenizer.decode(row, skip_special_tokens=True) for row in token_ids]
        return torch.tensor([reward(text) for text in texts])

    return score
