"""How good people get lesson 03 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax

from dpo_lab.course import Mistake
from dpo_lab.encoding import Encoded


def pick(logprobs, tokens):
    """Entries of `logprobs` (B, T, V) at `tokens` (B, T)."""
    return logprobs.gather(-1, tokens[..., None]).squeeze(-1)


# token_logprobs


def not_shifted(logits, input_ids):
    return pick(log_softmax(logits.float(), -1)[:, 1:], input_ids[:, 1:])


def shifted_backwards(logits, input_ids):
    return pick(log_softmax(logits.float(), -1)[:, 1:], input_ids[:, :-1])


def no_slice_at_all(logits, input_ids):
    return pick(log_softmax(logits.float(), -1), input_ids)


def own_token(logits, input_ids):
    return pick(log_softmax(logits.float(), -1)[:, :-1], input_ids[:, :-1])


def raw_logits(logits, input_ids):
    return pick(logits.float()[:, :-1], input_ids[:, 1:])


def softmax_over_positions(logits, input_ids):
    return pick(log_softmax(logits.float()[:, :-1], 1), input_ids[:, 1:])


def probabilities(logits, input_ids):
    return pick(logits.float()[:, :-1].softmax(-1), input_ids[:, 1:])


def softmax_then_log(logits, input_ids):
    return pick(logits.float()[:, :-1].softmax(-1).log(), input_ids[:, 1:])


def negative(logits, input_ids):
    return -pick(log_softmax(logits.float()[:, :-1], -1), input_ids[:, 1:])


def not_upcast(logits, input_ids):
    return pick(log_softmax(logits[:, :-1], -1), input_ids[:, 1:])


def detached(logits, input_ids):
    return pick(log_softmax(logits.detach().float()[:, :-1], -1), input_ids[:, 1:])


def squeezed_to_nothing(logits, input_ids):
    picked = log_softmax(logits.float()[:, :-1], -1).gather(-1, input_ids[:, 1:, None])
    return picked.squeeze()


def infinity_made_zero(logits, input_ids):
    return pick(log_softmax(logits.float()[:, :-1], -1), input_ids[:, 1:]).nan_to_num(neginf=0.0)


# join_pair


def eos_stripped_from_the_prompt(prompt_ids, completion_ids, eos_token_id):
    prompt = no_eos([], prompt_ids, eos_token_id).input_ids
    answer = [*no_eos([], completion_ids, eos_token_id).input_ids, eos_token_id]
    return Encoded([*prompt, *answer], [False] * len(prompt) + [True] * len(answer))


def no_eos(prompt_ids, completion_ids, eos_token_id):
    answer = list(completion_ids)
    while answer and answer[-1] == eos_token_id:
        answer.pop()
    return Encoded([*prompt_ids, *answer], [False] * len(prompt_ids) + [True] * len(answer))


def always_appended(prompt_ids, completion_ids, eos_token_id):
    answer = [*completion_ids, eos_token_id]
    return Encoded([*prompt_ids, *answer], [False] * len(prompt_ids) + [True] * len(answer))


def appended_if_absent(prompt_ids, completion_ids, eos_token_id):
    answer = list(completion_ids)
    if not answer or answer[-1] != eos_token_id:
        answer.append(eos_token_id)
    return Encoded([*prompt_ids, *answer], [False] * len(prompt_ids) + [True] * len(answer))


def every_eos_removed(prompt_ids, completion_ids, eos_token_id):
    answer = [token for token in completion_ids if token != eos_token_id] + [eos_token_id]
    return Encoded([*prompt_ids, *answer], [False] * len(prompt_ids) + [True] * len(answer))


def one_eos(prompt_ids, completion_ids, eos_token_id):
    """The right ids, for slips in the mask."""
    answer = [*no_eos([], completion_ids, eos_token_id).input_ids, eos_token_id]
    return [*prompt_ids, *answer], len(prompt_ids), len(answer)


def eos_not_in_mask(prompt_ids, completion_ids, eos_token_id):
    ids, before, after = one_eos(prompt_ids, completion_ids, eos_token_id)
    return Encoded(ids, [False] * before + [True] * (after - 1) + [False])


def mask_by_id(prompt_ids, completion_ids, eos_token_id):
    ids, before, _ = one_eos(prompt_ids, completion_ids, eos_token_id)
    return Encoded(ids, [i >= before and token != eos_token_id for i, token in enumerate(ids)])


def prompt_in_mask(prompt_ids, completion_ids, eos_token_id):
    ids, _, _ = one_eos(prompt_ids, completion_ids, eos_token_id)
    return Encoded(ids, [True] * len(ids))


def mask_inverted(prompt_ids, completion_ids, eos_token_id):
    ids, before, after = one_eos(prompt_ids, completion_ids, eos_token_id)
    return Encoded(ids, [True] * before + [False] * after)


def mask_of_the_completion_only(prompt_ids, completion_ids, eos_token_id):
    ids, _, after = one_eos(prompt_ids, completion_ids, eos_token_id)
    return Encoded(ids, [True] * after)


def two_lists(prompt_ids, completion_ids, eos_token_id):
    ids, before, after = one_eos(prompt_ids, completion_ids, eos_token_id)
    return ids, [False] * before + [True] * after


# sequence_logprobs


def own_tokens(logits, input_ids):
    return pick(log_softmax(logits.float()[:, :-1], -1), input_ids[:, 1:])


def reduce(logits, input_ids, counted, average):
    """Sum or mean over `counted` (B, T - 1), with the library's complaint where there is nothing to count."""
    lengths = counted.sum(-1)
    if (lengths == 0).any():
        raise ValueError("empty completion")
    total = own_tokens(logits, input_ids).masked_fill(~counted, 0.0).sum(-1)
    return total / lengths if average else total


def mask_not_shifted(logits, input_ids, completion_mask, average=False):
    return reduce(logits, input_ids, completion_mask[:, :-1].bool(), average)


def mask_forgotten(logits, input_ids, completion_mask, average=False):
    return reduce(logits, input_ids, torch.ones_like(completion_mask[:, 1:]).bool(), average)


def prompt_scored(logits, input_ids, completion_mask, average=False):
    up_to_the_end = completion_mask.flip(-1).int().cumsum(-1).flip(-1) > 0
    return reduce(logits, input_ids, up_to_the_end[:, 1:], average)


def masks_by_pad_id(logits, input_ids, completion_mask, average=False):
    return reduce(logits, input_ids, input_ids[:, 1:] != 0, average)


def loses_the_eos(logits, input_ids, completion_mask, average=False):
    return reduce(logits, input_ids, completion_mask[:, 1:].bool() & (input_ids[:, 1:] != 0), average)


def always_averages(logits, input_ids, completion_mask, average=False):
    return reduce(logits, input_ids, completion_mask[:, 1:].bool(), True)


def never_averages(logits, input_ids, completion_mask, average=False):
    return reduce(logits, input_ids, completion_mask[:, 1:].bool(), False)


def averages_over_the_row(logits, input_ids, completion_mask, average=False):
    total = reduce(logits, input_ids, completion_mask[:, 1:].bool(), False)
    return total / (input_ids.shape[1] - 1) if average else total


def one_length_for_all_rows(logits, input_ids, completion_mask, average=False):
    scored = completion_mask[:, 1:].bool()
    total = reduce(logits, input_ids, scored, False)
    return total / scored.sum(-1).max() if average else total


def infinity_summed_as_zero(logits, input_ids, completion_mask, average=False):
    scored = completion_mask[:, 1:].bool()
    lengths = scored.sum(-1)
    if (lengths == 0).any():
        raise ValueError("empty completion")
    values = own_tokens(logits, input_ids).nan_to_num(neginf=0.0)
    total = values.masked_fill(~scored, 0.0).sum(-1)
    return total / lengths if average else total


def averages_with_the_batch(logits, input_ids, completion_mask, average=False):
    total = reduce(logits, input_ids, completion_mask[:, 1:].bool(), False)
    return total.mean() if average else total.sum()


def multiplies(logits, input_ids, completion_mask, average=False):
    scored = completion_mask[:, 1:]
    if (scored.sum(-1) == 0).any():
        raise ValueError("empty completion")
    total = (own_tokens(logits, input_ids) * scored.float()).sum(-1)
    return total / scored.sum(-1) if average else total


def empty_scores_zero(logits, input_ids, completion_mask, average=False):
    scored = completion_mask[:, 1:].bool()
    total = own_tokens(logits, input_ids).masked_fill(~scored, 0.0).sum(-1)
    return total / scored.sum(-1).clamp(min=1) if average else total


def empty_scores_nan(logits, input_ids, completion_mask, average=False):
    scored = completion_mask[:, 1:].bool()
    total = own_tokens(logits, input_ids).masked_fill(~scored, 0.0).sum(-1)
    return total / scored.sum(-1) * (1 if average else scored.sum(-1))


def clamped_at_minus_100(logits, input_ids, completion_mask, average=False):
    return reduce(logits, input_ids, completion_mask[:, 1:].bool(), average).clamp(min=-100, max=0)


def summed_in_low_precision(logits, input_ids, completion_mask, average=False):
    scored = completion_mask[:, 1:].bool()
    if (scored.sum(-1) == 0).any():
        raise ValueError("empty completion")
    values = pick(log_softmax(logits[:, :-1], -1), input_ids[:, 1:])
    total = values.masked_fill(~scored, 0.0).sum(-1)
    return total / scored.sum(-1) if average else total


def batch_squeezed_away(logits, input_ids, completion_mask, average=False):
    return reduce(logits, input_ids, completion_mask[:, 1:].bool(), average).squeeze()


# collate_rows


def padded(rows, pad_token_id, side="right"):
    """The right batch as lists, for slips in one part of it."""
    width = max(len(row) for row in rows)
    parts = {"input_ids": [], "attention_mask": [], "completion_mask": []}
    for row in rows:
        gap = width - len(row)
        for name, content, filler in (
            ("input_ids", list(row.input_ids), pad_token_id),
            ("attention_mask", [1] * len(row), 0),
            ("completion_mask", list(row.completion_mask), False),
        ):
            gaps = [filler] * gap
            parts[name].append(content + gaps if side == "right" else gaps + content)
    return {name: torch.tensor(lists) for name, lists in parts.items()}


def always_right(rows, pad_token_id, padding_side="right"):
    return padded(rows, pad_token_id)


def always_left(rows, pad_token_id, padding_side="right"):
    return padded(rows, pad_token_id, "left")


def sides_swapped(rows, pad_token_id, padding_side="right"):
    return padded(rows, pad_token_id, "left" if padding_side == "right" else "right")


def flipped_rows(rows, pad_token_id, padding_side="right"):
    batch = padded(rows, pad_token_id)
    return {k: v.flip(-1) for k, v in batch.items()} if padding_side == "left" else batch


def only_ids_moved(rows, pad_token_id, padding_side="right"):
    batch = padded(rows, pad_token_id)
    return {**batch, "input_ids": padded(rows, pad_token_id, padding_side)["input_ids"]}


def attention_by_id(rows, pad_token_id, padding_side="right"):
    batch = padded(rows, pad_token_id, padding_side)
    return {**batch, "attention_mask": (batch["input_ids"] != pad_token_id).long()}


def attention_is_all_ones(rows, pad_token_id, padding_side="right"):
    batch = padded(rows, pad_token_id, padding_side)
    return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}


def gaps_hold_zero(rows, pad_token_id, padding_side="right"):
    return padded(rows, 0, padding_side)


def completion_mask_by_id(rows, pad_token_id, padding_side="right"):
    batch = padded(rows, pad_token_id, padding_side)
    return {**batch, "completion_mask": batch["completion_mask"] & (batch["input_ids"] != pad_token_id)}


def gaps_in_the_completion(rows, pad_token_id, padding_side="right"):
    batch = padded(rows, pad_token_id, padding_side)
    return {**batch, "completion_mask": batch["completion_mask"] | (batch["attention_mask"] == 0)}


def floats(rows, pad_token_id, padding_side="right"):
    batch = padded(rows, pad_token_id, padding_side)
    return {**batch, "input_ids": batch["input_ids"].float()}


# truncate_prompt


def split_row(row):
    border = list(row.completion_mask).index(True)
    return list(row.input_ids[:border]), list(row.input_ids[border:])


def joined(prompt_ids, completion_ids):
    return Encoded(prompt_ids + completion_ids, [False] * len(prompt_ids) + [True] * len(completion_ids))


def refused():
    raise ValueError("it does not fit")


def cut_on_the_right(row, max_length):
    return Encoded(row.input_ids[:max_length], row.completion_mask[:max_length])


def completion_cut_too(row, max_length):
    return Encoded(row.input_ids[-max_length:], row.completion_mask[-max_length:])


def head_of_the_prompt_kept(row, max_length):
    prompt, completion = split_row(row)
    room = max_length - len(completion)
    return refused() if room < 1 else joined(prompt[:room], completion)


def no_prompt_left(row, max_length):
    prompt, completion = split_row(row)
    room = max_length - len(completion)
    return (
        refused()
        if room < 0
        else joined(prompt[len(prompt) - room :] if room < len(prompt) else prompt, completion)
    )


def minus_zero(row, max_length):
    prompt, completion = split_row(row)
    room = max_length - len(completion)
    return refused() if room < 0 else joined(prompt[-room:], completion)


def negative_start(row, max_length):
    _, completion = split_row(row)
    if max_length - len(completion) < 1:
        refused()
    excess = len(row) - max_length
    return Encoded(row.input_ids[excess:], row.completion_mask[excess:])


def mask_left_behind(row, max_length):
    _, completion = split_row(row)
    if max_length - len(completion) < 1:
        refused()
    excess = max(0, len(row) - max_length)
    return Encoded(row.input_ids[excess:], row.completion_mask[: len(row) - excess])


def long_row_refused(row, max_length):
    return refused() if len(row) > max_length else row


def one_too_short(row, max_length):
    prompt, completion = split_row(row)
    room = max_length - len(completion) - 1
    return refused() if room < 1 else joined(prompt[-room:], completion)


MISTAKES = {
    "token_logprobs": [
        Mistake(
            "squeezed to nothing",
            "`.squeeze()` drops every dimension of size 1, a batch of one row too. Name the one you mean: `.squeeze(-1)`.",
            squeezed_to_nothing,
        ),
        Mistake(
            "infinity made 0",
            "A token of probability 0 has log-prob −inf. As 0 it would count as certain.",
            infinity_made_zero,
        ),
        Mistake(
            "not shifted",
            "You scored token t with the logits at position t, which have already seen it. The logits at t are about token "
            "t + 1: drop the last position of the logits and the first token of the ids.",
            not_shifted,
        ),
        Mistake(
            "shifted backwards",
            "The shift goes the other way. The logits at position t are about token t + 1, so the logits lose their last "
            "position and the ids their first.",
            shifted_backwards,
        ),
        Mistake(
            "not sliced",
            "There are T tokens and only T − 1 scores: nothing predicts the first token, and the last logits predict a token "
            "that is not there. Slice both.",
            no_slice_at_all,
        ),
        Mistake(
            "scored the token that went in",
            "You dropped the last position of both. The logits were right; the ids to look up are the next ones, from the "
            "second on.",
            own_token,
        ),
        Mistake(
            "raw logits",
            "A logit is not a log-probability: it lacks the normalisation over the vocabulary. log_softmax does it.",
            raw_logits,
        ),
        Mistake(
            "softmax over the positions",
            "The probabilities at one position sum to 1 over the vocabulary, which is the last dimension.",
            softmax_over_positions,
        ),
        Mistake(
            "softmax, then log",
            "exp underflows to 0 for a token that is unlikely enough, and log 0 is −inf. Take log_softmax, which never "
            "leaves the logarithms.",
            softmax_then_log,
        ),
        Mistake("probabilities", "These are probabilities. Their logarithm is asked for.", probabilities),
        Mistake("sign turned", "These are losses. A log-probability is at most 0.", negative),
        Mistake(
            "not upcast",
            "Right for float32 logits. bfloat16 keeps about three digits, and so do your log-probs: call .float() on the "
            "logits before log_softmax.",
            not_upcast,
        ),
        Mistake(
            "gradient cut",
            "The values are right, but no gradient reaches the logits, and nothing could be trained. Do not detach.",
            detached,
        ),
    ],
    "join_pair": [
        Mistake(
            "EOS stripped from the prompt",
            "The prompt stays as it is. In a chat it ends in EOS after each turn; only the completion's end is tidied.",
            eos_stripped_from_the_prompt,
        ),
        Mistake(
            "no EOS",
            "The row has no EOS at its end. It is the completion's last token: without it nothing teaches the model to stop.",
            no_eos,
        ),
        Mistake(
            "EOS always appended",
            "A completion that already ends in EOS now ends in two. Take off what is there before you append one.",
            always_appended,
        ),
        Mistake(
            "EOS appended if absent",
            "Right for zero and one EOS. A completion that ends in two or more still does: take off all of them first.",
            appended_if_absent,
        ),
        Mistake(
            "every EOS removed",
            "An EOS inside the completion stays: a chat completion may hold several turns. Only the end is tidied.",
            every_eos_removed,
        ),
        Mistake(
            "EOS not in the mask",
            "The ids are right. The final EOS belongs to the completion, so its mask is True.",
            eos_not_in_mask,
        ),
        Mistake(
            "mask by id",
            "You made the mask by comparing ids with EOS. Go by position: all after the prompt is the completion.",
            mask_by_id,
        ),
        Mistake("prompt in the mask", "The mask is False at the prompt's positions.", prompt_in_mask),
        Mistake("mask inverted", "True marks the completion, False the prompt.", mask_inverted),
        Mistake(
            "mask shorter than the row",
            "The mask has an entry for each id of the row, the prompt's included.",
            mask_of_the_completion_only,
        ),
        Mistake(
            "two lists",
            "The contents are right; you returned them as a bare tuple. Return Encoded(input_ids, completion_mask).",
            two_lists,
        ),
    ],
    "sequence_logprobs": [
        Mistake(
            "clamped at −100",
            "A longer answer is below −100 nats, and rightly so. The clamp makes all of them alike and their gradient 0.",
            clamped_at_minus_100,
        ),
        Mistake(
            "summed in low precision",
            "The sum was taken in the logits' own dtype. Turn the logits into float32 first: `token_logprobs` does.",
            summed_in_low_precision,
        ),
        Mistake(
            "batch squeezed away",
            "`.squeeze()` turns (1,) into a scalar. The result has shape (B,), for one row too.",
            batch_squeezed_away,
        ),
        Mistake(
            "mask not shifted",
            "Log-prob t is about token t + 1. Slice the mask as you sliced input_ids: completion_mask[:, 1:].",
            mask_not_shifted,
        ),
        Mistake(
            "mask forgotten",
            "You summed every position, prompt and padding included. Only completion tokens count.",
            mask_forgotten,
        ),
        Mistake(
            "prompt scored",
            "You summed the prompt's tokens too. For a sum they cancel in the DPO loss; in rewards, in means and in NLL terms "
            "they don't.",
            prompt_scored,
        ),
        Mistake(
            "padding by id",
            "You masked by pad id. That scores the prompt, and where pad is also EOS, the EOS loses its score. Use the mask "
            "that is given.",
            masks_by_pad_id,
        ),
        Mistake(
            "EOS lost",
            "You took the completion's mask and then removed the pad id as well. Where pad is also EOS, that removes the EOS.",
            loses_the_eos,
        ),
        Mistake(
            "mean for sum",
            "You divided by the length although average=False. DPO's log π(y|x) is a sum.",
            always_averages,
        ),
        Mistake(
            "average ignored",
            "With average=True the sum is divided by the number of completion tokens, row by row.",
            never_averages,
        ),
        Mistake(
            "averaged over the whole row",
            "You divided by T − 1. Padding and prompt are no tokens of the completion: divide by the number that you summed.",
            averages_over_the_row,
        ),
        Mistake(
            "one length for all rows",
            "You divided every row by the longest completion of the batch. Each row has a number of tokens of its own.",
            one_length_for_all_rows,
        ),
        Mistake(
            "infinity counted as 0",
            "A completion that holds a token of probability 0 has log-prob −inf. Fill by the mask, not by the value.",
            infinity_summed_as_zero,
        ),
        Mistake(
            "rows mixed",
            "One number for each row is asked for: sum over the tokens (the last dimension), not over the batch.",
            averages_with_the_batch,
        ),
        Mistake(
            "0 times -inf",
            "A masked position held −inf, and 0 · −inf is NaN. Select with masked_fill or where instead of multiplying.",
            multiplies,
        ),
        Mistake(
            "empty completion scores 0",
            "A log-prob of 0 is a probability of 1. A row without a completion token is a bug upstream: raise ValueError.",
            empty_scores_zero,
        ),
        Mistake(
            "empty completion scores NaN",
            "0 / 0 is NaN, and it spreads through the whole batch. Look at the lengths first and raise ValueError.",
            empty_scores_nan,
        ),
    ],
    "collate_rows": [
        Mistake(
            "padding_side ignored",
            "Right for 'right'. For 'left' the gaps come before the rows.",
            always_right,
        ),
        Mistake("always on the left", "The default is 'right': the gaps come behind the rows.", always_left),
        Mistake("sides swapped", "'right' means that the gaps are on the right.", sides_swapped),
        Mistake(
            "rows reversed",
            "You got the left padding by a flip, and the flip has turned the tokens round with it.",
            flipped_rows,
        ),
        Mistake(
            "masks left behind",
            "The ids moved to the right edge, the masks did not. All three use the same columns.",
            only_ids_moved,
        ),
        Mistake(
            "attention by id",
            "You compared ids with the pad id. A real token may have that id (EOS often does), and it must be attended to. Go "
            "by position.",
            attention_by_id,
        ),
        Mistake("gaps attended to", "attention_mask is 0 in the gaps.", attention_is_all_ones),
        Mistake(
            "gaps hold 0", "input_ids holds pad_token_id in the gaps, which need not be 0.", gaps_hold_zero
        ),
        Mistake(
            "completion mask by id",
            "Your completion_mask is False wherever a token has the pad's id. Where pad is EOS, the EOS drops out. Copy the "
            "row's mask.",
            completion_mask_by_id,
        ),
        Mistake("gaps in the completion", "completion_mask is False in the gaps.", gaps_in_the_completion),
        Mistake(
            "ids are floats",
            "An embedding wants integers. torch.zeros makes floats unless told otherwise; torch.full with an int makes int64.",
            floats,
        ),
    ],
    "truncate_prompt": [
        Mistake(
            "cut on the right",
            "This cuts the completion's end, its EOS first of all: what a tokenizer's truncation=True does by default. Cut on "
            "the left.",
            cut_on_the_right,
        ),
        Mistake(
            "head of the prompt kept",
            "You kept the beginning of the prompt. What stands right before the answer matters most: drop tokens from the left.",
            head_of_the_prompt_kept,
        ),
        Mistake(
            "minus zero",
            "With no room for the prompt, prompt_ids[-0:] is the whole prompt. One prompt token is the least: raise ValueError "
            "below it.",
            minus_zero,
        ),
        Mistake(
            "no prompt left",
            "You return a row without a prompt token. Then nothing predicts the first token of the completion: raise ValueError.",
            no_prompt_left,
        ),
        Mistake(
            "completion cut too",
            "Where the completion alone fills max_length, you return a part of it. Raise ValueError instead.",
            completion_cut_too,
        ),
        Mistake(
            "negative start",
            "For a row that fits, len(row) − max_length is negative, and a slice from a negative start takes the row's tail. "
            "Stop at 0.",
            negative_start,
        ),
        Mistake(
            "mask left behind",
            "You cut the ids on the left and the mask on the right. Both lose the same positions.",
            mask_left_behind,
        ),
        Mistake(
            "long row refused",
            "Too long is no error yet: cut the prompt. Only a completion that doesn't fit is.",
            long_row_refused,
        ),
        Mistake("one token too short", "The row may have max_length tokens, not one fewer.", one_too_short),
    ],
}
