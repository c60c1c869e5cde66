"""How good people get lesson 01 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import math
import random
from collections import Counter

import torch

from dpo_lab.course import Mistake
from dpo_lab.preferences.rows import group_of, normalise, text_of
from dpo_lab.preferences.splitting import take

COLUMNS = ("prompt", "chosen", "rejected")


# label_by_bradley_terry -------------------------------------------------------------------------------------


def draw(p_a, generator):
    return torch.rand(p_a.shape, generator=generator, dtype=p_a.dtype) < p_a


def better_always_wins(rewards_a, rewards_b, temperature=1.0, generator=None):
    return rewards_a > rewards_b


def worse_one_wins(rewards_a, rewards_b, temperature=1.0, generator=None):
    return draw(torch.sigmoid((rewards_b - rewards_a) / temperature), generator)


def temperature_multiplies(rewards_a, rewards_b, temperature=1.0, generator=None):
    return draw(torch.sigmoid((rewards_a - rewards_b) * temperature), generator)


def temperature_ignored(rewards_a, rewards_b, temperature=1.0, generator=None):
    return draw(torch.sigmoid(rewards_a - rewards_b), generator)


def other_completion_forgotten(rewards_a, rewards_b, temperature=1.0, generator=None):
    return draw(torch.sigmoid(rewards_a / temperature), generator)


def ratio_of_rewards(rewards_a, rewards_b, temperature=1.0, generator=None):
    return draw((rewards_a / (rewards_a + rewards_b)).clamp(0, 1).nan_to_num(0.5), generator)


def one_draw_for_all(rewards_a, rewards_b, temperature=1.0, generator=None):
    p_a = torch.sigmoid((rewards_a - rewards_b) / temperature)
    return torch.rand(1, generator=generator) < p_a


def generator_ignored(rewards_a, rewards_b, temperature=1.0, generator=None):
    return draw(torch.sigmoid((rewards_a - rewards_b) / temperature), None)


def only_one_reward_divided(rewards_a, rewards_b, temperature=1.0, generator=None):
    return draw(torch.sigmoid(rewards_a - rewards_b / temperature), generator)


def generator_rewound(rewards_a, rewards_b, temperature=1.0, generator=None):
    if generator is not None:
        generator.manual_seed(generator.initial_seed())
    return draw(torch.sigmoid((rewards_a - rewards_b) / temperature), generator)


def seed_of_its_own(rewards_a, rewards_b, temperature=1.0, generator=None):
    generator = generator or torch.Generator().manual_seed(0)
    return draw(torch.sigmoid((rewards_a - rewards_b) / temperature), generator)


def inputs_overwritten(rewards_a, rewards_b, temperature=1.0, generator=None):
    rewards_a -= rewards_b
    rewards_a /= temperature
    return draw(torch.sigmoid(rewards_a), generator)


def result_as_a_column(rewards_a, rewards_b, temperature=1.0, generator=None):
    return draw(torch.sigmoid((rewards_a - rewards_b) / temperature), generator)[:, None]


def floats_for_bools(rewards_a, rewards_b, temperature=1.0, generator=None):
    return torch.bernoulli(torch.sigmoid((rewards_a - rewards_b) / temperature), generator=generator)


# majority_vote ----------------------------------------------------------------------------------------------


def most_common_label(votes):
    return Counter(votes).most_common(1)[0][0]


def most_common_or_tie(votes):
    best = max(votes.count(label) for label in votes)
    winners = [label for label in ("A", "B", "tie") if votes.count(label) == best]
    return winners[0] if len(winners) == 1 else "tie"


def half_is_enough(votes):
    for label in ("A", "B"):
        if votes.count(label) >= len(votes) / 2:
            return label
    return "tie"


def ties_left_out(votes):
    a, b = votes.count("A"), votes.count("B")
    return "A" if a > b else "B" if b > a else "tie"


def first_annotator_only(votes):
    return votes[0]


def unanimous_only(votes):
    return votes[0] if len(set(votes)) == 1 else "tie"


def ties_forbidden(votes):
    return "A" if votes.count("A") > len(votes) / 2 else "B"


# cohen_kappa ------------------------------------------------------------------------------------------------


def agreement_parts(a, b):
    """Observed agreement, and both label distributions."""
    count = len(a)
    shares_a = {label: a.count(label) / count for label in {*a, *b}}
    shares_b = {label: b.count(label) / count for label in {*a, *b}}
    return sum(x == y for x, y in zip(a, b, strict=True)) / count, shares_a, shares_b


def corrected(observed, by_chance, degenerate=math.nan):
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 - 1e-12 else degenerate


def kappa(a, b, degenerate=math.nan):
    observed, shares_a, shares_b = agreement_parts(a, b)
    return corrected(observed, sum(shares_a[k] * shares_b[k] for k in shares_a), degenerate)


def raw_agreement(a, b):
    return agreement_parts(a, b)[0]


def even_chance(a, b):
    observed, shares_a, _ = agreement_parts(a, b)
    return corrected(observed, 1 / len(shares_a))


def three_labels_only(a, b):
    observed, shares_a, shares_b = agreement_parts(a, b)
    return corrected(observed, sum(shares_a.get(k, 0) * shares_b.get(k, 0) for k in ("A", "B", "tie")))


def brackets_forgotten(a, b):
    observed, shares_a, shares_b = agreement_parts(a, b)
    by_chance = sum(shares_a[k] * shares_b[k] for k in shares_a)
    return (observed - by_chance) / 1 - by_chance if by_chance < 1 else math.nan


def pooled_labels(a, b):
    observed, shares_a, shares_b = agreement_parts(a, b)
    return corrected(observed, sum(((shares_a[k] + shares_b[k]) / 2) ** 2 for k in shares_a))


def divided_by_chance(a, b):
    observed, shares_a, shares_b = agreement_parts(a, b)
    by_chance = sum(shares_a[k] * shares_b[k] for k in shares_a)
    return (observed - by_chance) / by_chance if by_chance < 1 else math.nan


def not_divided(a, b):
    observed, shares_a, shares_b = agreement_parts(a, b)
    by_chance = sum(shares_a[k] * shares_b[k] for k in shares_a)
    return observed - by_chance if by_chance < 1 else math.nan


def first_annotator_squared(a, b):
    observed, shares_a, _ = agreement_parts(a, b)
    return corrected(observed, sum(share**2 for share in shares_a.values()))


def one_for_nothing_to_measure(a, b):
    return kappa(a, b, degenerate=1.0)


def zero_for_nothing_to_measure(a, b):
    return kappa(a, b, degenerate=0.0)


def division_unguarded(a, b):
    observed, shares_a, shares_b = agreement_parts(a, b)
    by_chance = sum(shares_a[k] * shares_b[k] for k in shares_a)
    return (observed - by_chance) / (1 - by_chance)


# find_contradictions ----------------------------------------------------------------------------------------


def said(pair, columns=COLUMNS, clean=normalise):
    return tuple(clean(pair[column]) for column in columns)


def all_contradictions(pairs, prompts=True, clean=normalise, same_text=False):
    """The right answer, by comparing all pairs of rows, with one part exchanged."""
    rows = [said(pair, clean=clean) for pair in pairs]
    return [
        (i, j)
        for j in range(len(rows))
        for i in range(j)
        if (rows[i][0] == rows[j][0] or not prompts)
        and rows[i][1:] == rows[j][:0:-1]
        and (same_text or rows[i][1] != rows[i][2])
    ]


def nothing_found(pairs):
    return []


def in_order_of_the_later_row(pairs):
    return all_contradictions(pairs)


def joined(pairs, blank):
    """Rows found by one string a triplet."""
    rows = [said(pair) for pair in pairs]
    return [
        (i, j)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if blank.join(rows[i]) == blank.join((rows[j][0], rows[j][2], rows[j][1]))
        and rows[i][1] != rows[i][2]
    ]


def joined_without_a_blank(pairs):
    return joined(pairs, "")


def joined_by_a_blank(pairs):
    return joined(pairs, " ")


def prompt_ignored(pairs):
    return sorted(all_contradictions(pairs, prompts=False))


def not_normalised(pairs):
    return sorted(all_contradictions(pairs, clean=text_of))


def case_only(pairs):
    return sorted(all_contradictions(pairs, clean=lambda value: text_of(value).lower().strip()))


def duplicates_reported(pairs):
    rows = [said(pair) for pair in pairs]
    return [(i, j) for i in range(len(rows)) for j in range(i + 1, len(rows)) if rows[i] == rows[j]]


def order_forgotten(pairs):
    rows = [(prompt, {chosen, rejected}) for prompt, chosen, rejected in map(said, pairs)]
    return [(i, j) for i in range(len(rows)) for j in range(i + 1, len(rows)) if rows[i] == rows[j]]


def neighbours_only(pairs):
    return sorted((i, j) for i, j in all_contradictions(pairs) if j == i + 1)


def each_twice(pairs):
    once = all_contradictions(pairs)
    return sorted([*once, *[(j, i) for i, j in once]])


def last_match_only(pairs):
    row_of, found = {}, []
    for j, pair in enumerate(pairs):
        prompt, chosen, rejected = said(pair)
        if chosen != rejected and (prompt, rejected, chosen) in row_of:
            found.append((row_of[prompt, rejected, chosen], j))
        row_of[prompt, chosen, rejected] = j
    return sorted(found)


def half_a_match(pairs):
    rows = [said(pair) for pair in pairs]
    return [
        (i, j)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if rows[i][0] == rows[j][0] and rows[i][1] == rows[j][2] and rows[i] != rows[j]
    ]


def equal_texts_reported(pairs):
    return sorted(all_contradictions(pairs, same_text=True))


# length_bias ------------------------------------------------------------------------------------------------


def count_words(text):
    return len(text.split())


def shares(differences, longer=lambda d: d > 0, shorter=lambda d: d < 0):
    count = len(differences)
    return {
        "chosen_longer": sum(map(longer, differences)) / count,
        "equal": sum(d == 0 for d in differences) / count,
        "rejected_longer": sum(map(shorter, differences)) / count,
        "mean_difference": sum(differences) / count,
    }


def differences_of(pairs, length):
    return [length(text_of(pair["chosen"])) - length(text_of(pair["rejected"])) for pair in pairs]


def equal_counts_as_longer(pairs, length=count_words):
    return {**shares(differences_of(pairs, length), longer=lambda d: d >= 0), "equal": 0.0}


def equal_counted_twice(pairs, length=count_words):
    return shares(differences_of(pairs, length), longer=lambda d: d >= 0)


def characters_for_words(pairs, length=len):
    return shares(differences_of(pairs, len if length is count_words else length))


def messages_for_words(pairs, length=count_words):
    return shares([len(pair["chosen"]) - len(pair["rejected"]) for pair in pairs])


def text_of_forgotten(pairs, length=count_words):
    return shares([length(pair["chosen"]) - length(pair["rejected"]) for pair in pairs])


def roles_counted(pairs, length=count_words):
    def whole(value):
        return value if isinstance(value, str) else "\n".join(f"{m['role']}: {m['content']}" for m in value)

    return shares([length(whole(pair["chosen"])) - length(whole(pair["rejected"])) for pair in pairs])


def absolute_difference(pairs, length=count_words):
    differences = differences_of(pairs, length)
    return {**shares(differences), "mean_difference": sum(map(abs, differences)) / len(differences)}


def equal_left_out(pairs, length=count_words):
    differences = differences_of(pairs, length)
    unequal = [d for d in differences if d != 0] or [0]
    return {**shares(unequal), "equal": (len(differences) - len(unequal)) / len(differences)}


def counts_for_shares(pairs, length=count_words):
    differences = differences_of(pairs, length)
    found = {name: value * len(differences) for name, value in shares(differences).items()}
    return {**found, "mean_difference": sum(differences) / len(differences)}


def sides_swapped(pairs, length=count_words):
    return shares([-d for d in differences_of(pairs, length)])


def length_ignored(pairs, length=None):
    return shares(differences_of(pairs, count_words))


# group_split ------------------------------------------------------------------------------------------------


def hold_out(pairs, held_out_rows):
    held = set(held_out_rows)
    rows = range(len(pairs))
    return take(pairs, [r for r in rows if r not in held]), take(pairs, [r for r in rows if r in held])


def by_groups(pairs, held_out, groups, shuffle, last_trains=True, never_empty=True):
    """The right answer, with parts of it given: what most of the slips below have in common."""
    names, target, held = list(dict.fromkeys(groups)), held_out * len(groups), []
    names = shuffle(names) or names
    rows_of = {name: [] for name in names}
    for row, group in enumerate(groups):
        rows_of[group].append(row)
    for name in names[:-1] if last_trains else names:
        if abs(len(held) + len(rows_of[name]) - target) < abs(len(held) - target):
            held += rows_of[name]
    if never_empty and not held:
        held = min(rows_of.values(), key=len)
    return hold_out(pairs, held)


def groups_of(pairs, key):
    return [group_of(pair, key) for pair in pairs]


def key_ignored(pairs, key, held_out=0.2, seed=0):
    return by_groups(pairs, held_out, groups_of(pairs, "prompt"), random.Random(seed).shuffle)


def held_out_ignored(pairs, key, held_out=0.2, seed=0):
    return by_groups(pairs, 0.2, groups_of(pairs, key), random.Random(seed).shuffle)


def held_out_side_empty(pairs, key, held_out=0.2, seed=0):
    shuffle = random.Random(seed).shuffle
    return by_groups(pairs, held_out, groups_of(pairs, key), shuffle, never_empty=False)


def training_side_empty(pairs, key, held_out=0.2, seed=0):
    shuffle = random.Random(seed).shuffle
    return by_groups(pairs, held_out, groups_of(pairs, key), shuffle, last_trains=False)


def lists_for_a_data_set(pairs, key, held_out=0.2, seed=0):
    sides = by_groups(pairs, held_out, groups_of(pairs, key), random.Random(seed).shuffle)
    return tuple(list(side) for side in sides)


def rows_shuffled(pairs, key, held_out=0.2, seed=0):
    rows = list(range(len(pairs)))
    random.Random(seed).shuffle(rows)
    return hold_out(pairs, rows[: round(held_out * len(rows))])


def last_rows_held_out(pairs, key, held_out=0.2, seed=0):
    return hold_out(pairs, range(len(pairs) - round(held_out * len(pairs)), len(pairs)))


def share_of_groups(pairs, key, held_out=0.2, seed=0):
    groups = groups_of(pairs, key)
    names = list(dict.fromkeys(groups))
    random.Random(seed).shuffle(names)
    held = set(names[: max(1, round(held_out * len(names)))])
    return hold_out(pairs, [row for row, group in enumerate(groups) if group in held])


def spelling_matters(pairs, key, held_out=0.2, seed=0):
    groups = [key(pair) if callable(key) else text_of(pair[key]) for pair in pairs]
    return by_groups(pairs, held_out, groups, random.Random(seed).shuffle)


def global_generator(pairs, key, held_out=0.2, seed=0):
    return by_groups(pairs, held_out, groups_of(pairs, key), random.shuffle)


def global_generator_seeded(pairs, key, held_out=0.2, seed=0):
    random.seed(seed)
    return by_groups(pairs, held_out, groups_of(pairs, key), random.shuffle)


def order_of_a_set(pairs, key, held_out=0.2, seed=0):
    groups = groups_of(pairs, key)
    return by_groups(
        pairs, held_out, groups, lambda names: random.Random(seed).sample(list(set(names)), len(names))
    )


def seed_ignored(pairs, key, held_out=0.2, seed=0):
    return by_groups(pairs, held_out, groups_of(pairs, key), random.Random(0).shuffle)


def sides_of_the_split_swapped(pairs, key, held_out=0.2, seed=0):
    train, test = by_groups(pairs, held_out, groups_of(pairs, key), random.Random(seed).shuffle)
    return test, train


def grouped_rows(pairs, key, held_out=0.2, seed=0):
    groups = groups_of(pairs, key)
    train, test = by_groups(pairs, held_out, groups, random.Random(seed).shuffle)
    sort = lambda side: take(side, sorted(range(len(side)), key=lambda r: repr(group_of(side[r], key))))  # noqa: E731
    return sort(train), sort(test)


def cut_to_size(pairs, key, held_out=0.2, seed=0):
    train, test = share_of_groups(pairs, key, held_out, seed)
    return train, take(test, range(min(len(test), round(held_out * len(pairs)))))


MISTAKES = {
    "label_by_bradley_terry": [
        Mistake(
            "the better one always wins",
            "That is an annotator without noise. Draw: A is chosen with probability σ((r_A − r_B) / temperature).",
            better_always_wins,
        ),
        Mistake(
            "the worse one wins",
            "The sign is turned round: the probability that A wins grows with r_A − r_B.",
            worse_one_wins,
        ),
        Mistake(
            "temperature multiplies",
            "Divide the difference by the temperature: more temperature, more noise, closer to a fair coin.",
            temperature_multiplies,
        ),
        Mistake(
            "temperature ignored",
            "Right at temperature 1 only: divide the difference by it.",
            temperature_ignored,
        ),
        Mistake(
            "only one reward divided",
            "Brackets: the temperature divides the whole difference, (r_A − r_B) / temperature.",
            only_one_reward_divided,
        ),
        Mistake(
            "the other completion forgotten",
            "σ(r_A) says nothing about B. Only the difference of the two rewards counts.",
            other_completion_forgotten,
        ),
        Mistake(
            "ratio of rewards",
            "Rewards may be negative, so r_A / (r_A + r_B) is no probability. Exponentials come first: that is the sigmoid.",
            ratio_of_rewards,
        ),
        Mistake(
            "one draw for all",
            "You drew one number and used it for every pair, so all pairs are lucky together. Draw one a pair.",
            one_draw_for_all,
        ),
        Mistake(
            "generator ignored",
            "Draw from the generator that was passed, or nobody can repeat your labels.",
            generator_ignored,
        ),
        Mistake(
            "generator rewound",
            "You set the generator back to its seed in each call, so every annotator draws the same errors. Just draw from it.",
            generator_rewound,
        ),
        Mistake(
            "a seed of its own",
            "Without a generator each call should draw anew, from torch's global one. Pass generator=generator on as it is, None too.",
            seed_of_its_own,
        ),
        Mistake(
            "inputs overwritten",
            "-= and /= change the caller's tensors. Write rewards_a - rewards_b, which makes a new one.",
            inputs_overwritten,
        ),
        Mistake(
            "a column for a row",
            "B pairs give a result of shape (B,). Yours is (B, 1), which would broadcast to (B, B) against the next (B,) tensor.",
            result_as_a_column,
        ),
        Mistake(
            "numbers for booleans", "The result is a mask: bool, true where A is chosen.", floats_for_bools
        ),
    ],
    "majority_vote": [
        Mistake(
            "most common label wins",
            "Two votes of five can be the most common label and still no majority. A winner needs more than half of all votes.",
            most_common_label,
        ),
        Mistake(
            "most common label wins unless it is shared",
            "You call a tie only if two labels are equally common. The most common label may still have half of the votes or less.",
            most_common_or_tie,
        ),
        Mistake(
            "half is enough",
            "Exactly half is no majority: with two votes each, who won? Compare with >.",
            half_is_enough,
        ),
        Mistake(
            "ties left out of the total",
            "Someone who says 'tie' has voted: the majority is more than half of all votes, ties among them.",
            ties_left_out,
        ),
        Mistake(
            "only the first annotator counts",
            "You returned the first vote. Count all of them.",
            first_annotator_only,
        ),
        Mistake(
            "unanimity asked for",
            "More than half is enough; nobody has to agree with everybody.",
            unanimous_only,
        ),
        Mistake(
            "B wins whenever A does not",
            "If neither A nor B has more than half, the answer is 'tie'.",
            ties_forbidden,
        ),
    ],
    "cohen_kappa": [
        Mistake(
            "raw agreement",
            "This is p_o alone. κ takes off what two annotators with these habits agree on by chance.",
            raw_agreement,
        ),
        Mistake(
            "chance is 1/K",
            "Chance is 1/K only if both use all K labels equally often. Use how often each annotator did: Σ p_a(k) p_b(k).",
            even_chance,
        ),
        Mistake(
            "only the labels A, B and tie",
            "Labels may be any values. Go over the labels that occur, for instance over the keys of a Counter.",
            three_labels_only,
        ),
        Mistake(
            "brackets forgotten",
            "Python divides first: x / 1 - p_e is x - p_e. Write (p_o - p_e) / (1 - p_e).",
            brackets_forgotten,
        ),
        Mistake(
            "labels pooled",
            "You averaged the two annotators' shares and squared: that is Scott's π. Cohen multiplies one's share by the other's.",
            pooled_labels,
        ),
        Mistake(
            "divided by the chance agreement",
            "The denominator is what was left to gain, 1 − p_e, not p_e.",
            divided_by_chance,
        ),
        Mistake(
            "not divided", "p_o − p_e still has to be divided by the most it could be, 1 − p_e.", not_divided
        ),
        Mistake(
            "one annotator's habits only",
            "You squared the first annotator's shares. Chance agreement is p_a(k) times p_b(k), one from each.",
            first_annotator_squared,
        ),
        Mistake(
            "1 where there is nothing to measure",
            "If both gave one and the same label throughout, p_e = 1 and κ is 0/0. Say NaN: 1 would praise two sleepers.",
            one_for_nothing_to_measure,
        ),
        Mistake(
            "0 where there is nothing to measure",
            "If both gave one and the same label throughout, p_e = 1 and κ is 0/0. Say NaN: 0 would accuse them of guessing.",
            zero_for_nothing_to_measure,
        ),
        Mistake(
            "division by zero",
            "If both gave one and the same label throughout, 1 − p_e is 0. Return math.nan there.",
            division_unguarded,
        ),
    ],
    "find_contradictions": [
        Mistake(
            "nothing found",
            "Your list is empty although two rows say opposite things. Is the return, or the append, where it should be?",
            nothing_found,
        ),
        Mistake(
            "order of the result",
            "These are the right rows in the order in which you met them. Sort them, so that the smallest i comes first.",
            in_order_of_the_later_row,
        ),
        Mistake(
            "texts joined without a mark",
            "Joined to one string, 'ab' + 'c' and 'a' + 'bc' look alike. Keep the three texts apart: a tuple is a good key.",
            joined_without_a_blank,
        ),
        Mistake(
            "texts joined by a blank",
            "Texts hold blanks themselves, so 'a b' with 'c' and 'a' with 'b c' look alike. A tuple keeps them apart.",
            joined_by_a_blank,
        ),
        Mistake(
            "prompt ignored",
            "A better answer to one question may be the worse one to another. Both rows must have the same prompt.",
            prompt_ignored,
        ),
        Mistake(
            "texts not normalised",
            "'Good.' and ' good.' are the same answer. Pass prompt, chosen and rejected through normalise first.",
            not_normalised,
        ),
        Mistake(
            "only case and ends normalised",
            "Two blanks in the middle, or a line break, still hide a match. normalise takes care of those too.",
            case_only,
        ),
        Mistake(
            "duplicates reported",
            "These rows agree with each other. A contradiction has chosen and rejected exchanged.",
            duplicates_reported,
        ),
        Mistake(
            "order of the two completions forgotten",
            "As sets, a duplicate and a contradiction look alike. Keep who was chosen.",
            order_forgotten,
        ),
        Mistake(
            "only neighbours compared",
            "The two rows may lie anywhere: row 3 may contradict row 300.",
            neighbours_only,
        ),
        Mistake(
            "each pair twice", "(i, j) and (j, i) are one contradiction. Keep the one with i < j.", each_twice
        ),
        Mistake(
            "only the last match",
            "Two earlier rows can both contradict this one. Keep a list of rows for each triplet, not one row.",
            last_match_only,
        ),
        Mistake(
            "half a match",
            "You compared one text only. If a beat b and b beat c, nobody has contradicted anybody.",
            half_a_match,
        ),
        Mistake(
            "equal completions reported",
            "A row whose chosen and rejected are the same text prefers nothing, so it can't contradict its own copy.",
            equal_texts_reported,
        ),
    ],
    "length_bias": [
        Mistake(
            "equal counts as longer",
            "Two completions of 12 words: neither is longer. They have a share of their own.",
            equal_counts_as_longer,
        ),
        Mistake(
            "equal counted twice",
            "The three shares sum to 1. Pairs of equal length are in 'equal' and nowhere else: use >, not >=.",
            equal_counted_twice,
        ),
        Mistake(
            "characters for words",
            "len(text) counts characters. The default measure is count_words.",
            characters_for_words,
        ),
        Mistake(
            "messages counted",
            "len of a conversational completion is its number of messages. Get the text first: text_of(...).",
            messages_for_words,
        ),
        Mistake(
            "text_of forgotten",
            "A completion may be a list of messages, and a list has no words. Pass text_of(pair['chosen']) to `length`.",
            text_of_forgotten,
        ),
        Mistake(
            "roles counted",
            "The word 'assistant' is no word of the answer. text_of leaves the roles out; normalise does not.",
            roles_counted,
        ),
        Mistake(
            "absolute difference",
            "The mean difference has a sign: a bias to short answers is below 0.",
            absolute_difference,
        ),
        Mistake(
            "equal lengths left out",
            "All shares are of all pairs: pairs of equal length count in the total.",
            equal_left_out,
        ),
        Mistake("counts, not shares", "Divide by the number of pairs.", counts_for_shares),
        Mistake("sides swapped", "The difference is chosen minus rejected.", sides_swapped),
        Mistake("measure ignored", "Measure with the function that was passed as `length`.", length_ignored),
    ],
    "group_split": [
        Mistake(
            "rows shuffled",
            "You dealt out rows, so a group has rows on both sides. Decide for whole groups.",
            rows_shuffled,
        ),
        Mistake(
            "the last rows held out",
            "You cut the list by position: groups straddle the cut, and the seed changes nothing.",
            last_rows_held_out,
        ),
        Mistake(
            "share of groups",
            "You held out a share of the groups. Groups differ in size, and held_out is a share of the pairs.",
            share_of_groups,
        ),
        Mistake(
            "key ignored",
            "You always grouped by prompt. `key` says what a group is: a column's name or a function. group_of(pair, key) handles both.",
            key_ignored,
        ),
        Mistake(
            "held_out ignored",
            "The held-out share does not follow `held_out`. Its value 0.2 is only the default.",
            held_out_ignored,
        ),
        Mistake(
            "held-out side empty",
            "With two groups of 9 rows and held_out 0.2 neither group brings the number nearer to 3.6. Then hold out the smallest one.",
            held_out_side_empty,
        ),
        Mistake(
            "training side empty",
            "With held_out 0.9 all groups may be wanted on the held-out side. Leave one for training.",
            training_side_empty,
        ),
        Mistake(
            "lists for a data set",
            "Return the type of `pairs`, a data set for a data set: take(pairs, rows) does that.",
            lists_for_a_data_set,
        ),
        Mistake(
            "spelling matters",
            "'Review a mug' and 'review a  mug' are one group. group_of normalises text for you.",
            spelling_matters,
        ),
        Mistake(
            "global generator",
            "The split depends on what was drawn before. Shuffle with a generator of your own: random.Random(seed).",
            global_generator,
        ),
        Mistake(
            "global generator seeded",
            "You reset everyone's generator: two 'independent' draws after two splits are now equal. Use random.Random(seed).",
            global_generator_seeded,
        ),
        Mistake(
            "order of a set",
            "A set of strings has another order in each session, so the seed does not fix your split. Use dict.fromkeys or sort.",
            order_of_a_set,
        ),
        Mistake("seed ignored", "Another seed must be able to give another split.", seed_ignored),
        Mistake(
            "sides swapped",
            "Return (train, held out), in this order: held_out is the share of the second.",
            sides_of_the_split_swapped,
        ),
        Mistake("rows out of order", "Within each side the rows stay in the order of `pairs`.", grouped_rows),
        Mistake(
            "cut to size",
            "You dropped rows of the last group to hit the number. No row may get lost.",
            cut_to_size,
        ),
    ],
}
