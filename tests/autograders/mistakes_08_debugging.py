"""How good people get lesson 08 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import math

import torch

from dpo_lab.course import Mistake

LN_2 = math.log(2)

# first_step_failures


def failures(
    record, ref_chosen, ref_rejected, tolerance, *, target=LN_2, rewards=None, logps=None, fails=None
):
    """The right answer with one part exchanged."""
    fails = fails or (lambda size: not abs(size) <= tolerance)
    chosen, rejected = record["rewards/chosen"], record["rewards/rejected"]
    errors = [record["logps/chosen"] - ref_chosen, record["logps/rejected"] - ref_rejected]
    checks = {
        "loss": [record["loss"] - target],
        "rewards": [chosen, rejected] if rewards is None else rewards(chosen, rejected),
        "logps": errors if logps is None else logps(*errors),
    }
    return [name for name, sizes in checks.items() if any(fails(size) for size in sizes)]


def nan_passes(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(
        record, ref_chosen_logps, ref_rejected_logps, tolerance, fails=lambda size: abs(size) > tolerance
    )


def signed(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(
        record, ref_chosen_logps, ref_rejected_logps, tolerance, fails=lambda size: not size <= tolerance
    )


def margin_alone(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(record, ref_chosen_logps, ref_rejected_logps, tolerance, rewards=lambda c, r: [c - r])


def chosen_alone(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(record, ref_chosen_logps, ref_rejected_logps, tolerance, rewards=lambda c, r: [c])


def rewards_summed(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(record, ref_chosen_logps, ref_rejected_logps, tolerance, rewards=lambda c, r: [c + r])


def logps_summed(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(record, ref_chosen_logps, ref_rejected_logps, tolerance, logps=lambda c, r: [c + r])


def one_half(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(record, ref_chosen_logps, ref_rejected_logps, tolerance, target=0.5)


def tolerance_fixed(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(record, ref_chosen_logps, ref_rejected_logps, 0.02)


def chosen_logps_alone(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(record, ref_chosen_logps, record["logps/rejected"], tolerance)


def references_exchanged(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    return failures(record, ref_rejected_logps, ref_chosen_logps, tolerance)


# diagnose_flat_loss


def flat(records, lr, *, largest=None, exact=None, no_gradient=None, late=None, names=None):
    """The right answer with one part exchanged."""
    rewards = [record[f"rewards/{side}"] for record in records for side in ("chosen", "rejected")]
    rates = [record["learning_rate"] for record in records]
    norms = [record["grad_norm"] for record in records]
    if (max(map(abs, rewards)) if largest is None else largest(rewards)) > 1e-3:
        return "moving"
    exact = not any(rewards) if exact is None else exact(rewards)
    if not any(norms) if no_gradient is None else no_gradient(norms):
        return "beta_zero" if exact else "no_gradient"
    if exact:
        return "reference_shared"
    return "warmup_too_long" if (max(rates) < lr / 10 if late is None else late(rates)) else "rate_too_low"


def last_reward(records, lr):
    return flat(records, lr, largest=lambda rewards: max(map(abs, rewards[-2:])))


def largest_without_sign(records, lr):
    return flat(records, lr, largest=max)


def nearly_zero(records, lr):
    return flat(records, lr, exact=lambda rewards: max(map(abs, rewards)) < 1e-4)


def zeros_exchanged(records, lr):
    answer = flat(records, lr)
    return {"beta_zero": "no_gradient", "no_gradient": "beta_zero"}.get(answer, answer)


def first_gradient(records, lr):
    return flat(records, lr, no_gradient=lambda norms: norms[0] == 0)


def first_rate(records, lr):
    return flat(records, lr, late=lambda rates: rates[0] < lr / 10)


def last_rate(records, lr):
    return flat(records, lr, late=lambda rates: rates[-1] < lr / 10)


def chosen_rewards_only(records, lr):
    return flat(records, lr, exact=lambda rewards: not any(rewards[::2]))


def margin_for_rewards(records, lr):
    margins = [{**r, "rewards/chosen": r["rewards/margins"], "rewards/rejected": 0.0} for r in records]
    return flat(margins, lr)


def mean_rate(records, lr):
    return flat(records, lr, late=lambda rates: sum(rates) / len(rates) < lr / 10)


def usual_rate(records, lr):
    return flat(records, lr, late=lambda rates: max(rates) < 3e-5)


# positions_scored


def gradient_of(score, logits):
    probe = logits.detach().clone().requires_grad_()
    return torch.autograd.grad(score(probe).sum(), probe)[0]


def summed_over_vocabulary(score, logits):
    return gradient_of(score, logits).sum(-1).abs() > 1e-3


def sum_not_zero(score, logits):
    return gradient_of(score, logits).sum(-1) != 0


def positive_entries(score, logits):
    return (gradient_of(score, logits) > 0).any(-1)


def first_entry(score, logits):
    return gradient_of(score, logits)[..., 0] != 0


def in_place(score, logits):
    logits.requires_grad_()
    return (torch.autograd.grad(score(logits).sum(), logits)[0] != 0).any(-1)


def positive_only(score, logits):
    return gradient_of(score, logits).sum(-1) > 0


def first_row_only(score, logits):
    probe = logits.detach().clone().requires_grad_()
    return (torch.autograd.grad(score(probe)[0], probe)[0] != 0).any(-1)


def any_over_rows(score, logits):
    return (gradient_of(score, logits) != 0).any(0)


def one_more(score, logits):
    return (gradient_of(score, logits) != 0).any(-1).roll(1, dims=1)


def large_only(score, logits):
    return (gradient_of(score, logits).abs() > 0.5).any(-1)


# repaired_logprobs


def repaired(logits, prompt_ids, completion_ids, lengths, *, start=None, normalise=True, own=None):
    """(B, C) token log-probs with those outside the completion at 0; one part may be exchanged."""
    width = completion_ids.shape[1]
    start = prompt_ids.shape[1] - 1 if start is None else start
    table = logits.float().log_softmax(-1) if normalise else logits.float()
    picked = table[:, start : start + width]
    logps = picked.gather(-1, completion_ids[:, : picked.shape[1], None]).squeeze(-1)
    own = torch.arange(width) < lengths[:, None] if own is None else own
    return logps.masked_fill(~own[:, : logps.shape[1]], 0.0)


def slice_by_len(logits, prompt_ids, completion_ids, lengths):
    return repaired(logits, prompt_ids, completion_ids, lengths, start=len(prompt_ids) - 1).sum(-1)


def unshifted(logits, prompt_ids, completion_ids, lengths):
    return repaired(logits, prompt_ids, completion_ids, lengths, start=prompt_ids.shape[1]).sum(-1)


def mask_by_id(logits, prompt_ids, completion_ids, lengths):
    return repaired(logits, prompt_ids, completion_ids, lengths, own=completion_ids != 0).sum(-1)


def averaged(logits, prompt_ids, completion_ids, lengths):
    return repaired(logits, prompt_ids, completion_ids, lengths).sum(-1) / lengths


def clamped(logits, prompt_ids, completion_ids, lengths):
    return repaired(logits, prompt_ids, completion_ids, lengths).sum(-1).clamp(-100, 0)


def padding_counted(logits, prompt_ids, completion_ids, lengths):
    own = torch.ones_like(completion_ids, dtype=torch.bool)
    return repaired(logits, prompt_ids, completion_ids, lengths, own=own).sum(-1)


def not_normalised(logits, prompt_ids, completion_ids, lengths):
    return repaired(logits, prompt_ids, completion_ids, lengths, normalise=False).sum(-1)


def not_upcast(logits, prompt_ids, completion_ids, lengths):
    logps = logits[:, prompt_ids.shape[1] - 1 : -1].log_softmax(-1)
    picked = logps.gather(-1, completion_ids[..., None]).squeeze(-1)
    own = torch.arange(completion_ids.shape[1]) < lengths[:, None]
    return picked.masked_fill(~own, 0.0).sum(-1).float()


# reference_leaks


def flags_alone(model, before):
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def values_alone(model, before):
    return [
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter.detach(), before[name])
    ]


def both_at_once(model, before):
    return [name for name in flags_alone(model, before) if name in values_alone(model, before)]


def nearly_equal(model, before):
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or not torch.allclose(parameter, before[name], rtol=1e-2, atol=1e-3)
    ]


def close_by_default(model, before):
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or not torch.allclose(parameter, before[name])
    ]


def sums_compared(model, before):
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or parameter.sum().item() != before[name].sum().item()
    ]


def flags_first(model, before):
    flagged = flags_alone(model, before)
    return flagged + [name for name in values_alone(model, before) if name not in flagged]


def all_entries(model, before):
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or bool((parameter != before[name]).all())
    ]


def sound_ones(model, before):
    leaks = {*flags_alone(model, before), *values_alone(model, before)}
    return [name for name in before if name not in leaks]


# the two that name

# what each run of the lesson is: see dpo_lab/experiments/bug_runs.py
DRILLS = {
    "1": ("healthy", "go on"),
    "2": ("overfitting", "go back to the best weights"),
    "3": ("no signal", "read the pairs"),
    "4": ("too fast", "lower the rate"),
    "5": ("stuck", "fix the set-up"),
    "6": ("displacement", "change the loss"),
}

# the hunt's answers, written so that a glance at this file does not spoil them
HUNT = {
    letter: word[::-1]
    for letter, word in zip(
        "ABCDEFGH",
        "x001_etar modnar_ecnerefer mus_rof_naem deppaws_riap eno_yb_ffo no_tuopord derongi_ssol "
        "demmus_gniddap".split(),
        strict=True,
    )
}


def says(key, answer):
    """A learner who is wrong about one run alone."""

    def reading(run):
        return answer if run == key else (DRILLS | HUNT)[run]

    return reading


DRILL_SLIPS = [
    ("1", ("no signal", "read the pairs"), "Run 1: the loss of eight pairs is noisy. Look at the mean margin of the last third in the table: is it 0?"),
    ("1", ("too fast", "lower the rate"), "Run 1: a loss that jumps is noise of small batches. A rate that is too high throws the log-probs away: do they fall to several times their start?"),
    ("1", ("healthy", "train longer"), "Run 1: you name the state rightly. Training longer may help, but first comes what was planned: with a sound run there is nothing to mend."),
    ("1", ("Healthy", "go on"), "Run 1: write the states as the table has them, in small letters."),
    ("1", ("go on", "healthy"), "Run 1: the state comes first, the action second."),
    ("1", ("displacement", "change the loss"), "Run 1: its chosen reward of -0.09 is less than one nat at β = 0.1. In which run did the chosen completions lose more?"),
    ("2", ("healthy", "go on"), "Run 2: the training loss is fine. There are black dots in the first panel: what do the held-out pairs say?"),
    ("2", ("overfitting", "train longer"), "Run 2: you name the state rightly. The held-out loss has turned: more of the same makes it worse."),
    ("2", ("overfitting", "go on"), "Run 2: you name the state rightly. The held-out loss has turned: going on makes it worse."),
    ("2", ("overfitting", "lower the rate"), "Run 2: you name the state rightly. At a lower rate it turns later, but it turns. Which weights does the run have already?"),
    ("2", ("overfit", "go back to the best weights"), "Run 2: you mean the right state; the table calls it 'overfitting'."),
    ("2", ("displacement", "change the loss"), "Run 2: its chosen reward falls too. But a held-out loss that turns is the more urgent reading: what is learned there no longer holds for other pairs."),
    ("3", ("too fast", "lower the rate"), "Run 3: its loss is a little above ln 2, and its log-probs stay near where they began. Which column stays near one half?"),
    ("3", ("noise", "read the pairs"), "Run 3: you mean the right state; the table calls it 'no signal'."),
    ("3", ("stuck", "fix the set-up"), "Run 3: the rewards move and the gradient is not 0, so the machinery works. What is it that doesn't come?"),
    ("3", ("no signal", "train longer"), "Run 3: the state is right. The accuracy on pairs that it has not seen stays near one half; first find out whether the labels say anything."),
    ("3", ("no signal", "lower beta"), "Run 3: the state is right. β scales the rewards; it does not put information into labels."),
    ("3", ("healthy", "go on"), "Run 3: look at the mean margin and the accuracy of the last third in the table."),
    ("4", ("diverging", "lower the rate"), "Run 4: you mean the right state; the table calls it 'too fast'."),
    ("4", ("displacement", "change the loss"), "Run 4: both log-probs fall, but to several times their start, with a loss that peaks far above ln 2. What throws a policy that far?"),
    ("4", ("no signal", "read the pairs"), "Run 4: look at the scale of the log-probs: what throws a policy that far?"),
    ("4", ("too fast", "lower beta"), "Run 4: the state is right. A lower β lets the policy go even further from the reference."),
    ("5", ("stuck", "lower beta"), "Run 5: the state is right. A flat loss has a cause; β scales the rewards, and 0 times anything stays 0. Look for the cause."),
    ("5", ("stuck", "train longer"), "Run 5: the state is right. In which step would it begin to learn? The learning rate in the table says: not in this run."),
    ("5", ("no signal", "read the pairs"), "Run 5: the rewards don't move at all, so the labels had no chance to matter."),
    ("6", ("displacement", "lower beta"), "Run 6: the state is right. A lower β lets both completions fall further from the reference."),
    ("6", ("displacement", "lower the rate"), "Run 6: the state is right. A lower rate makes all moves smaller, the margin's too. What lets both completions fall together?"),
    ("6", ("displacement", "read the pairs"), "Run 6: the state is right. The accuracy is 1: the pairs say clearly which text is better. What lets both completions fall together?"),
    ("6", ("healthy", "go on"), "Run 6: the loss falls as it should. What do the two log-probs do, and what does the chosen reward do?"),
    ("6", ("too fast", "lower the rate"), "Run 6: the loss falls smoothly and the accuracy is perfect. Which of the two completions was the policy meant to like?"),
    ("6", ("overfitting", "go back to the best weights"), "Run 6: no held-out loss is logged, so nothing here says overfitting. What does the chosen reward do?"),
]  # fmt: skip

SUSPECT_SLIPS = [
    ("A", "clamp", "A: a clamp keeps log-probs from falling. Here they fall to several times their start."),
    ("A", "padding_summed", "A: padding would show in the first record. There, loss, rewards and log-probs are right: it goes wrong with the steps."),
    ("A", "loss_ignored", "A: the config asked for the sigmoid loss, and the loss at step 1 is ln 2, which is that loss at margin 0. It goes wrong with the steps."),
    ("A", "pair_swapped", "A: does the margin go negative and stay there? Look at how far both log-probs go."),
    ("B", "dropout_on", "B: dropout gives noise of some tenths. Both rewards here are about 5: β times 50 nats."),
    ("B", "padding_summed", "B: the policy's log-probs at step 1 are the reference's as it should be. So the policy is scored rightly; what about the other side?"),
    ("B", "pair_swapped", "B: a swap leaves both rewards at 0 in step 1. Here both are about 5."),
    ("C", "clamp", "C: a clamp only touches log-probs below its limit. All of these are above -1, and completions of four words are not that likely."),
    ("C", "beta_zero", "C: with β = 0 all rewards are 0 at every step. These grow, slowly."),
    ("C", "off_by_one", "C: a scorer that is off by one finds the text very unlikely. Here it is far too likely."),
    ("D", "rate_100x", "D: the log-probs stay where they were. Which way does the margin go?"),
    ("D", "beta_zero", "D: the rewards move. Which way does the margin go?"),
    ("D", "loss_ignored", "D: the config asked for the sigmoid loss, and step 1 has its ln 2. Which way does the margin go?"),
    ("D", "dropout_on", "D: the first record is right, so the forward passes agree. Which way does the margin go?"),
    ("E", "padding_summed", "E: padding would differ between the batches of policy and reference, so rewards at step 1 would not be 0. Here they are."),
    ("E", "rate_100x", "E: the log-probs are wrong at step 1 already, before any weight has moved."),
    ("E", "reference_random", "E: the rewards at step 1 are 0: policy and reference agree. Both score the text wrongly, in the same way."),
    ("F", "reference_random", "F: another reference would be tens of nats away. The rewards at step 1 are noise of some hundredths to tenths."),
    ("F", "padding_summed", "F: padding would lower the log-probs by a hundred nats. These are off by one or two."),
    ("F", "off_by_one", "F: a scorer that is off by one finds the text very unlikely, by a hundred nats. These log-probs are off by one or two, and the rewards by some hundredths to tenths."),
    ("F", "mean_for_sum", "F: a mean over tokens would lie below 1 nat. These log-probs are sums, off by one or two nats."),
    ("F", "pair_swapped", "F: look at step 1: loss and rewards are wrong before anything was learned."),
    ("G", "beta_zero", "G: with β = 0 the rewards stay 0. These move. Read what the config asked for, above the figure."),
    ("G", "dropout_on", "G: the rewards at step 1 are 0. Which number should the loss have had there, with what the config asked for?"),
    ("G", "clamp", "G: a clamp would show in the log-probs of step 1 or leave the loss alone. Read what the config asked for, above the figure."),
    ("G", "mean_for_sum", "G: the log-probs at step 1 are the reference's. Read what the config asked for, above the figure."),
    ("H", "off_by_one", "H: an off-by-one is the same for policy and reference, so the rewards at step 1 would be 0. Here they are 4."),
    ("H", "dropout_on", "H: dropout moves the log-probs by a nat or two. These are off by more than a hundred."),
    ("H", "clamp", "H: a clamp keeps log-probs from falling below its limit. These lie a hundred nats too low."),
    ("H", "reference_random", "H: the policy's own log-probs are wrong by a factor of ten, so the reference alone can't be it."),
    ("H", "rate_100x", "H: the log-probs are wrong at step 1 already, before any weight has moved."),
]  # fmt: skip


def slips(table):
    return [
        Mistake(
            f"run {key}: {answer if isinstance(answer, str) else ', '.join(answer)}", hint, says(key, answer)
        )
        for key, answer, hint in table
    ]


MISTAKES = {
    "first_step_failures": [
        Mistake("NaN passes", "`abs(nan) > tolerance` is False. Ask whether the number is within the tolerance, and negate that.", nan_passes),
        Mistake("sign ignored", "A number may be off in both directions: take the absolute value.", signed),
        Mistake("margin alone", "Two wrong rewards can have a right difference: a random reference lifts both alike. Check each.", margin_alone),
        Mistake("chosen reward alone", "The rejected reward has to be 0 as well.", chosen_alone),
        Mistake("rewards added", "Two wrong rewards of opposite sign add up to 0. Check each.", rewards_summed),
        Mistake("log-prob errors added", "Two wrong log-probs can be off in opposite directions, and their errors add up to 0. Check each.", logps_summed),
        Mistake("loss of one half", "A margin of 0 gives -log σ(0) = ln 2. σ(0) is one half, its negative log is not.", one_half),
        Mistake("tolerance fixed", "The last argument says how far a number may be off.", tolerance_fixed),
        Mistake("chosen log-prob alone", "The rejected log-prob has to be the reference's as well.", chosen_logps_alone),
        Mistake("references exchanged", "The second argument belongs to `logps/chosen`, the third to `logps/rejected`.", references_exchanged),
    ],
    "diagnose_flat_loss": [
        Mistake("last step only", "A run that moved and came back is moving: look at the rewards of every step.", last_reward),
        Mistake("sign ignored", "Rewards that fall move as well: take the absolute value.", largest_without_sign),
        Mistake("nearly zero", "Exactly 0 is the mark: rounding noise of 1e-8 says that two different forward passes were compared.", nearly_zero),
        Mistake("beta and gradient exchanged", "β = 0 multiplies the noise away, so its rewards are exactly 0; without a gradient the noise stays.", zeros_exchanged),
        Mistake("first gradient only", "A gradient may be 0 in one step by accident: it has to be 0 in every step.", first_gradient),
        Mistake("first rate", "A warm-up starts at 0 in every run. Compare the largest rate with what the config asked for.", first_rate),
        Mistake("last rate", "A cosine ends near 0 in every run. Compare the largest rate with what the config asked for.", last_rate),
        Mistake("margin for rewards", "Two rewards that fall alike leave the margin at 0: the run moves all the same. Look at chosen and rejected.", margin_for_rewards),
        Mistake("mean rate", "A mean rate is low in every run that warms up and ends near 0. Compare the largest rate with what the config asked for.", mean_rate),
        Mistake("one rate for all", "What is a low rate depends on the rate that was asked for: compare with `lr`, not with a number of your own.", usual_rate),
        Mistake("chosen rewards only", "The rejected rewards have to be exactly 0 as well.", chosen_rewards_only),
    ],
    "positions_scored": [
        Mistake("sum not zero", "Over the vocabulary the gradient of a log-softmax sums to 0, and what `sum(-1) != 0` finds is rounding. Ask whether any entry is not 0.", sum_not_zero),
        Mistake("positive entries", "A score that falls with a logit depends on it too: ask for not 0, not for above 0.", positive_entries),
        Mistake("first entry", "Look at all V logits of a position: a score may depend on one that is not the first.", first_entry),
        Mistake("given logits changed", "`requires_grad_()` on the given tensor changes it for whoever holds it: take `logits.detach().clone()` first.", in_place),
        Mistake("summed over the vocabulary", "The gradient of a log-softmax sums to 0 over the vocabulary, so a sum hides it. Ask whether any entry is not 0.", summed_over_vocabulary),
        Mistake("positive sums", "The gradient of a log-softmax sums to 0 over the vocabulary; the sign of what is left is rounding.", positive_only),
        Mistake("first row only", "Differentiate the sum over all rows: no row depends on another's logits.", first_row_only),
        Mistake("rows mixed", "The answer has one line a row: reduce over the vocabulary, the last dimension.", any_over_rows),
        Mistake("shifted", "Report the position of the logits, not the position of the token that they are about.", one_more),
        Mistake("large gradients only", "A position with a small gradient counts as well: ask for exactly 0. A mean divides every gradient by the length.", large_only),
    ],
    "repaired_logprobs": [
        Mistake("slice by len", "`len` of a (B, P) tensor is B, the number of rows. The prompt's length is `prompt_ids.shape[1]`.", slice_by_len),
        Mistake("off by one", "The logits at position t are about token t + 1: start one position before the completion.", unshifted),
        Mistake("mask by id", "Where pad == eos a mask by id loses each completion's end. Mask by position: `lengths` says how far a row goes.", mask_by_id),
        Mistake("mean for sum", "DPO's log π(y|x) is a sum over the tokens. Nothing is divided by the length.", averaged),
        Mistake("clamp left in", "A clamped log-prob has no gradient, and a wrong value. Leave the clamp out.", clamped),
        Mistake("padding counted", "What lies behind a completion's `lengths` tokens is padding and adds nothing.", padding_counted),
        Mistake("logits for log-probs", "Logits become log-probs by `log_softmax` over the vocabulary.", not_normalised),
        Mistake("not upcast", "Half-precision logits keep three digits: call `.float()` on them before `log_softmax`.", not_upcast),
    ],
    "reference_leaks": [
        Mistake("flags alone", "A parameter may have moved before it was frozen, or under another name: compare the values too.", flags_alone),
        Mistake("values alone", "A parameter that asks for a gradient will move when an optimiser gets it: report it too.", values_alone),
        Mistake("and for or", "Either is a leak: report a parameter that is trainable or changed.", both_at_once),
        Mistake("nearly equal", "A frozen weight stays exactly what it was. A few steps at 1e-5 would hide below a tolerance.", nearly_equal),
        Mistake("close by default", "`allclose` forgives a change of one part in 100 000. `torch.equal` forgives none.", close_by_default),
        Mistake("sums compared", "Two changes of opposite sign leave the sum as it was: compare entry by entry.", sums_compared),
        Mistake("flags first", "Keep the order of `named_parameters()`: one pass over it, with both questions for each parameter.", flags_first),
        Mistake("all entries", "One changed entry is a change. `torch.equal` compares whole tensors.", all_entries),
        Mistake("the sound ones", "Report the parameters that leak, not those that are safe.", sound_ones),
    ],
    "read_dashboard": slips(DRILL_SLIPS),
    "name_suspect": slips(SUSPECT_SLIPS),
}  # fmt: skip
