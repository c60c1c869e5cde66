"""Right answers in other words: each must pass."""

from __future__ import annotations

from itertools import dropwhile

import torch
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.utils.rnn import pad_sequence

from dpo_lab.encoding import Encoded


def tokens_by_cross_entropy(logits, input_ids):
    return -cross_entropy(logits[:, :-1].float().transpose(1, 2), input_ids[:, 1:], reduction="none")


def tokens_by_logsumexp(logits, input_ids):
    wide = logits.to(torch.float32)
    chosen = wide[:, :-1].gather(2, input_ids[:, 1:].unsqueeze(2))[..., 0]
    return chosen - wide[:, :-1].logsumexp(dim=2)


def tokens_by_einsum(logits, input_ids):
    table = logits.float().log_softmax(-1)
    return torch.einsum("btv,btv->bt", table[:, :-1], one_hot(input_ids[:, 1:], logits.shape[-1]).float())


def tokens_by_a_loop(logits, input_ids):
    rows = []
    for row, ids in zip(logits, input_ids, strict=True):
        scores = [row[t].float().log_softmax(0)[ids[t + 1]] for t in range(len(ids) - 1)]
        rows.append(torch.stack(scores))
    return torch.stack(rows)


def join_by_recursion(prompt_ids, completion_ids, eos_token_id):
    if completion_ids and completion_ids[-1] == eos_token_id:
        return join_by_recursion(prompt_ids, completion_ids[:-1], eos_token_id)
    ids = prompt_ids + completion_ids + [eos_token_id]
    return Encoded(ids, [i >= len(prompt_ids) for i in range(len(ids))])


def join_by_dropwhile(prompt_ids, completion_ids, eos_token_id):
    backwards = dropwhile(lambda token: token == eos_token_id, reversed(completion_ids))
    answer = [*backwards][::-1]
    mask = [0 > 1] * len(prompt_ids) + [1 > 0] * (len(answer) + 1)
    return Encoded(input_ids=list(prompt_ids) + answer + [eos_token_id], completion_mask=mask)


def join_by_index(prompt_ids, completion_ids, eos_token_id):
    end = len(completion_ids)
    while end > 0 and completion_ids[end - 1] == eos_token_id:
        end -= 1
    tensor = torch.tensor([*prompt_ids, *completion_ids[:end], eos_token_id])
    return Encoded(tensor.tolist(), (torch.arange(len(tensor)) >= len(prompt_ids)).tolist())


def check_rows(completion_mask):
    if not completion_mask[:, 1:].any(dim=-1).all():
        raise ValueError("a row has no completion")


def sequence_by_where(logits, input_ids, completion_mask, average=False):
    check_rows(completion_mask)
    scores = tokens_by_cross_entropy(logits, input_ids)
    kept = torch.where(completion_mask[:, 1:], scores, torch.zeros_like(scores))
    return kept.sum(1) / completion_mask[:, 1:].sum(1) if average else kept.sum(1)


def sequence_by_a_loop(logits, input_ids, completion_mask, average=False):
    check_rows(completion_mask)
    scores = tokens_by_logsumexp(logits, input_ids)
    rows = [row[mask[1:]] for row, mask in zip(scores, completion_mask, strict=True)]
    return torch.stack([row.mean() if average else row.sum() for row in rows])


def sequence_by_index_add(logits, input_ids, completion_mask, average=False):
    check_rows(completion_mask)
    row, place = torch.nonzero(completion_mask[:, 1:], as_tuple=True)
    scores = logits[row, place].float().log_softmax(-1)[torch.arange(len(row)), input_ids[row, place + 1]]
    total = torch.zeros(len(input_ids)).index_add(0, row, scores)
    return total / torch.bincount(row, minlength=len(total)) if average else total


def collate_by_lists(rows, pad_token_id, padding_side="right"):
    width = max(len(row.input_ids) for row in rows)
    batch = {"completion_mask": [], "attention_mask": [], "input_ids": []}
    for row in rows:
        gap = width - len(row.input_ids)
        before, after = (gap, 0) if padding_side == "left" else (0, gap)
        batch["input_ids"].append([pad_token_id] * before + row.input_ids + [pad_token_id] * after)
        batch["attention_mask"].append([0] * before + [1] * len(row.input_ids) + [0] * after)
        batch["completion_mask"].append([False] * before + row.completion_mask + [False] * after)
    return {name: torch.tensor(lists) for name, lists in batch.items()}


def collate_by_pad_sequence(rows, pad_token_id, padding_side="right"):
    def fill(lists, value):
        tensors = [torch.tensor(items) for items in lists]
        return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=padding_side)

    return {
        "input_ids": fill([row.input_ids for row in rows], pad_token_id),
        "attention_mask": fill([[1] * len(row) for row in rows], 0),
        "completion_mask": fill([row.completion_mask for row in rows], False),
    }


def collate_by_comparison(rows, pad_token_id, padding_side="right"):
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    columns = torch.arange(width).expand(len(rows), width)
    inside = columns < lengths[:, None] if padding_side == "right" else columns >= width - lengths[:, None]
    ids, mask = torch.full(inside.shape, pad_token_id), torch.zeros_like(inside)
    ids[inside] = torch.tensor([token for row in rows for token in row.input_ids])
    mask[inside] = torch.tensor([flag for row in rows for flag in row.completion_mask])
    return {"input_ids": ids, "attention_mask": inside.long(), "completion_mask": mask}


def truncate_by_tail(row, max_length):
    if sum(row.completion_mask) >= max_length:
        raise ValueError("completion too long")
    return Encoded(row.input_ids[-max_length:], row.completion_mask[-max_length:])


def truncate_by_popping(row, max_length):
    ids, mask = list(row.input_ids), list(row.completion_mask)
    while len(ids) > max_length:
        ids.pop(0)
        mask.pop(0)
    if all(mask):
        raise ValueError("no prompt is left")
    return Encoded(ids, mask)


def truncate_by_parts(row, max_length):
    border = row.completion_mask.index(True)
    prompt, completion = row.input_ids[:border], row.input_ids[border:]
    room = max_length - len(completion)
    if room <= 0:
        raise ValueError(f"{room} tokens of room")
    prompt = prompt[max(0, border - room) :]
    return Encoded(prompt + completion, [False] * len(prompt) + [True] * len(completion))


ACCEPTED = {
    "token_logprobs": [tokens_by_cross_entropy, tokens_by_logsumexp, tokens_by_einsum, tokens_by_a_loop],
    "join_pair": [join_by_recursion, join_by_dropwhile, join_by_index],
    "sequence_logprobs": [sequence_by_where, sequence_by_a_loop, sequence_by_index_add],
    "collate_rows": [collate_by_lists, collate_by_pad_sequence, collate_by_comparison],
    "truncate_prompt": [truncate_by_tail, truncate_by_popping, truncate_by_parts],
}
