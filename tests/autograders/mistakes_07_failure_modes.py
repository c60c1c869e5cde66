"""How good people get lesson 07 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import math

import torch

from dpo_lab.course import Mistake


def grams_of(words, n):
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def all_grams(texts, n):
    return [gram for text in texts for gram in grams_of(text.split(), n)]


def across_texts(texts, n=2):
    grams = grams_of(" ".join(texts).split(), n)
    return len(set(grams)) / len(grams)


def mean_over_texts(texts, n=2):
    found = [grams_of(text.split(), n) for text in texts]
    shares = [len(set(grams)) / len(grams) for grams in found if grams]
    return sum(shares) / len(shares)


def over_words(texts, n=2):
    return len(set(all_grams(texts, n))) / sum(len(text.split()) for text in texts)


def last_gram_lost(texts, n=2):
    grams = [gram for text in texts for gram in grams_of(text.split(), n)[:-1]]
    return len(set(grams)) / len(grams)


def pieces_at_the_end(texts, n=2):
    grams = []
    for text in texts:
        words = text.split()
        grams += [tuple(words[start : start + n]) for start in range(len(words))]
    return len(set(grams)) / len(grams)


def order_lost(texts, n=2):
    grams = all_grams(texts, n)
    return len({tuple(sorted(gram)) for gram in grams}) / len(grams)


def words_only(texts, n=2):
    return len(set(all_grams(texts, 1))) / len(all_grams(texts, 1))


def characters(texts, n=2):
    grams = [gram for text in texts for gram in grams_of(text, n)]
    return len(set(grams)) / len(grams)


def count_for_share(texts, n=2):
    return float(len(set(all_grams(texts, n))))


def equal_lengths_kept(margins, chosen_lengths, rejected_lengths):
    votes = (margins.sign() * (chosen_lengths - rejected_lengths).sign() + 1) / 2
    return votes.double().mean().item()


def equal_lengths_in_the_total(margins, chosen_lengths, rejected_lengths):
    difference = chosen_lengths - rejected_lengths
    votes = (margins.sign() * difference.sign() + 1) / 2
    return votes[difference != 0].double().sum().item() / len(margins)


def margins_ignored(margins, chosen_lengths, rejected_lengths):
    unequal = chosen_lengths != rejected_lengths
    return (chosen_lengths > rejected_lengths)[unequal].double().mean().item()


def lengths_ignored(margins, chosen_lengths, rejected_lengths):
    unequal = chosen_lengths != rejected_lengths
    return ((margins.sign() + 1) / 2)[unequal].double().mean().item()


def shorter_for_longer(margins, chosen_lengths, rejected_lengths):
    difference = chosen_lengths - rejected_lengths
    return ((1 - margins.sign() * difference.sign()) / 2)[difference != 0].double().mean().item()


def tie_is_a_loss(margins, chosen_lengths, rejected_lengths):
    difference = chosen_lengths - rejected_lengths
    return (margins * difference > 0)[difference != 0].double().mean().item()


def tie_is_a_win(margins, chosen_lengths, rejected_lengths):
    difference = chosen_lengths - rejected_lengths
    return (margins * difference >= 0)[difference != 0].double().mean().item()


def tie_for_the_rejected(margins, chosen_lengths, rejected_lengths):
    difference = chosen_lengths - rejected_lengths
    return ((margins > 0) == (difference > 0))[difference != 0].double().mean().item()


def ties_left_out(margins, chosen_lengths, rejected_lengths):
    product = margins * (chosen_lengths - rejected_lengths)
    return (product > 0)[product != 0].double().mean().item()


def correlation(margins, chosen_lengths, rejected_lengths):
    table = torch.stack([margins, chosen_lengths - rejected_lengths]).double()
    return torch.corrcoef(table)[0, 1].item()


def mean_of_perplexities(logps, lengths):
    return torch.exp(-logps / lengths).mean().item()


def mean_of_means(logps, lengths):
    return torch.exp(-(logps / lengths).mean()).item()


def per_text(logps, lengths):
    return torch.exp(-logps.double().mean()).item()


def sign_lost(logps, lengths):
    return torch.exp(logps.sum() / lengths.sum()).item()


def base_two(logps, lengths):
    return 2 ** (-logps.sum().item() / lengths.sum().item())


def cross_entropy(logps, lengths):
    return (-logps.sum() / lengths.sum()).item()


def log_odds(has):
    count = int(has.sum())
    return math.log((count + 0.5) / (len(has) - count + 0.5))


def moved_of(reference_has, policy_has):
    return log_odds(policy_has) - log_odds(reference_has)


def all_pairs(chosen_has, rejected_has, reference_has, policy_has):
    return log_odds(chosen_has), moved_of(reference_has, policy_has)


def chosen_against_rejected(chosen_has, rejected_has, reference_has, policy_has):
    return log_odds(chosen_has) - log_odds(rejected_has), moved_of(reference_has, policy_has)


def rejected_side(chosen_has, rejected_has, reference_has, policy_has):
    return log_odds(rejected_has[chosen_has != rejected_has]), moved_of(reference_has, policy_has)


def where_they_agree(chosen_has, rejected_has, reference_has, policy_has):
    return log_odds(chosen_has[chosen_has == rejected_has]), moved_of(reference_has, policy_has)


def reference_forgotten(chosen_has, rejected_has, reference_has, policy_has):
    return log_odds(chosen_has[chosen_has != rejected_has]), log_odds(policy_has)


def moved_backwards(chosen_has, rejected_has, reference_has, policy_has):
    return log_odds(chosen_has[chosen_has != rejected_has]), moved_of(policy_has, reference_has)


def shares_for_odds(chosen_has, rejected_has, reference_has, policy_has):
    share = lambda has: has.double().mean().item()  # noqa: E731
    return share(chosen_has[chosen_has != rejected_has]), share(policy_has) - share(reference_has)


def parts_exchanged(chosen_has, rejected_has, reference_has, policy_has):
    return moved_of(reference_has, policy_has), log_odds(chosen_has[chosen_has != rejected_has])


def log_of_shares(chosen_has, rejected_has, reference_has, policy_has):
    share = lambda has: math.log((int(has.sum()) + 0.5) / (len(has) + 1))  # noqa: E731
    return share(chosen_has[chosen_has != rejected_has]), share(policy_has) - share(reference_has)


def share(hits):
    return hits.double().mean().item()


def fall_alone(pc, pr, rc, rr):
    return share(pc < rc)


def both_fell(pc, pr, rc, rr):
    return share((pc < rc) & (pr < rr))


def ranked_by_logps(pc, pr, rc, rr):
    return share((pc < rc) & (pc > pr))


def rejected_watched(pc, pr, rc, rr):
    return share((pr < rr) & (pc - rc > pr - rr))


def below_its_rival(pc, pr, rc, rr):
    return share((pc < pr) & (pc - rc > pr - rr))


def of_the_means(pc, pr, rc, rr):
    chosen, rejected = (pc - rc).mean(), (pr - rr).mean()
    return float((chosen < 0) & (chosen > rejected))


def of_the_learnt(pc, pr, rc, rr):
    chosen, learnt = pc - rc, pc - rc > pr - rr
    return ((chosen < 0) & learnt).sum().item() / max(learnt.sum().item(), 1)


def of_the_fallen(pc, pr, rc, rr):
    fallen = pc < rc
    return (fallen & (pc - rc > pr - rr)).sum().item() / max(fallen.sum().item(), 1)


def ties_count(pc, pr, rc, rr):
    return share((pc <= rc) & (pc - rc >= pr - rr))


def brackets_forgotten(pc, pr, rc, rr):
    return share(pc < rc & (pc - rc > pr - rr))


def binned(predicted, outcomes, bins, weigh=True, absolute=True, empty=0.0, places=None, middle=False):
    """The right answer with one part exchanged."""
    places = (predicted * bins).long().clamp(max=bins - 1) if places is None else places
    error = 0.0
    for place in range(bins):
        inside = places == place
        if not inside.any():
            error += empty
            continue
        forecast = (place + 0.5) / bins if middle else predicted[inside].double().mean().item()
        gap = outcomes[inside].double().mean().item() - forecast
        error += (inside.double().mean().item() if weigh else 1 / bins) * (abs(gap) if absolute else gap)
    return error


def bins_weigh_alike(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, weigh=False)


def signed_gaps(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, absolute=False)


def gap_of_the_means(predicted, outcomes, bins=10):
    return abs(outcomes.double().mean().item() - predicted.double().mean().item())


def brier(predicted, outcomes, bins=10):
    return ((predicted.double() - outcomes) ** 2).mean().item()


def gap_of_each(predicted, outcomes, bins=10):
    return (predicted.double() - outcomes).abs().mean().item()


def middle_of_the_bin(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, middle=True)


def certainty_lost(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, places=(predicted * bins).long())


def closed_on_the_right(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, places=((predicted * bins).ceil().long() - 1).clamp(min=0))


def open_on_the_left(predicted, outcomes, bins=10):
    places = (predicted * bins).ceil().long() - 1  # a forecast of 0 falls out
    return binned(predicted, outcomes, bins, places=places)


def empty_bins_counted(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, empty=float("nan"))


def nearest_edge(predicted, outcomes, bins=10):
    return binned(predicted, outcomes, bins, places=(predicted * bins).round().long().clamp(max=bins - 1))


def surest_first(margins, n):
    return torch.argsort(margins.abs(), descending=True, stable=True)[:n].tolist()


def smallest_first(margins, n):
    return torch.argsort(margins, stable=True)[:n].tolist()


def near_one_half(margins, n):
    return torch.argsort((margins - 0.5).abs(), stable=True)[:n].tolist()


def in_row_order(margins, n):
    return sorted(torch.argsort(margins.abs(), stable=True)[:n].tolist())


def margins_returned(margins, n):
    return margins.abs().sort(stable=True).values[:n].tolist()


def later_row_first(margins, n):
    return [len(margins) - 1 - i for i in torch.argsort(margins.abs().flip(0), stable=True)[:n].tolist()]


def by_topk(margins, n):
    return torch.topk(margins.abs(), n, largest=False).indices.tolist()


def by_unstable_sort(margins, n):
    return torch.argsort(margins.abs())[:n].tolist()


def sum_over(flipped, votes, weight, coefficient=True):
    """Σ_k weight(k) C(votes, k) ε^k (1 − ε)^(votes − k)."""
    total = 0.0
    for k in range(votes + 1):
        ways = math.comb(votes, k) if coefficient else 1
        total += weight(k) * ways * flipped**k * (1 - flipped) ** (votes - k)
    return total


def majority_is_right(flipped, votes):
    return 1 - sum_over(flipped, votes, lambda k: 1.0 if 2 * k > votes else 0.5 * (2 * k == votes))


def ways_forgotten(flipped, votes):
    return sum_over(flipped, votes, lambda k: 1.0 if 2 * k > votes else 0.5 * (2 * k == votes), False)


def ties_are_wrong(flipped, votes):
    return sum_over(flipped, votes, lambda k: float(2 * k >= votes))


def ties_are_right(flipped, votes):
    return sum_over(flipped, votes, lambda k: float(2 * k > votes))


def exactly_a_majority(flipped, votes):
    return sum_over(flipped, votes, lambda k: float(k == votes // 2 + 1))


def tie_among_the_majorities(flipped, votes):
    return sum_over(flipped, votes, lambda k: float(k >= votes // 2))


def all_err(flipped, votes):
    return flipped**votes


def no_gain(flipped, votes):
    return float(flipped)


MISTAKES = {
    "distinct_n": [
        Mistake(
            "joined texts",
            "You joined the texts first, so n-grams cross from the end of one to the start of the next. Nobody wrote those.",
            across_texts,
        ),
        Mistake(
            "mean over texts",
            "You took the share within each text and averaged. A policy that writes one and the same text a hundred times "
            "would look as varied as that text: count over all texts together.",
            mean_over_texts,
        ),
        Mistake(
            "divided by words",
            "The denominator is the number of n-grams, not the number of words.",
            over_words,
        ),
        Mistake(
            "last n-gram lost",
            "A text of L words has L − n + 1 n-grams: `range(len(words) - n)` stops one too early.",
            last_gram_lost,
        ),
        Mistake(
            "pieces at the end",
            "A slice past the end is shorter than n words: those pieces are no n-grams. Stop at L − n + 1.",
            pieces_at_the_end,
        ),
        Mistake(
            "order lost",
            '"the soup" and "soup the" are two different n-grams: keep the order, in a tuple.',
            order_lost,
        ),
        Mistake("single words", "You counted single words whatever n is.", words_only),
        Mistake("characters", "You cut the text into characters. Split it into words first.", characters),
        Mistake(
            "count for share",
            "You returned how many different n-grams there are. Divide by how many there are at all.",
            count_for_share,
        ),
    ],
    "prefers_longer": [
        Mistake(
            "margins ignored",
            "You asked how often the *chosen* completion is longer. The judge prefers the chosen one only where the margin is "
            "above 0; below 0 it prefers the rejected one.",
            margins_ignored,
        ),
        Mistake(
            "lengths ignored",
            "You asked how often the judge prefers the chosen one. The question is how often it prefers the *longer* one.",
            lengths_ignored,
        ),
        Mistake(
            "shorter for longer", "You counted the votes for the shorter completion.", shorter_for_longer
        ),
        Mistake(
            "equal lengths kept",
            "Pairs of equal length have no longer completion. Leave them out of the mean instead of giving them a half.",
            equal_lengths_kept,
        ),
        Mistake(
            "equal lengths in the total",
            "You left pairs of equal length out of the count, but not out of the number you divide by.",
            equal_lengths_in_the_total,
        ),
        Mistake(
            "tie counts nothing",
            "A margin of exactly 0 is half a vote for the longer one; you gave it none.",
            tie_is_a_loss,
        ),
        Mistake(
            "tie counts fully",
            "A margin of exactly 0 is half a vote for the longer one; you gave it a whole one.",
            tie_is_a_win,
        ),
        Mistake(
            "tie for the rejected",
            "`margins > 0` is False at 0 too, so a margin of 0 went to the rejected completion. It is half a vote.",
            tie_for_the_rejected,
        ),
        Mistake(
            "ties left out",
            "You left pairs with a margin of 0 out. They count, as half a vote; only pairs of equal length are left out.",
            ties_left_out,
        ),
        Mistake(
            "correlation",
            "You returned a correlation. Asked for is a share of votes, between 0 and 1.",
            correlation,
        ),
    ],
    "perplexity": [
        Mistake(
            "mean of perplexities",
            "You took each text's perplexity and averaged those: one unlucky short text then outweighs all others. Sum nats and "
            "tokens over the set first, exponentiate last.",
            mean_of_perplexities,
        ),
        Mistake(
            "every text alike",
            "You averaged over the tokens of each text, then over texts: short texts weigh as much as long ones. "
            "Divide the sum of all log-probs by the sum of all lengths.",
            mean_of_means,
        ),
        Mistake(
            "per text",
            "You divided by the number of texts. Perplexity is per token: divide by the sum of the lengths.",
            per_text,
        ),
        Mistake("sign lost", "Perplexity is at least 1: the exponent is minus the mean log-prob.", sign_lost),
        Mistake("base two", "The log-probs are in nats, so the base is e, not 2.", base_two),
        Mistake(
            "not exponentiated",
            "You returned the mean negative log-prob, in nats a token. Perplexity is e to that.",
            cross_entropy,
        ),
    ],
    "amplification": [
        Mistake(
            "all pairs",
            "You took every chosen completion. Pairs in which both or neither have the trait say nothing about it: keep those "
            "that differ.",
            all_pairs,
        ),
        Mistake(
            "chosen against rejected",
            "You compared the two sides over all pairs. A pair is one decision: among the pairs that differ in the trait, how "
            "often is the one with it the chosen one?",
            chosen_against_rejected,
        ),
        Mistake(
            "rejected side",
            "You counted how often the completion with the trait was rejected.",
            rejected_side,
        ),
        Mistake(
            "where they agree",
            "You kept the pairs that agree in the trait. Those that differ are the ones that tell.",
            where_they_agree,
        ),
        Mistake(
            "reference forgotten",
            "You returned the policy's own log-odds. Training moved it from the reference's: subtract those.",
            reference_forgotten,
        ),
        Mistake(
            "moved backwards",
            "You subtracted the policy's log-odds from the reference's. Moved is after minus before.",
            moved_backwards,
        ),
        Mistake(
            "shares for log-odds",
            "You compared shares. From 90 to 99 % is a factor of 11 in the odds, from 50 to 59 % one of 1.4: use log_odds for "
            "all three.",
            shares_for_odds,
        ),
        Mistake(
            "log of shares",
            "You took log p. Log-odds are log(p / (1 − p)).",
            log_of_shares,
        ),
        Mistake("parts exchanged", "The order is asked, then moved.", parts_exchanged),
    ],
    "displaced_share": [
        Mistake(
            "a fall alone",
            "You count every chosen completion that fell. Displacement is a fall of a pair that counts as learnt: the "
            "log-ratio gap must be above 0 too.",
            fall_alone,
        ),
        Mistake(
            "both fell",
            "That both fell is not enough: if the chosen one fell further, the pair is not learnt. Compare log-ratios.",
            both_fell,
        ),
        Mistake(
            "ranked by log-probs",
            "Learnt means that the chosen log-ratio is the higher one. You compared log-probs: the reference is missing.",
            ranked_by_logps,
        ),
        Mistake(
            "rejected watched",
            "You ask whether the rejected completion fell. That one is meant to fall; look at the chosen one.",
            rejected_watched,
        ),
        Mistake(
            "below its rival",
            "The chosen completion is to be compared with its own log-prob under the reference, not with the rejected "
            "completion.",
            below_its_rival,
        ),
        Mistake(
            "of the means",
            "Judge pair by pair and then take the share: a mean hides how many pairs fell.",
            of_the_means,
        ),
        Mistake(
            "share of the learnt pairs",
            "The denominator is all B pairs, not only those that are learnt.",
            of_the_learnt,
        ),
        Mistake(
            "share of the fallen pairs",
            "The denominator is all B pairs, not only those whose chosen completion fell.",
            of_the_fallen,
        ),
        Mistake(
            "unmoved pairs count",
            "A pair that has not moved has neither lost nor learnt anything: compare with < and >, not <= and >=.",
            ties_count,
        ),
        Mistake(
            "brackets forgotten",
            "`&` binds more tightly than `<` and `>`: Python reads `a < b & c > d` as `a < (b & c) > d`. Put each "
            "comparison into brackets.",
            brackets_forgotten,
        ),
    ],
    "calibration_error": [
        Mistake(
            "bins weigh alike",
            "Each bin counts as much as it holds, n_k / N. A bin of one pair must not weigh as much as one of fifty.",
            bins_weigh_alike,
        ),
        Mistake(
            "signed gaps",
            "Take the absolute gap of each bin before adding: too sure here and too unsure there do not make up for "
            "each other.",
            signed_gaps,
        ),
        Mistake(
            "gap of the means",
            "That is one bin for all. A forecaster can be right on average and wrong at every level: sort first.",
            gap_of_the_means,
        ),
        Mistake(
            "Brier score",
            "The mean squared error of the forecasts is the Brier score. It also punishes honest uncertainty; the "
            "calibration error compares means of bins.",
            brier,
        ),
        Mistake(
            "gap of each forecast",
            "An outcome is 0 or 1, so a single forecast of 0.7 always misses it. Means within the bin first, then the gap.",
            gap_of_each,
        ),
        Mistake(
            "middle of the bin",
            "Compare the outcomes with the mean of the bin's forecasts, not with the bin's middle.",
            middle_of_the_bin,
        ),
        Mistake(
            "certainty lost",
            "A forecast of exactly 1 belongs to the last bin; your bin number for it is K, and no bin has that number.",
            certainty_lost,
        ),
        Mistake(
            "zero lost",
            "Your bins are (k/K, (k + 1)/K]: a forecast on an edge belongs to the bin above it, and one of exactly 0, "
            "which belongs to the first bin, is in none of yours.",
            open_on_the_left,
        ),
        Mistake(
            "empty bins counted",
            "The mean of an empty bin is NaN, and NaN times 0 is NaN. Empty bins add nothing: skip them.",
            empty_bins_counted,
        ),
        Mistake(
            "closed on the right",
            "Bin k holds [k/K, (k + 1)/K): a forecast on an edge belongs to the bin above it.",
            closed_on_the_right,
        ),
        Mistake(
            "rounded to the nearest edge",
            "Rounding shifts the bins by half their width. The bin number is the whole part of K times the forecast.",
            nearest_edge,
        ),
    ],
    "select_active_pairs": [
        Mistake(
            "surest first",
            "These are the pairs the policy is surest of: its own answer is the likely label, and little is learnt.",
            surest_first,
        ),
        Mistake(
            "smallest margin with its sign",
            "A margin of −9 is as sure as one of +9. The least sure pair is the one nearest to 0.",
            smallest_first,
        ),
        Mistake(
            "nearest to one half",
            "One half is the win probability at which the policy is least sure; its margin is 0 there.",
            near_one_half,
        ),
        Mistake("sorted by row", "Give the least sure pair first, not the lowest row number.", in_row_order),
        Mistake(
            "margins instead of rows", "Return row numbers: whoever labels needs the pairs.", margins_returned
        ),
        Mistake(
            "later row first",
            "Among equally unsure pairs the earlier row comes first: sort with stable=True.",
            later_row_first,
        ),
        Mistake(
            "equals in no order (topk)",
            "torch.topk gives equals in no fixed order. Keep them in row order: torch.argsort(..., stable=True).",
            by_topk,
        ),
        Mistake(
            "equals in no order (argsort)",
            "torch.argsort gives equals in no fixed order unless you ask for it. Keep them in row order: stable=True.",
            by_unstable_sort,
        ),
    ],
    "majority_error": [
        Mistake(
            "majority is right",
            "This is the probability that the majority is right. Sum over the outcomes in which more than half err.",
            majority_is_right,
        ),
        Mistake(
            "ways forgotten",
            "There are C(votes, k) ways to choose who errs: math.comb(votes, k).",
            ways_forgotten,
        ),
        Mistake(
            "ties are wrong",
            "With an even number of votes a coin settles a tie: half of its probability is an error, not all of it.",
            ties_are_wrong,
        ),
        Mistake(
            "ties are right",
            "With an even number of votes a tie is settled by a coin: half of its probability is an error.",
            ties_are_right,
        ),
        Mistake(
            "exactly a majority",
            "You counted the narrowest wrong majority alone. Larger ones are wrong too: sum over all of them.",
            exactly_a_majority,
        ),
        Mistake(
            "from votes // 2 on",
            "More than half begins at votes // 2 + 1: with five votes, two that err are no majority, and with four they "
            "are a tie, of which only half counts.",
            tie_among_the_majorities,
        ),
        Mistake(
            "all err",
            "εᵛ is the probability that every annotator errs. A wrong majority needs fewer than that.",
            all_err,
        ),
        Mistake(
            "one vote", "This is the error of one annotator. The number of votes has no effect.", no_gain
        ),
    ],
}
