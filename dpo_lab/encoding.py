"""Prompt and completion → token ids and completion mask; pairs → padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Encoded:
    """One prompt with one completion: token ids, and which of them are the completion's (its EOS included)."""

    input_ids: list[int]
    completion_mask: list[bool]

    def __len__(self) -> int:
        return len(self.input_ids)


def encode_pair(
    tokenizer: Any, prompt: str | Messages, completion: str | Messages, max_length: int | None = None
) -> Encoded:
    """Token ids of a prompt followed by its completion, and the mask of the completion's tokens.

    Prompt and completion are tokenized apart, so no token straddles their border, and the completion ends in
    exactly one EOS. The mask goes by position, never by id: with pad == eos a mask by id would lose the EOS.

    Args:
        tokenizer: a `transformers` tokenizer.
        prompt: text, or chat messages (`role`, `content`), rendered with the tokenizer's chat template.
        completion: text, or one or more chat messages that follow the prompt's.
        max_length: longest row in tokens; the prompt gives way from the left, the completion stays whole. None allows
            all that the tokenizer's window holds and refuses more.

    Returns:
        The row, unpadded: prompt tokens, then completion tokens.

    Raises:
        ValueError: the completion is empty, the prompt has no token, or the row does not fit.
    """
    prompt_text, completion_text, is_chat = render(tokenizer, prompt, completion)
    if not completion_text.strip():
        raise ValueError(
            f"completion is empty (prompt {prompt_text[-40:]!r}): there is nothing to learn from"
        )
    prompt_ids = tokenizer(
        prompt_text, add_special_tokens=not is_chat
    ).input_ids  # a chat template brings its own BOS
    eos = tokenizer.eos_token_id
    if not is_chat and prompt_ids and prompt_ids[-1] == eos:
        prompt_ids = prompt_ids[:-1]  # some tokenizers close every text: the prompt is not over yet
    completion_ids = tokenizer(completion_text, add_special_tokens=False).input_ids
    while completion_ids and completion_ids[-1] == eos:
        completion_ids = completion_ids[:-1]
    completion_ids = [*completion_ids, eos]
    prompt_ids = fit_prompt(tokenizer, prompt_ids, completion_ids, max_length)
    mask = [False] * len(prompt_ids) + [True] * len(completion_ids)
    return Encoded(prompt_ids + completion_ids, mask)


def render(tokenizer: Any, prompt: str | Messages, completion: str | Messages) -> tuple[str, str, bool]:
    """Prompt text, completion text, and whether the prompt is a chat; ValueError if they don't fit together."""
    if isinstance(prompt, str):
        if not isinstance(completion, str):
            raise ValueError("completion is a list of messages but prompt is text: give both in one form")
        return prompt, completion, False
    before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    reply = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    if not any(message["content"].strip() for message in reply):
        return before, "", True
    whole = tokenizer.apply_chat_template([*prompt, *reply], tokenize=False)
    if not whole.startswith(before):
        raise ValueError(
            "the chat template renders the prompt differently once an answer follows: encode it as text"
        )
    return before, whole[len(before) :].rstrip(), True


def fit_prompt(
    tokenizer: Any, prompt_ids: list[int], completion_ids: list[int], max_length: int | None
) -> list[int]:
    """The prompt's tokens, cut from the left to `max_length`; ValueError where no prompt token would be left."""
    total = len(prompt_ids) + len(completion_ids)
    if not prompt_ids:
        raise ValueError(
            "prompt has no token: the first completion token would have nothing to be predicted from"
        )
    if max_length is None:
        if total > tokenizer.model_max_length:
            raise ValueError(
                f"prompt ({len(prompt_ids)} tokens) and completion ({len(completion_ids)}) exceed the window of "
                f"{tokenizer.model_max_length}; pass max_length to cut the prompt from the left"
            )
        return prompt_ids
    room = max_length - len(completion_ids)
    if room < 1:
        raise ValueError(
            f"completion has {len(completion_ids)} tokens, max_length is {max_length}: it would have to be cut, and a "
            "cut completion has no EOS. Raise max_length or leave the pair out"
        )
    return prompt_ids[-room:]


def collate(
    encoded_chosen: Sequence[Encoded],
    encoded_rejected: Sequence[Encoded],
    pad_token_id: int,
    padding_side: Literal["right", "left"] = "right",
) -> dict[str, Tensor]:
    """Pad B pairs into one batch of 2B rows, chosen rows first, so that one forward pass serves both.

    Args:
        encoded_chosen: B rows.
        encoded_rejected: B rows, in the same order.
        pad_token_id: fills the gaps; never looked at by the loss, so it may equal EOS.
        padding_side: where the gaps are.

    Returns:
        `input_ids` int64, `attention_mask` int64, `completion_mask` bool, each (2B, T).

    Raises:
        ValueError: B differs between chosen and rejected, or there is no pair.
    """
    if len(encoded_chosen) != len(encoded_rejected) or not encoded_chosen:
        raise ValueError(
            f"need as many chosen as rejected rows, got {len(encoded_chosen)} and {len(encoded_rejected)}"
        )
    return collate_rows([*encoded_chosen, *encoded_rejected], pad_token_id, padding_side)


def collate_rows(
    rows: Sequence[Encoded], pad_token_id: int, padding_side: Literal["right", "left"] = "right"
) -> dict[str, Tensor]:
    """Pad R rows into (R, T) tensors; keys, dtypes and arguments as in `collate`."""
    width = max(len(row) for row in rows)
    batch = {
        "input_ids": torch.full((len(rows), width), pad_token_id),
        "attention_mask": torch.zeros(len(rows), width, dtype=torch.long),
        "completion_mask": torch.zeros(len(rows), width, dtype=torch.bool),
    }
    for i, row in enumerate(rows):
        columns = slice(0, len(row)) if padding_side == "right" else slice(width - len(row), width)
        batch["input_ids"][i, columns] = torch.tensor(row.input_ids)
        batch["attention_mask"][i, columns] = 1
        batch["completion_mask"][i, columns] = torch.tensor(row.completion_mask)
    return batch
