"""How good people get lesson 06 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import math
import statistics

import torch

from dpo_lab.course import Mistake


def tilted(ref_logps, rewards, beta):
    scores = ref_logps + rewards / beta
    return scores - torch.logsumexp(scores, dim=-1)


def kl_and_reward(logps, ref_logps, rewards):
    probabilities = logps.exp()
    return (probabilities * (logps - ref_logps)).sum().item(), (probabilities * rewards).sum().item()


def beta_multiplies(ref_logps, rewards, beta):
    return kl_and_reward(tilted(ref_logps, rewards, 1 / beta), ref_logps, rewards)


def reverse_kl(ref_logps, rewards, beta):
    logps = tilted(ref_logps, rewards, beta)
    kl = (ref_logps.exp() * (ref_logps - logps)).sum().item()
    return kl, (logps.exp() * rewards).sum().item()


def average_under_the_reference(ref_logps, rewards, beta):
    logps = tilted(ref_logps, rewards, beta)
    kl = (ref_logps.exp() * (logps - ref_logps)).sum().item()
    return kl, (logps.exp() * rewards).sum().item()


def reward_of_the_reference(ref_logps, rewards, beta):
    kl, _ = kl_and_reward(tilted(ref_logps, rewards, beta), ref_logps, rewards)
    return kl, (ref_logps.exp() * rewards).sum().item()


def not_normalised(ref_logps, rewards, beta):
    return kl_and_reward(ref_logps + rewards / beta, ref_logps, rewards)


def reference_left_out(ref_logps, rewards, beta):
    return kl_and_reward((rewards / beta).log_softmax(dim=-1), ref_logps, rewards)


def reward_first(ref_logps, rewards, beta):
    return kl_and_reward(tilted(ref_logps, rewards, beta), ref_logps, rewards)[::-1]


def objective_for_reward(ref_logps, rewards, beta):
    kl, reward = kl_and_reward(tilted(ref_logps, rewards, beta), ref_logps, rewards)
    return kl, reward - beta * kl


def overflowing(ref_logps, rewards, beta):
    weights = ref_logps.exp() * torch.exp(rewards / beta)
    return kl_and_reward((weights / weights.sum()).log(), ref_logps, rewards)


def log_of_a_ratio(ref_logps, rewards, beta):
    probabilities, reference = tilted(ref_logps, rewards, beta).exp(), ref_logps.exp()
    kl = (probabilities * (probabilities / reference).log()).sum().item()
    return kl, (probabilities * rewards).sum().item()


def entropy_for_kl(ref_logps, rewards, beta):
    logps = tilted(ref_logps, rewards, beta)
    return (logps.exp() * logps).sum().item(), (logps.exp() * rewards).sum().item()


def gap(win_probabilities, beta, loss, dpo=None, ipo=None):
    """The right answer with one of its two branches exchanged."""
    if loss == "sigmoid":
        return torch.logit(win_probabilities) / beta if dpo is None else dpo
    if loss == "ipo":
        return (2 * win_probabilities - 1) / (2 * beta) if ipo is None else ipo
    raise ValueError(f"loss must be 'sigmoid' or 'ipo', got {loss!r}")


def gap_times_beta(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, dpo=torch.logit(win_probabilities) * beta)


def beta_left_out(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, dpo=torch.logit(win_probabilities))


def odds_upside_down(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, dpo=-torch.logit(win_probabilities) / beta)


def log_of_p(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, dpo=win_probabilities.log() / beta)


def odds_without_log(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, dpo=win_probabilities / (1 - win_probabilities) / beta)


def infinity_clamped(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, dpo=torch.logit(win_probabilities, eps=1e-6) / beta)


def half_left_out(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, ipo=(2 * win_probabilities - 1) / beta)


def target_of_a_hard_label(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, ipo=torch.full_like(win_probabilities, 1 / (2 * beta)))


def flipped_label_forgotten(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, ipo=win_probabilities / (2 * beta))


def tau_upside_down(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, ipo=(2 * win_probabilities - 1) * beta)


def parentheses_missing(win_probabilities, beta, loss="sigmoid"):
    dpo = win_probabilities.log() - (1 - win_probabilities).log() / beta
    return gap(win_probabilities, beta, loss, dpo=dpo)


def one_formula_for_both(win_probabilities, beta, loss="sigmoid"):
    return gap(win_probabilities, beta, loss, ipo=torch.logit(win_probabilities) / beta)


def unknown_loss_let_through(win_probabilities, beta, loss="sigmoid"):
    if loss == "sigmoid":
        return torch.logit(win_probabilities) / beta
    return (2 * win_probabilities - 1) / (2 * beta)


def masses(ref_logps, rewards):
    """P(r < r(y)) and P(r ≤ r(y)) by comparing every completion with every other."""
    probabilities = ref_logps.exp()
    lower = (rewards[None, :] < rewards[:, None]).to(probabilities) @ probabilities
    up_to = (rewards[None, :] <= rewards[:, None]).to(probabilities) @ probabilities
    return probabilities, lower, up_to


def density_formula(ref_logps, rewards, n):
    _, _, up_to = masses(ref_logps, rewards)
    return ref_logps + math.log(n) + (n - 1) * up_to.log()


def density_formula_normalised(ref_logps, rewards, n):
    return density_formula(ref_logps, rewards, n).log_softmax(dim=-1)


def ties_counted_whole(ref_logps, rewards, n):
    _, lower, up_to = masses(ref_logps, rewards)
    return (up_to**n - lower**n).log()


def worst_of_n(ref_logps, rewards, n):
    return best(ref_logps, -rewards, n)


def best(ref_logps, rewards, n):
    _, lower, up_to = masses(ref_logps, rewards)
    powers = torch.arange(n)
    return ref_logps + (up_to[:, None] ** (n - 1 - powers) * lower[:, None] ** powers).sum(dim=-1).log()


def strictly_below(ref_logps, rewards, n):
    _, lower, _ = masses(ref_logps, rewards)
    return ref_logps + math.log(n) + (n - 1) * lower.log()


def tilted_by_n(ref_logps, rewards, n):
    return (ref_logps + n * rewards).log_softmax(dim=-1)


def probabilities_returned(ref_logps, rewards, n):
    return best(ref_logps, rewards, n).exp()


def ties_to_the_first_in_the_list(ref_logps, rewards, n):
    probabilities = ref_logps.exp()
    order = rewards.argsort(stable=True)
    up_to = probabilities[order].cumsum(dim=0)
    lower = up_to - probabilities[order]
    result = torch.empty_like(ref_logps)
    result[order] = (up_to**n - lower**n).log()
    return result


def fraction_of_zeros(ref_logps, rewards, n):
    _, lower, up_to = masses(ref_logps, rewards)
    return ref_logps + ((up_to**n - lower**n) / (up_to - lower)).log()


def exponent_too_high(ref_logps, rewards, n):
    _, lower, up_to = masses(ref_logps, rewards)
    powers = torch.arange(n)
    return ref_logps + (up_to[:, None] ** (n - powers) * lower[:, None] ** powers).sum(dim=-1).log()


def last_term_left_out(ref_logps, rewards, n):
    _, lower, up_to = masses(ref_logps, rewards)
    powers = torch.arange(n - 1)
    return ref_logps + (up_to[:, None] ** (n - 1 - powers) * lower[:, None] ** powers).sum(dim=-1).log()


def one_draw_too_many(ref_logps, rewards, n):
    return best(ref_logps, rewards, n + 1)


def clip(value, limit=0.2):
    return max(-limit, min(limit, value))


def wrong_direction(beta, kl, target_kl, gain=0.1):
    return beta * (1 - gain * clip((kl - target_kl) / target_kl))


def not_clipped(beta, kl, target_kl, gain=0.1):
    return beta * (1 + gain * (kl - target_kl) / target_kl)


def not_relative(beta, kl, target_kl, gain=0.1):
    return beta * (1 + gain * clip(kl - target_kl))


def relative_to_the_kl(beta, kl, target_kl, gain=0.1):
    return beta * (1 + gain * clip((kl - target_kl) / kl))


def added_to_beta(beta, kl, target_kl, gain=0.1):
    return beta + gain * clip((kl - target_kl) / target_kl)


def clipped_after_the_gain(beta, kl, target_kl, gain=0.1):
    return beta * (1 + clip(gain * (kl - target_kl) / target_kl))


def clipped_on_one_side(beta, kl, target_kl, gain=0.1):
    return beta * (1 + gain * min(0.2, (kl - target_kl) / target_kl))


def gain_ignored(beta, kl, target_kl, gain=0.1):
    return beta * (1 + 0.1 * clip((kl - target_kl) / target_kl))


def ratio_for_error(beta, kl, target_kl, gain=0.1):
    return beta * (1 + gain * clip(kl / target_kl))


def group_runs(runs, by, over, spread, mean=lambda values: sum(values) / len(values), values=None):
    """The right answer with its mean, its spread or its order exchanged."""
    summary = []
    for value in dict.fromkeys(run[by] for run in runs) if values is None else values:
        group = [run for run in runs if run[by] == value]
        row = {by: value, "runs": len(group)}
        for name in group[0]:
            if name not in (by, over):
                measured = [float(run[name]) for run in group]
                row[name] = mean(measured)
                row[f"{name} ±"] = spread(measured)
        summary.append(row)
    return summary


def squares(values):
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values)


def sample_deviation(values):
    return math.sqrt(squares(values) / (len(values) - 1)) if len(values) > 1 else math.nan


def population_deviation(runs, by, over="seed"):
    return group_runs(runs, by, over, lambda values: math.sqrt(squares(values) / len(values)))


def error_of_the_mean(runs, by, over="seed"):
    return group_runs(runs, by, over, lambda values: sample_deviation(values) / math.sqrt(len(values)))


def range_for_spread(runs, by, over="seed"):
    return group_runs(runs, by, over, lambda values: max(values) - min(values))


def variance_for_deviation(runs, by, over="seed"):
    return group_runs(runs, by, over, lambda values: sample_deviation(values) ** 2)


def median_for_mean(runs, by, over="seed"):
    return group_runs(runs, by, over, sample_deviation, mean=statistics.median)


def sorted_by_value(runs, by, over="seed"):
    return group_runs(runs, by, over, sample_deviation, values=sorted({run[by] for run in runs}))


def seed_summarised(runs, by, over="seed"):
    return group_runs(runs, by, None, sample_deviation)


def best_seed(runs, by, over="seed"):
    return group_runs(runs, by, over, sample_deviation, mean=max)


def zero_for_a_single_run(runs, by, over="seed"):
    return group_runs(runs, by, over, lambda values: sample_deviation(values) if len(values) > 1 else 0.0)


def nan_left_out(runs, by, over="seed"):
    kept = lambda values: [value for value in values if not math.isnan(value)]  # noqa: E731
    return group_runs(
        runs,
        by,
        over,
        lambda values: sample_deviation(kept(values)),
        mean=lambda values: sum(kept(values)) / max(1, len(kept(values))),
    )


def spread_by_statistics(runs, by, over="seed"):
    return group_runs(
        runs, by, over, lambda values: statistics.stdev(values) if len(values) > 1 else math.nan
    )


def neighbours_grouped(runs, by, over="seed"):
    summary, start = [], 0
    for end in range(1, len(runs) + 1):
        if end == len(runs) or runs[end][by] != runs[start][by]:
            summary += group_runs(runs[start:end], by, over, sample_deviation)
            start = end
    return summary


MISTAKES = {
    "frontier_point": [
        Mistake(
            "beta multiplies the reward",
            "You tilted the reference by exp(β r). The optimum has exp(r/β): β is the price of the KL, so a large β stays close.",
            beta_multiplies,
        ),
        Mistake(
            "KL the other way round",
            "That is KL(π_ref ‖ π*). What the objective pays for is KL(π* ‖ π_ref): average under the optimum.",
            reverse_kl,
        ),
        Mistake(
            "log-ratio averaged under the reference",
            "The KL is an average over the optimum's own completions. Weight the log-ratio with π*, not with π_ref.",
            average_under_the_reference,
        ),
        Mistake(
            "reward of the reference",
            "The second number is what the optimum earns: weight the rewards with π*.",
            reward_of_the_reference,
        ),
        Mistake(
            "Z forgotten",
            "log π_ref + r/β is not normalised: subtract log Z, or the probabilities do not sum to 1.",
            not_normalised,
        ),
        Mistake(
            "reference left out",
            "softmax(r/β) alone forgets where it started: the reference multiplies exp(r/β).",
            reference_left_out,
        ),
        Mistake("reward returned first", "Return the KL first, then the expected reward.", reward_first),
        Mistake(
            "the objective for the reward",
            "The second number is E[r] itself. E[r] − β KL is what the optimum maximises.",
            objective_for_reward,
        ),
        Mistake(
            "entropy for KL",
            "Σ π log π is minus the entropy. The KL subtracts log π_ref inside the sum.",
            entropy_for_kl,
        ),
        Mistake(
            "log of a ratio of probabilities",
            "At small β a completion's probability is 0 in floating point, and 0 · log 0 is NaN. Subtract log-probs.",
            log_of_a_ratio,
        ),
        Mistake(
            "exponential overflows",
            "At small β, exp(r/β) is infinite and its share NaN. Stay in log space: `optimal_policy`, or logsumexp.",
            overflowing,
        ),
    ],
    "optimal_gap": [
        Mistake(
            "gap times beta",
            "The margin βδ is what equals logit(p), so the gap is logit(p) divided by β: a larger β wants a smaller gap.",
            gap_times_beta,
        ),
        Mistake("beta left out", "logit(p) is the margin m = βδ. Divide by β for the gap.", beta_left_out),
        Mistake(
            "odds upside down",
            "Your gap is positive where the first completion loses. logit(p) = log(p/(1 − p)).",
            odds_upside_down,
        ),
        Mistake("log for logit", "σ(m) = p inverts to m = log(p/(1 − p)), not to log p.", log_of_p),
        Mistake(
            "odds without the log",
            "p/(1 − p) are the odds. The margin is their logarithm.",
            odds_without_log,
        ),
        Mistake(
            "infinity clamped",
            "At p = 1 DPO's loss has no finite minimum, and that is the point: do not clamp p.",
            infinity_clamped,
        ),
        Mistake(
            "half left out",
            "IPO's target is 1/(2τ), so the mean of the two labels is (2p − 1)/(2τ).",
            half_left_out,
        ),
        Mistake(
            "target of a hard label",
            "1/(2τ) is what one label asks for. With probability 1 − p the label asks for −1/(2τ); take the mean.",
            target_of_a_hard_label,
        ),
        Mistake(
            "flipped label forgotten",
            "With probability 1 − p the other completion wins and asks for −1/(2τ): p − (1 − p) = 2p − 1.",
            flipped_label_forgotten,
        ),
        Mistake(
            "tau upside down",
            "A label pulls the gap to 1/(2τ), not to τ: a larger τ asks for a smaller gap, as a larger β does.",
            tau_upside_down,
        ),
        Mistake(
            "parentheses missing",
            "β divides both logarithms: (log p − log(1 − p))/β.",
            parentheses_missing,
        ),
        Mistake(
            "DPO's formula for IPO",
            "IPO's loss is a square, so its minimum is a mean of targets: no logit.",
            one_formula_for_both,
        ),
        Mistake(
            "unknown loss let through",
            "A loss that is neither 'sigmoid' nor 'ipo' must raise a ValueError, or a typo picks one silently.",
            unknown_loss_let_through,
        ),
    ],
    "best_of_n_logps": [
        Mistake(
            "worst of n",
            "Your policy prefers low rewards: compare so that A(y) is the mass at or below y's reward.",
            worst_of_n,
        ),
        Mistake(
            "density formula",
            "n π A^(n − 1) is right for a continuum of rewards. Here a completion has a mass of its own, and your "
            "probabilities sum to more than 1.",
            density_formula,
        ),
        Mistake(
            "density formula, normalised",
            "n π A^(n − 1) is not the distribution of the best of n, and dividing by its sum does not make it so.",
            density_formula_normalised,
        ),
        Mistake(
            "ties counted whole",
            "Aⁿ − Bⁿ is the probability of the *reward*. Completions with the same reward share it in proportion to π_ref.",
            ties_counted_whole,
        ),
        Mistake(
            "ties to the first in the list",
            "Among equally good draws the first *drawn* is kept, not the first in the list of completions.",
            ties_to_the_first_in_the_list,
        ),
        Mistake(
            "only strictly worse draws",
            "The other draws may be as good, or the same completion again: the terms with A are missing.",
            strictly_below,
        ),
        Mistake("reference tilted by n", "Best-of-n is no exponential tilt: it compares ranks.", tilted_by_n),
        Mistake("probabilities returned", "Return log-probabilities.", probabilities_returned),
        Mistake(
            "exponent too high",
            "The kept draw is counted by π_ref; only n − 1 others remain, so the exponents of A and B add up to n − 1.",
            exponent_too_high,
        ),
        Mistake(
            "last term left out",
            "k runs from 0 to n − 1, both included: n terms, and with n = 1 the sum is 1.",
            last_term_left_out,
        ),
        Mistake(
            "one draw too many",
            "That is the best of n + 1: both the terms and the exponents count one draw more than there are.",
            one_draw_too_many,
        ),
        Mistake(
            "zero over zero",
            "For a rare completion A − B vanishes in floating point. The sum over k has no fraction.",
            fraction_of_zeros,
        ),
    ],
    "adapt_beta": [
        Mistake(
            "wrong direction",
            "Too far from the reference calls for a *larger* β: it is the price of the distance.",
            wrong_direction,
        ),
        Mistake(
            "not clipped", "The error is clipped to ±0.2: one wild estimate must not throw β.", not_clipped
        ),
        Mistake(
            "error not relative",
            "Divide by the target before clipping, so that the same rule serves a target of 0.1 and of 10 nats.",
            not_relative,
        ),
        Mistake(
            "relative to the KL",
            "The error is a share of the target, not of the measured KL.",
            relative_to_the_kl,
        ),
        Mistake(
            "added to beta",
            "β is multiplied by 1 + K e, so that it stays positive at any size.",
            added_to_beta,
        ),
        Mistake(
            "clipped after the gain", "Clip the error first, then multiply by K.", clipped_after_the_gain
        ),
        Mistake("clipped on one side", "Clip at −0.2 as well.", clipped_on_one_side),
        Mistake("gain ignored", "K is the argument `gain`, not always 0.1.", gain_ignored),
        Mistake(
            "ratio for the error",
            "At KL = target the error is 0 and β stays: subtract the target first.",
            ratio_for_error,
        ),
    ],
    "summarise_runs": [
        Mistake(
            "divided by n",
            "Three seeds are a sample: divide the sum of squares by n − 1.",
            population_deviation,
        ),
        Mistake(
            "error of the mean",
            "The spread over seeds says what the next seed may do. Do not divide it by √n.",
            error_of_the_mean,
        ),
        Mistake("range", "The spread is a standard deviation, not highest minus lowest.", range_for_spread),
        Mistake("variance", "Take the root: a spread has the unit of the values.", variance_for_deviation),
        Mistake("best seed", "The best seed flatters. Report the mean.", best_seed),
        Mistake("median", "The mean is asked for, not the median.", median_for_mean),
        Mistake(
            "sorted",
            "Keep the order in which the values first occur: whoever made the grid chose it.",
            sorted_by_value,
        ),
        Mistake(
            "neighbours grouped",
            "Runs of one setting need not stand side by side: a sweep may vary the seed slowest.",
            neighbours_grouped,
        ),
        Mistake("seed summarised", "The seed only tells runs apart. Leave it out.", seed_summarised),
        Mistake(
            "no spread taken for zero",
            "One run has no spread: NaN. A 0 would claim that seeds do not matter.",
            zero_for_a_single_run,
        ),
        Mistake(
            "statistics.stdev on NaN",
            "`statistics.stdev` raises where a run measured NaN. Write the formula out: NaN then goes through it.",
            spread_by_statistics,
        ),
        Mistake(
            "NaN left out",
            "A run that diverged is a result. Left out, its setting looks better than it is: let the mean be NaN.",
            nan_left_out,
        ),
    ],
}
