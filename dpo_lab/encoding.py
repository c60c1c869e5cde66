"""Prompt and completion → token ids and completion mask; pairs → padded batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    completion_text = render_completion(tokenizer, prompt, completion)
    prompt_ids = encode_prompt(tokenizer, prompt)
    if not completion_text.strip():
        raise ValueError(
            f"completion is empty (prompt {str(prompt)[-40:]!r}): there is nothing to learn from"
        )
    if not prompt_ids:
        raise ValueError(
            "prompt has no token: the first completion token would have nothing to be predicted from"
        )
    completion_ids = tokenizer(completion_text, add_special_tokens=False).input_ids
    row = join_pair(prompt_ids, completion_ids, tokenizer.eos_token_id)
    if max_length is not None:
        return truncate_prompt(row, max_length)
    if len(row) > tokenizer.model_max_length:
        raise ValueError(
            f"prompt and completion have {len(row)} tokens ({len(prompt_ids)} of them the prompt's) and exceed the "
            f"window of {tokenizer.model_max_length}; pass max_length to cut the prompt from the left"
        )
    return row


def encode_prompt(tokenizer: Any, prompt: str | Messages) -> list[int]:
    """Token ids of a prompt that an answer will follow: what is sampled from is what is trained on.

    Args:
        tokenizer: a `transformers` tokenizer.
        prompt: text, or chat messages, rendered with the opening of the assistant's turn at their end.
    """
    if not isinstance(prompt, str):
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        return tokenizer(text, add_special_tokens=False).input_ids  # a chat template brings its own BOS
    ids = tokenizer(prompt).input_ids
    closed = bool(ids) and ids[-1] == tokenizer.eos_token_id  # some tokenizers close every text
    return ids[:-1] if closed else ids


def render_completion(tokenizer: Any, prompt: str | Messages, completion: str | Messages) -> str:
    """Text of a completion as it stands behind its prompt; ValueError if the two don't fit together."""
    if isinstance(prompt, str):
        if not isinstance(completion, str):
            raise ValueError("completion is a list of messages but prompt is text: give both in one form")
        return completion
    reply = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    if not any(message["content"].strip() for message in reply):
        return ""
    before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*prompt, *reply], tokenize=False)
    if not whole.startswith(before):
        raise ValueError(
            "the chat template renders the prompt differently once an answer follows: encode it as text"
        )
    return whole[len(before) :].rstrip()


def join_pair(prompt_ids: Sequence[int], completion_ids: Sequence[int], eos_token_id: int) -> Encoded:
    """One row from the tokens of a prompt and of its completion, closed by exactly one EOS.

    Args:
        prompt_ids: P token ids, kept as they are. Some of them may be EOS: in a chat each turn ends in one.
        completion_ids: C token ids; any number of EOS at their end (0, 1, 2, …) becomes one. An EOS in their middle
            stays.
        eos_token_id: the id of EOS. The padding may use the same id.

    Returns:
        Encoded: `input_ids`, a list of the prompt's ids, the completion's without the EOS at its end, and one EOS;
        `completion_mask`, a list of as many bools: False at the prompt's positions, True behind them, EOS included.
    """
    answer = list(completion_ids)
    while answer and answer[-1] == eos_token_id:
        answer.pop()
    answer.append(eos_token_id)
    return Encoded([*prompt_ids, *answer], [False] * len(prompt_ids) + [True] * len(answer))


def truncate_prompt(row: Encoded, max_length: int) -> Encoded:
    """The row in at most `max_length` tokens: its prompt gives way from the left, its completion stays whole.

    Args:
        row: at least one prompt token, then at least one completion token, unpadded.
        max_length: longest row, in tokens.

    Returns:
        Encoded: the row's last `max_length` tokens, or the row itself if it fits. At least one prompt token is left.

    Raises:
        ValueError: the completion and one prompt token don't fit. A cut completion would have no EOS, and a completion
            without a token before it has nothing that predicts its first token.
    """
    excess = max(0, len(row) - max_length)
    prompt_length = row.completion_mask.index(True)
    if excess >= prompt_length:
        raise ValueError(
            f"completion has {len(row) - prompt_length} tokens, max_length is {max_length}: it would have to be cut, "
            "and a cut completion has no EOS. Raise max_length or leave the pair out"
        )
    return Encoded(row.input_ids[excess:], row.completion_mask[excess:])


def encode_pairs(
    tokenizer: Any, pairs: Iterable[Mapping[str, Any]], max_length: int | None = None
) -> tuple[list[Encoded], list[Encoded]]:
    """Chosen and rejected rows of all pairs; ValueError, with the row's number, where a pair can't be used.

    Where `max_length` cuts one prompt of a pair, the other is cut alike: both answer the same prompt. A pair with a
    `rejected_prompt` is none: its chosen completion answers `prompt`, its rejected one that.
    """
    chosen, rejected = [], []
    for number, pair in enumerate(pairs):
        try:
            prompts = pair["prompt"], pair.get("rejected_prompt", pair["prompt"])
            completions = pair["chosen"], pair["rejected"]
            if prompts[0] == prompts[1] and completions[0] == completions[1]:
                raise ValueError("chosen and rejected are the same: their gradients cancel")
            rows = [
                encode_pair(tokenizer, *texts, max_length) for texts in zip(prompts, completions, strict=True)
            ]
        except KeyError as error:
            raise ValueError(
                f"pair {number} has no {error}; a pair needs 'prompt', 'chosen' and 'rejected'"
            ) from None
        except ValueError as error:
            raise ValueError(f"pair {number}: {error}") from error
        rows = share_prompt(*rows) if prompts[0] == prompts[1] else rows
        for rows_of_side, row in zip((chosen, rejected), rows, strict=True):
            rows_of_side.append(row)
    if not chosen:
        raise ValueError("pairs is empty: there is nothing to train on")
    return chosen, rejected


def same_prompts(chosen: Iterable[Encoded], rejected: Iterable[Encoded]) -> bool:
    """Whether both sides of every pair answer the same prompt."""
    sides = [
        [row.input_ids[: row.completion_mask.index(True)] for row in rows] for rows in (chosen, rejected)
    ]
    return sides[0] == sides[1]


def share_prompt(chosen: Encoded, rejected: Encoded) -> tuple[Encoded, Encoded]:
    """Both rows with the shorter prompt of the two: cut to different prompts, their log-probs would not compare."""
    prompts = [row.completion_mask.index(True) for row in (chosen, rejected)]
    cut = [prompt - min(prompts) for prompt in prompts]
    return truncate_prompt(chosen, len(chosen) - cut[0]), truncate_prompt(rejected, len(rejected) - cut[1])


def encode_sampled(
    tokenizer: Any, prompts: Sequence[str | Messages], token_ids: Sequence[Sequence[int]]
) -> list[Encoded]:
    """Rows of prompts and the very tokens that were sampled: a cut completion gets no EOS that it never had.

    Args:
        tokenizer: the sampling policy's.
        prompts: N prompts.
        token_ids: N completions as `sample_ids` returns them.

    Raises:
        ValueError: lengths differ.
    """
    if len(prompts) != len(token_ids):
        raise ValueError(
            f"need one completion a prompt, got {len(prompts)} prompts, {len(token_ids)} completions"
        )
    rows = []
    for prompt, completion_ids in zip(prompts, token_ids, strict=True):
        prompt_ids = encode_prompt(tokenizer, prompt)
        mask = [False] * len(prompt_ids) + [True] * len(completion_ids)
        rows.append(Encoded([*prompt_ids, *completion_ids], mask))
    return rows


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
    """Pad R rows of different lengths into one rectangle, as wide as the longest row.

    Args:
        rows: R rows, each with `input_ids` (a list of ints) and `completion_mask` (a list of bools) of one length.
        pad_token_id: what `input_ids` holds in the gaps. It may be the id of a real token, EOS for instance.
        padding_side: "right" puts the gaps behind the rows, "left" before them.

    Returns:
        Dict of three (R, T) tensors: `input_ids` int64; `attention_mask` int64, 1 at a row's own tokens, else 0;
        `completion_mask` bool, False in the gaps.
    """
    width = max(len(row) for row in rows)
    batch = {
        "input_ids": torch.full((len(rows), width), pad_token_id),
        "attention_mask": torch.zeros(len(rows), width, dtype=torch.long),
        "completion_mask": torch.zeros(len(rows), width, dtype=torch.bool),
    }
    for i, row in enumerate(rows):
        columns = slice(0, len(row)) if padding_side == "right" else slice(width - len(row), width)
        batch["input_ids"][i, columns] = torch.tensor(row.input_ids)
        batch["attention_mask"][i, columns] = 1  # by position: the row's own EOS may have the pad's id
        batch["completion_mask"][i, columns] = torch.tensor(row.completion_mask)
    return batch
