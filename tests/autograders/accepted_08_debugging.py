"""Right answers in other words: each must pass."""

from __future__ import annotations

import math

import torch


def failures_by_ifs(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    found = []
    if not (math.log(2) - tolerance <= record["loss"] <= math.log(2) + tolerance):
        found.append("loss")
    if not (abs(record["rewards/chosen"]) < tolerance and abs(record["rewards/rejected"]) < tolerance):
        found.append("rewards")
    chosen_is_right = abs(record["logps/chosen"] - ref_chosen_logps) < tolerance
    if not (chosen_is_right and abs(record["logps/rejected"] - ref_rejected_logps) < tolerance):
        found.append("logps")
    return found


def failures_by_isclose(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    near = lambda a, b: math.isclose(a, b, rel_tol=0, abs_tol=tolerance)  # noqa: E731
    sound = {
        "loss": near(record["loss"], -math.log(0.5)),
        "rewards": near(record["rewards/chosen"], 0) and near(record["rewards/rejected"], 0),
        "logps": near(record["logps/chosen"], ref_chosen_logps)
        and near(record["logps/rejected"], ref_rejected_logps),
    }
    return [name for name in ("loss", "rewards", "logps") if not sound[name]]


def failures_by_tensors(record, ref_chosen_logps, ref_rejected_logps, tolerance=0.02):
    names = ["loss", "rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected"]
    seen = torch.tensor([record[name] for name in names], dtype=torch.float64)
    right = torch.tensor([math.log(2), 0, 0, ref_chosen_logps, ref_rejected_logps], dtype=torch.float64)
    bad = ~((seen - right).abs() <= tolerance)
    parts = {"loss": bad[0], "rewards": bad[1:3].any(), "logps": bad[3:].any()}
    return [name for name, wrong in parts.items() if wrong]


def flat_by_flags(records, lr):
    largest = max(max(abs(r["rewards/chosen"]), abs(r["rewards/rejected"])) for r in records)
    gradient = max(r["grad_norm"] for r in records) > 0
    if largest > 0.001:
        return "moving"
    if not gradient and largest == 0:
        return "beta_zero"
    if not gradient:
        return "no_gradient"
    if largest == 0:
        return "reference_shared"
    if all(r["learning_rate"] < 0.1 * lr for r in records):
        return "warmup_too_long"
    return "rate_too_low"


def flat_by_table(records, lr):
    rewards = torch.tensor(
        [[r["rewards/chosen"], r["rewards/rejected"]] for r in records], dtype=torch.float64
    )
    if rewards.abs().max() > 1e-3:
        return "moving"
    slow = max(r["learning_rate"] for r in records) * 10 < lr
    table = {
        (False, True): "beta_zero",
        (False, False): "no_gradient",
        (True, True): "reference_shared",
        (True, False): "warmup_too_long" if slow else "rate_too_low",
    }
    return table[any(r["grad_norm"] > 0 for r in records), bool((rewards == 0).all())]


def flat_with_numpy(records, lr):
    import pandas as pd

    frame = pd.DataFrame(records)
    rewards = frame[["rewards/chosen", "rewards/rejected"]].to_numpy()
    if (abs(rewards) > 1e-3).any():
        return "moving"
    zero = (rewards == 0).all()
    if (frame["grad_norm"] == 0).all():
        return "beta_zero" if zero else "no_gradient"
    if zero:
        return "reference_shared"
    return "warmup_too_long" if frame["learning_rate"].max() < lr / 10 else "rate_too_low"


def positions_by_abs(score, logits):
    probe = logits.clone().detach().requires_grad_(True)
    score(probe).sum().backward()
    return probe.grad.abs().sum(dim=-1) > 0


def positions_by_rows(score, logits):
    rows = []
    for row in range(len(logits)):
        probe = logits.detach().clone().requires_grad_()
        rows.append(torch.autograd.grad(score(probe)[row], probe)[0][row].ne(0).any(-1))
    return torch.stack(rows)


def positions_by_norm(score, logits):
    probe = torch.nn.Parameter(logits.detach().clone())
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad([score(probe).sum()], [probe])
    return gradient.abs().amax(dim=-1).bool()


def repaired_by_cross_entropy(logits, prompt_ids, completion_ids, lengths):
    width = completion_ids.shape[1]
    predictions = logits[:, -width - 1 : -1].float()
    losses = torch.nn.functional.cross_entropy(predictions.transpose(1, 2), completion_ids, reduction="none")
    inside = torch.arange(width)[None] < lengths[:, None]
    return -(losses * inside).sum(1)


def repaired_by_loop(logits, prompt_ids, completion_ids, lengths):
    totals = []
    for row, length in enumerate(lengths.tolist()):
        start = prompt_ids.size(1) - 1
        logps = torch.log_softmax(logits[row, start : start + length].float(), dim=-1)
        totals.append(logps[torch.arange(length), completion_ids[row, :length]].sum())
    return torch.stack(totals)


def repaired_by_logsumexp(logits, prompt_ids, completion_ids, lengths):
    upcast = logits.to(torch.float32)[:, prompt_ids.shape[1] - 1 : logits.shape[1] - 1]
    logps = upcast.gather(2, completion_ids.unsqueeze(2))[..., 0] - upcast.logsumexp(2)
    own = torch.arange(completion_ids.shape[1]).expand_as(completion_ids) < lengths.unsqueeze(1)
    return torch.where(own, logps, 0.0).sum(1)


def leaks_by_loop(model, before):
    found = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or (parameter != before[name]).any():
            found.append(name)
    return found


def leaks_by_state(model, before):
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    state = model.state_dict()
    return [name for name in flags if flags[name] or not torch.equal(state[name], before[name])]


def leaks_by_difference(model, before):
    changed = lambda name, p: (p.detach() - before[name]).abs().max().item() > 0  # noqa: E731
    return [name for name, p in model.named_parameters() if changed(name, p) or p.requires_grad]


def dashboard_by_match(run):
    states = ["healthy", "overfitting", "no signal", "too fast", "stuck", "displacement"]
    actions = [
        "go on",
        "go back to the best weights",
        "read the pairs",
        "lower the rate",
        "fix the set-up",
        "change the loss",
    ]
    return states[int(run) - 1], actions[int(run) - 1]


def dashboard_by_ifs(run):
    if run == "1":
        return ("healthy", "go on")
    if run == "2":
        return ("overfitting", "go back to the best weights")
    if run == "3":
        return ("no signal", "read the pairs")
    if run == "4":
        return ("too fast", "lower the rate")
    return ("stuck", "fix the set-up") if run == "5" else ("displacement", "change the loss")


def dashboard_as_dict_of_states(run):
    by_state = {
        "healthy": ("1", "go on"),
        "overfitting": ("2", "go back to the best weights"),
        "no signal": ("3", "read the pairs"),
        "too fast": ("4", "lower the rate"),
        "stuck": ("5", "fix the set-up"),
        "displacement": ("6", "change the loss"),
    }
    return next((state, action) for state, (number, action) in by_state.items() if number == run)


ORDER = (
    "rate_100x reference_random mean_for_sum pair_swapped off_by_one dropout_on loss_ignored padding_summed"
)


def suspect_by_index(run):
    return ORDER.split()[ord(run) - ord("A")]


def suspect_by_zip(run):
    return dict(zip("ABCDEFGH", ORDER.split(), strict=True))[run]


def suspect_by_find(run):
    return ORDER.split()["ABCDEFGH".index(run)]


ACCEPTED = {
    "first_step_failures": [failures_by_ifs, failures_by_isclose, failures_by_tensors],
    "diagnose_flat_loss": [flat_by_flags, flat_by_table, flat_with_numpy],
    "positions_scored": [positions_by_abs, positions_by_rows, positions_by_norm],
    "repaired_logprobs": [repaired_by_cross_entropy, repaired_by_loop, repaired_by_logsumexp],
    "reference_leaks": [leaks_by_loop, leaks_by_state, leaks_by_difference],
    "read_dashboard": [dashboard_by_match, dashboard_by_ifs, dashboard_as_dict_of_states],
    "name_suspect": [suspect_by_index, suspect_by_zip, suspect_by_find],
}
