"""How good people get lesson 05 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import copy
import math

import torch
from torch.nn.functional import kl_div

from dpo_lab.course import Mistake
from dpo_lab.logprobs import completion_logprobs
from dpo_lab.losses import dpo_loss, preference_metrics
from dpo_lab.policies import Policy


def named(policy, model):
    return Policy(model, policy.tokenizer, "reference")


def same_object(policy):
    return named(policy, policy.model)


def alias_frozen(policy):
    return named(policy, policy.model.eval().requires_grad_(False))


def shallow_copy(policy):
    return named(policy, copy.copy(policy.model).eval().requires_grad_(False))


def still_in_training_mode(policy):
    return named(policy, copy.deepcopy(policy.model).requires_grad_(False))


def still_wants_gradients(policy):
    return named(policy, copy.deepcopy(policy.model).eval())


def freezes_before_copying(policy):
    policy.model.requires_grad_(False)
    return named(policy, copy.deepcopy(policy.model).eval())


def evaluates_before_copying(policy):
    policy.model.eval()
    return named(policy, copy.deepcopy(policy.model).requires_grad_(False))


def unfrozen_again(policy):
    policy.model.requires_grad_(False)
    model = copy.deepcopy(policy.model).eval()
    policy.model.requires_grad_(True)
    return named(policy, model)


def back_to_training_mode(policy):
    policy.model.eval()
    model = copy.deepcopy(policy.model).requires_grad_(False)
    policy.model.train()
    return named(policy, model)


def returns_the_module(policy):
    return copy.deepcopy(policy.model).eval().requires_grad_(False)


def step(model, batch, ref_chosen, ref_rejected, beta, smoothing, halves=None, average=False):
    """The right answer with one part exchanged."""
    rows = completion_logprobs(model, batch, average=average)
    chosen, rejected = rows.chunk(2) if halves is None else halves(rows)
    losses, good, bad = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta, smoothing)
    return losses, preference_metrics(losses, good, bad, chosen, rejected)


def halves_swapped(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(
        model, batch, rc, rr, beta, label_smoothing, halves=lambda rows: rows.chunk(2)[::-1]
    )
    return losses.mean(), metrics


def rows_interleaved(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(
        model, batch, rc, rr, beta, label_smoothing, halves=lambda rows: (rows[0::2], rows[1::2])
    )
    return losses.mean(), metrics


def reference_swapped(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model, batch, rr, rc, beta, label_smoothing)
    return losses.mean(), metrics


def summed(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model, batch, rc, rr, beta, label_smoothing)
    return losses.sum(), metrics


def mean_over_rows(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model, batch, rc, rr, beta, label_smoothing)
    return losses.sum() / len(batch["input_ids"]), metrics


def not_reduced(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    return step(model, batch, rc, rr, beta, label_smoothing)


def averaged_over_tokens(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model, batch, rc, rr, beta, label_smoothing, average=True)
    return losses.mean(), metrics


def settings_forgotten(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model, batch, rc, rr, 0.1, 0.0)
    return losses.mean(), metrics


def smoothing_forgotten(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model, batch, rc, rr, beta, 0.0)
    return losses.mean(), metrics


def logps_not_logged(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model, batch, rc, rr, beta, label_smoothing)
    return losses.mean(), {name: value for name, value in metrics.items() if not name.startswith("logps")}


def without_gradient(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    with torch.no_grad():
        losses, metrics = step(model, batch, rc, rr, beta, label_smoothing)
    return losses.mean(), metrics


def a_number(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model, batch, rc, rr, beta, label_smoothing)
    return losses.mean().item(), metrics


def switches_to_eval_mode(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, metrics = step(model.eval(), batch, rc, rr, beta, label_smoothing)
    return losses.mean(), metrics


def two_passes(model, batch, rc, rr, beta=0.1, label_smoothing=0.0):
    size = len(rc)
    parts = [{name: rows[half] for name, rows in batch.items()} for half in (slice(size), slice(size, None))]
    chosen, rejected = (completion_logprobs(model, part) for part in parts)
    losses, good, bad = dpo_loss(chosen, rejected, rc, rr, beta, label_smoothing)
    return losses.mean(), preference_metrics(losses, good, bad, chosen, rejected)


def parameters_of(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def clip(optimizer, max_grad_norm):
    norm = torch.nn.utils.clip_grad_norm_(parameters_of(optimizer), max_grad_norm).item()
    if not math.isfinite(norm):
        raise FloatingPointError("the gradient norm is not finite")
    return norm


def gradients_not_cleared(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, max_grad_norm)
    optimizer.step()
    schedule.step()
    return norm


def cleared_too_early(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, max_grad_norm)
    optimizer.zero_grad()
    optimizer.step()
    schedule.step()
    return norm


def clipped_after_the_step(optimizer, schedule, max_grad_norm):
    optimizer.step()
    norm = clip(optimizer, max_grad_norm)
    schedule.step()
    optimizer.zero_grad()
    return norm


def not_clipped(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, float("inf"))
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return norm


def first_group_only(optimizer, schedule, max_grad_norm):
    norm = torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], max_grad_norm).item()
    if not all(p.grad.isfinite().all() for p in parameters_of(optimizer)):
        raise FloatingPointError("the gradient norm is not finite")
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return norm


def schedule_forgotten(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return norm


def schedule_first(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, max_grad_norm)
    schedule.step()
    optimizer.step()
    optimizer.zero_grad()
    return norm


def clipped_by_value(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, float("inf"))
    torch.nn.utils.clip_grad_value_(parameters_of(optimizer), max_grad_norm)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return norm


def clipped_one_by_one(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, float("inf"))
    for parameter in parameters_of(optimizer):
        torch.nn.utils.clip_grad_norm_([parameter], max_grad_norm)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return norm


def always_scaled(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, float("inf"))
    for parameter in parameters_of(optimizer):
        parameter.grad *= max_grad_norm / norm
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return norm


def returns_the_clipped_norm(optimizer, schedule, max_grad_norm):
    norm = clip(optimizer, max_grad_norm)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return min(norm, max_grad_norm)


def infinity_let_through(optimizer, schedule, max_grad_norm):
    norm = torch.nn.utils.clip_grad_norm_(parameters_of(optimizer), max_grad_norm).item()
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return norm


def stepped(optimizer, schedule, norm):
    """The rest of a step, once the gradients are clipped."""
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return norm


def limit_ignored(optimizer, schedule, max_grad_norm):
    return stepped(optimizer, schedule, clip(optimizer, 1.0))


def sum_of_absolute_values(optimizer, schedule, max_grad_norm):
    norm = torch.nn.utils.clip_grad_norm_(parameters_of(optimizer), max_grad_norm, norm_type=1.0).item()
    if not math.isfinite(norm):
        raise FloatingPointError("the gradient norm is not finite")
    return stepped(optimizer, schedule, norm)


def nan_let_through(optimizer, schedule, max_grad_norm):
    norm = torch.nn.utils.clip_grad_norm_(parameters_of(optimizer), max_grad_norm).item()
    if norm == math.inf:
        raise FloatingPointError("the gradient norm is infinite")
    return stepped(optimizer, schedule, norm)


def raised_after_the_step(optimizer, schedule, max_grad_norm):
    norm = torch.nn.utils.clip_grad_norm_(parameters_of(optimizer), max_grad_norm).item()
    stepped(optimizer, schedule, norm)
    if not math.isfinite(norm):
        raise FloatingPointError("the gradient norm is not finite")
    return norm


def another_error(optimizer, schedule, max_grad_norm):
    norm = torch.nn.utils.clip_grad_norm_(parameters_of(optimizer), max_grad_norm).item()
    if not math.isfinite(norm):
        raise ValueError("the gradient norm is not finite")
    return stepped(optimizer, schedule, norm)


def torchs_error(optimizer, schedule, max_grad_norm):
    parameters = parameters_of(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm, error_if_nonfinite=True).item()
    return stepped(optimizer, schedule, norm)


def warmup_forgotten(step, warmup_steps, total_steps):
    return (1 + math.cos(math.pi * step / total_steps)) / 2


def cosine_counts_from_the_start(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return (1 + math.cos(math.pi * step / total_steps)) / 2


def warmup_off_by_one(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2


def whole_cosine(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return (1 + math.cos(2 * math.pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2


def cosine_not_lifted(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))


def quarter_cosine(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return math.cos(math.pi / 2 * (step - warmup_steps) / (total_steps - warmup_steps))


def straight_line(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return (total_steps - step) / (total_steps - warmup_steps)


def divides_by_the_warmup(step, warmup_steps, total_steps):
    rise = step / warmup_steps
    if step < warmup_steps:
        return rise
    return (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2


def angle_of_the_whole_run(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return (1 + math.cos(math.pi * (step - warmup_steps) / total_steps)) / 2


def pi_forgotten(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return (1 + math.cos((step - warmup_steps) / (total_steps - warmup_steps))) / 2


def last_step_is_the_end(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps - 1))) / 2


def rise_without_warmup(step, warmup_steps, total_steps):
    if step <= warmup_steps:
        return step / max(1, warmup_steps)
    return (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2


def rise_times_cosine(step, warmup_steps, total_steps):
    rise = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return rise * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2


def rise_times_cosine_of_the_whole_run(step, warmup_steps, total_steps):
    rise = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return rise * (1 + math.cos(math.pi * step / total_steps)) / 2


def the_other_direction(policy_logps, ref_logps):
    return (ref_logps - policy_logps).mean()


def absolute_ratios(policy_logps, ref_logps):
    return (policy_logps - ref_logps).abs().mean()


def never_below_zero(policy_logps, ref_logps):
    return (policy_logps - ref_logps).mean().clamp(min=0)


def summed_ratios(policy_logps, ref_logps):
    return (policy_logps - ref_logps).sum()


def one_ratio_a_row(policy_logps, ref_logps):
    return policy_logps - ref_logps


def weighted_again(policy_logps, ref_logps):
    return (policy_logps.exp() * (policy_logps - ref_logps)).sum()


def torchs_kl_div(policy_logps, ref_logps):
    return kl_div(policy_logps, ref_logps, reduction="batchmean", log_target=True)


def torchs_kl_div_turned(policy_logps, ref_logps):
    return kl_div(ref_logps, policy_logps, reduction="batchmean", log_target=True)


def torchs_kl_div_of_logs(policy_logps, ref_logps):
    return kl_div(policy_logps, ref_logps, reduction="batchmean")


def k3(policy_logps, ref_logps):
    log_ratio = ref_logps - policy_logps
    return (log_ratio.exp() - 1 - log_ratio).mean()


def squared_ratios(policy_logps, ref_logps):
    return (policy_logps - ref_logps).pow(2).mean() / 2


def compares_with_the_last_one(eval_losses, patience):
    rises = 0
    for before, after in zip(eval_losses, eval_losses[1:], strict=False):
        rises = rises + 1 if after >= before else 0
    return rises >= patience


def one_too_late(eval_losses, patience):
    if not eval_losses:
        return False
    return len(eval_losses) - 1 - eval_losses.index(min(eval_losses)) > patience


def one_too_early(eval_losses, patience):
    if not eval_losses:
        return False
    return len(eval_losses) - eval_losses.index(min(eval_losses)) >= patience


def a_tie_is_progress(eval_losses, patience):
    if not eval_losses:
        return False
    last_best = max(i for i, loss in enumerate(eval_losses) if loss == min(eval_losses))
    return len(eval_losses) - 1 - last_best >= patience


def never_reset(eval_losses, patience):
    lowest, waited = math.inf, 0
    for loss in eval_losses:
        if loss < lowest:
            lowest = loss
        else:
            waited += 1
    return waited >= patience


def first_rise(eval_losses, patience):
    return len(eval_losses) > 1 and eval_losses[-1] >= min(eval_losses[:-1])


def counts_every_rise(eval_losses, patience):
    return (
        sum(after >= before for before, after in zip(eval_losses, eval_losses[1:], strict=False)) >= patience
    )


def counts_evaluations(eval_losses, patience):
    return len(eval_losses) >= patience


def highest_is_best(eval_losses, patience):
    if not eval_losses:
        return False
    return len(eval_losses) - 1 - eval_losses.index(max(eval_losses)) >= patience


def breaks_on_nothing(eval_losses, patience):
    return len(eval_losses) - 1 - eval_losses.index(min(eval_losses)) >= patience


MISTAKES = {
    "frozen_reference": [
        Mistake(
            "second name, not a copy",
            "Your reference is the policy's own model. Train the policy and the reference moves along. Copy the model.",
            same_object,
        ),
        Mistake(
            "policy frozen instead",
            "You froze the policy's own model and handed it back: now nothing can train. Copy first, then freeze the copy.",
            alias_frozen,
        ),
        Mistake(
            "shallow copy",
            "copy.copy makes a new module around the same weights. The weights have to be copied too.",
            shallow_copy,
        ),
        Mistake(
            "still in training mode",
            "The copy has the policy's mode. With dropout on, the reference gives other log-probs each time.",
            still_in_training_mode,
        ),
        Mistake(
            "still wants gradients",
            "A copy and in eval mode, but its parameters still ask for gradients. Neither eval() nor torch.no_grad() around "
            "the copy changes that; requires_grad_ does.",
            still_wants_gradients,
        ),
        Mistake(
            "frozen before the copy",
            "requires_grad_ works in place: you froze the policy, then copied it. Freeze the copy.",
            freezes_before_copying,
        ),
        Mistake(
            "eval mode before the copy",
            "eval() works in place: the policy itself is now without dropout. Call it on the copy.",
            evaluates_before_copying,
        ),
        Mistake(
            "gradients switched back on",
            "You froze the policy, copied it and let all its parameters train again, those too that were frozen before "
            "(with LoRA most are). Copy first; then there is nothing to undo.",
            unfrozen_again,
        ),
        Mistake(
            "training mode switched back on",
            "The policy was in eval mode, and now it trains: train() after the copy is no undo. Copy first, then call "
            "eval() on the copy.",
            back_to_training_mode,
        ),
        Mistake(
            "module returned",
            "You return the bare module. Return a Policy(model, tokenizer, name) around it: training needs all three.",
            returns_the_module,
        ),
    ],
    "dpo_step_loss": [
        Mistake(
            "halves swapped",
            "The first half of the rows is the chosen one, the second the rejected.",
            halves_swapped,
        ),
        Mistake(
            "rows interleaved",
            "The batch holds all chosen rows first, then all rejected rows. They don't take turns.",
            rows_interleaved,
        ),
        Mistake(
            "reference swapped",
            "The reference's chosen log-probs belong to the policy's chosen ones. Mind the order of dpo_loss's arguments.",
            reference_swapped,
        ),
        Mistake(
            "sum over pairs",
            "The loss is the mean over the B pairs, or the step grows with the batch.",
            summed,
        ),
        Mistake("mean over rows", "There are B pairs, not 2B: each pair has one loss.", mean_over_rows),
        Mistake("not reduced", "`backward` needs one number. Take the mean of the losses.", not_reduced),
        Mistake(
            "averaged over tokens",
            "DPO's log π(y|x) is the sum over the completion's tokens, not their mean.",
            averaged_over_tokens,
        ),
        Mistake("settings forgotten", "Pass beta and label_smoothing on to dpo_loss.", settings_forgotten),
        Mistake(
            "label smoothing forgotten", "beta is passed on, label_smoothing is not.", smoothing_forgotten
        ),
        Mistake(
            "log-probs not logged",
            "preference_metrics takes the policy's two log-probs as well; without them logps/… is missing.",
            logps_not_logged,
        ),
        Mistake(
            "no gradient",
            "The loss has no gradient, so nothing is learnt. It is the reference that runs under no_grad, once, before.",
            without_gradient,
        ),
        Mistake(
            "a number, not a tensor",
            "`.item()` cuts the loss off from the model: nothing is left to call `backward` on. Return the tensor itself.",
            a_number,
        ),
        Mistake(
            "eval mode inside the step",
            "You switched the model to eval mode, and it stays so: from this step on it trains without dropout. The loop "
            "chooses the mode; leave it.",
            switches_to_eval_mode,
        ),
        Mistake(
            "two forward passes",
            "Right numbers, but the model ran twice. Score all 2B rows at once and split the result.",
            two_passes,
        ),
    ],
    "apply_gradients": [
        Mistake(
            "first group only",
            "An optimiser may have several parameter groups. Collect the parameters of all of them before you clip.",
            first_group_only,
        ),
        Mistake(
            "gradients not cleared",
            "backward adds to what is there. Without zero_grad each step carries all gradients before it.",
            gradients_not_cleared,
        ),
        Mistake(
            "cleared too early",
            "You cleared the gradients before the optimiser used them.",
            cleared_too_early,
        ),
        Mistake(
            "clipped after the step",
            "By the time you clip, the optimiser has used the gradients. Clip first.",
            clipped_after_the_step,
        ),
        Mistake(
            "not clipped",
            "The weights moved along the whole gradient: max_grad_norm has no effect.",
            not_clipped,
        ),
        Mistake(
            "schedule forgotten",
            "The rate never changes: call schedule.step() once a step.",
            schedule_forgotten,
        ),
        Mistake(
            "schedule before the optimiser",
            "You moved the rate before the step was taken, so the first step has the second step's rate.",
            schedule_first,
        ),
        Mistake(
            "clipped by value",
            "Clipping each number by itself turns the direction. One common factor for all of them keeps it.",
            clipped_by_value,
        ),
        Mistake(
            "max_grad_norm ignored",
            "You clip at 1, whatever max_grad_norm says. Pass the argument on.",
            limit_ignored,
        ),
        Mistake(
            "sum of absolute values",
            "This is the L1 norm. Asked for is the Euclidean one: the root of the sum of squares.",
            sum_of_absolute_values,
        ),
        Mistake(
            "clipped one by one",
            "The norm is that of all gradients together. Clipping each parameter alone changes their proportions.",
            clipped_one_by_one,
        ),
        Mistake(
            "always scaled",
            "You brought every gradient to max_grad_norm. Smaller ones stay as they are: min(1, …).",
            always_scaled,
        ),
        Mistake(
            "norm after clipping",
            "Return the norm before clipping: after it a log shows max_grad_norm and nothing else.",
            returns_the_clipped_norm,
        ),
        Mistake(
            "infinity let through",
            "An infinite norm makes the factor 0, and 0 times infinity is NaN in every weight. Raise before the step.",
            infinity_let_through,
        ),
        Mistake(
            "NaN let through",
            "You stop an infinite norm only. NaN is not inf, and it spoils every weight as well: math.isfinite tests both.",
            nan_let_through,
        ),
        Mistake(
            "raised after the step",
            "The error comes, but too late: the weights have moved already. Test the norm before optimizer.step().",
            raised_after_the_step,
        ),
        Mistake(
            "another error",
            "You raise a ValueError. Asked for is a FloatingPointError, so that a caller can tell it from a bad setting.",
            another_error,
        ),
        Mistake(
            "torch's own error",
            "error_if_nonfinite=True raises a RuntimeError. Asked for is a FloatingPointError: test the norm yourself.",
            torchs_error,
        ),
    ],
    "warmup_cosine": [
        Mistake(
            "division by zero",
            "Without warm-up there is no rise: divide by warmup_steps only inside it.",
            divides_by_the_warmup,
        ),
        Mistake(
            "warm-up forgotten", "Below warmup_steps the share is step / warmup_steps.", warmup_forgotten
        ),
        Mistake(
            "cosine from step 0",
            "The share jumps where the warm-up ends. The cosine's u starts at 0 there, not at the run's start.",
            cosine_counts_from_the_start,
        ),
        Mistake(
            "one step ahead",
            "The rise is step / warmup_steps: 0 at step 0, 1 at step warmup_steps.",
            warmup_off_by_one,
        ),
        Mistake(
            "whole cosine",
            "The share comes back up. From 1 down to 0 is half a cosine: the angle ends at π.",
            whole_cosine,
        ),
        Mistake(
            "cosine not lifted",
            "cos runs from 1 to −1. Shift and halve it: (1 + cos) / 2.",
            cosine_not_lifted,
        ),
        Mistake(
            "quarter cosine",
            "This is cos from 0 to π/2: it ends at 0, but falls late and arrives steeply.",
            quarter_cosine,
        ),
        Mistake(
            "straight line", "That is the linear schedule. This one is (1 + cos(π·u)) / 2.", straight_line
        ),
        Mistake(
            "divided by the whole run",
            "The fall takes total_steps − warmup_steps steps. Divided by total_steps, u does not reach 1.",
            angle_of_the_whole_run,
        ),
        Mistake(
            "π forgotten",
            "The angle is π·u, in radians. Without π the share ends at 0.77 instead of 0.",
            pi_forgotten,
        ),
        Mistake(
            "ends one step early",
            "The share is 0 at step = total_steps, not one step before: the fall is total_steps − warmup_steps long.",
            last_step_is_the_end,
        ),
        Mistake(
            "rise without warm-up",
            "With warmup_steps = 0 the share at step 0 is 1. `step <= warmup_steps` makes it 0: the rise is for step < w.",
            rise_without_warmup,
        ),
        Mistake(
            "rise times cosine",
            "You multiply the rise by the cosine. There are two cases: before step w the rise alone, then the cosine alone.",
            rise_times_cosine,
        ),
        Mistake(
            "rise times the whole run's cosine",
            "You multiply the rise by a cosine that starts at step 0. Two cases: the rise alone, then the cosine with u.",
            rise_times_cosine_of_the_whole_run,
        ),
    ],
    "kl_estimate": [
        Mistake(
            "other direction",
            "This is E[log π_ref − log π], with the sign turned round. KL(π ‖ π_ref) has π on top.",
            the_other_direction,
        ),
        Mistake(
            "absolute values",
            "A single log-ratio may be negative and must count so: |…| makes the estimate too large.",
            absolute_ratios,
        ),
        Mistake(
            "cut at zero",
            "The KL is never negative, its estimate may be. Cutting it off makes the mean of many estimates too large.",
            never_below_zero,
        ),
        Mistake("sum", "An expectation is estimated by the mean of the samples.", summed_ratios),
        Mistake(
            "one value a completion", "Return one number: the mean over the completions.", one_ratio_a_row
        ),
        Mistake(
            "weighted by the probability",
            "The samples come from π already. Weighting them by π counts it twice.",
            weighted_again,
        ),
        Mistake(
            "kl_div on log-probs",
            "torch's kl_div weights its terms by whole distributions. You have one log-prob a sample: no weights.",
            torchs_kl_div,
        ),
        Mistake(
            "kl_div, turned round",
            "torch's kl_div multiplies each term by its probability. The samples come from π: that weight is in them already.",
            torchs_kl_div_turned,
        ),
        Mistake(
            "kl_div without log_target",
            "kl_div takes its second argument for probabilities; of a log-prob it makes NaN. Here a plain mean is enough.",
            torchs_kl_div_of_logs,
        ),
        Mistake(
            "k3",
            "This is the estimator k3: also unbiased, and less noisy near the reference. Asked for here is the plain mean "
            "of the log-ratios.",
            k3,
        ),
        Mistake(
            "squared",
            "Half the squared log-ratio is another estimator, biased away from small distances.",
            squared_ratios,
        ),
    ],
    "out_of_patience": [
        Mistake(
            "empty list",
            "Before the first evaluation there is no minimum: the answer is False.",
            breaks_on_nothing,
        ),
        Mistake(
            "compares with the last evaluation",
            "The count starts anew only at a new lowest loss, not whenever the loss is below the one before.",
            compares_with_the_last_one,
        ),
        Mistake(
            "one too late",
            "With patience 1 the first evaluation without a new lowest loss ends the run.",
            one_too_late,
        ),
        Mistake(
            "one too early",
            "The best evaluation itself doesn't count as one without progress.",
            one_too_early,
        ),
        Mistake(
            "a tie is progress",
            "An equal loss is not lower: count from the first time the minimum was reached.",
            a_tie_is_progress,
        ),
        Mistake(
            "no patience at all",
            "You stop at the first evaluation without progress, whatever patience says.",
            first_rise,
        ),
        Mistake(
            "counter never set back",
            "A new lowest loss sets the count back to 0. Yours adds up all evaluations without progress of the run.",
            never_reset,
        ),
        Mistake(
            "counts every rise",
            "Rises before the last new minimum are forgiven: the count starts anew.",
            counts_every_rise,
        ),
        Mistake(
            "counts evaluations",
            "patience counts evaluations without progress, not evaluations.",
            counts_evaluations,
        ),
        Mistake("highest is best", "A lower loss is better: look for the minimum.", highest_is_best),
    ],
}
