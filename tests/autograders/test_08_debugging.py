"""Lesson 08: rules that find bugs. Oracles are loops over Python numbers, perturbations, and runs whose bug is known."""

from __future__ import annotations

import math

import torch
from mistakes_08_debugging import DRILLS, HUNT, MISTAKES

from dpo_lab.course import exercise


def first_record(fresh, *, apart=0.0, **changes):
    """A sound first record and the reference's two log-probs, with some numbers changed.

    `apart` moves the two logged log-probs by as much in opposite directions.
    """
    chosen, rejected = -fresh.uniform(5, 20), -fresh.uniform(25, 40)
    record = {
        "step": 1,
        "loss": math.log(2),
        "rewards/chosen": fresh.uniform(-1e-4, 1e-4),
        "rewards/rejected": fresh.uniform(-1e-4, 1e-4),
        "rewards/accuracies": 0.0,
        "logps/chosen": chosen + 1e-4 + apart,
        "logps/rejected": rejected - 1e-4 - apart,
    }
    return {**record, **changes}, chosen, rejected


def of_each(function, inputs):
    """The answers to several inputs together: a slip shows in some of them only."""
    return [function(*arguments) for arguments in inputs]


@exercise("first_step_failures", points=3)
def test_first_step_failures_of_sound_and_broken_records(submission, fresh):
    lifted = fresh.uniform(3, 6)
    cases = [
        ({}, []),
        ({"rewards/chosen": lifted, "rewards/rejected": lifted}, ["rewards"]),
        ({"rewards/rejected": -fresh.uniform(0.1, 2)}, ["rewards"]),
        ({"rewards/chosen": lifted, "rewards/rejected": -lifted}, ["rewards"]),
        ({"apart": lifted}, ["logps"]),
        ({"loss": fresh.uniform(0.1, 0.4)}, ["loss"]),
        ({"logps/rejected": -fresh.uniform(60, 90)}, ["logps"]),
        ({"loss": 0.5, "rewards/chosen": -0.3, "logps/chosen": -0.7}, ["loss", "rewards", "logps"]),
    ]
    inputs = [first_record(fresh, **changes) for changes, _ in cases]
    expected = [failed for _, failed in cases]
    submission.compare("first_step_failures", (inputs,), expected, mistakes=MISTAKES, via=of_each)


@exercise("first_step_failures")
def test_first_step_failures_reports_nan(submission, fresh):
    for name, part in (("loss", "loss"), ("rewards/rejected", "rewards"), ("logps/chosen", "logps")):
        inputs = first_record(fresh, **{name: math.nan})
        submission.compare("first_step_failures", inputs, [part], mistakes=MISTAKES)


@exercise("first_step_failures")
def test_first_step_failures_follows_the_tolerance(submission, fresh):
    inputs = first_record(fresh, loss=math.log(2) + 0.1)
    for tolerance, expected in ((0.2, []), (0.05, ["loss"])):
        settings = {"tolerance": tolerance}
        submission.compare("first_step_failures", inputs, expected, mistakes=MISTAKES, kwargs=settings)


def flat_records(fresh, *, noise=0.0, norm=1.0, top=3e-4, steps=12, warmup=3, constant=False):
    """A run that does not move: rewards of rounding noise, some gradient, a warm-up and a cosine's end."""
    records = []
    for step in range(1, steps + 1):
        rate = top * min(1.0, (step - 1) / warmup) if warmup else top
        rate *= 1.0 if constant else (steps - step) / steps
        records.append(
            {
                "step": step,
                "loss": 0.6931,
                "rewards/chosen": noise * fresh.uniform(0.1, 1) * (-1) ** step,
                "rewards/rejected": noise * fresh.uniform(0.1, 1),
                "grad_norm": norm * fresh.uniform(0.5, 1.5),
                "learning_rate": rate,
            }
        )
    return records


def spike(fresh, top, **settings):
    """A run that does not move and reaches its largest rate in one step alone."""
    records = flat_records(fresh, noise=3e-5, top=top / 50, **settings)
    records[5]["learning_rate"] = top
    return records


def with_margins(records):
    """The records as the trainer logs them, the margin beside the rewards."""
    return [r | {"rewards/margins": r["rewards/chosen"] - r["rewards/rejected"]} for r in records]


@exercise("diagnose_flat_loss", points=4)
def test_diagnose_flat_loss_names_the_five_causes(submission, fresh):
    lr = fresh.uniform(1e-4, 5e-4)
    one_zero = flat_records(fresh, noise=1e-6, top=lr)
    one_zero[0]["grad_norm"] = 0.0
    rejected_only = flat_records(fresh, noise=1e-6, norm=0.0, top=lr)
    for record in rejected_only:
        record["rewards/chosen"] = 0.0
    cases = [
        (flat_records(fresh, norm=0.0, top=lr), "beta_zero"),
        (flat_records(fresh, noise=1e-7, norm=0.0, top=lr), "no_gradient"),
        (rejected_only, "no_gradient"),
        (flat_records(fresh, top=lr), "reference_shared"),
        (flat_records(fresh, noise=3e-5, top=lr / 500), "warmup_too_long"),
        (flat_records(fresh, noise=3e-5, top=lr), "rate_too_low"),
        (one_zero, "rate_too_low"),
        (flat_records(fresh, noise=3e-5, top=lr, warmup=0), "rate_too_low"),
        (flat_records(fresh, noise=3e-5, top=lr, constant=True), "rate_too_low"),
    ]
    inputs = [(with_margins(records), lr) for records, _ in cases]
    expected = [cause for _, cause in cases]
    submission.compare("diagnose_flat_loss", (inputs,), expected, mistakes=MISTAKES, via=of_each)


@exercise("diagnose_flat_loss")
def test_diagnose_flat_loss_compares_the_largest_rate_with_the_one_asked_for(submission, fresh):
    inputs, expected = [], []
    for lr in (fresh.uniform(1e-6, 5e-6), fresh.uniform(1e-5, 5e-5), fresh.uniform(1e-3, 5e-3)):
        for share, cause in ((0.098, "warmup_too_long"), (0.102, "rate_too_low")):
            inputs.append((with_margins(spike(fresh, share * lr)), lr))
            expected.append(cause)
    submission.compare("diagnose_flat_loss", (inputs,), expected, mistakes=MISTAKES, via=of_each)


@exercise("diagnose_flat_loss")
def test_diagnose_flat_loss_sees_a_run_that_moves(submission, fresh):
    fell = flat_records(fresh, noise=1e-6)
    for record in fell:
        record["rewards/chosen"] = record["rewards/rejected"] = -fresh.uniform(0.01, 0.3)
    came_back = flat_records(fresh, noise=1e-6)
    came_back[5]["rewards/chosen"] = fresh.uniform(0.01, 0.3)
    inputs = [(with_margins(fell), 3e-4), (with_margins(came_back), 3e-4)]
    submission.compare("diagnose_flat_loss", (inputs,), ["moving"] * 2, mistakes=MISTAKES, via=of_each)


def scorer(input_ids, weights, power=1.0):
    """A weighted sum of token log-probs: position t of `weights` is about token t + 1."""

    def score(logits):
        logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
        return power * (logps * weights).sum(-1)

    return score


@exercise("positions_scored", points=4)
def test_positions_scored_matches_weights_that_are_known(submission, fresh):
    logits, input_ids, completion_mask = fresh.ragged_batch(rows=4, length=10)
    chosen = torch.rand(completion_mask[:, 1:].shape, generator=fresh.torch) < 0.5
    for mask in (completion_mask[:, 1:], chosen):
        expected = torch.nn.functional.pad(mask, (0, 1))
        score = scorer(input_ids, mask.float(), power=fresh.uniform(0.5, 2))
        submission.compare("positions_scored", (score, logits), expected, mistakes=MISTAKES)


@exercise("positions_scored")
def test_positions_scored_sees_small_gradients_and_none(submission, fresh):
    logits, input_ids, completion_mask = fresh.ragged_batch(rows=3, length=8)
    mask = completion_mask[:, 1:]
    expected = torch.nn.functional.pad(mask, (0, 1))
    mean = scorer(input_ids, mask.float(), power=1e-3)
    submission.compare("positions_scored", (mean, logits), expected, mistakes=MISTAKES)
    whole = scorer(input_ids, mask.float())
    clamped = (
        whole(logits).sort().values[1].item()
    )  # the lowest row lies beyond the limit and gets no gradient
    expected = expected & (whole(logits) >= clamped)[:, None]
    score = lambda logits: whole(logits).clamp(min=clamped - 1e-3)  # noqa: E731
    submission.compare("positions_scored", (score, logits), expected, mistakes=MISTAKES)


def raw_scorer(input_ids, mask, sign=1.0, against=None):
    """A sum of raw logits, not normalised; with `against`, minus that token's logit at the same positions."""

    def score(logits):
        picked = logits[:, :-1].gather(-1, input_ids[:, 1:, None]).squeeze(-1)
        other = 0.0 if against is None else logits[:, :-1].gather(-1, against[:, 1:, None]).squeeze(-1)
        return sign * ((picked - other) * mask).sum(-1)

    return score


@exercise("positions_scored")
def test_positions_scored_needs_no_softmax(submission, fresh):
    logits, input_ids, completion_mask = fresh.ragged_batch(rows=4, length=10)
    mask = completion_mask[:, 1:]
    expected = torch.nn.functional.pad(mask, (0, 1))
    other = (input_ids + 1) % logits.shape[-1]
    for sign, against in ((1.0, None), (-1.0, None), (1.0, other)):
        score = raw_scorer(input_ids, mask.float(), sign, against)
        submission.compare("positions_scored", (score, logits), expected, mistakes=MISTAKES)


def what_is_left(function, score, logits):
    """The answer, and what became of the tensor that was given."""
    given = logits.clone()
    answer = function(score, given)
    return {
        "positions": answer,
        "logits ask for a gradient": given.requires_grad,
        "logits hold a gradient": given.grad is not None,
        "logits are unchanged": torch.equal(given.detach(), logits),
    }


@exercise("positions_scored")
def test_positions_scored_leaves_the_logits_as_they_are(submission, fresh):
    logits, input_ids, completion_mask = fresh.ragged_batch(rows=2, length=6)
    mask = completion_mask[:, 1:]
    expected = {
        "positions": torch.nn.functional.pad(mask, (0, 1)),
        "logits ask for a gradient": False,
        "logits hold a gradient": False,
        "logits are unchanged": True,
    }
    inputs = (scorer(input_ids, mask.float()), logits)
    submission.compare("positions_scored", inputs, expected, mistakes=MISTAKES, via=what_is_left)


def completions(fresh, rows=3, prompt=5, width=6, vocabulary=11, scale=2.0):
    """Logits and ids of prompts with completions whose EOS and padding are both 0."""
    lengths = torch.tensor([width, *(fresh.integer(1, width) for _ in range(rows - 1))])
    ids = torch.randint(1, vocabulary, (rows, width), generator=fresh.torch)
    for row, length in enumerate(lengths.tolist()):
        ids[row, length - 1 :] = 0
    prompt_ids = torch.randint(1, vocabulary, (rows, prompt), generator=fresh.torch)
    return fresh.normal(rows, prompt + width, vocabulary, scale=scale), prompt_ids, ids, lengths


def loop_logprobs(logits, prompt_ids, completion_ids, lengths):
    """A token at a time, in float64."""
    totals = []
    for row, length in enumerate(lengths.tolist()):
        total = 0.0
        for t in range(length):
            column = logits[row, prompt_ids.shape[1] + t - 1].double().tolist()
            highest = max(column)
            normaliser = highest + math.log(sum(math.exp(value - highest) for value in column))
            total += column[completion_ids[row, t]] - normaliser
        totals.append(total)
    return torch.tensor(totals)


@exercise("repaired_logprobs", points=4)
def test_repaired_logprobs_matches_a_float64_loop(submission, fresh):
    for rows, prompt in ((3, 5), (4, 2)):
        inputs = completions(fresh, rows=rows, prompt=prompt)
        submission.compare("repaired_logprobs", inputs, loop_logprobs(*inputs), mistakes=MISTAKES)


@exercise("repaired_logprobs")
def test_repaired_logprobs_has_no_floor(submission, fresh):
    inputs = completions(fresh, width=14, scale=30.0)
    submission.compare("repaired_logprobs", inputs, loop_logprobs(*inputs), mistakes=MISTAKES)


@exercise("repaired_logprobs")
def test_repaired_logprobs_upcasts_half_precision(submission, fresh):
    logits, *ids = completions(fresh, width=12)
    half = (logits.bfloat16(), *ids)
    submission.compare("repaired_logprobs", half, loop_logprobs(*half), mistakes=MISTAKES)


def move(parameter, change, entries):
    """Change the last entries of a parameter by a number, the last by one ulp, or the last two by as much each way."""
    values = parameter.data.flatten()  # a view
    if change == "ulp":
        values[-1:] = torch.nextafter(values[-1:], torch.tensor(math.inf))
    elif change == "pair":
        values[-2:] += torch.tensor([0.25, -0.25])
    else:
        values[-entries:] += change


def leaks(function, cases):
    """Drive the check on small models in which some parameters moved and some ask for a gradient."""
    found = []
    for moved, trainable, change, entries in cases:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        model.requires_grad_(False)
        for parameter in model.parameters():  # multiples of 1/64: their sums are exact
            parameter.data = (64 * parameter.data).round() / 64 + 1 / 64
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        for name, parameter in model.named_parameters():
            if name in moved:
                move(parameter, change, entries)
            parameter.requires_grad_(name in trainable)
        found.append(function(model, before))
    return found


@exercise("reference_leaks", points=2)
def test_reference_leaks_finds_what_moved_and_what_may_move(submission, fresh):
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    order = fresh.rng.permutation(4).tolist()
    first, second, third = (names[i] for i in order[:3])
    cases = [
        ([first, second], [second, third], 0.5, 99),
        ([first], [third], 0.5, 1),
        ([first], [], 1e-5, 1),
        ([], [second, third], 0.5, 1),
        ([], [], 0.5, 1),
        ([first], [], "pair", 2),
        ([second], [], "ulp", 1),
        (["0.bias"], ["2.bias"], 0.5, 1),
        (["2.weight"], ["0.weight"], 0.5, 1),
    ]
    expected = [
        [name for name in names if name in moved or name in may_move] for moved, may_move, *_ in cases
    ]
    submission.compare("reference_leaks", (cases,), expected, mistakes=MISTAKES, via=leaks)


@exercise("read_dashboard", points=3)
def test_read_dashboard_names_state_and_action(submission, fresh):
    for run, expected in DRILLS.items():
        submission.compare("read_dashboard", (run,), expected, mistakes=MISTAKES)


@exercise("name_suspect", points=4)
def test_name_suspect_of_each_run(submission, fresh):
    for run, expected in HUNT.items():
        submission.compare("name_suspect", (run,), expected, mistakes=MISTAKES)
