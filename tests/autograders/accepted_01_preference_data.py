"""Right answers in other words: each must pass."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict

import torch
from datasets import Dataset

from dpo_lab.preferences.rows import group_of, normalise, text_of


def draw_by_rand(rewards_a, rewards_b, temperature=1.0, generator=None):
    p_a = 1 / (1 + torch.exp((rewards_b - rewards_a) / temperature))
    return torch.rand(len(p_a), generator=generator) < p_a


def draw_by_gumbel_noise(rewards_a, rewards_b, temperature=1.0, generator=None):
    uniform = torch.rand(2, len(rewards_a), generator=generator, dtype=torch.float64).clamp(min=1e-300)
    gumbel = -torch.log(-torch.log(uniform))
    noisy = torch.stack([rewards_a, rewards_b]) / temperature + gumbel
    return noisy[0] > noisy[1]


def draw_by_softmax(rewards_a, rewards_b, temperature=1.0, generator=None):
    p = torch.softmax(torch.stack([rewards_a, rewards_b], dim=1) / temperature, dim=1)
    return torch.multinomial(p, 1, generator=generator)[:, 0] == 0


def vote_by_counter(votes):
    counts = Counter(votes)
    for label in ("A", "B"):
        if 2 * counts[label] > sum(counts.values()):
            return label
    return "tie"


def vote_by_the_most_common(votes):
    label, count = Counter(votes).most_common(1)[0]
    return label if count * 2 > len(votes) else "tie"


def vote_by_arithmetic(votes):
    a, b = (sum(vote == label for vote in votes) for label in "AB")
    other = len(votes) - a - b
    return "A" if a > b + other else "B" if b > a + other else "tie"


def kappa_by_table(a, b):
    names = {label: k for k, label in enumerate(dict.fromkeys([*a, *b]))}
    table = torch.zeros(len(names), len(names), dtype=torch.float64)
    for x, y in zip(a, b, strict=True):
        table[names[x], names[y]] += 1 / len(a)
    by_chance = (table.sum(0) @ table.sum(1)).item()
    return (table.trace().item() - by_chance) / (1 - by_chance) if len(names) > 1 else float("nan")


def kappa_by_all_pairings(a, b):
    chance = sum(x == y for x, y in itertools.product(a, b)) / (len(a) * len(b))
    seen = sum(map(lambda x, y: x == y, a, b)) / len(a)
    return math.nan if chance == 1 else 1 - (1 - seen) / (1 - chance)


def kappa_by_disagreement(a, b):
    labels = set(a) | set(b)
    if len(labels) == 1:
        return math.nan
    disagree = sum(x != y for x, y in zip(a, b, strict=True))
    expected = sum(a.count(k) * b.count(m) for k in labels for m in labels if k != m) / len(a)
    return 1.0 - disagree / expected


def contradictions_by_two_loops(pairs):
    rows = [[normalise(pair[column]) for column in ("prompt", "chosen", "rejected")] for pair in pairs]
    found = []
    for i, (prompt, chosen, rejected) in enumerate(rows):
        for j in range(i + 1, len(rows)):
            if [prompt, rejected, chosen] == rows[j] and chosen != rejected:
                found.append((i, j))
    return found


def contradictions_by_groups(pairs):
    groups = defaultdict(list)
    for row, pair in enumerate(pairs):
        prompt, c, r = normalise(pair["prompt"]), normalise(pair["chosen"]), normalise(pair["rejected"])
        if c != r:
            groups[prompt, min(c, r), max(c, r)].append((row, c < r))
    return sorted(
        (one[0], two[0])
        for rows in groups.values()
        for one, two in itertools.combinations(rows, 2)
        if one[1] != two[1]
    )


def contradictions_as_a_set(pairs):
    rows = {
        i: (normalise(p["prompt"]), normalise(p["chosen"]), normalise(p["rejected"]))
        for i, p in enumerate(pairs)
    }
    found = {
        tuple(sorted((i, j)))
        for i, (p, c, r) in rows.items()
        for j, other in rows.items()
        if other == (p, r, c) and i != j and c != r
    }
    return sorted(found)


def words(text):
    return len(text.split())


def bias_by_tensors(pairs, length=words):
    d = torch.tensor([length(text_of(p["chosen"])) - length(text_of(p["rejected"])) for p in pairs]).double()
    return {
        "mean_difference": d.mean().item(),
        "equal": (d == 0).double().mean().item(),
        "chosen_longer": (d > 0).double().mean().item(),
        "rejected_longer": (d < 0).double().mean().item(),
    }


def bias_by_a_loop(pairs, length=words):
    longer = equal = shorter = total = count = 0
    for pair in pairs:
        a, b = (length(text_of(pair[side])) for side in ("chosen", "rejected"))
        longer, equal, shorter = longer + (a > b), equal + (a == b), shorter + (a < b)
        total, count = total + a - b, count + 1
    shares = (longer / count, equal / count, shorter / count, total / count)
    return dict(zip(("chosen_longer", "equal", "rejected_longer", "mean_difference"), shares, strict=True))


def bias_by_signs(pairs, length=words):
    chosen = [length(text_of(pair["chosen"])) for pair in pairs]
    rejected = [length(text_of(pair["rejected"])) for pair in pairs]
    signs = Counter((a > b) - (a < b) for a, b in zip(chosen, rejected, strict=True))
    return {
        "chosen_longer": signs[1] / len(chosen),
        "equal": signs[0] / len(chosen),
        "rejected_longer": signs[-1] / len(chosen),
        "mean_difference": sum(chosen) / len(chosen) - sum(rejected) / len(rejected),
    }


def pick(pairs, rows):
    return pairs.select(rows) if isinstance(pairs, Dataset) else [pairs[row] for row in rows]


def split_until_full(pairs, key, held_out=0.2, seed=0):
    """Groups go to the held-out side until it is full; whoever comes first."""
    names = [group_of(pair, key) for pair in pairs]
    order = sorted(set(names), key=repr)
    random.Random(seed).shuffle(order)
    chosen = set()
    for name in order[:-1]:
        if sum(n in chosen for n in names) >= held_out * len(names):
            break
        chosen.add(name)
    sides = [[i for i, n in enumerate(names) if (n in chosen) == test] for test in (False, True)]
    return tuple(pick(pairs, side) for side in sides)


def split_by_torch(pairs, key, held_out=0.2, seed=0):
    groups = defaultdict(list)
    for row, pair in enumerate(pairs):
        groups[group_of(pair, key)].append(row)
    rows_of = list(groups.values())
    test = []
    for index in torch.randperm(len(rows_of), generator=torch.Generator().manual_seed(seed)).tolist()[1:]:
        if len(test) + len(rows_of[index]) <= held_out * len(pairs) or not test:
            test += rows_of[index]
    held = set(test)
    return pick(pairs, [row for row in range(len(pairs)) if row not in held]), pick(pairs, sorted(test))


def split_by_cumulated_sizes(pairs, key, held_out=0.2, seed=0):
    groups = [group_of(pair, key) for pair in pairs]
    sizes = Counter(groups)
    names = random.Random(seed).sample(list(sizes), len(sizes))
    reached = list(itertools.accumulate(sizes[name] for name in names))
    cuts = range(len(names) - 1)
    cut = min(cuts, key=lambda i: abs(reached[i] - held_out * len(groups)))
    held = set(names[: cut + 1])
    return tuple(
        pick(pairs, [row for row, group in enumerate(groups) if (group in held) is side])
        for side in (False, True)
    )


ACCEPTED = {
    "label_by_bradley_terry": [draw_by_rand, draw_by_gumbel_noise, draw_by_softmax],
    "majority_vote": [vote_by_counter, vote_by_the_most_common, vote_by_arithmetic],
    "cohen_kappa": [kappa_by_table, kappa_by_all_pairings, kappa_by_disagreement],
    "find_contradictions": [contradictions_by_two_loops, contradictions_by_groups, contradictions_as_a_set],
    "length_bias": [bias_by_tensors, bias_by_a_loop, bias_by_signs],
    "group_split": [split_until_full, split_by_torch, split_by_cumulated_sizes],
}
