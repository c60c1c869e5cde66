"""Scoring without padding: each prompt once, its completions behind it, several such groups side by side in a row.

Padded to the longest, a batch of ragged rows is mostly padding, and each pair's prompt runs twice. Packed, the same
tokens fill a third to a half of the rectangle; a block mask keeps every completion from seeing anything but its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dpo_lab.encoding import Encoded, collate_rows
from dpo_lab.logprobs import completion_logprobs

WIDTH = 128  # narrower rows leave more gaps, wider ones pay for attention between strangers
CHUNK = 2**24  # logits held at a time: 64 MiB in float32, 341 tokens of SmolLM2's vocabulary
PACKABLE = frozenset({"gemma", "gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""Model types that take a mask of one's own, held equal to the padded form by a test; others are padded."""


@dataclass(frozen=True)
class Packed:
    """Groups of completions in a rectangle of R rows and W columns; K completion tokens are scored.

    Attributes:
        input_ids: (R, W).
        position_ids: (R, W), counted from each prompt's start: a completion goes on where its prompt ends.
        attention_mask: (R, 1, W, W) bool, true where row's position i may look at position j.
        sources: (K,), flat position whose logits predict the token.
        targets: (K,), the token's id.
        owners: (K,), number of the completion that the token belongs to, counted through all groups.
        completions: how many there are.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    sources: Tensor
    targets: Tensor
    owners: Tensor
    completions: int


def score_groups(model: torch.nn.Module, groups: Sequence[Sequence[Encoded]], pad_token_id: int) -> Tensor:
    """log π(y|x) of completions, in nats, packed where the model allows it, else padded.

    Args:
        model: a `transformers` causal LM, on any device, in whatever mode it is.
        groups: each holds the rows of one prompt, such as a pair; rows whose prompts differ are scored apart.
        pad_token_id: fills the gaps.

    Returns:
        (N,) float32, differentiable: the N rows of all groups in their order.
    """
    rows = [row for group in groups for row in group]
    device = next(model.parameters()).device
    if can_pack(model, longest=max(map(len, rows))):
        return packed_logprobs(model, pack(groups, pad_token_id), device)
    batch = collate_rows(rows, pad_token_id)
    return completion_logprobs(model, {name: tensor.to(device) for name, tensor in batch.items()})


def score_pairs(
    model: torch.nn.Module, chosen: Sequence[Encoded], rejected: Sequence[Encoded], pad_token_id: int
) -> tuple[Tensor, Tensor]:
    """`score_groups` of B pairs: (B,) log-probs of the chosen and (B,) of the rejected completions."""
    return score_groups(model, list(zip(chosen, rejected, strict=True)), pad_token_id).view(-1, 2).unbind(1)


def can_pack(model: torch.nn.Module, longest: int) -> bool:
    """Whether the model's attention takes the block mask, and no window of its own would cut it."""
    config = causal_lm(model).config
    attention = getattr(config, "_attn_implementation", None)
    sliding = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    within = not sliding or longest <= sliding
    return config.model_type in PACKABLE and attention in ("sdpa", "eager") and within


def packed_logprobs(model: torch.nn.Module, packed: Packed, device: torch.device) -> Tensor:
    """(N,) float32 log-probs of a packed batch's completions; logits are computed for their tokens alone."""
    language_model = causal_lm(model)
    weights = next(language_model.parameters())
    mask = packed.attention_mask.to(device)
    if language_model.config._attn_implementation == "eager":  # eager attention adds its mask to the scores
        mask = torch.zeros_like(mask, dtype=weights.dtype).masked_fill(~mask, torch.finfo(weights.dtype).min)
    hidden = language_model.base_model(
        input_ids=packed.input_ids.to(device),
        position_ids=packed.position_ids.to(device),
        attention_mask=mask,
        use_cache=False,
    ).last_hidden_state
    scored = hidden.flatten(0, 1)[packed.sources.to(device)]
    logps = logprobs_of_targets(language_model.get_output_embeddings(), scored, packed.targets.to(device))
    totals = torch.zeros(packed.completions, dtype=logps.dtype, device=device)
    return totals.index_add(0, packed.owners.to(device), logps)


def logprobs_of_targets(head: torch.nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """(K,) float32 log-probs of K target tokens from their (K, D) hidden states, in chunks of bounded size.

    A chunk's logits are dropped and computed again in the backward pass, so that memory does not grow with the number
    of tokens times the vocabulary.
    """

    def of_chunk(states: Tensor, ids: Tensor) -> Tensor:
        logits = head(states)
        logits = logits if logits.dtype == torch.float64 else logits.float()  # bf16 is too coarse for a sum
        return logits.gather(-1, ids[:, None]).squeeze(-1) - logits.logsumexp(dim=-1)

    rows = max(1, CHUNK // head.weight.shape[0])
    if len(targets) <= rows:
        return of_chunk(hidden, targets)
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.cat([checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks])


def causal_lm(model: torch.nn.Module) -> Any:
    """The `transformers` model inside PEFT's wrapper, whose adapters sit in its layers; else the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def pack(groups: Sequence[Sequence[Encoded]], pad_token_id: int) -> Packed:
    """Lay groups of rows side by side; arguments as in `score_groups`."""
    segments, numbered = [], 0
    for group in groups:
        for rows in by_prompt(group):
            segments.append(Segment.of(rows, first=numbered))
            numbered += len(rows)
    lengths = [len(segment.ids) for segment in segments]
    width = max(max(lengths), min(WIDTH, sum(lengths)))
    layout = first_fit(lengths, width)
    shape = (len(layout), width)
    ids, positions = torch.full(shape, pad_token_id), torch.zeros(shape, dtype=torch.long)
    # a gap is a group of its own, number 0: it sees itself alone, and nobody looks at what it says
    group_of, part_of = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    sources, targets, owners = [], [], []
    for row, members in enumerate(layout):
        start = 0
        for number in members:
            segment = segments[number]
            columns = slice(start, start + len(segment.ids))
            ids[row, columns] = torch.tensor(segment.ids)
            positions[row, columns] = torch.tensor(segment.positions)
            group_of[row, columns] = number + 1
            part_of[row, columns] = torch.tensor(segment.parts)
            sources += [row * width + start + source for source in segment.sources]
            targets += segment.targets
            owners += segment.owners
            start += len(segment.ids)
    scored = [torch.tensor(values) for values in (sources, targets, owners)]
    return Packed(ids, positions, block_mask(group_of, part_of), *scored, completions=numbered)


def by_prompt(group: Sequence[Encoded]) -> list[Sequence[Encoded]]:
    """The group as it is where all its rows share one prompt, else each row alone."""
    prompts = {tuple(row.input_ids[: row.completion_mask.index(True)]) for row in group}
    return [group] if len(prompts) == 1 else [[row] for row in group]


@dataclass(frozen=True)
class Segment:
    """A prompt and its completions in one line of tokens.

    `parts` holds 0 for the prompt and 1, 2, … for the completions; `sources`, `targets` and `owners` are those of
    `Packed`, the first counted from the segment's start.
    """

    ids: list[int]
    positions: list[int]
    parts: list[int]
    sources: list[int]
    targets: list[int]
    owners: list[int]

    @classmethod
    def of(cls, rows: Sequence[Encoded], first: int) -> Segment:
        """The segment of rows with one prompt; their numbers count on from `first`."""
        prompt = rows[0].input_ids[: rows[0].completion_mask.index(True)]
        if not prompt:
            raise ValueError(
                "a row has no prompt token: its first completion token has nothing to predict it"
            )
        segment = cls(list(prompt), list(range(len(prompt))), [0] * len(prompt), [], [], [])
        for part, row in enumerate(rows, start=1):
            completion = row.input_ids[len(prompt) :]
            start = len(segment.ids)
            # the prompt's last token predicts the first of every completion
            segment.sources.extend([len(prompt) - 1, *range(start, start + len(completion) - 1)])
            segment.targets.extend(completion)
            segment.owners.extend([first + part - 1] * len(completion))
            segment.ids.extend(completion)
            segment.positions.extend(range(len(prompt), len(row)))
            segment.parts.extend([part] * len(completion))
        return segment


def first_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Rows of at most `width` tokens, filled longest first: lists of indices into `lengths` (Johnson 1973)."""
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, space in enumerate(free) if space >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(width)
        rows[row].append(index)
        free[row] -= lengths[index]
    return rows


def block_mask(group_of: Tensor, part_of: Tensor) -> Tensor:
    """(R, 1, W, W) bool from (R, W) numbers: look back, within the group, at the prompt or at the own completion."""
    same_group = group_of[:, :, None] == group_of[:, None, :]
    visible = (part_of[:, None, :] == 0) | (part_of[:, None, :] == part_of[:, :, None])
    width = group_of.shape[1]
    return (same_group & visible & torch.ones(width, width, dtype=torch.bool).tril())[:, None]
