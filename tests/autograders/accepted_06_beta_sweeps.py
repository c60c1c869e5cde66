"""Right answers in other words: each must pass."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pandas as pd
import torch


def point_by_softmax(ref_logps, rewards, beta):
    logps = torch.log_softmax(ref_logps + rewards / beta, dim=-1)
    return float(logps.exp() @ (logps - ref_logps)), float(logps.exp() @ rewards)


def point_by_log_partition(ref_logps, rewards, beta):
    log_z = torch.logsumexp(ref_logps + rewards / beta, dim=0)
    probabilities = torch.exp(ref_logps + rewards / beta - log_z)
    reward = torch.sum(probabilities * rewards)
    return (reward / beta - log_z).item(), reward.item()


def point_by_numpy(ref_logps, rewards, beta):
    reference, values = ref_logps.numpy(), rewards.numpy()
    scores = reference + values / beta
    weights = np.exp(scores - scores.max())
    shares = weights / weights.sum()
    kept = shares > 0
    kl = (shares[kept] * (np.log(shares[kept]) - reference[kept])).sum()
    return float(kl), float((shares * values).sum())


def gap_by_logs(p, beta, loss="sigmoid"):
    if loss == "ipo":
        return (p - (1 - p)) / 2 / beta
    if loss != "sigmoid":
        raise ValueError(f"no loss {loss}")
    return (torch.log(p) - torch.log(1 - p)) / beta


def gap_by_table(win_probabilities, beta, loss="sigmoid"):
    formulas = {
        "sigmoid": lambda p: torch.log(p / (1 - p)) / beta,
        "ipo": lambda p: (p - 0.5) / beta,
    }
    if loss not in formulas:
        raise ValueError(loss)
    return formulas[loss](win_probabilities)


def gap_by_loop(win_probabilities, beta, loss="sigmoid"):
    gaps = []
    for p in win_probabilities.tolist():
        if loss == "ipo":
            gaps.append(p / (2 * beta) - (1 - p) / (2 * beta))
        elif loss == "sigmoid":
            gaps.append(math.inf if p == 1 else -math.inf if p == 0 else math.log(p / (1 - p)) / beta)
        else:
            raise ValueError("unknown loss")
    return torch.tensor(gaps, dtype=win_probabilities.dtype)


def best_by_loop(ref_logps, rewards, n):
    result = []
    for logp, reward in zip(ref_logps, rewards, strict=True):
        below = ref_logps[rewards < reward].exp().sum()
        up_to = ref_logps[rewards <= reward].exp().sum()
        lift = sum(up_to ** (n - 1 - k) * below**k for k in range(n))
        result.append(logp + torch.log(torch.as_tensor(lift)))
    return torch.stack(result)


def best_by_first_kept_draw(ref_logps, rewards, n):
    """Draw k is kept if all before it are strictly worse and none after it is better."""
    p = ref_logps.exp()
    below = torch.stack([p[rewards < reward].sum() for reward in rewards])
    up_to = torch.stack([p[rewards <= reward].sum() for reward in rewards])
    total = torch.zeros_like(p)
    for k in range(n):
        total = total + p * below**k * up_to ** (n - k - 1)
    return total.log()


def best_by_horner(ref_logps, rewards, n):
    p = torch.exp(ref_logps)
    worse = rewards.unsqueeze(0).lt(rewards.unsqueeze(1)).double() @ p
    not_better = rewards.unsqueeze(0).le(rewards.unsqueeze(1)).double() @ p
    lift, power = torch.ones_like(p), torch.ones_like(p)
    for _ in range(n - 1):
        power = power * worse
        lift = lift * not_better + power
    return torch.log(lift) + ref_logps


def beta_by_branches(beta, kl, target_kl, gain=0.1):
    error = kl / target_kl - 1
    if error > 0.2:
        error = 0.2
    elif error < -0.2:
        error = -0.2
    return beta + beta * gain * error


def beta_by_numpy(beta, kl, target_kl, gain=0.1):
    return float(beta * (1 + gain * np.clip((kl - target_kl) / target_kl, -0.2, 0.2)))


def beta_by_sorting(beta, kl, target_kl, gain=0.1):
    return beta * (1 + gain * sorted([-0.2, (kl - target_kl) / target_kl, 0.2])[1])


def summary_by_pandas(runs, by, over="seed"):
    table = pd.DataFrame(runs)
    rows = []
    for value, group in table.groupby(by, sort=False):
        row = {by: value, "runs": len(group)}
        for name in table.columns.drop([by, over]):
            row[name] = float(group[name].mean(skipna=False))
            row[f"{name} ±"] = float(group[name].std(skipna=False))
        rows.append(row)
    return rows


def summary_by_numpy(runs, by, over="seed"):
    groups = defaultdict(list)
    for run in runs:
        groups[run[by]].append(run)
    rows = []
    for value, group in groups.items():
        row = {by: value, "runs": len(group)}
        for name in set(group[0]) - {by, over}:
            values = np.array([run[name] for run in group], dtype=float)
            row[name] = float(values.mean())
            row[name + " ±"] = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        rows.append(row)
    return rows


def summary_by_tensors(runs, by, over="seed"):
    seen = []
    for run in runs:
        if run[by] not in seen:
            seen.append(run[by])
    rows = []
    for value in seen:
        group = [run for run in runs if run[by] == value]
        row = {by: value, "runs": len(group)}
        for name in runs[0]:
            if name in (by, over):
                continue
            values = torch.tensor([run[name] for run in group], dtype=torch.float64)
            row[name] = values.mean().item()
            deviations = values - values.mean()
            row[f"{name} ±"] = (
                (deviations.square().sum() / (len(group) - 1)).sqrt().item() if len(group) > 1 else math.nan
            )
        rows.append(row)
    return rows


ACCEPTED = {
    "frontier_point": [point_by_softmax, point_by_log_partition, point_by_numpy],
    "optimal_gap": [gap_by_logs, gap_by_table, gap_by_loop],
    "best_of_n_logps": [best_by_loop, best_by_first_kept_draw, best_by_horner],
    "adapt_beta": [beta_by_branches, beta_by_numpy, beta_by_sorting],
    "summarise_runs": [summary_by_pandas, summary_by_numpy, summary_by_tensors],
}
