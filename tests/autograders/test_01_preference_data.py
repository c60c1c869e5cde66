"""Lesson 01: labels, agreement, and the health of preference data. Oracles are plain loops, counts and properties."""

from __future__ import annotations

import math
import random
from functools import total_ordering

import torch
from datasets import Dataset
from mistakes_01_preference_data import MISTAKES

from dpo_lab.course import exercise

MANY = 20_000
FIVE_SIGMA = 5 * math.sqrt(0.25 / MANY)  # the widest binomial standard error of a share of MANY draws

# label_by_bradley_terry -------------------------------------------------------------------------------------


def share_won_by_a(function, rewards_a, rewards_b, temperature, seed):
    """For each pair, how often A won in MANY independent draws."""
    many_a, many_b = rewards_a.repeat_interleave(MANY), rewards_b.repeat_interleave(MANY)
    wins = function(many_a, many_b, temperature, torch.Generator().manual_seed(seed))
    return wins.double().expand(len(many_a)).reshape(len(rewards_a), MANY).mean(dim=1)


def habits_of_the_draws(function, rewards_a, rewards_b, seed):
    """Form of the result, and whether the generator rules it."""
    first, again, other = (
        function(rewards_a, rewards_b, 2.0, torch.Generator().manual_seed(number))
        for number in (seed, seed, seed + 1)
    )
    return {
        "dtype": str(first.dtype),
        "shape": tuple(first.shape),
        "the same seed gives the same labels": bool((first == again).all()),
        "another seed gives others": bool((first != other).any()),
    }


@exercise("label_by_bradley_terry", points=3)
def test_label_by_bradley_terry_wins_at_the_right_rate(submission, fresh):
    rewards_a = torch.tensor([2.0, 0.4, -1.0, 0.9]) + fresh.uniform(0, 0.2)
    rewards_b = rewards_a - torch.tensor([1.2, -0.8, 0.5, 2.4])
    expected = [1 / (1 + math.exp(-gap / 2.0)) for gap in (rewards_a - rewards_b).tolist()]
    inputs = (rewards_a, rewards_b, 2.0, fresh.integer(0, 2**31))
    submission.compare(
        "label_by_bradley_terry",
        inputs,
        torch.tensor(expected, dtype=torch.float64),
        mistakes=MISTAKES,
        via=share_won_by_a,
        rtol=0,
        atol=FIVE_SIGMA,
    )


@exercise("label_by_bradley_terry")
def test_label_by_bradley_terry_draws_from_the_generator(submission, fresh):
    rewards_a, rewards_b = fresh.normal(200), fresh.normal(200)
    expected = {
        "dtype": "torch.bool",
        "shape": (200,),
        "the same seed gives the same labels": True,
        "another seed gives others": True,
    }
    inputs = (rewards_a, rewards_b, fresh.integer(0, 2**31))
    submission.compare("label_by_bradley_terry", inputs, expected, mistakes=MISTAKES, via=habits_of_the_draws)


# majority_vote ----------------------------------------------------------------------------------------------


def each(function, *many):
    """The function's answer to each of several inputs."""
    return [function(one) for one in many]


def count_and_compare(votes):
    """Majority by counting, in whole numbers."""
    a = sum(vote == "A" for vote in votes)
    b = sum(vote == "B" for vote in votes)
    return "A" if 2 * a > len(votes) else "B" if 2 * b > len(votes) else "tie"


@exercise("majority_vote", points=2)
def test_majority_vote_needs_more_than_half_of_all_votes(submission, fresh):
    telling = ["AABB", "AABtt", "ABBtt", "ttA", "ttB", "BAA", "ABB", "tBBB", "AAAB", "AB", "At", "B"]
    drawn = ["".join(fresh.rng.choice(list("ABt"), size=fresh.integer(1, 10))) for _ in range(40)]
    drawn += ["".join(fresh.rng.permutation(list(votes))) for votes in telling]
    many = [[{"t": "tie"}.get(letter, letter) for letter in votes] for votes in telling + drawn]
    expected = [count_and_compare(votes) for votes in many]
    submission.compare("majority_vote", tuple(many), expected, mistakes=MISTAKES, via=each)


@exercise("majority_vote")
def test_majority_vote_leaves_the_votes_as_they_are(submission, fresh):
    votes = list(fresh.rng.permutation(["A"] * 3 + ["tie", "B"]).tolist())
    submission.compare("majority_vote", (votes,), "A", mistakes=MISTAKES)


# cohen_kappa ------------------------------------------------------------------------------------------------


def kappa_from_the_table(a, b):
    """κ from the table of joint counts, in float64."""
    labels = sorted({*a, *b})
    table = [[sum(x == k and y == m for x, y in zip(a, b, strict=True)) for m in labels] for k in labels]
    count = len(a)
    observed = sum(table[k][k] for k in range(len(labels))) / count
    rows, columns = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    by_chance = sum(row * column for row, column in zip(rows, columns, strict=True)) / count**2
    return (observed - by_chance) / (1 - by_chance)


def two_annotators(fresh, labels, shares, noise, items=80):
    """Labels of two annotators with different habits, as lists; the second often copies the first."""
    a = fresh.rng.choice(labels, size=items, p=shares)
    b = [fresh.rng.choice(labels) if fresh.rng.random() < noise else label for label in a]
    return [str(label) for label in a], [str(label) for label in b]


@exercise("cohen_kappa", points=4)
def test_cohen_kappa_matches_the_table_of_counts(submission, fresh):
    a, b = two_annotators(fresh, ["A", "B", "tie"], [0.7, 0.25, 0.05], noise=0.4)
    submission.compare("cohen_kappa", (a, b), kappa_from_the_table(a, b), mistakes=MISTAKES)


@exercise("cohen_kappa")
def test_cohen_kappa_takes_any_labels_and_two_different_sets_of_them(submission, fresh):
    a, b = two_annotators(fresh, ["0", "1", "2"], [0.9, 0.1, 0.0], noise=0.5)
    a, b = [int(label) for label in a], [int(label) for label in b] + [2]
    submission.compare("cohen_kappa", ([*a, 1], b), kappa_from_the_table([*a, 1], b), mistakes=MISTAKES)


@exercise("cohen_kappa")
def test_cohen_kappa_at_its_ends(submission, fresh):
    a = ["A", "B"] * fresh.integer(3, 9)
    submission.compare("cohen_kappa", (a, list(a)), 1.0, mistakes=MISTAKES)
    submission.compare("cohen_kappa", (a, a[::-1]), -1.0, mistakes=MISTAKES)


@exercise("cohen_kappa")
def test_cohen_kappa_is_nan_where_there_is_nothing_to_measure(submission, fresh):
    sleepers = ["A"] * fresh.integer(3, 9)
    submission.compare("cohen_kappa", (sleepers, list(sleepers)), math.nan, mistakes=MISTAKES)


# find_contradictions ----------------------------------------------------------------------------------------


def respelled(fresh, text):
    """The same text in another case, with other white space between its words."""
    words = [word.upper() if fresh.rng.random() < 0.5 else word.capitalize() for word in text.split()]
    return "  " + words[0] + " \n " + "\t".join(words[1:]) + " "


def some_texts(fresh, count):
    """Different texts of three words."""
    words = "a an big cup fine good kind lamp old red small the warm worn".split()
    while True:
        texts = [" ".join(fresh.rng.choice(words, size=3)) for _ in range(count)]
        if len(set(texts)) == count:
            return texts


def pairs_with_contradictions(fresh):
    """Rows with contradictions, duplicates, chains, other prompts and other spellings, shuffled, two of them neighbours."""
    p, q, x, y, z, w = some_texts(fresh, 6)
    rows = [
        (p, x, y),
        (p, x, y),
        (p, y, x),
        (q, y, x),
        (p, y, z),
        (p, z, w),
        (q, w, z),
        (q, z, w),
        (q, x, w),
        (p, w, w),
        (p, w, w),
    ]
    rows += [(p, *some_texts(fresh, 2)) for _ in range(6)]
    rows = [rows[i] for i in fresh.rng.permutation(len(rows))]
    spelled = [tuple(respelled(fresh, t) if fresh.rng.random() < 0.3 else t for t in row) for row in rows]
    spelled += [
        (q, respelled(fresh, z), y),
        (q, y, z),
        (q, x.upper(), z),
        (q, z, x),
        (q, y, w.upper()),
        (q, w, y),
    ]
    spelled += [(respelled(fresh, p), z, x), (p, x, z)]
    return [dict(zip(("prompt", "chosen", "rejected"), row, strict=True)) for row in spelled]


def compare_all_rows(pairs):
    """Contradictions by comparing every row with every later one, words against words."""
    rows = [tuple(pair[name].lower().split() for name in ("prompt", "chosen", "rejected")) for pair in pairs]
    return [
        (i, j)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if rows[i] == (rows[j][0], rows[j][2], rows[j][1]) and rows[i][1] != rows[i][2]
    ]


@exercise("find_contradictions", points=3)
def test_find_contradictions_matches_comparing_all_rows(submission, fresh):
    pairs = pairs_with_contradictions(fresh)
    submission.compare("find_contradictions", (pairs,), compare_all_rows(pairs), mistakes=MISTAKES)


@exercise("find_contradictions")
def test_find_contradictions_reads_conversations(submission, fresh):
    question, good, bad = some_texts(fresh, 3)
    chat = {
        "prompt": [{"role": "user", "content": question}],
        "chosen": [{"role": "assistant", "content": good}],
        "rejected": [{"role": "assistant", "content": respelled(fresh, bad)}],
    }
    reverse = {**chat, "chosen": chat["rejected"], "rejected": chat["chosen"]}
    submission.compare("find_contradictions", ([chat, chat, reverse],), [(0, 2), (1, 2)], mistakes=MISTAKES)


@exercise("find_contradictions")
def test_find_contradictions_is_empty_for_healthy_pairs(submission, fresh):
    p, x, y, z = some_texts(fresh, 4)
    healthy = [{"prompt": p, "chosen": x, "rejected": y}, {"prompt": p, "chosen": y, "rejected": z}]
    submission.compare("find_contradictions", (healthy,), [], mistakes=MISTAKES)


# length_bias ------------------------------------------------------------------------------------------------


def text_of_words(fresh, count):
    """A text of `count` words of one to nine letters, with irregular white space."""
    words = ["x" * fresh.integer(1, 10) for _ in range(count)]
    return (" " if fresh.rng.random() < 0.5 else "  ").join(words) + (
        "\n" if fresh.rng.random() < 0.3 else ""
    )


def pairs_of_lengths(fresh, lengths):
    return [
        {"prompt": "one two", "chosen": text_of_words(fresh, a), "rejected": text_of_words(fresh, b)}
        for a, b in lengths
    ]


def bias_of(lengths):
    """The expected dict, from the two lengths of each pair."""
    count = len(lengths)
    return {
        "chosen_longer": len([1 for a, b in lengths if a > b]) / count,
        "equal": len([1 for a, b in lengths if a == b]) / count,
        "rejected_longer": len([1 for a, b in lengths if a < b]) / count,
        "mean_difference": (sum(a for a, _ in lengths) - sum(b for _, b in lengths)) / count,
    }


def some_lengths(fresh, count=12):
    """Lengths of completions: more often a longer chosen one, some equal, some the other way round."""
    a = [fresh.integer(3, 12) for _ in range(count)]
    lengths = [(n, n + fresh.integer(-2, 1)) for n in a]
    return [*lengths, (5, 5), (7, 7), (9, 4), (8, 3), (4, 6)]


@exercise("length_bias", points=2)
def test_length_bias_counts_words(submission, fresh):
    lengths = some_lengths(fresh)
    inputs = (pairs_of_lengths(fresh, lengths),)
    submission.compare("length_bias", inputs, bias_of(lengths), mistakes=MISTAKES)


@exercise("length_bias")
def test_length_bias_uses_the_given_measure(submission, fresh):
    pairs = pairs_of_lengths(fresh, some_lengths(fresh))
    lengths = [(len(pair["chosen"]), len(pair["rejected"])) for pair in pairs]
    submission.compare("length_bias", (pairs,), bias_of(lengths), mistakes=MISTAKES, kwargs={"length": len})


@exercise("length_bias")
def test_length_bias_reads_conversations(submission, fresh):
    def say(role, count):
        return {"role": role, "content": text_of_words(fresh, count)}

    lengths = [(9, 4), (6, 6), (5, 8), (7, 5)]
    pairs = [
        {"prompt": [say("user", 3)], "chosen": [say("assistant", a)], "rejected": [say("assistant", b)]}
        for a, b in lengths
    ]
    two_turns = [say("assistant", 2), say("user", 3), say("assistant", 1)]
    pairs.append({**pairs[0], "chosen": two_turns, "rejected": [say("assistant", 7)]})
    expected = bias_of([*lengths, (6, 7)])
    submission.compare("length_bias", (pairs,), expected, mistakes=MISTAKES)


# group_split ------------------------------------------------------------------------------------------------


@total_ordering
class Group:
    """A group's name whose place in a set changes with `salt`, as a string's does from session to session."""

    def __init__(self, name: int, salt: int) -> None:
        self.name, self.salt = name, salt

    def __hash__(self) -> int:
        return hash((self.name * 7919 + 13) * self.salt % 100_003)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and self.name == other.name

    def __lt__(self, other: Group) -> bool:
        return self.name < other.name

    def __repr__(self) -> str:
        return f"group {self.name}"


def numbers(side):
    return [row["number"] for row in side]


def properties_of_splits(function, pairs, held_out, seeds):
    """What must hold of every split, over several seeds."""
    groups = {row["number"]: row["prompt"] for row in pairs}
    clean = {number: prompt.lower().split() for number, prompt in groups.items()}
    largest = max(list(clean.values()).count(name) for name in clean.values())
    found = {"overlap": False, "overlap of other spellings": False, "complete": True, "rows in order": True}
    held_numbers, near = [], True
    for seed in seeds:
        train, test = (numbers(side) for side in function(pairs, "prompt", held_out, seed))
        found["overlap"] |= bool({groups[n] for n in train} & {groups[n] for n in test})
        sides = [{" ".join(clean[n]) for n in side} for side in (train, test)]
        found["overlap of other spellings"] |= bool(sides[0] & sides[1])
        found["complete"] &= sorted(train + test) == sorted(groups)
        found["rows in order"] &= train == sorted(train) and test == sorted(test)
        near &= abs(len(test) - held_out * len(pairs)) <= largest
        held_numbers.append(tuple(sorted(test)))
    mean = sum(map(len, held_numbers)) / len(held_numbers)
    found["share of held-out rows near its target"] = near
    found["the second side is the held-out one"] = mean < len(pairs) / 2
    found["other seeds give other splits"] = len(set(held_numbers)) > 1
    return found


def repeats_itself(function, pairs, seed):
    """Whether the same seed gives the same split, and the generator of Python is left alone."""
    random.seed(1)
    first = [numbers(side) for side in function(pairs, "prompt", 0.3, seed)]
    untouched = random.Random(1).random()
    found = {"global generator untouched": random.random() == untouched}
    random.seed(2)
    return {"repeatable": first == [numbers(side) for side in function(pairs, "prompt", 0.3, seed)], **found}


def same_in_another_session(function, pairs, seed):
    """Splits by a key whose hashes differ, as those of strings do from one session to the next."""
    splits = []
    for salt in (17, 4099, 6007):
        sides = function(pairs, lambda row, salt=salt: Group(row["group"], salt), 0.3, seed)
        splits.append([numbers(side) for side in sides])
    return {"the same split in another session": splits[0] == splits[1] == splits[2]}


def kinds_and_sizes(function, pairs, seed):
    """Types of both sides, and whether both have rows."""
    train, test = function(pairs, "prompt", 0.3, seed)
    return [type(train).__name__, type(test).__name__, len(train) > 0, len(test) > 0]


def uneven_groups(fresh, singles=90, large=6, size=10):
    """Pairs of groups of one and of `size` rows, shuffled; the large ones' prompts are spelled in two ways."""
    names = [f"review of item {i}" for i in range(singles)]
    for i in range(large):
        spelled = (f"review of thing {i}", f"Review  of THING {i} ")
        names += [spelled[row % 2] for row in range(size)]
    names = [names[i] for i in fresh.rng.permutation(len(names))]
    order = {
        name: i for i, name in enumerate(dict.fromkeys(" ".join(name.lower().split()) for name in names))
    }
    return [
        {
            "prompt": name,
            "chosen": f"good {n}",
            "rejected": f"bad {n}",
            "number": n,
            "group": order[" ".join(name.lower().split())],
        }
        for n, name in enumerate(names)
    ]


@exercise("group_split", points=4)
def test_group_split_keeps_groups_whole_and_meets_its_target(submission, fresh):
    seeds = [fresh.integer(0, 10_000) for _ in range(40)]
    expected = {
        "overlap": False,
        "overlap of other spellings": False,
        "complete": True,
        "rows in order": True,
        "share of held-out rows near its target": True,
        "the second side is the held-out one": True,
        "other seeds give other splits": True,
    }
    inputs = (uneven_groups(fresh), 0.3, seeds)
    submission.compare("group_split", inputs, expected, mistakes=MISTAKES, via=properties_of_splits)


@exercise("group_split")
def test_group_split_repeats_itself(submission, fresh):
    inputs = (uneven_groups(fresh), fresh.integer(1, 10_000))
    expected = {"repeatable": True, "global generator untouched": True}
    submission.compare("group_split", inputs, expected, mistakes=MISTAKES, via=repeats_itself)


@exercise("group_split")
def test_group_split_takes_a_function_and_is_the_same_in_another_session(submission, fresh):
    inputs = (uneven_groups(fresh), fresh.integer(1, 10_000))
    expected = {"the same split in another session": True}
    submission.compare("group_split", inputs, expected, mistakes=MISTAKES, via=same_in_another_session)


@exercise("group_split")
def test_group_split_gives_back_what_it_was_given(submission, fresh):
    pairs = uneven_groups(fresh, singles=8, large=1)
    submission.compare(
        "group_split", (pairs, 3), ["list", "list", True, True], mistakes=MISTAKES, via=kinds_and_sizes
    )
    rows = Dataset.from_list(pairs)
    submission.compare(
        "group_split", (rows, 3), ["Dataset", "Dataset", True, True], mistakes=MISTAKES, via=kinds_and_sizes
    )


@exercise("group_split")
def test_group_split_gives_each_side_a_group(submission, fresh):
    """Two groups of very different size still give two sides."""
    pairs = [
        {"prompt": f"p{i > 0}", "chosen": f"a{i}", "rejected": "b", "number": i}
        for i in range(fresh.integer(9, 20))
    ]
    pairs = [pairs[i] for i in fresh.rng.permutation(len(pairs))]
    submission.compare(
        "group_split", (pairs, 1), ["list", "list", True, True], mistakes=MISTAKES, via=kinds_and_sizes
    )
