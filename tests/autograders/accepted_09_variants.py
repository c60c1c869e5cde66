"""Right answers in other words: each must pass."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch.nn.functional import logsigmoid, mse_loss, softplus

from dpo_lab.policies import Policy, frozen_reference


def ipo_by_mse(pc, pr, rc, rr, beta=0.1):
    chosen, rejected = pc - rc, pr - rr
    losses = mse_loss(chosen - rejected, torch.full_like(chosen, 0.5 / beta), reduction="none")
    with torch.no_grad():
        return losses, beta * chosen, beta * rejected


def ipo_expanded(pc, pr, rc, rr, beta=0.1):
    gap, target = (pc - pr) - (rc - rr), 1 / (2 * beta)
    return gap**2 - 2 * gap * target + target**2, (beta * (pc - rc)).detach(), (beta * (pr - rr)).detach()


def ipo_by_a_loop(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
    rows = []
    four = (policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps)
    for pc, pr, rc, rr in zip(*four, strict=True):
        rows.append(((pc - rc - pr + rr - 0.5 / beta).square(), beta * (pc - rc), beta * (pr - rr)))
    losses, chosen, rejected = (torch.stack(column) for column in zip(*rows, strict=True))
    return losses, chosen.detach(), rejected.detach()


def kto_by_sign(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    zero = max(drift.mean().item(), 0.0)
    side = up.float() * 2 - 1
    weight = up_weight * up + down_weight * ~up
    ratio = policy - ref
    return weight * torch.sigmoid(-side * beta * (ratio - zero)), beta * ratio.detach()


def kto_by_index(
    policy_logps, ref_logps, thumbs_up, mismatched_log_ratios, beta=0.1, up_weight=1.0, down_weight=1.0
):
    with torch.no_grad():
        zero = torch.relu(mismatched_log_ratios.mean())
        rewards = beta * (policy_logps - ref_logps)
    losses = torch.empty_like(policy_logps)
    good, bad = thumbs_up, torch.logical_not(thumbs_up)
    losses[good] = up_weight - up_weight * torch.sigmoid(beta * (policy_logps - ref_logps - zero))[good]
    losses[bad] = down_weight - down_weight * torch.sigmoid(beta * (zero - policy_logps + ref_logps))[bad]
    return losses, rewards


def kto_by_a_loop(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    zero = drift.detach().mean().clamp(min=0.0)
    losses = []
    for p, r, liked in zip(policy, ref, up.tolist(), strict=True):
        if liked:
            losses.append(up_weight * (1 - torch.sigmoid(beta * (p - r - zero))))
        else:
            losses.append(down_weight * (1 - torch.sigmoid(beta * (zero - p + r))))
    return torch.stack(losses), (beta * (policy - ref)).detach()


def simpo_by_softplus(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return softplus(gamma - beta * (pc - pr)), (beta * pc).detach(), (beta * pr).detach()


def simpo_by_ratio(policy_chosen_logps, policy_rejected_logps, *reference, beta=2.0, gamma=1.0):
    margin = beta * (policy_chosen_logps - policy_rejected_logps - gamma / beta)
    with torch.no_grad():
        rewards = beta * policy_chosen_logps, beta * policy_rejected_logps
    return -logsigmoid(margin), *rewards


def simpo_by_logaddexp(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    chosen, rejected = beta * pc, beta * pr
    losses = torch.logaddexp(chosen, rejected + gamma) - chosen
    return losses, chosen.detach(), rejected.detach()


def orpo_by_log1p(pc, pr, rc=None, rr=None, beta=0.1):
    ratio = (pc - pr) - (torch.log1p(-pc.exp()) - torch.log1p(-pr.exp()))
    return -pc - beta * logsigmoid(ratio), beta * pc.detach(), beta * pr.detach()


def orpo_by_odds(policy_chosen_logps, policy_rejected_logps, *reference, beta=0.1):
    p, q = policy_chosen_logps.exp(), policy_rejected_logps.exp()
    good, bad = p / (1 - p), q / (1 - q)
    losses = beta * torch.log1p(bad / good) - policy_chosen_logps
    return losses, (beta * policy_chosen_logps).detach(), (beta * policy_rejected_logps).detach()


def orpo_by_softplus(pc, pr, rc=None, rr=None, beta=0.1):
    odds = [logp - torch.log(-torch.expm1(logp)) for logp in (pc, pr)]
    return beta * softplus(odds[1] - odds[0]) - pc, beta * pc.detach(), beta * pr.detach()


def extremes_by_index(completions, beats):
    high, low = (0, 1) if beats(completions[0], completions[1]) else (1, 0)
    for number in range(2, len(completions)):
        if beats(completions[number], completions[high]):
            high = number
        elif beats(completions[low], completions[number]):
            low = number
    return completions[high], completions[low]


def extremes_by_iterator(completions, beats):
    rest = iter(completions)
    best, worst = next(rest), next(rest)
    if not beats(best, worst):
        best, worst = worst, best
    for text in rest:
        if not beats(best, text):
            best = text
            continue
        if beats(worst, text):
            worst = text
    return best, worst


def extremes_by_recursion(completions, beats):
    if len(completions) == 2:
        first, second = completions
        return (first, second) if beats(first, second) else (second, first)
    best, worst = extremes_by_recursion(completions[:-1], beats)
    last = completions[-1]
    if beats(last, best):
        return last, worst
    return best, worst if beats(last, worst) else last


def round_by_branches(policy, reference, number, refresh_reference, collect):
    if not refresh_reference or number == 0:
        return reference, collect(policy, reference)
    fresh = frozen_reference(policy)
    return fresh, collect(policy, fresh)


def round_by_deepcopy(policy, reference, number, refresh_reference, collect):
    if refresh_reference and number >= 1:
        reference = Policy(copy.deepcopy(policy.model), policy.tokenizer, "copy")
        for parameter in reference.model.parameters():
            parameter.requires_grad = False
    pairs = collect(policy, reference)
    return reference, pairs


def round_by_expression(policy, reference, number, refresh_reference, collect):
    now = frozen_reference(policy) if number and refresh_reference else reference
    return now, list(collect(policy, now))


def margin_by_softplus(
    policy_chosen_logps,
    policy_rejected_logps,
    ref_chosen_logps,
    ref_rejected_logps,
    other_margins,
    weight,
    beta=0.1,
):
    chosen = beta * policy_chosen_logps - beta * ref_chosen_logps
    rejected = beta * policy_rejected_logps - beta * ref_rejected_logps
    needed = (1 - weight) * other_margins
    return softplus((needed - chosen + rejected) / weight), chosen.detach(), rejected.detach()


def margin_by_gap(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    gap = (pc - pr) - (rc - rr)
    losses = -logsigmoid(beta * gap / weight - (1 / weight - 1) * other_margins)
    return losses, (beta * (pc - rc)).detach(), (beta * (pr - rr)).detach()


def margin_by_logaddexp(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    with torch.no_grad():
        chosen, rejected = beta * (pc - rc), beta * (pr - rr)
    scaled = (beta * (pc - rc - pr + rr) - other_margins + weight * other_margins) / weight
    return torch.logaddexp(torch.zeros_like(scaled), -scaled), chosen, rejected


def front_by_numpy(points):
    values = np.asarray(points)
    if np.isnan(values).any():
        raise ValueError("NaN")
    kept = []
    for j, row in enumerate(values):
        others = (values >= row).all(axis=1) & (values > row).any(axis=1)
        if not others.any():
            kept.append(j)
    return kept


def front_by_lists(points):
    rows = points.tolist()
    if any(value != value for row in rows for value in row):
        raise ValueError("a point is NaN")
    return [
        j
        for j, row in enumerate(rows)
        if not any(other != row and all(a >= b for a, b in zip(other, row)) for other in rows)  # noqa: B905
    ]


def front_by_gaps(points):
    if points.isnan().any():
        raise ValueError("NaN in points")
    gaps = points[:, None] - points[None]
    dominates = (gaps.min(dim=-1).values >= 0) & (gaps.max(dim=-1).values > 0)
    return [j for j in range(points.shape[0]) if not bool(dominates[:, j].any())]


ACCEPTED = {
    "ipo_loss": [ipo_by_mse, ipo_expanded, ipo_by_a_loop],
    "kto_loss": [kto_by_sign, kto_by_index, kto_by_a_loop],
    "simpo_loss": [simpo_by_softplus, simpo_by_ratio, simpo_by_logaddexp],
    "orpo_loss": [orpo_by_log1p, orpo_by_odds, orpo_by_softplus],
    "best_and_worst": [extremes_by_index, extremes_by_iterator, extremes_by_recursion],
    "begin_round": [round_by_branches, round_by_deepcopy, round_by_expression],
    "weighted_margin_loss": [margin_by_softplus, margin_by_gap, margin_by_logaddexp],
    "pareto_front": [front_by_numpy, front_by_lists, front_by_gaps],
}
