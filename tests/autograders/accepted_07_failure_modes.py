"""Right answers in other words: each must pass."""

from __future__ import annotations

import math
from collections import Counter

import torch


def distinct_by_zip(texts, n=2):
    grams = [gram for text in texts for gram in zip(*(text.split()[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / len(grams)


def distinct_by_counter(texts, n=2):
    counts = Counter()
    for text in texts:
        words = text.split()
        counts.update(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return len(counts) / counts.total()


def distinct_by_window(texts, n=2):
    seen, total = set(), 0
    for text in texts:
        window = []
        for word in text.split():
            window = [*window, word][-n:]
            if len(window) == n:
                seen.add(tuple(window))
                total += 1
    return len(seen) / total


def bias_by_loop(margins, chosen_lengths, rejected_lengths):
    votes = []
    for margin, chosen, rejected in zip(margins, chosen_lengths, rejected_lengths, strict=True):
        if chosen != rejected:
            votes.append(0.5 if margin == 0 else float((margin > 0) == (chosen > rejected)))
    return sum(votes) / len(votes)


def bias_by_product(margins, chosen_lengths, rejected_lengths):
    difference = chosen_lengths - rejected_lengths
    agree = torch.sign(margins[difference != 0]) * torch.sign(difference[difference != 0])
    return float(0.5 + agree.double().mean() / 2)


def bias_by_where(margins, chosen_lengths, rejected_lengths):
    longer = chosen_lengths > rejected_lengths
    votes = torch.where(longer, margins > 0, margins < 0).double() + 0.5 * (margins == 0).double()
    unequal = chosen_lengths != rejected_lengths
    return (votes * unequal).sum().item() / int(unequal.sum())


def perplexity_by_weights(logps, lengths):
    return math.exp(-((logps / lengths) * (lengths / lengths.sum())).sum().item())


def perplexity_by_torch(logps, lengths):
    return torch.exp(-logps.sum() / lengths.sum()).item()


def perplexity_by_root(logps, lengths):
    return math.e ** (-sum(logps.tolist()) / sum(lengths.tolist()))


def nats(wins, losses):
    return math.log(wins + 0.5) - math.log(losses + 0.5)


def amplification_by_counts(chosen_has, rejected_has, reference_has, policy_has):
    asked = nats((chosen_has & ~rejected_has).sum().item(), (rejected_has & ~chosen_has).sum().item())
    after = nats(policy_has.sum().item(), (~policy_has).sum().item())
    before = nats(reference_has.sum().item(), (~reference_has).sum().item())
    return asked, after - before


def amplification_by_mask(chosen_has, rejected_has, reference_has, policy_has):
    ones = [chosen_has[chosen_has ^ rejected_has], reference_has, policy_has]
    asked, before, after = (nats(int(has.sum()), int(len(has) - has.sum())) for has in ones)
    return asked, after - before


def amplification_by_lists(chosen_has, rejected_has, reference_has, policy_has):
    decided = [c for c, r in zip(chosen_has.tolist(), rejected_has.tolist(), strict=True) if c != r]
    asked, before, after = (
        nats(has.count(True), has.count(False))
        for has in (decided, reference_has.tolist(), policy_has.tolist())
    )
    return asked, after - before


def share_by_a_loop(pc, pr, rc, rr):
    hits = 0
    for a, b, c, d in zip(pc.tolist(), pr.tolist(), rc.tolist(), rr.tolist(), strict=True):
        hits += a - c < 0 and (a - c) - (b - d) > 0
    return hits / len(pc)


def share_by_counting(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps):
    moved = torch.stack([policy_chosen_logps - ref_chosen_logps, policy_rejected_logps - ref_rejected_logps])
    return torch.logical_and(
        moved[0] < 0, moved.argmin(0).bool() & (moved[0] != moved[1])
    ).sum().item() / len(policy_chosen_logps)


def share_by_product(pc, pr, rc, rr):
    fell = (rc > pc).float()
    learnt = ((pc - rc) - (pr - rr) > 0).float()
    return float((fell * learnt).mean().double())


def error_by_bincount(predicted, outcomes, bins=10):
    places = torch.floor(predicted * bins).long().clamp(0, bins - 1)
    gaps = torch.bincount(places, weights=outcomes.double() - predicted.double(), minlength=bins)
    return gaps.abs().sum().item() / len(predicted)


def error_by_edges(predicted, outcomes, bins=10):
    total = 0.0
    for k in range(bins):
        inside = predicted >= k / bins
        if k < bins - 1:
            inside &= predicted < (k + 1) / bins
        if inside.sum() > 0:
            total += inside.sum().item() * (outcomes[inside].mean() - predicted[inside].mean()).abs().item()
    return total / predicted.numel()


def error_by_a_dict(predicted, outcomes, bins=10):
    sums = {}
    for forecast, outcome in zip(predicted.tolist(), outcomes.tolist(), strict=True):
        place = min(int(forecast * bins), bins - 1)
        sums[place] = sums.get(place, 0.0) + outcome - forecast
    return sum(abs(value) for value in sums.values()) / len(predicted)


def active_by_sorted(margins, n):
    return sorted(range(len(margins)), key=lambda i: abs(margins[i].item()))[:n]


def active_by_probability(margins, n):
    doubt = (margins.double().sigmoid() - 0.5).abs()
    return doubt.argsort(stable=True).tolist()[:n]


def active_by_entropy(margins, n):
    p = margins.double().abs().sigmoid()
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    return [int(i) for i in torch.sort(entropy, descending=True, stable=True).indices[:n]]


def majority_by_recursion(flipped, votes):
    wrong = {0: 1.0}
    for _ in range(votes):
        after = {}
        for k, p in wrong.items():
            after[k] = after.get(k, 0.0) + p * (1 - flipped)
            after[k + 1] = after.get(k + 1, 0.0) + p * flipped
        wrong = after
    return sum(p * (0.5 * (2 * k >= votes) + 0.5 * (2 * k > votes)) for k, p in wrong.items())


def majority_by_gamma(flipped, votes):
    def term(k):
        return (
            math.factorial(votes)
            / math.factorial(k)
            / math.factorial(votes - k)
            * flipped**k
            * (1 - flipped) ** (votes - k)
        )

    tie = term(votes // 2) / 2 if votes % 2 == 0 else 0.0
    return sum(term(k) for k in range(votes // 2 + 1, votes + 1)) + tie


def majority_by_odd_votes(flipped, votes):
    # an even number of votes with a coin for ties is as good as one vote less
    votes -= votes % 2 == 0
    return sum(
        math.comb(votes, k) * flipped**k * (1 - flipped) ** (votes - k)
        for k in range((votes + 1) // 2, votes + 1)
    )


ACCEPTED = {
    "distinct_n": [distinct_by_zip, distinct_by_counter, distinct_by_window],
    "prefers_longer": [bias_by_loop, bias_by_product, bias_by_where],
    "perplexity": [perplexity_by_weights, perplexity_by_torch, perplexity_by_root],
    "amplification": [amplification_by_counts, amplification_by_mask, amplification_by_lists],
    "displaced_share": [share_by_a_loop, share_by_counting, share_by_product],
    "calibration_error": [error_by_bincount, error_by_edges, error_by_a_dict],
    "select_active_pairs": [active_by_sorted, active_by_probability, active_by_entropy],
    "majority_error": [majority_by_recursion, majority_by_gamma, majority_by_odd_votes],
}
