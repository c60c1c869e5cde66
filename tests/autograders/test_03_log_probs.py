"""Lesson 03: token ids, masks, batches and log-probs. Oracles are float64 loops over Python numbers."""

from __future__ import annotations

import math

import torch
from mistakes_03_log_probs import MISTAKES

from dpo_lab.course import exercise, raises
from dpo_lab.encoding import Encoded


def log_probability(logits, token):
    """log softmax(logits)[token] in float64, by hand."""
    values = logits.double().tolist()
    top = max(values)
    return values[token] - top - math.log(sum(math.exp(value - top) for value in values))


def score_by_loop(logits, input_ids):
    """(B, T - 1) log-probs, one token at a time."""
    rows, length = input_ids.shape
    return [
        [log_probability(logits[b, t - 1], int(input_ids[b, t])) for t in range(1, length)]
        for b in range(rows)
    ]


def sums_by_loop(logits, input_ids, completion_mask, average=False):
    """(B,) sums over the true positions of the mask, or their means."""
    sums = []
    for b in range(len(input_ids)):
        places = [t for t in range(1, input_ids.shape[1]) if completion_mask[b, t]]
        total = sum(log_probability(logits[b, t - 1], int(input_ids[b, t])) for t in places)
        sums.append(total / len(places) if average else total)
    return sums


def tokens(fresh, count, low=3, high=40):
    """Random ids from low on; 0, 1 and 2 stay free for pad and EOS."""
    return [fresh.integer(low, high) for _ in range(count)]


def make_row(fresh, prompt_length, completion_length, eos=2):
    """A row whose last token is EOS."""
    ids = [*tokens(fresh, prompt_length), *tokens(fresh, completion_length - 1), eos]
    return Encoded(ids, [False] * prompt_length + [True] * completion_length)


@exercise("token_logprobs", points=3)
def test_token_logprobs_matches_a_float64_loop(submission, fresh):
    """Each entry is the log-probability of the next token."""
    logits, input_ids, _ = fresh.ragged_batch()
    submission.compare(
        "token_logprobs", (logits, input_ids), score_by_loop(logits, input_ids), mistakes=MISTAKES
    )


@exercise("token_logprobs")
def test_token_logprobs_upcasts_low_precision_logits(submission, fresh):
    """bfloat16 logits are turned into float32 before the softmax."""
    logits, input_ids, _ = fresh.ragged_batch(rows=2, length=6)
    logits = (3 * logits).bfloat16()
    submission.compare(
        "token_logprobs", (logits, input_ids), score_by_loop(logits, input_ids), mistakes=MISTAKES
    )


@exercise("token_logprobs")
def test_token_logprobs_keeps_its_shape_and_its_infinities(submission, fresh):
    """One row of two tokens gives (1, 1), and a token of probability 0 scores -inf."""
    logits, input_ids, _ = fresh.ragged_batch()
    logits, input_ids = logits[:1, :2].clone(), input_ids[:1, :2].clone()
    for value in (logits[0, 0, input_ids[0, 1]].item(), -math.inf):
        logits[0, 0, input_ids[0, 1]] = value
        expected = torch.tensor(score_by_loop(logits, input_ids))
        submission.compare("token_logprobs", (logits, input_ids), expected, mistakes=MISTAKES)


@exercise("token_logprobs")
def test_token_logprobs_does_not_overflow(submission, fresh):
    """Large logits are as good as small ones: only differences count."""
    logits, input_ids, _ = fresh.ragged_batch(rows=2, length=5)
    logits = 40 * logits + 300
    expected = score_by_loop(logits, input_ids)
    submission.compare("token_logprobs", (logits, input_ids), expected, mistakes=MISTAKES, atol=3e-4)


@exercise("token_logprobs")
def test_token_logprobs_gradient_is_one_hot_minus_softmax(submission, fresh):
    """The gradient of a log-prob in the logits is one-hot minus softmax, and 0 at the last position."""
    logits, input_ids, _ = fresh.ragged_batch(rows=2, length=5, vocabulary=7)
    expected = torch.zeros(logits.shape, dtype=torch.float64)
    for b in range(2):
        for t in range(4):
            for token in range(7):
                expected[b, t, token] = -math.exp(log_probability(logits[b, t], token))
            expected[b, t, input_ids[b, t + 1]] += 1
    submission.compare("token_logprobs", (logits, input_ids), expected, mistakes=MISTAKES, via="grad")


@exercise("join_pair", points=2)
def test_join_pair_ends_in_exactly_one_eos(submission, fresh):
    """Whatever number of EOS the completion ends in, the row ends in one."""
    eos = fresh.integer(0, 3)
    for already in (0, 1, 3):
        prompt, answer = [*tokens(fresh, 3), eos, *tokens(fresh, 2)], tokens(fresh, fresh.integer(2, 6))
        expected = Encoded([*prompt, *answer, eos], [False] * 6 + [True] * (len(answer) + 1))
        inputs = (prompt, answer + [eos] * already, eos)
        submission.compare("join_pair", inputs, expected, mistakes=MISTAKES)


@exercise("join_pair")
def test_join_pair_keeps_an_eos_inside(submission, fresh):
    """An EOS in the middle of the completion stays, and counts."""
    prompt, first, second = tokens(fresh, 2), tokens(fresh, 3), tokens(fresh, 2)
    answer = [*first, 2, *second]
    expected = Encoded([*prompt, *answer, 2], [False] * 2 + [True] * 7)
    submission.compare("join_pair", (prompt, answer, 2), expected, mistakes=MISTAKES)


@exercise("join_pair")
def test_join_pair_keeps_the_prompts_own_eos(submission, fresh):
    """A prompt that ends in EOS, as a chat's turn does, stays as it is; a completion may hold nothing but EOS."""
    prompt, answer = [*tokens(fresh, 3), 2], tokens(fresh, 2)
    for completion, kept in ((answer, answer), ([], []), ([2, 2], [])):
        expected = Encoded([*prompt, *kept, 2], [False] * 4 + [True] * (len(kept) + 1))
        submission.compare("join_pair", (prompt, completion, 2), expected, mistakes=MISTAKES)


@exercise("sequence_logprobs", points=4)
def test_sequence_logprobs_matches_a_float64_loop(submission, fresh):
    """Each entry is the sum over one row's completion tokens."""
    inputs = fresh.ragged_batch(rows=4, length=11)
    submission.compare("sequence_logprobs", inputs, sums_by_loop(*inputs), mistakes=MISTAKES)


@exercise("sequence_logprobs")
def test_sequence_logprobs_averages_when_asked(submission, fresh):
    """With average=True each sum is divided by its own completion's length."""
    inputs = fresh.ragged_batch(rows=4, length=11, padding_side="left")
    completion_mask = inputs[2]  # lengths that differ from row to row, and from T - 1
    completion_mask[:, :2], completion_mask[0, -3:], completion_mask[1, :-1] = False, True, False
    expected = sums_by_loop(*inputs, average=True)
    submission.compare("sequence_logprobs", inputs, expected, mistakes=MISTAKES, kwargs={"average": True})


@exercise("sequence_logprobs")
def test_sequence_logprobs_ignores_what_the_mask_leaves_out(submission, fresh):
    """Infinite log-probs at the prompt and at the padding change nothing."""
    logits, input_ids, completion_mask = fresh.ragged_batch(rows=3, length=9)
    expected = sums_by_loop(logits, input_ids, completion_mask)
    for b in range(3):
        for t in range(1, 9):
            if not completion_mask[b, t]:
                logits[b, t - 1, input_ids[b, t]] = -math.inf
    submission.compare("sequence_logprobs", (logits, input_ids, completion_mask), expected, mistakes=MISTAKES)


@exercise("sequence_logprobs")
def test_sequence_logprobs_takes_one_long_row_of_low_precision(submission, fresh):
    """A single row gives shape (1,), far below -100 nats if it is unlikely, and bfloat16 logits are upcast."""
    logits, input_ids, completion_mask = fresh.ragged_batch(rows=1, length=40)
    logits = (12 * logits).bfloat16()
    inputs = (logits, input_ids, completion_mask)
    expected = torch.tensor(sums_by_loop(*inputs))
    submission.compare("sequence_logprobs", inputs, expected, mistakes=MISTAKES)
    logits[0, -2, input_ids[0, -1]] = -math.inf
    completion_mask[0, -1] = True
    expected = torch.tensor(sums_by_loop(*inputs))
    submission.compare("sequence_logprobs", inputs, expected, mistakes=MISTAKES)


@exercise("sequence_logprobs")
def test_sequence_logprobs_sends_its_gradient_to_the_completion_only(submission, fresh):
    """The gradient is one-hot minus softmax where a completion token is predicted, and 0 elsewhere."""
    logits, input_ids, completion_mask = fresh.ragged_batch(rows=3, length=7, vocabulary=6)
    expected = torch.zeros(logits.shape, dtype=torch.float64)
    for b in range(3):
        for t in range(6):
            if completion_mask[b, t + 1]:
                for token in range(6):
                    expected[b, t, token] = -math.exp(log_probability(logits[b, t], token))
                expected[b, t, input_ids[b, t + 1]] += 1
    inputs = (logits, input_ids, completion_mask)
    submission.compare("sequence_logprobs", inputs, expected, mistakes=MISTAKES, via="grad")


@exercise("sequence_logprobs")
def test_sequence_logprobs_refuses_an_empty_completion(submission, fresh):
    """A row without a completion token is an error, whether a sum or a mean is asked for."""
    logits, input_ids, completion_mask = fresh.ragged_batch(rows=3, length=8)
    completion_mask[1] = False
    for average in (False, True):
        inputs = (logits, input_ids, completion_mask)
        submission.compare(
            "sequence_logprobs", inputs, raises(ValueError), mistakes=MISTAKES, kwargs={"average": average}
        )


def rectangle(rows, pad, side):
    """The expected batch, cell by cell."""
    width = max(len(row.input_ids) for row in rows)
    ids, attended, counted = [], [], []
    for row in rows:
        own = len(row.input_ids)
        start = 0 if side == "right" else width - own
        inside = [start <= column < start + own for column in range(width)]
        ids.append([row.input_ids[c - start] if inside[c] else pad for c in range(width)])
        attended.append([int(inside[c]) for c in range(width)])
        counted.append([bool(inside[c] and row.completion_mask[c - start]) for c in range(width)])
    return {"input_ids": ids, "attention_mask": attended, "completion_mask": counted}


@exercise("collate_rows", points=3)
def test_collate_rows_pads_on_the_right(submission, fresh):
    """By default the gaps are behind the rows and hold the pad id."""
    rows = [make_row(fresh, fresh.integer(1, 5), n) for n in (4, 2, 7)]
    submission.compare("collate_rows", (rows, 1), rectangle(rows, 1, "right"), mistakes=MISTAKES)


@exercise("collate_rows")
def test_collate_rows_pads_on_the_left(submission, fresh):
    """With padding_side='left' the gaps come first, in all three tensors."""
    rows = [make_row(fresh, fresh.integer(1, 5), n) for n in (3, 8, 2)]
    expected = rectangle(rows, 1, "left")
    submission.compare(
        "collate_rows", (rows, 1), expected, mistakes=MISTAKES, kwargs={"padding_side": "left"}
    )


@exercise("collate_rows")
def test_collate_rows_tells_eos_from_padding_of_the_same_id(submission, fresh):
    """With pad == EOS the row's own EOS is attended to and counted; the gaps are not."""
    rows = [make_row(fresh, fresh.integer(1, 4), n) for n in (5, 2, 3)]
    rows[1] = Encoded(
        [2, *rows[1].input_ids[1:]], rows[1].completion_mask
    )  # a prompt may start with that id, too
    submission.compare("collate_rows", (rows, 2), rectangle(rows, 2, "right"), mistakes=MISTAKES)


@exercise("truncate_prompt", points=3)
def test_truncate_prompt_drops_tokens_from_the_left(submission, fresh):
    """The row's last max_length tokens are left, ids and mask alike."""
    prompt, completion = fresh.integer(6, 10), fresh.integer(2, 5)
    row = make_row(fresh, prompt, completion)
    limit = completion + fresh.integer(2, 5)
    drop = prompt + completion - limit
    expected = Encoded(row.input_ids[drop:], [False] * (prompt - drop) + [True] * completion)
    submission.compare("truncate_prompt", (row, limit), expected, mistakes=MISTAKES)


@exercise("truncate_prompt")
def test_truncate_prompt_leaves_a_row_that_fits(submission, fresh):
    """Nothing is dropped from a row of max_length tokens or fewer."""
    row = make_row(fresh, 4, 3)
    for limit in (7, 9):
        submission.compare("truncate_prompt", (row, limit), row, mistakes=MISTAKES)


@exercise("truncate_prompt")
def test_truncate_prompt_leaves_one_prompt_token(submission, fresh):
    """One prompt token is enough, and it is the last one."""
    row = make_row(fresh, 5, 4)
    expected = Encoded(row.input_ids[4:], [False, True, True, True, True])
    submission.compare("truncate_prompt", (row, 5), expected, mistakes=MISTAKES)


@exercise("truncate_prompt")
def test_truncate_prompt_refuses_to_cut_a_completion(submission, fresh):
    """Where the completion fills max_length, or more, ValueError is raised."""
    row = make_row(fresh, 3, 5)
    for limit in (4, 5):
        submission.compare("truncate_prompt", (row, limit), raises(ValueError), mistakes=MISTAKES)
