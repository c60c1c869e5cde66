"""How good people get lesson 11 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch

from dpo_lab.course import Mistake


def refuse(estimator):
    raise ValueError(f"estimator must be one of k1, k2, k3, got {estimator!r}")


def terms(policy_logps, ref_logps, estimator, **changed):
    """The right answer with one of its formulas exchanged."""
    log_ratio = ref_logps - policy_logps
    formulas = {
        "k1": lambda x: -x,
        "k2": lambda x: x**2 / 2,
        "k3": lambda x: torch.expm1(x) - x,
    } | changed
    return formulas[estimator](log_ratio) if estimator in formulas else refuse(estimator)


def k1_upside_down(policy_logps, ref_logps, estimator="k1"):
    return terms(policy_logps, ref_logps, estimator, k1=lambda x: x)


def k1_made_positive(policy_logps, ref_logps, estimator="k1"):
    return terms(policy_logps, ref_logps, estimator, k1=lambda x: (-x).clamp(min=0))


def k2_not_halved(policy_logps, ref_logps, estimator="k1"):
    return terms(policy_logps, ref_logps, estimator, k2=lambda x: x**2)


def k3_ratio_upside_down(policy_logps, ref_logps, estimator="k1"):
    return terms(policy_logps, ref_logps, estimator, k3=lambda x: torch.exp(-x) - 1 + x)


def k3_without_the_one(policy_logps, ref_logps, estimator="k1"):
    return terms(policy_logps, ref_logps, estimator, k3=lambda x: torch.exp(x) - x)


def k3_log_added(policy_logps, ref_logps, estimator="k1"):
    return terms(policy_logps, ref_logps, estimator, k3=lambda x: torch.expm1(x) + x)


def k3_ratio_without_exp(policy_logps, ref_logps, estimator="k1"):
    ratio = ref_logps / policy_logps
    return terms(policy_logps, ref_logps, estimator, k3=lambda x: ratio - 1 - x)


def k3_from_probabilities(policy_logps, ref_logps, estimator="k1"):
    ratio = ref_logps.exp() / policy_logps.exp()
    return terms(policy_logps, ref_logps, estimator, k3=lambda x: ratio - 1 - x)


def mean_of_terms(policy_logps, ref_logps, estimator="k1"):
    return terms(policy_logps, ref_logps, estimator).mean()


def k3_for_any_other_name(policy_logps, ref_logps, estimator="k1"):
    return terms(policy_logps, ref_logps, estimator if estimator in ("k1", "k2") else "k3")


def interval(mean, low, high):
    from dpo_lab.evaluation import Interval

    return Interval(mean, low, high)


def wilson(wins, n, z, mean=None, shrink=True, inner=None):
    share = wins / n
    middle = share + z**2 / (2 * n)
    inner = z**2 / (4 * n**2) if inner is None else inner
    reach = z * math.sqrt(share * (1 - share) / n + inner)
    scale = 1 + z**2 / n if shrink else 1.0
    return interval(
        share if mean is None else middle / scale, (middle - reach) / scale, (middle + reach) / scale
    )


def two_sided(level):
    return NormalDist().inv_cdf((1 + level) / 2)


def plain_interval(wins, comparisons, level=0.95):
    share, z = wins / comparisons, two_sided(level)
    reach = z * math.sqrt(share * (1 - share) / comparisons)
    return interval(share, share - reach, share + reach)


def one_sided_quantile(wins, comparisons, level=0.95):
    return wilson(wins, comparisons, NormalDist().inv_cdf(level))


def level_ignored(wins, comparisons, level=0.95):
    return wilson(wins, comparisons, 1.959963984540054)


def not_rescaled(wins, comparisons, level=0.95):
    return wilson(wins, comparisons, two_sided(level), shrink=False)


def middle_for_mean(wins, comparisons, level=0.95):
    return wilson(wins, comparisons, two_sided(level), mean="middle")


def z_negative(wins, comparisons, level=0.95):
    return wilson(wins, comparisons, NormalDist().inv_cdf((1 - level) / 2))


def only_reach_rescaled(wins, comparisons, level=0.95):
    share, z, n = wins / comparisons, two_sided(level), comparisons
    reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    middle = share + z**2 / (2 * n)
    return interval(share, middle - reach, middle + reach)


def square_forgotten(wins, comparisons, level=0.95):
    z = two_sided(level)
    return wilson(wins, comparisons, z, inner=z**2 / (4 * comparisons))


def z_left_out_of_the_root(wins, comparisons, level=0.95):
    share, z, n = wins / comparisons, two_sided(level), comparisons
    middle, reach = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n)
    return interval(share, (middle - reach) / (1 + z**2 / n), (middle + reach) / (1 + z**2 / n))


def pmf(k, n, p):
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def tail_from(least, n):
    return sum(pmf(k, n, 0.5) for k in range(least, n + 1))


def one_sided(wins, losses):
    return tail_from(max(wins, losses), wins + losses)


def not_capped(wins, losses):
    return 2 * tail_from(max(wins, losses), wins + losses)


def observed_left_out(wins, losses):
    return min(1.0, 2 * tail_from(max(wins, losses) + 1, wins + losses))


def observed_alone(wins, losses):
    return min(1.0, 2 * pmf(max(wins, losses), wins + losses, 0.5))


def tail_of_wins(wins, losses):
    return min(1.0, 2 * tail_from(wins, wins + losses))


def normal_test(wins, losses):
    if wins + losses == 0:
        return 1.0
    z = abs(wins - losses) / math.sqrt(wins + losses)
    return 2 * (1 - NormalDist().cdf(z))


def smaller_side(wins, losses):
    return min(1.0, 2 * tail_from(min(wins, losses), wins + losses))


def p_value(wins, losses):
    return min(1.0, 2 * tail_from(max(wins, losses), wins + losses))


def rejected(n, alpha):
    return [k for k in range(n + 1) if p_value(k, n - k) <= alpha]


def power_of_wins_alone(comparisons, win_probability, alpha=0.05):
    return sum(
        pmf(k, comparisons, win_probability) for k in rejected(comparisons, alpha) if 2 * k > comparisons
    )


def weighted_by_a_fair_coin(comparisons, win_probability, alpha=0.05):
    return sum(pmf(k, comparisons, 0.5) for k in rejected(comparisons, alpha))


def chance_to_miss(comparisons, win_probability, alpha=0.05):
    return 1 - sum(pmf(k, comparisons, win_probability) for k in rejected(comparisons, alpha))


def outcomes_counted(comparisons, win_probability, alpha=0.05):
    return len(rejected(comparisons, alpha)) / (comparisons + 1)


def expected_result_alone(comparisons, win_probability, alpha=0.05):
    wins = round(comparisons * win_probability)
    return float(p_value(wins, comparisons - wins) <= alpha)


def alpha_halved(comparisons, win_probability, alpha=0.05):
    return sum(pmf(k, comparisons, win_probability) for k in rejected(comparisons, alpha / 2))


def alpha_excluded(comparisons, win_probability, alpha=0.05):
    return sum(
        pmf(k, comparisons, win_probability)
        for k in range(comparisons + 1)
        if p_value(k, comparisons - k) < alpha
    )


def n_for_losses(comparisons, win_probability, alpha=0.05):
    n = comparisons
    return sum(pmf(k, n, win_probability) for k in range(n + 1) if p_value(k, n) <= alpha)


def alpha_fixed(comparisons, win_probability, alpha=0.05):
    return sum(pmf(k, comparisons, win_probability) for k in rejected(comparisons, 0.05))


def last_outcome_forgotten(comparisons, win_probability, alpha=0.05):
    return sum(pmf(k, comparisons, win_probability) for k in rejected(comparisons, alpha) if k < comparisons)


def both_votes(judge, prompts, ours, theirs):
    rows = list(zip(prompts, ours, theirs, strict=True))
    first = torch.tensor([judge(x, mine, other) for x, mine, other in rows], dtype=torch.float64)
    second = torch.tensor([judge(x, other, mine) for x, mine, other in rows], dtype=torch.float64)
    return first, second


def verdicts(scores, first):
    from dpo_lab.evaluation import Verdicts

    return Verdicts(scores, first)


def one_order(judge, prompts, ours, theirs):
    first, second = both_votes(judge, prompts, ours, theirs)
    return verdicts(first, (first.mean().item() + second.mean().item()) / 2)


def second_vote_not_turned(judge, prompts, ours, theirs):
    first, second = both_votes(judge, prompts, ours, theirs)
    return verdicts((first + second) / 2, (first.mean().item() + second.mean().item()) / 2)


def their_scores(judge, prompts, ours, theirs):
    first, second = both_votes(judge, prompts, ours, theirs)
    return verdicts((second + 1 - first) / 2, (first.mean().item() + second.mean().item()) / 2)


def only_clear_wins(judge, prompts, ours, theirs):
    first, second = both_votes(judge, prompts, ours, theirs)
    scores = torch.full_like(first, 0.5)
    scores[(first == 1) & (second == 0)] = 1.0
    scores[(first == 0) & (second == 1)] = 0.0
    return verdicts(scores, (first.mean().item() + second.mean().item()) / 2)


def first_place_from_one_order(judge, prompts, ours, theirs):
    first, second = both_votes(judge, prompts, ours, theirs)
    return verdicts((first + 1 - second) / 2, first.mean().item())


def win_rate_for_first_place(judge, prompts, ours, theirs):
    first, second = both_votes(judge, prompts, ours, theirs)
    scores = (first + 1 - second) / 2
    return verdicts(scores, scores.mean().item())


def asked_again(judge, prompts, ours, theirs):
    both_votes(judge, prompts, ours, theirs)
    first, second = both_votes(judge, prompts, ours, theirs)
    return verdicts((first + 1 - second) / 2, (first.mean().item() + second.mean().item()) / 2)


def prompts_swapped_too(judge, prompts, ours, theirs):
    rows = list(zip(prompts, ours, theirs, strict=True))
    first = torch.tensor([judge(x, mine, other) for x, mine, other in rows], dtype=torch.float64)
    second = torch.tensor([judge(x, mine, other) for x, mine, other in rows], dtype=torch.float64)
    return verdicts((first + 1 - second) / 2, (first.mean().item() + second.mean().item()) / 2)


def share_ends(wins, n):
    found = wilson(wins, n, two_sided(0.95))
    return [found.mean, found.low, found.high]


def binned(predicted, outcomes, bins, places=None, empty=math.nan, centre=False, total=False):
    places = (predicted * bins).long().clamp(max=bins - 1) if places is None else places
    rows = []
    for place in range(bins):
        inside = places == place
        count = int(inside.sum())
        if not count:
            rows.append([0.0] + 4 * [empty])
            continue
        wins = outcomes[inside].sum().item()
        share, low, high = share_ends(wins, count)
        if total:
            _, low, high = share_ends(share * len(outcomes), len(outcomes))
        mean = (place + 0.5) / bins if centre else predicted[inside].mean().item()
        rows.append([float(count), mean, share, low, high])
    table = torch.tensor(rows, dtype=torch.float64)
    return dict(zip(("count", "predicted", "measured", "low", "high"), table.unbind(dim=1), strict=True))


def certain_forecasts_lost(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, places=(predicted * bins).long())


def right_edges_closed(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, places=((predicted * bins).ceil().long() - 1).clamp(min=0))


def centres_for_means(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, centre=True)


def stretched_bins(predicted, outcomes, bins=10):
    low, high = predicted.min(), predicted.max()
    places = ((predicted - low) / (high - low) * bins).long().clamp(max=bins - 1)
    return binned(predicted, outcomes, bins, places=places)


def equal_counts(predicted, outcomes, bins=10):
    ranks = predicted.argsort().argsort()
    return binned(predicted, outcomes, bins, places=ranks * bins // len(predicted))


def zeros_for_empty_bins(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, empty=0.0)


def interval_of_all(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, total=True)


def ten_bins_always(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, 10)


def sides_exchanged(predicted, outcomes, bins=10):
    found = binned(predicted, outcomes, bins)
    found["predicted"], found["measured"] = found["measured"], found["predicted"]
    return found


MISTAKES = {
    "kl_terms": [
        Mistake(
            "k1 upside down",
            "k1 is log π − log π_ref: positive where the policy gives more than the reference. You have its negative.",
            k1_upside_down,
        ),
        Mistake(
            "k1 made positive",
            "A sample's k1 may be negative. Cut off there, the mean is no longer the KL: leave it negative.",
            k1_made_positive,
        ),
        Mistake("k2 not halved", "k2 is half the square of the log-ratio.", k2_not_halved),
        Mistake(
            "ratio upside down in k3",
            "r is π_ref/π: its logarithm is ref_logps − policy_logps. With π/π_ref the mean of r under π is not 1, and k3 "
            "estimates something else.",
            k3_ratio_upside_down,
        ),
        Mistake(
            "k3 without its 1",
            "k3 is r − 1 − log r. Without the 1 it is 1 nat too large, in every sample.",
            k3_without_the_one,
        ),
        Mistake(
            "log r added",
            "k3 subtracts log r: r − 1 − log r, which is 0 where r is 1 and never negative.",
            k3_log_added,
        ),
        Mistake(
            "ratio of log-probs",
            "r is a ratio of probabilities, not of log-probs: exp(ref_logps − policy_logps).",
            k3_ratio_without_exp,
        ),
        Mistake(
            "probabilities divided",
            "A long completion's probability is 0 in float32, and 0/0 is NaN: subtract the log-probs first, then exp.",
            k3_from_probabilities,
        ),
        Mistake(
            "mean taken", "Return a number for each sample: the caller needs their spread too.", mean_of_terms
        ),
        Mistake(
            "any name is k3",
            "A name that is none of the three must raise ValueError, or a typing error goes unnoticed.",
            k3_for_any_other_name,
        ),
    ],
    "wilson_interval": [
        Mistake(
            "plain interval",
            "That is p̂ ± z √(p̂(1 − p̂)/n), which has no width where everything was won. Wilson's ends have z²/2n, z²/4n² and "
            "1 + z²/n in them.",
            plain_interval,
        ),
        Mistake(
            "quantile of one side",
            "A 95 % interval leaves 2.5 % on either side: take the quantile of (1 + level) / 2, 1.96 and not 1.64.",
            one_sided_quantile,
        ),
        Mistake("level ignored", "z depends on `level`; 1.96 is right for 0.95 alone.", level_ignored),
        Mistake("not divided", "Both ends are divided by 1 + z²/n.", not_rescaled),
        Mistake(
            "middle for mean",
            "`mean` is p̂ = wins / n, what was measured. The interval's middle is nearer to one half.",
            middle_for_mean,
        ),
        Mistake(
            "z negative",
            "Low is above high: z is negative. Take the quantile of (1 + level) / 2, not of (1 - level) / 2.",
            z_negative,
        ),
        Mistake(
            "middle not divided",
            "1 + z²/n divides the whole numerator, p̂ + z²/2n too, not the ± term alone.",
            only_reach_rescaled,
        ),
        Mistake("n not squared", "Under the root it is z²/4n²: n is squared there.", square_forgotten),
        Mistake(
            "z²/4n² left out",
            "Under the root stand two terms: p̂(1 − p̂)/n and z²/4n².",
            z_left_out_of_the_root,
        ),
    ],
    "sign_test": [
        Mistake(
            "one side only",
            "Losing so clearly would have surprised as much as winning: count both tails, twice the one.",
            one_sided,
        ),
        Mistake(
            "above 1",
            "With as many wins as losses the doubled tail is more than 1. A p-value is at most 1.",
            not_capped,
        ),
        Mistake(
            "observed result left out",
            "At least as lopsided: the observed result itself belongs to the tail.",
            observed_left_out,
        ),
        Mistake(
            "observed result alone",
            "The p-value is a tail, not the chance of exactly this result: add up all more lopsided ones.",
            observed_alone,
        ),
        Mistake(
            "tail of wins",
            "Where losses are more, the tail starts at the losses: max(wins, losses). The test doesn't know whose side it is on.",
            tail_of_wins,
        ),
        Mistake(
            "normal curve",
            "Exact was asked for: the binomial's own probabilities, not the normal curve's.",
            normal_test,
        ),
        Mistake(
            "tail from the smaller side", "The tail starts at the larger of the two counts.", smaller_side
        ),
    ],
    "sign_test_power": [
        Mistake(
            "wins alone",
            "The test also rejects when the losses are many. Rare as that is for p > ½, it belongs to the sum over 0 … n.",
            power_of_wins_alone,
        ),
        Mistake(
            "weighted by a fair coin",
            "How likely k wins are depends on the true win probability. With ½ you get the rate of false alarms.",
            weighted_by_a_fair_coin,
        ),
        Mistake("chance to miss", "That is the chance *not* to notice: one minus the power.", chance_to_miss),
        Mistake(
            "outcomes counted",
            "Not every number of wins is equally likely: weigh each with its binomial probability.",
            outcomes_counted,
        ),
        Mistake(
            "expected result alone",
            "You asked whether the average result is significant. Results vary: add up the chances of all that are.",
            expected_result_alone,
        ),
        Mistake(
            "alpha itself left out", "A p-value of exactly alpha is rejected too: <=, not <.", alpha_excluded
        ),
        Mistake(
            "alpha halved", "sign_test is two-sided already: compare it with alpha itself.", alpha_halved
        ),
        Mistake("alpha ignored", "Compare with the argument alpha, not always with 0.05.", alpha_fixed),
        Mistake(
            "last outcome forgotten",
            "All n wins are possible too: range(comparisons + 1).",
            last_outcome_forgotten,
        ),
        Mistake(
            "n for losses",
            "sign_test takes wins and losses: of n comparisons, k won leave n − k lost. You gave it k and n.",
            n_for_losses,
        ),
    ],
    "judge_both_orders": [
        Mistake(
            "one order",
            "Ask a second time with the answers exchanged: judge(prompt, theirs, ours), and average.",
            one_order,
        ),
        Mistake(
            "second vote not turned",
            "In the second round ours is shown second: a vote of 1 is for *them*. Turn it round: 1 − vote.",
            second_vote_not_turned,
        ),
        Mistake("their side", "A score of 1 means that *ours* won both times.", their_scores),
        Mistake(
            "clear wins only",
            "One win and one tie are ¾, not ½: take the mean of the two votes as it is.",
            only_clear_wins,
        ),
        Mistake(
            "first place from one order",
            "`first` is over all 2N votes. From one order alone, a good policy looks like a leaning judge.",
            first_place_from_one_order,
        ),
        Mistake(
            "win rate for first place",
            "`first` is the mean of the votes as they were cast, for the answer shown first, before any is turned round.",
            win_rate_for_first_place,
        ),
        Mistake(
            "asked again for first",
            "You asked each question more than once: keep the 2N votes and take both results from them.",
            asked_again,
        ),
        Mistake(
            "not exchanged",
            "You asked the same question twice: the second time `theirs` must come first.",
            prompts_swapped_too,
        ),
    ],
    "reliability_bins": [
        Mistake(
            "forecast of 1 lost",
            "1 · K is K, and there is no bin K: a forecast of exactly 1 belongs to the last bin.",
            certain_forecasts_lost,
        ),
        Mistake("right edges", "Bins hold their left edge: [k/K, (k + 1)/K).", right_edges_closed),
        Mistake(
            "centres",
            "`predicted` is the mean of the forecasts in the bin, not the bin's centre.",
            centres_for_means,
        ),
        Mistake("stretched", "The bins divide [0, 1], whatever range the forecasts have.", stretched_bins),
        Mistake(
            "equal counts", "All bins are equally *wide*; they may hold very different numbers.", equal_counts
        ),
        Mistake(
            "zeros where nothing was forecast",
            "An empty bin has measured nothing: NaN. A 0 would be drawn as a forecast that never came true.",
            zeros_for_empty_bins,
        ),
        Mistake("interval of all", "The interval is that of the bin: its own count, not N.", interval_of_all),
        Mistake("always ten", "Take the number of bins from the argument.", ten_bins_always),
        Mistake(
            "columns exchanged", "`predicted` holds forecasts, `measured` what came true.", sides_exchanged
        ),
    ],
}
