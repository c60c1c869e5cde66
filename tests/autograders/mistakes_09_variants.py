"""How good people get lesson 09 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import copy

import torch
from torch.nn.functional import logsigmoid, relu

from dpo_lab.course import Mistake
from dpo_lab.losses import log_odds
from dpo_lab.policies import Policy


def triple(losses, chosen, rejected):
    return losses, chosen.detach(), rejected.detach()


def ipo(pc, pr, rc, rr, beta=0.1, gap=None, target=None):
    gap = (pc - rc) - (pr - rr) if gap is None else gap
    target = 1 / (2 * beta) if target is None else target
    return triple((gap - target) ** 2, beta * (pc - rc), beta * (pr - rr))


def formula_of_the_notes(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta, gap=pc - pr, target=beta)


def tau_for_its_inverse(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta, target=beta)


def no_reference(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta, gap=pc - pr)


def two_forgotten(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta, target=1 / beta)


def half_of_tau(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta, target=beta / 2)


def target_of_the_margin(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta, gap=beta * ((pc - rc) - (pr - rr)))


def half_of_the_margin(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta, gap=beta * ((pc - rc) - (pr - rr)), target=0.5)


def ipo_swapped(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta, gap=(pr - rr) - (pc - rc))


def never_pulls_back(pc, pr, rc, rr, beta=0.1):
    _, *rewards = ipo(pc, pr, rc, rr, beta)
    gap = (pc - rc) - (pr - rr)
    return relu(1 / (2 * beta) - gap) ** 2, *rewards


def ipo_mean(pc, pr, rc, rr, beta=0.1):
    losses, *rewards = ipo(pc, pr, rc, rr, beta)
    return losses.mean(), *rewards


def ipo_plain_rewards(pc, pr, rc, rr, beta=0.1):
    return triple(ipo(pc, pr, rc, rr, beta)[0], pc - rc, pr - rr)


def ipo_attached(pc, pr, rc, rr, beta=0.1):
    return ipo(pc, pr, rc, rr, beta)[0], beta * (pc - rc), beta * (pr - rr)


def kto(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0, zero=None, down=-1.0):
    """The right answer with one part exchanged."""
    zero = drift.detach().mean().clamp(min=0) if zero is None else zero
    gains = beta * (policy - ref - zero)
    losses = torch.where(
        up, up_weight * torch.sigmoid(-gains), down_weight * (1 - torch.sigmoid(down * gains))
    )
    return losses, (beta * (policy - ref)).detach()


def kto_attached(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    return kto(policy, ref, up, drift, beta, up_weight, down_weight)[0], beta * (policy - ref)


def zero_forgotten(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    return kto(policy, ref, up, drift, beta, up_weight, down_weight, zero=0.0)


def zero_not_clamped(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    return kto(policy, ref, up, drift, beta, up_weight, down_weight, zero=drift.detach().mean())


def zero_clamped_too_early(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    zero = drift.detach().clamp(min=0).mean()
    return kto(policy, ref, up, drift, beta, up_weight, down_weight, zero=zero)


def zero_summed(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    return kto(policy, ref, up, drift, beta, up_weight, down_weight, zero=drift.detach().sum().clamp(min=0))


def zero_of_the_rows(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    zero = (policy - ref).detach().mean().clamp(min=0)
    return kto(policy, ref, up, drift, beta, up_weight, down_weight, zero=zero)


def zero_with_gradient(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    return kto(policy, ref, up, drift, beta, up_weight, down_weight, zero=drift.mean().clamp(min=0))


def down_is_up(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    return kto(policy, ref, up, drift, beta, up_weight, down_weight, down=1.0)


def zero_on_one_side(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    zero = drift.detach().mean().clamp(min=0)
    shifted = torch.where(up, zero, -zero)
    return kto(policy, ref, up, drift, beta, up_weight, down_weight, zero=shifted)


def weights_swapped(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    return kto(policy, ref, up, drift, beta, down_weight, up_weight)


def weights_ignored(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    return kto(policy, ref, up, drift, beta)


def logistic(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    gains = beta * (policy - ref - drift.detach().mean().clamp(min=0))
    losses = torch.where(up, -up_weight * logsigmoid(gains), -down_weight * logsigmoid(-gains))
    return losses, (beta * (policy - ref)).detach()


def value_for_loss(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    losses, rewards = kto(policy, ref, up, drift, beta, up_weight, down_weight)
    return torch.where(up, up_weight - losses, down_weight - losses), rewards


def reward_from_zero(policy, ref, up, drift, beta=0.1, up_weight=1.0, down_weight=1.0):
    losses, rewards = kto(policy, ref, up, drift, beta, up_weight, down_weight)
    return losses, rewards - beta * drift.detach().mean().clamp(min=0)


def simpo(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0, margin=None):
    margin = beta * (pc - pr) - gamma if margin is None else margin
    return triple(-logsigmoid(margin), beta * pc, beta * pr)


def gamma_times_beta(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return simpo(pc, pr, beta=beta, margin=beta * (pc - pr - gamma))


def gamma_added(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return simpo(pc, pr, beta=beta, margin=beta * (pc - pr) + gamma)


def gamma_forgotten(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return simpo(pc, pr, beta=beta, margin=beta * (pc - pr))


def simpo_beta_forgotten(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return simpo(pc, pr, beta=beta, margin=pc - pr - gamma)


def simpo_swapped(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return simpo(pc, pr, beta=beta, margin=beta * (pr - pc) - gamma)


def simpo_hinge(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return triple(relu(gamma - beta * (pc - pr)), beta * pc, beta * pr)


def simpo_with_reference(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    if rc is None:
        return simpo(pc, pr, beta=beta, gamma=gamma)
    return triple(simpo(pc - rc, pr - rr, beta=beta, gamma=gamma)[0], beta * (pc - rc), beta * (pr - rr))


def simpo_log_of_sigmoid(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return triple(-torch.log(torch.sigmoid(beta * (pc - pr) - gamma)), beta * pc, beta * pr)


def gamma_in_the_rewards(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    losses, chosen, rejected = simpo(pc, pr, beta=beta, gamma=gamma)
    return losses, chosen - gamma, rejected


def simpo_attached(pc, pr, rc=None, rr=None, beta=2.0, gamma=1.0):
    return simpo(pc, pr, beta=beta, gamma=gamma)[0], beta * pc, beta * pr


def orpo(pc, pr, rc=None, rr=None, beta=0.1, ratio=None, sft=None):
    ratio = log_odds(pc) - log_odds(pr) if ratio is None else ratio
    sft = -pc if sft is None else sft
    return triple(sft - beta * logsigmoid(ratio), beta * pc, beta * pr)


def no_odds(pc, pr, rc=None, rr=None, beta=0.1):
    return orpo(pc, pr, beta=beta, ratio=pc - pr)


def odds_without_log(pc, pr, rc=None, rr=None, beta=0.1):
    return orpo(pc, pr, beta=beta, ratio=log_odds(pc).exp() / log_odds(pr).exp())


def sft_forgotten(pc, pr, rc=None, rr=None, beta=0.1):
    return orpo(pc, pr, beta=beta, sft=torch.zeros_like(pc))


def sft_of_both(pc, pr, rc=None, rr=None, beta=0.1):
    return orpo(pc, pr, beta=beta, sft=-pc - pr)


def sft_backwards(pc, pr, rc=None, rr=None, beta=0.1):
    return orpo(pc, pr, beta=beta, sft=pc)


def beta_on_the_odds(pc, pr, rc=None, rr=None, beta=0.1):
    losses = -pc - logsigmoid(beta * (log_odds(pc) - log_odds(pr)))
    return triple(losses, beta * pc, beta * pr)


def orpo_beta_forgotten(pc, pr, rc=None, rr=None, beta=0.1):
    return triple(orpo(pc, pr, beta=1.0)[0], beta * pc, beta * pr)


def orpo_swapped(pc, pr, rc=None, rr=None, beta=0.1):
    return orpo(pc, pr, beta=beta, ratio=log_odds(pr) - log_odds(pc))


def plus_for_minus(pc, pr, rc=None, rr=None, beta=0.1):
    return triple(-pc + beta * logsigmoid(log_odds(pc) - log_odds(pr)), beta * pc, beta * pr)


def sft_detached(pc, pr, rc=None, rr=None, beta=0.1):
    return orpo(pc, pr, beta=beta, sft=-pc.detach())


def orpo_attached(pc, pr, rc=None, rr=None, beta=0.1):
    return orpo(pc, pr, beta=beta)[0], beta * pc, beta * pr


def extremes(completions, beats, keep=None):
    """The right search with one of its steps exchanged."""
    first, second, *others = completions
    best, worst = (first, second) if beats(first, second) else (second, first)
    for other in others:
        if beats(other, best):
            best = other
        elif not beats(other, worst):
            worst = other
    return best, worst


def worst_first(completions, beats):
    return extremes(completions, beats)[::-1]


def first_two_only(completions, beats):
    first, second = completions[:2]
    return (first, second) if beats(first, second) else (second, first)


def best_against_the_first(completions, beats):
    best = worst = completions[0]
    for other in completions[1:]:
        if beats(other, best):
            best = other
    return best, worst


def dethroned_best_is_worst(completions, beats):
    first, second, *others = completions
    best, worst = (first, second) if beats(first, second) else (second, first)
    for other in others:
        if beats(other, best):
            best, worst = other, best
        elif not beats(other, worst):
            worst = other
    return best, worst


def loser_replaces_the_worst(completions, beats):
    first, second, *others = completions
    best, worst = (first, second) if beats(first, second) else (second, first)
    for other in others:
        if beats(other, best):
            best = other
        else:
            worst = other
    return best, worst


def everybody_meets_both(completions, beats):
    first, second, *others = completions
    best, worst = (first, second) if beats(first, second) else (second, first)
    for other in others:
        if beats(other, best):
            best = other
        if not beats(other, worst):
            worst = other
    return best, worst


def round_robin(completions, beats):
    wins = {text: 0 for text in completions}
    for i, first in enumerate(completions):
        for second in completions[i + 1 :]:
            wins[first if beats(first, second) else second] += 1
    return max(completions, key=wins.get), min(completions, key=wins.get)


def starts_with_one_twice(completions, beats):
    best = worst = completions[0]
    for other in completions[1:]:
        if beats(other, best):
            best = other
        elif not beats(other, worst):
            worst = other
    return best, worst


def frozen(policy):
    model = copy.deepcopy(policy.model).eval().requires_grad_(False)
    return Policy(model, policy.tokenizer, f"{policy.name} (reference)")


def policy_is_the_reference(policy, reference, number, refresh_reference, collect):
    reference = policy if refresh_reference and number > 0 else reference
    return reference, collect(policy, reference)


def always_refreshed(policy, reference, number, refresh_reference, collect):
    reference = frozen(policy) if number > 0 else reference
    return reference, collect(policy, reference)


def never_refreshed(policy, reference, number, refresh_reference, collect):
    return reference, collect(policy, reference)


def refreshed_at_once(policy, reference, number, refresh_reference, collect):
    reference = frozen(policy) if refresh_reference else reference
    return reference, collect(policy, reference)


def reference_writes_the_pairs(policy, reference, number, refresh_reference, collect):
    reference = frozen(policy) if refresh_reference and number > 0 else reference
    return reference, collect(reference, reference)


def old_reference_chooses(policy, reference, number, refresh_reference, collect):
    pairs = collect(policy, reference)
    return frozen(policy) if refresh_reference and number > 0 else reference, pairs


def copied_but_trainable(policy, reference, number, refresh_reference, collect):
    if refresh_reference and number > 0:
        reference = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.name)
    return reference, collect(policy, reference)


def policy_frozen_too(policy, reference, number, refresh_reference, collect):
    if refresh_reference and number > 0:
        policy.model.requires_grad_(False)
        reference = frozen(policy)
    return reference, collect(policy, reference)


def shared_weights(policy, reference, number, refresh_reference, collect):
    if refresh_reference and number > 0:
        model = copy.copy(policy.model)
        reference = Policy(model, policy.tokenizer, policy.name)
    return reference, collect(policy, reference)


def parts(pc, pr, rc, rr, beta):
    chosen, rejected = beta * (pc - rc), beta * (pr - rr)
    return chosen, rejected, chosen - rejected


def margin_loss(pc, pr, rc, rr, beta, margins):
    chosen, rejected, _ = parts(pc, pr, rc, rr, beta)
    return -logsigmoid(margins), chosen.detach(), rejected.detach()


def margin_added(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    own = parts(pc, pr, rc, rr, beta)[2]
    return margin_loss(pc, pr, rc, rr, beta, (own + (1 - weight) * other_margins) / weight)


def weights_exchanged(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    own = parts(pc, pr, rc, rr, beta)[2]
    return margin_loss(pc, pr, rc, rr, beta, (own - weight * other_margins) / (1 - weight + 1e-12))


def division_forgotten(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    own = parts(pc, pr, rc, rr, beta)[2]
    return margin_loss(pc, pr, rc, rr, beta, own - (1 - weight) * other_margins)


def only_own_divided(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    own = parts(pc, pr, rc, rr, beta)[2]
    return margin_loss(pc, pr, rc, rr, beta, own / weight - (1 - weight) * other_margins)


def weighted_average_of_margins(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    own = parts(pc, pr, rc, rr, beta)[2]
    return margin_loss(pc, pr, rc, rr, beta, weight * own + (1 - weight) * other_margins)


def other_times_beta(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    own = parts(pc, pr, rc, rr, beta)[2]
    return margin_loss(pc, pr, rc, rr, beta, (own - beta * (1 - weight) * other_margins) / weight)


def reference_forgotten(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    own = beta * (pc - pr)
    return margin_loss(pc, pr, rc, rr, beta, (own - (1 - weight) * other_margins) / weight)


def sides_exchanged(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    own = parts(pc, pr, rc, rr, beta)[2]
    return margin_loss(pc, pr, rc, rr, beta, (-own - (1 - weight) * other_margins) / weight)


def rewards_divided(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    chosen, rejected, own = parts(pc, pr, rc, rr, beta)
    losses = -logsigmoid((own - (1 - weight) * other_margins) / weight)
    return losses, chosen.detach() / weight, rejected.detach() / weight


def rewards_not_detached(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    chosen, rejected, own = parts(pc, pr, rc, rr, beta)
    return -logsigmoid((own - (1 - weight) * other_margins) / weight), chosen, rejected


def rewards_attached(pc, pr, rc, rr, other_margins, weight, beta=0.1):
    chosen, rejected, own = parts(pc, pr, rc, rr, beta)
    return -logsigmoid((own - (1 - weight) * other_margins) / weight), chosen.mean(), rejected.mean()


def front(points, dominates):
    return [
        j for j in range(len(points)) if not any(dominates(points[i], points[j]) for i in range(len(points)))
    ]


def strict_in_all(points):
    return front(points, lambda a, b: bool((a > b).all()))


def at_least_in_all(points):
    rows = range(len(points))
    return [j for j in rows if not any(i != j and bool((points[i] >= points[j]).all()) for i in rows)]


def lower_is_better(points):
    return front(points, lambda a, b: bool((a <= b).all() and (a < b).any()))


def higher_in_any(points):
    return front(points, lambda a, b: bool((a > b).any()))


def convex_hull_only(points):
    weights = torch.linspace(0, 1, 1001, dtype=torch.float64)
    sides = torch.stack([weights, 1 - weights], dim=1)
    if points.shape[1] != 2:
        return front(points, lambda a, b: bool((a >= b).all() and (a > b).any()))
    totals = sides @ points.double().mT
    best = totals.max(dim=1, keepdim=True).values
    return torch.nonzero((totals >= best - 1e-12).any(dim=0)).flatten().tolist()


def equals_kept_once(points):
    found, seen = [], set()
    for j in front(points, lambda a, b: bool((a >= b).all() and (a > b).any())):
        if tuple(points[j].tolist()) not in seen:
            found.append(j)
            seen.add(tuple(points[j].tolist()))
    return found


def dominated_returned(points):
    good = set(front(points, lambda a, b: bool((a >= b).all() and (a > b).any())))
    return [j for j in range(len(points)) if j not in good]


def first_two_objectives(points):
    return front(points[:, :2], lambda a, b: bool((a >= b).all() and (a > b).any()))


def sorted_by_first(points):
    good = front(points, lambda a, b: bool((a >= b).all() and (a > b).any()))
    return sorted(good, key=lambda j: points[j, 0].item())


MISTAKES = {
    "ipo_loss": [
        Mistake(
            "the formula of the notes",
            "This is (log π(y_w)/π(y_l) − τ)², which many notes give. The paper's δ subtracts the reference's gap, and its target is 1/(2τ).",
            formula_of_the_notes,
        ),
        Mistake(
            "τ for 1/(2τ)",
            "Your target is τ. It is 1/(2τ): a larger τ stays closer to the reference.",
            tau_for_its_inverse,
        ),
        Mistake(
            "reference forgotten",
            "Your gap is log π(y_w) − log π(y_l). δ is the gap of the log-ratios: subtract the reference's gap.",
            no_reference,
        ),
        Mistake("1/τ for 1/(2τ)", "Your target is twice too far: 1/(2τ), not 1/τ.", two_forgotten),
        Mistake(
            "τ/2 for 1/(2τ)", "1 / (2 * beta): in `1 / 2 * beta` Python multiplies by beta.", half_of_tau
        ),
        Mistake(
            "β times the gap",
            "You compare βδ with 1/(2τ). The loss is about δ itself; τ sits in the target only.",
            target_of_the_margin,
        ),
        Mistake(
            "everything times τ",
            "(τδ − ½)² has the same minimum, but it is τ² times the loss: its scale, and so its gradient, is another.",
            half_of_the_margin,
        ),
        Mistake("pair swapped", "Chosen minus rejected: your gap has the opposite sign.", ipo_swapped),
        Mistake(
            "never pulls back",
            "Above the target your loss is 0. IPO's is a square on both sides: a gap that is too large costs too.",
            never_pulls_back,
        ),
        Mistake("averaged", "Return one loss a pair, shape (B,); the trainer averages.", ipo_mean),
        Mistake("rewards without τ", "The rewards are τ times the log-ratios.", ipo_plain_rewards),
        Mistake("rewards not detached", "The rewards are for the log: detach them.", ipo_attached),
    ],
    "kto_loss": [
        Mistake(
            "zero point forgotten",
            "You measure from 0. KTO measures each log-ratio from z, the policy's estimated distance from the reference.",
            zero_forgotten,
        ),
        Mistake(
            "zero point below 0",
            "z estimates a KL, which is never negative, but its estimate can be: take max(0, mean).",
            zero_not_clamped,
        ),
        Mistake(
            "clamped before the mean",
            "You clamp each mismatched log-ratio and then average. Average first, then take max(0, ·): single log-ratios may well be negative.",
            zero_clamped_too_early,
        ),
        Mistake(
            "sum for mean", "z is the mean of the mismatched log-ratios; you have their sum.", zero_summed
        ),
        Mistake(
            "zero point from the rows themselves",
            "z comes from `mismatched_log_ratios`. From the rows' own log-ratios it would be what the loss has just raised or lowered.",
            zero_of_the_rows,
        ),
        Mistake(
            "gradient through the zero point",
            "Detach z: it is a number to measure from, not something to push.",
            zero_with_gradient,
        ),
        Mistake(
            "thumbs down treated as up",
            "For a thumb down the argument turns round: σ(β (z − ρ)).",
            down_is_up,
        ),
        Mistake(
            "zero point added for thumbs down",
            "z − ρ is minus (ρ − z): you have −ρ − z there.",
            zero_on_one_side,
        ),
        Mistake(
            "weights swapped",
            "up_weight belongs to the liked completions, down_weight to the disliked ones.",
            weights_swapped,
        ),
        Mistake("weights ignored", "Each loss is multiplied by up_weight or down_weight.", weights_ignored),
        Mistake(
            "−log σ for 1 − σ",
            "KTO's loss is 1 − σ, which saturates on both sides; −log σ is the logistic loss (that is BCO).",
            logistic,
        ),
        Mistake(
            "value for loss", "σ is the value that is to be maximised. The loss is λ (1 − σ).", value_for_loss
        ),
        Mistake(
            "reward measured from z", "The rewards are β times the log-ratio, without z.", reward_from_zero
        ),
        Mistake("rewards not detached", "The rewards are for the log: detach them.", kto_attached),
    ],
    "simpo_loss": [
        Mistake(
            "γ times β",
            "You have β (difference − γ). γ is in units of the rewards: β · difference − γ.",
            gamma_times_beta,
        ),
        Mistake(
            "γ added",
            "The rewards must be apart by γ *before* the pair counts as won: subtract it.",
            gamma_added,
        ),
        Mistake("γ forgotten", "There is no γ in your margin.", gamma_forgotten),
        Mistake(
            "β forgotten",
            "The rewards are β times the mean log-probs; your margin has no β.",
            simpo_beta_forgotten,
        ),
        Mistake("pair swapped", "Chosen minus rejected: your margin has the opposite sign.", simpo_swapped),
        Mistake(
            "hinge for the logistic",
            "You return max(0, γ − difference). SimPO takes −log σ of the difference minus γ.",
            simpo_hinge,
        ),
        Mistake(
            "reference used",
            "SimPO has no reference: leave the last two tensors alone.",
            simpo_with_reference,
        ),
        Mistake(
            "log of sigmoid",
            "sigmoid underflows to 0 at large negative margins, and its log is −inf: use logsigmoid.",
            simpo_log_of_sigmoid,
        ),
        Mistake(
            "γ in the rewards",
            "γ belongs to the loss; the rewards are β times the mean log-probs.",
            gamma_in_the_rewards,
        ),
        Mistake("rewards not detached", "The rewards are for the log: detach them.", simpo_attached),
    ],
    "orpo_loss": [
        Mistake(
            "no odds",
            "You compare log-probs. ORPO compares log-odds, log p − log(1 − p): `log_odds`.",
            no_odds,
        ),
        Mistake(
            "odds ratio without its logarithm",
            "You put the ratio of the odds into σ. It takes the ratio's logarithm: log-odds minus log-odds.",
            odds_without_log,
        ),
        Mistake(
            "SFT term forgotten",
            "The chosen completion's negative log-prob is missing: it is what teaches the answer itself.",
            sft_forgotten,
        ),
        Mistake(
            "SFT on both sides",
            "Your SFT term contains the rejected completion too; nobody wants to imitate that.",
            sft_of_both,
        ),
        Mistake(
            "SFT term upside down",
            "The SFT term is the *negative* log-prob of the chosen completion.",
            sft_backwards,
        ),
        Mistake(
            "β inside the sigmoid",
            "β weighs the whole odds-ratio term; it does not scale the log-odds.",
            beta_on_the_odds,
        ),
        Mistake("β forgotten", "The odds-ratio term has the weight β; yours has 1.", orpo_beta_forgotten),
        Mistake(
            "pair swapped", "Chosen minus rejected: your log-odds ratio has the opposite sign.", orpo_swapped
        ),
        Mistake("plus log σ", "log σ is negative; a loss needs −β log σ.", plus_for_minus),
        Mistake(
            "SFT term detached",
            "The values are right, but no gradient flows through your SFT term.",
            sft_detached,
        ),
        Mistake("rewards not detached", "The rewards are for the log: detach them.", orpo_attached),
    ],
    "best_and_worst": [
        Mistake(
            "order exchanged",
            "You return (worst, best). The best one is the pair's chosen completion and comes first.",
            worst_first,
        ),
        Mistake(
            "only two looked at",
            "Only the first two were compared. The others are candidates, too.",
            first_two_only,
        ),
        Mistake(
            "the first is called worst",
            "Your worst is always the first completion: nobody ever compared the others with it.",
            best_against_the_first,
        ),
        Mistake(
            "beaten best called worst",
            "A completion that loses its place as the best is not the worst: it has beaten others. Leave `worst` alone "
            "then.",
            dethroned_best_is_worst,
        ),
        Mistake(
            "loser called worst",
            "Who loses to the best need not be the worst. Let it meet the worst so far.",
            loser_replaces_the_worst,
        ),
        Mistake(
            "one comparison too many",
            "The result is right, but a completion that has just beaten the best need not meet the worst as well. Each "
            "call of `beats` is a label that somebody is paid for.",
            everybody_meets_both,
        ),
        Mistake(
            "everybody against everybody",
            "You ask for n(n − 1)/2 comparisons. Keep a best and a worst so far instead: 2n − 3 are enough.",
            round_robin,
        ),
        Mistake(
            "the first two compared twice",
            "With best = worst = the first, the second may have to meet the same completion twice: two labels for one "
            "answer. Compare the first two once; the winner is the best so far, the loser the worst.",
            starts_with_one_twice,
        ),
    ],
    "begin_round": [
        Mistake(
            "reference never refreshed",
            "The reference stays the first one, which is online DPO. With refresh_reference it becomes a frozen "
            "copy of the policy.",
            never_refreshed,
        ),
        Mistake(
            "always refreshed",
            "You refresh although refresh_reference is False. Online DPO keeps its first reference.",
            always_refreshed,
        ),
        Mistake(
            "reference replaced in round 0",
            "Round 0 starts with the reference that was given, which need not be the policy. Refresh from round 1 on.",
            refreshed_at_once,
        ),
        Mistake(
            "the policy itself as reference",
            "Your reference is the policy, not a copy: it moves with every step, all log-ratios stay 0, and nothing is "
            "learnt. Use frozen_reference(policy).",
            policy_is_the_reference,
        ),
        Mistake(
            "copy shares its weights",
            "The copy is shallow: its weights are the policy's own. Use frozen_reference(policy).",
            shared_weights,
        ),
        Mistake(
            "copy not frozen",
            "The copy still asks for gradients. frozen_reference(policy) turns them off.",
            copied_but_trainable,
        ),
        Mistake(
            "policy frozen",
            "You turned off the policy's gradients before copying: from now on nothing trains.",
            policy_frozen_too,
        ),
        Mistake(
            "pairs from the reference",
            "The pairs must come from the policy as it is now: collect(policy, reference).",
            reference_writes_the_pairs,
        ),
        Mistake(
            "pairs chosen by the old reference",
            "You called collect before the reference was refreshed. Rules that choose by margin would use the old one.",
            old_reference_chooses,
        ),
    ],
    "weighted_margin_loss": [
        Mistake(
            "margin added",
            "You added the other objective's margin. It is subtracted: what objective 2 already grants, the label of "
            "objective 1 need not ask for, and what objective 2 forbids lowers the bar.",
            margin_added,
        ),
        Mistake(
            "weights exchanged",
            "w is the weight of objective 1, whose labels you have; 1 − w belongs to the other's margin.",
            weights_exchanged,
        ),
        Mistake(
            "division forgotten",
            "The whole difference is divided by w. Without that the optimum is β δ = Δ₁ + (1 − w) Δ₂: objective 1 "
            "would always have weight 1.",
            division_forgotten,
        ),
        Mistake(
            "only one term divided",
            "Both terms stand over w: (β δ − (1 − w) Δ₂) / w. Mind the brackets.",
            only_own_divided,
        ),
        Mistake(
            "average of both margins",
            "w β δ + (1 − w) Δ₂ is the average of both margins. It has its optimum where w β δ = Δ₁ − (1 − w) Δ₂, the "
            "wrong sign for objective 2.",
            weighted_average_of_margins,
        ),
        Mistake(
            "β on the reward",
            "Δ₂ is a difference of rewards already. β turns log-ratios into rewards, and belongs to δ alone.",
            other_times_beta,
        ),
        Mistake(
            "reference forgotten",
            "δ is the gap of log-ratios: subtract the reference's log-probs.",
            reference_forgotten,
        ),
        Mistake(
            "chosen and rejected exchanged",
            "δ is the chosen log-ratio minus the rejected one.",
            sides_exchanged,
        ),
        Mistake(
            "rewards divided by w",
            "The implicit rewards are β (log π − log π_ref), whatever the weights.",
            rewards_divided,
        ),
        Mistake(
            "rewards averaged",
            "Losses and rewards have one entry a pair: shape (B,), the rewards detached.",
            rewards_attached,
        ),
        Mistake("rewards not detached", "The rewards are for the log: detach them.", rewards_not_detached),
    ],
    "pareto_front": [
        Mistake(
            "strictly higher in all",
            "You drop a point only if another is higher in every objective. One that is equal in some and higher in "
            "one dominates as well.",
            strict_in_all,
        ),
        Mistake(
            "equals dominate each other",
            "Two equal points push each other off your front. To dominate, a point must be higher somewhere.",
            at_least_in_all,
        ),
        Mistake(
            "equals kept once",
            "Equal points do not dominate each other: both row numbers belong to the front.",
            equals_kept_once,
        ),
        Mistake(
            "lower is better",
            "You keep the lowest points. Higher is better in every objective.",
            lower_is_better,
        ),
        Mistake(
            "best in everything",
            "You keep a point only if nobody is higher anywhere: that is a point that is best in all objectives. "
            "Trade-offs are what the front is for.",
            higher_in_any,
        ),
        Mistake(
            "corners only",
            "You keep the points that are best for some weights. A point in a dent of the front is best for no "
            "weights, and yet nothing dominates it.",
            convex_hull_only,
        ),
        Mistake("the others returned", "You return the points that are dominated.", dominated_returned),
        Mistake(
            "two objectives only", "There may be more than two columns: compare all K.", first_two_objectives
        ),
        Mistake(
            "another order",
            "Return the row numbers in ascending order, not sorted by reward.",
            sorted_by_first,
        ),
    ],
}
