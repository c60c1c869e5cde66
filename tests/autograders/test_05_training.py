"""Lesson 05: the parts of a training run. Oracles are float64 loops; models are tables of logits that anyone can check."""

from __future__ import annotations

import math
import warnings

import torch
from mistakes_05_training import MISTAKES
from torch import Tensor, nn

from dpo_lab.course import exercise
from dpo_lab.policies import Policy


def toy_policy(weights: Tensor, training: bool = True, frozen_bias: bool = False) -> Policy:
    """A policy whose model is one linear layer with dropout and a buffer."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(weights.shape[1], weights.shape[0]))
    with torch.no_grad():
        model[1].weight.copy_(weights)
        model[1].bias.zero_()
    model.register_buffer("scale", torch.ones(3))
    model[1].bias.requires_grad_(not frozen_bias)
    return Policy(model.train(training), {"<pad>": 0, "<eos>": 1}, "toy")


def state_after_freezing(function, weights, **start):
    """What became of the policy and of its reference, in words."""
    policy = toy_policy(weights, **start)
    reference = function(policy)
    if not isinstance(reference, Policy):
        return {"returned": type(reference).__name__}
    return {
        "returned": "Policy",
        "policy's modules still in training mode": [module.training for module in policy.model.modules()],
        "policy's parameters still want a gradient": [p.requires_grad for p in policy.model.parameters()],
        "reference's modules in training mode": [module.training for module in reference.model.modules()],
        "reference's parameters want a gradient": [p.requires_grad for p in reference.model.parameters()],
        "reference's first weights": reference.model[1].weight.detach().clone(),
        "vocabulary": dict(reference.tokenizer),
    }


def weights_after_training(function, weights):
    """The reference's weights and buffer before and after the policy has moved, and the policy's own."""
    policy = toy_policy(weights)
    reference = function(policy)
    before = reference.model[1].weight.detach().clone()
    with torch.no_grad():
        for tensor in (*policy.model.parameters(), *policy.model.buffers()):
            tensor += 1.0
    return {
        "reference before": before,
        "reference after the policy has trained": reference.model[1].weight.detach().clone(),
        "its buffer": reference.model.scale.clone(),
        "policy": policy.model[1].weight.detach().clone(),
    }


@exercise("frozen_reference", points=3)
def test_frozen_reference_is_in_eval_mode_without_gradients_and_leaves_the_policy_alone(submission, fresh):
    weights = fresh.normal(4, 3)
    expected = {
        "returned": "Policy",
        "policy's modules still in training mode": [True, True, True],
        "policy's parameters still want a gradient": [True, True],
        "reference's modules in training mode": [False, False, False],
        "reference's parameters want a gradient": [False, False],
        "reference's first weights": weights,
        "vocabulary": {"<pad>": 0, "<eos>": 1},
    }
    submission.compare("frozen_reference", (weights,), expected, mistakes=MISTAKES, via=state_after_freezing)


@exercise("frozen_reference")
def test_frozen_reference_leaves_a_half_frozen_policy_as_it_was(submission, fresh):
    weights = fresh.normal(4, 3)
    expected = {
        "returned": "Policy",
        "policy's modules still in training mode": [False, False, False],
        "policy's parameters still want a gradient": [True, False],
        "reference's modules in training mode": [False, False, False],
        "reference's parameters want a gradient": [False, False],
        "reference's first weights": weights,
        "vocabulary": {"<pad>": 0, "<eos>": 1},
    }
    start = {"training": False, "frozen_bias": True}
    submission.compare(
        "frozen_reference", (weights,), expected, mistakes=MISTAKES, via=state_after_freezing, kwargs=start
    )


def dtypes_after_freezing(function, weights):
    """The dtype of the reference of a policy in bfloat16."""
    policy = toy_policy(weights)
    policy.model.bfloat16()
    return [str(p.dtype) for p in function(policy).model.parameters()]


@exercise("frozen_reference")
def test_frozen_reference_keeps_the_dtype(submission, fresh):
    expected = ["torch.bfloat16"] * 2
    submission.compare(
        "frozen_reference", (fresh.normal(4, 3),), expected, mistakes=MISTAKES, via=dtypes_after_freezing
    )


@exercise("frozen_reference")
def test_frozen_reference_does_not_move_with_the_policy(submission, fresh):
    weights = fresh.normal(4, 3)
    expected = {
        "reference before": weights,
        "reference after the policy has trained": weights,
        "its buffer": torch.ones(3),
        "policy": weights + 1,
    }
    submission.compare(
        "frozen_reference", (weights,), expected, mistakes=MISTAKES, via=weights_after_training
    )


class Bigram(nn.Module):
    """The smallest causal language model: the logits of the next token are a row of a table."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table.clone())
        self.passes = 0

    def forward(self, input_ids, attention_mask=None, position_ids=None, logits_to_keep=0, **_):
        self.passes += 1
        return Output(self.table[input_ids[:, -logits_to_keep:]])


class Output:
    """What a `transformers` model returns, as far as it is needed."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


def pair_batch(fresh, pairs: int = 4, vocabulary: int = 7):
    """A table of logits, a collated batch of 2B rows of unequal lengths, and reference log-probs."""
    width = 10
    ids = torch.zeros(2 * pairs, width, dtype=torch.long)
    attention, completion = torch.zeros_like(ids), torch.zeros_like(ids)
    for row in range(2 * pairs):
        prompt, length = fresh.integer(1, 4), fresh.integer(1, 6) + (row == 0)
        ids[row, : prompt + length] = torch.randint(1, vocabulary, (prompt + length,), generator=fresh.torch)
        attention[row, : prompt + length] = 1
        completion[row, prompt : prompt + length] = 1
    batch = {"input_ids": ids, "attention_mask": attention, "completion_mask": completion}
    reference = -2.0 - 8.0 * torch.rand(2, pairs, generator=fresh.torch)
    return fresh.normal(vocabulary, vocabulary, scale=1.5), batch, reference[0], reference[1]


def logprob_and_gradient(table: list[list[float]], ids: list[int], scored: list[int]) -> tuple[float, Tensor]:
    """log π(y|x) of one row and its gradient in the table, in float64, token by token."""
    total, gradient = 0.0, torch.zeros(len(table), len(table), dtype=torch.float64)
    for t in range(1, len(ids)):
        if scored[t]:
            row = table[ids[t - 1]]
            log_total = math.log(sum(math.exp(logit) for logit in row))
            total += row[ids[t]] - log_total
            gradient[ids[t - 1]] -= torch.tensor([math.exp(logit - log_total) for logit in row]).double()
            gradient[ids[t - 1], ids[t]] += 1
    return total, gradient


def softplus(x: float) -> float:
    """log(1 + e^x), by the form that does not overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def oracle_step(table, batch, ref_chosen, ref_rejected, beta, smoothing=0.0):
    """Loss, metrics and gradient of a batch, a pair at a time."""
    ids, scored = batch["input_ids"].tolist(), batch["completion_mask"].tolist()
    pairs = len(ref_chosen)
    found = [logprob_and_gradient(table.double().tolist(), ids[i], scored[i]) for i in range(2 * pairs)]
    rows = {
        "loss": [],
        "rewards/chosen": [],
        "rewards/rejected": [],
        "rewards/accuracies": [],
        "rewards/margins": [],
    }
    gradient = torch.zeros_like(found[0][1])
    for i in range(pairs):
        (chosen, up), (rejected, down) = found[i], found[pairs + i]
        good, bad = beta * (chosen - ref_chosen[i].item()), beta * (rejected - ref_rejected[i].item())
        margin = good - bad
        loss = (1 - smoothing) * softplus(-margin) + smoothing * softplus(margin)
        slope = smoothing - 1 / (1 + math.exp(margin))
        gradient += beta * slope * (up - down) / pairs
        for name, value in zip(rows, (loss, good, bad, float(good > bad), margin), strict=True):
            rows[name].append(value)
    rows["logps/chosen"] = [total for total, _ in found[:pairs]]
    rows["logps/rejected"] = [total for total, _ in found[pairs:]]
    metrics = {name: sum(values) / pairs for name, values in rows.items()}
    return metrics["loss"], metrics, gradient.float()


def step_values(function, table, batch, *reference, **settings):
    """The loss and the metrics of one call."""
    loss, metrics = function(Bigram(table), batch, *reference, **settings)
    return {"loss": loss, "metrics": metrics}


def step_gradient(function, table, batch, *reference, **settings):
    """What `backward` on the loss leaves in the model's table, and how often the model ran."""
    model = Bigram(table)
    loss, _ = function(model, batch, *reference, **settings)
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()
    gradient = torch.zeros_like(table) if model.table.grad is None else model.table.grad
    return {"gradient": gradient, "forward passes": model.passes, "still in training mode": model.training}


@exercise("dpo_step_loss", points=5)
def test_dpo_step_loss_matches_a_float64_loop(submission, fresh):
    inputs = pair_batch(fresh)
    settings = {"beta": fresh.uniform(0.2, 0.6)}
    loss, metrics, _ = oracle_step(*inputs, **settings)
    expected = {"loss": torch.tensor(loss), "metrics": metrics}
    submission.compare(
        "dpo_step_loss", inputs, expected, mistakes=MISTAKES, via=step_values, kwargs=settings, atol=2e-6
    )


@exercise("dpo_step_loss")
def test_dpo_step_loss_smooths_labels(submission, fresh):
    inputs = pair_batch(fresh, pairs=5)
    smoothing = fresh.uniform(0.1, 0.4)
    loss, metrics, _ = oracle_step(*inputs, beta=0.3, smoothing=smoothing)
    expected = {"loss": torch.tensor(loss), "metrics": metrics}
    settings = {"beta": 0.3, "label_smoothing": smoothing}
    submission.compare(
        "dpo_step_loss", inputs, expected, mistakes=MISTAKES, via=step_values, kwargs=settings, atol=2e-6
    )


@exercise("dpo_step_loss")
def test_dpo_step_loss_sends_the_gradient_through_one_forward_pass(submission, fresh):
    inputs = pair_batch(fresh)
    *_, gradient = oracle_step(*inputs, beta=0.5)
    expected = {"gradient": gradient, "forward passes": 1, "still in training mode": True}
    submission.compare(
        "dpo_step_loss", inputs, expected, mistakes=MISTAKES, via=step_gradient, kwargs={"beta": 0.5}
    )


def several_steps(function, start, gradients, max_grad_norm, peak):
    """Weights and rate after each of several steps of plain SGD whose rate shrinks, and what each step returned."""
    parameters = [nn.Parameter(tensor.clone()) for tensor in start]
    groups = [
        {"params": [parameters[1]]},
        {"params": [parameters[0]]},
    ]  # the large gradients sit in the second group
    optimizer = torch.optim.SGD(groups, lr=peak)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    steps = []
    for step in gradients:
        sum((p * g).sum() for p, g in zip(parameters, step, strict=True)).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the wrong order; the check says it better
            norm = function(optimizer, schedule, max_grad_norm)
        left = sum(float(p.grad.abs().sum()) for p in parameters if p.grad is not None)
        steps.append(
            {
                "weights": torch.cat([p.detach().flatten().clone() for p in parameters]),
                "returned": norm,
                "next rate": optimizer.param_groups[0]["lr"],
                "gradient left behind": left > 0,
            }
        )
    return steps


def oracle_steps(start, gradients, max_grad_norm, peak):
    """The same in float64, without torch's optimisers."""
    weights = torch.cat([tensor.flatten() for tensor in start]).double()
    steps = []
    for number, step in enumerate(gradients):
        gradient = torch.cat([tensor.flatten() for tensor in step]).double()
        norm = math.sqrt(sum(value**2 for value in gradient.tolist()))
        weights = weights - peak * 0.5**number * min(1.0, max_grad_norm / norm) * gradient
        found = {"weights": weights.float(), "returned": norm, "next rate": peak * 0.5 ** (number + 1)}
        steps.append(found | {"gradient left behind": False})
    return steps


def steps_of_norms(fresh, norms):
    """Two parameters, and gradients for both whose joint norm is given at each step; the first holds most of it."""
    start = [fresh.normal(2, 3), fresh.normal(4)]
    gradients = []
    for norm in norms:
        parts = [fresh.normal(2, 3) * 3, fresh.normal(4)]
        scale = norm / math.sqrt(sum(float(part.double().pow(2).sum()) for part in parts))
        gradients.append([part * scale for part in parts])
    return start, gradients


@exercise("apply_gradients", points=4)
def test_apply_gradients_matches_steps_by_hand(submission, fresh):
    start, gradients = steps_of_norms(fresh, [4.0 + fresh.uniform(0, 2), 0.5, 3.0, 0.3])
    inputs = (start, gradients, fresh.uniform(1.3, 2.0), 0.2)
    expected = oracle_steps(*inputs)
    submission.compare("apply_gradients", inputs, expected, mistakes=MISTAKES, via=several_steps)


@exercise("apply_gradients")
def test_apply_gradients_leaves_small_gradients_as_they_are(submission, fresh):
    start, gradients = steps_of_norms(fresh, [0.4, 0.9, fresh.uniform(0.2, 0.8)])
    inputs = (start, gradients, 1.5, 0.3)
    submission.compare("apply_gradients", inputs, oracle_steps(*inputs), mistakes=MISTAKES, via=several_steps)


def bad_gradients(function, start):
    """What happens when one entry of a gradient is inf or NaN: which error, and whether the weights were left alone."""
    found = {}
    for name in ("inf", "nan"):
        parameter = nn.Parameter(start.clone())
        optimizer = torch.optim.SGD([parameter], lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        parameter.grad = torch.ones_like(start)
        parameter.grad[1] = float(name)
        raised = "nothing"
        try:
            function(optimizer, schedule, 1.0)
        except FloatingPointError:
            raised = "FloatingPointError"
        except Exception as error:
            raised = type(error).__name__
        found[f"raised for {name}"] = raised
        found[f"weights left alone for {name}"] = torch.equal(parameter.detach(), start)
    return found


@exercise("apply_gradients")
def test_apply_gradients_refuses_a_gradient_that_is_not_finite(submission, fresh):
    expected = {
        "raised for inf": "FloatingPointError",
        "weights left alone for inf": True,
        "raised for nan": "FloatingPointError",
        "weights left alone for nan": True,
    }
    submission.compare("apply_gradients", (fresh.normal(3),), expected, mistakes=MISTAKES, via=bad_gradients)


def whole_run(function, warmup_steps, total_steps):
    """The share at every step of a run, its last point included."""
    return [function(step, warmup_steps, total_steps) for step in range(total_steps + 1)]


def oracle_run(warmup_steps, total_steps):
    rise = [step / warmup_steps for step in range(warmup_steps)]
    length = total_steps - warmup_steps
    # cos² of half the angle: the same curve, written differently
    return rise + [math.cos(math.pi * step / (2 * length)) ** 2 for step in range(length + 1)]


@exercise("warmup_cosine", points=3)
def test_warmup_cosine_rises_and_falls(submission, fresh):
    inputs = (fresh.integer(3, 8), fresh.integer(15, 40))
    submission.compare("warmup_cosine", inputs, oracle_run(*inputs), mistakes=MISTAKES, via=whole_run)


@exercise("warmup_cosine")
def test_warmup_cosine_without_warm_up_starts_at_the_peak(submission, fresh):
    inputs = (0, fresh.integer(9, 30))
    submission.compare("warmup_cosine", inputs, oracle_run(*inputs), mistakes=MISTAKES, via=whole_run)


@exercise("kl_estimate", points=2)
def test_kl_estimate_is_the_mean_log_ratio(submission, fresh):
    reference = -5 - 6 * torch.rand(9, generator=fresh.torch)
    policy = reference + 1.0 + fresh.normal(9, scale=2.0)
    policy[0] = reference[0] - 3.0  # a sample that the policy finds less likely than the reference does
    expected = (
        sum(a - b for a, b in zip(policy.double().tolist(), reference.double().tolist(), strict=True)) / 9
    )
    submission.compare("kl_estimate", (policy, reference), expected, mistakes=MISTAKES)


@exercise("kl_estimate")
def test_kl_estimate_may_come_out_below_zero(submission, fresh):
    reference = -5 - 6 * torch.rand(6, generator=fresh.torch)
    policy = reference - 0.2 - torch.rand(6, generator=fresh.torch)
    expected = (
        sum(a - b for a, b in zip(policy.double().tolist(), reference.double().tolist(), strict=True)) / 6
    )
    submission.compare("kl_estimate", (policy, reference), expected, mistakes=MISTAKES)


def while_it_runs(function, run):
    """What is answered after each evaluation of a run; the key says which losses were there by then."""
    losses, patience = run["evaluations of a run"], run["patience"]
    return {so_far(losses, count): function(losses[:count], patience) for count in range(len(losses) + 1)}


def so_far(losses, count):
    return "after " + (", ".join(f"{loss:.4f}" for loss in losses[:count]) or "no evaluation")


def a_run(losses, patience):
    return {"evaluations of a run": losses, "patience": patience}


def oracle_patience(run):
    """The same with a counter that is set back at each new lowest loss."""
    losses = run["evaluations of a run"]
    answers, lowest, waited = {so_far(losses, 0): False}, math.inf, 0
    for count, loss in enumerate(losses, start=1):
        lowest, waited = (loss, 0) if loss < lowest else (lowest, waited + 1)
        answers[so_far(losses, count)] = waited >= run["patience"]
    return answers


@exercise("out_of_patience", points=3)
def test_out_of_patience_counts_since_the_best_evaluation(submission, fresh):
    noise = [0.001 * fresh.rng.random() for _ in range(9)]
    shape = [0.69, 0.66, 0.67, 0.64, 0.66, 0.65, 0.68, 0.645, 0.70]  # falls, wavers, and does not come back
    run = a_run([a + b for a, b in zip(shape, noise, strict=True)], fresh.integer(3, 5))
    submission.compare("out_of_patience", (run,), oracle_patience(run), mistakes=MISTAKES, via=while_it_runs)


@exercise("out_of_patience")
def test_out_of_patience_takes_an_equal_loss_for_no_progress(submission, fresh):
    level = fresh.uniform(0.4, 0.6)
    run = a_run([level + 0.1, level, level + 0.05, level, level, level + 0.2], 3)
    submission.compare("out_of_patience", (run,), oracle_patience(run), mistakes=MISTAKES, via=while_it_runs)


@exercise("out_of_patience")
def test_out_of_patience_goes_on_while_the_loss_falls(submission, fresh):
    run = a_run(sorted((fresh.uniform(0.2, 0.69) for _ in range(7)), reverse=True), 1)
    submission.compare("out_of_patience", (run,), oracle_patience(run), mistakes=MISTAKES, via=while_it_runs)
