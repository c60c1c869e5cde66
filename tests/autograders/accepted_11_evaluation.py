"""Right answers in other words: each must pass."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch

from dpo_lab.evaluation import Interval, Verdicts


def terms_by_branches(policy_logps, ref_logps, estimator="k1"):
    gap = policy_logps - ref_logps
    if estimator == "k1":
        return gap
    if estimator == "k2":
        return 0.5 * gap.square()
    if estimator == "k3":
        return torch.exp(-gap) - 1 + gap
    raise ValueError(estimator)


def terms_by_table(policy_logps, ref_logps, estimator="k1"):
    ratio = (ref_logps - policy_logps).exp()
    formulas = {"k1": -ratio.log(), "k2": ratio.log() ** 2 / 2, "k3": (ratio - 1) - ratio.log()}
    if estimator not in formulas:
        raise ValueError(f"no estimator {estimator}")
    return formulas[estimator]


def terms_by_loop(policy_logps, ref_logps, estimator="k1"):
    if estimator not in {"k1", "k2", "k3"}:
        raise ValueError("k1, k2 or k3")
    found = []
    for p, q in zip(policy_logps.tolist(), ref_logps.tolist(), strict=True):
        x = q - p
        found.append({"k1": -x, "k2": x * x / 2, "k3": math.expm1(x) - x}[estimator])
    return torch.tensor(found, dtype=policy_logps.dtype)


def wilson_by_counts(wins, comparisons, level=0.95):
    z = NormalDist().inv_cdf(1 - (1 - level) / 2)
    losses = comparisons - wins
    centre = (wins + z * z / 2) / (comparisons + z * z)
    reach = z / (comparisons + z * z) * math.sqrt(wins * losses / comparisons + z * z / 4)
    return Interval(wins / comparisons, centre - reach, centre + reach)


def wilson_by_quadratic(wins, comparisons, level=0.95):
    z, n, p = NormalDist().inv_cdf((1 + level) / 2), comparisons, wins / comparisons
    a, b, c = 1 + z**2 / n, -(2 * p + z**2 / n), p**2
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return Interval(mean=p, low=(-b - root) / (2 * a), high=(-b + root) / (2 * a))


def wilson_by_torch(wins, comparisons, level=0.95):
    z = torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)).item()
    p, n = wins / comparisons, comparisons
    centre, reach = p + z**2 / 2 / n, z / 2 / n * math.sqrt(4 * n * p * (1 - p) + z**2)
    return Interval(p, (centre - reach) / (1 + z**2 / n), (centre + reach) / (1 + z**2 / n))


def sign_by_whole_numbers(wins, losses):
    n, most = wins + losses, max(wins, losses)
    return min(1.0, sum(math.comb(n, k) for k in range(most, n + 1)) / 2 ** (n - 1))


def sign_by_both_tails(wins, losses):
    n, least = wins + losses, min(wins, losses)
    if wins == losses:
        return 1.0
    return sum(math.comb(n, k) * 0.5**n for k in range(n + 1) if k <= least or k >= n - least)


def sign_by_complement(wins, losses):
    n, least = wins + losses, min(wins, losses)
    inside = sum(math.comb(n, k) for k in range(least + 1, n - least))
    return 1.0 - inside / 2**n


def power_by_numpy(comparisons, win_probability, alpha=0.05):
    total = 0.0
    for k in np.arange(comparisons + 1).tolist():
        if sign_by_whole_numbers(k, comparisons - k) <= alpha:
            total += (
                math.comb(comparisons, k) * win_probability**k * (1 - win_probability) ** (comparisons - k)
            )
    return float(total)


def power_by_critical_count(comparisons, win_probability, alpha=0.05):
    n, p = comparisons, win_probability
    critical = [k for k in range(n // 2, n + 1) if sign_by_whole_numbers(k, n - k) <= alpha]
    if not critical:
        return 0.0
    chance = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    return sum(chance[critical[0] :]) + sum(chance[: n - critical[0] + 1])


def power_by_miss(comparisons, win_probability, alpha=0.05):
    n, p, missed = comparisons, win_probability, 0.0
    for k in range(n + 1):
        if sign_by_complement(k, n - k) > alpha:
            missed += math.comb(n, k) * p**k * (1 - p) ** (n - k)
    return 1.0 - missed


def judge_by_loop(judge, prompts, ours, theirs):
    scores, firsts = [], []
    for prompt, a, b in zip(prompts, ours, theirs, strict=True):
        one, two = judge(prompt, a, b), judge(prompt, b, a)
        scores.append((one + 1 - two) / 2)
        firsts.extend([one, two])
    return Verdicts(torch.tensor(scores, dtype=torch.float64), sum(firsts) / len(firsts))


def judge_by_numpy(judge, prompts, ours, theirs):
    one = np.array([judge(*row) for row in zip(prompts, ours, theirs, strict=True)], dtype=float)
    two = np.array([judge(*row) for row in zip(prompts, theirs, ours, strict=True)], dtype=float)
    return Verdicts(torch.from_numpy(0.5 + (one - two) / 2), float((one.mean() + two.mean()) / 2))


def judge_by_losses(judge, prompts, ours, theirs):
    found, total = torch.zeros(len(prompts), dtype=torch.float64), 0.0
    for i in range(len(prompts)):
        for shown_first in (True, False):
            pair = (ours[i], theirs[i]) if shown_first else (theirs[i], ours[i])
            vote = float(judge(prompts[i], *pair))
            total += vote
            found[i] += (vote if shown_first else 1 - vote) / 2
    return Verdicts(scores=found, first=total / (2 * len(prompts)))


def bins_by_masks(predicted, outcomes, bins=10):
    rows = []
    for k in range(bins):
        inside = (predicted >= k / bins) & (predicted < (k + 1) / bins)
        if k == bins - 1:
            inside |= predicted == 1
        n = inside.sum().item()
        if n == 0:
            rows.append((0.0, math.nan, math.nan, math.nan, math.nan))
        else:
            found = wilson_by_counts(outcomes[inside].sum().item(), n)
            rows.append((float(n), predicted[inside].mean().item(), found.mean, found.low, found.high))
    columns = list(zip(*rows, strict=True))
    names = ("count", "predicted", "measured", "low", "high")
    return {name: torch.tensor(c, dtype=torch.float64) for name, c in zip(names, columns, strict=True)}


def bins_by_dict(predicted, outcomes, bins=10):
    kept = {k: [] for k in range(bins)}
    for p, won in zip(predicted.tolist(), outcomes.tolist(), strict=True):
        kept[min(int(p * bins), bins - 1)].append((p, won))
    found = {name: torch.full((bins,), math.nan) for name in ("predicted", "measured", "low", "high")}
    found = {name: values.double() for name, values in found.items()}
    for k, inside in kept.items():
        if inside:
            share = wilson_by_quadratic(sum(won for _, won in inside), len(inside))
            found["predicted"][k] = sum(p for p, _ in inside) / len(inside)
            found["measured"][k], found["low"][k], found["high"][k] = share.mean, share.low, share.high
    return {"count": torch.tensor([float(len(inside)) for inside in kept.values()])} | found


def bins_by_sums(predicted, outcomes, bins=10):
    places = torch.clamp(torch.floor(predicted * bins).long(), 0, bins - 1)
    n = torch.bincount(places, minlength=bins).double()
    share = torch.bincount(places, weights=outcomes, minlength=bins) / n
    z = 1.959963984540054
    reach = z * torch.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    middle, scale = share + z**2 / (2 * n), 1 + z**2 / n
    mean = torch.bincount(places, weights=predicted, minlength=bins) / n
    ends = {"low": (middle - reach) / scale, "high": (middle + reach) / scale}
    return {"count": n, "predicted": mean, "measured": share} | ends


ACCEPTED = {
    "kl_terms": [terms_by_branches, terms_by_table, terms_by_loop],
    "wilson_interval": [wilson_by_counts, wilson_by_quadratic, wilson_by_torch],
    "sign_test": [sign_by_whole_numbers, sign_by_both_tails, sign_by_complement],
    "sign_test_power": [power_by_numpy, power_by_critical_count, power_by_miss],
    "judge_both_orders": [judge_by_loop, judge_by_numpy, judge_by_losses],
    "reliability_bins": [bins_by_masks, bins_by_dict, bins_by_sums],
}
