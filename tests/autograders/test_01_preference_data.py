"""Lesson 01: labels, agreement, and the health of preference data. Oracles are plain loops, counts and properties."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from functools import total_ordering

import torch
from datasets import Dataset
from mistakes_01_preference_data import MISTAKES

from dpo_lab.course import exercise

MANY = 20_000
FIVE_SIGMA = 5 * math.sqrt(0.25 / MANY)  # the widest binomial standard error of a share of MANY draws

NOTHING = "nothing is wrong"


def wrong_are(claims):
    """The faults that were found, in words, as one text: so a mistake is named only where all of them fit."""
    return "; ".join(words for words, found in claims.items() if found) or NOTHING


@dataclass(frozen=True)
class Rows:
    """Many pairs, too many to print in a report."""

    pairs: list[dict]


@dataclass(frozen=True)
class Ballots:
    """Many lists of votes, too many to print in a report."""

    lists: list[list[str]]


# label_by_bradley_terry -------------------------------------------------------------------------------------


def form_of_the_labels(function, rewards_a, rewards_b, temperature, seed):
    """Shape and type of the result."""
    labels = function(rewards_a, rewards_b, temperature, torch.Generator().manual_seed(seed))
    return {"shape": tuple(labels.shape), "dtype": str(labels.dtype)}


def share_won_by_a(function, rewards_a, rewards_b, temperature, seed):
    """For each pair, how often A won in MANY independent draws; temperature None leaves it to its default."""
    many_a, many_b = rewards_a.repeat_interleave(MANY), rewards_b.repeat_interleave(MANY)
    given = {} if temperature is None else {"temperature": temperature}
    wins = function(many_a, many_b, **given, generator=torch.Generator().manual_seed(seed))
    return wins.double().reshape(len(rewards_a), MANY).mean(dim=1)


def habits_of_the_draws(function, rewards_a, rewards_b, temperature, seed):
    """Whether the generator that is passed, and nothing else, rules the draws; and whether the inputs survive."""
    inputs, left_alone = (rewards_a, rewards_b), True

    def draw(generator):
        nonlocal left_alone
        given = [rewards.clone() for rewards in inputs]
        labels = function(*given, temperature, generator).clone()
        left_alone &= all(map(torch.equal, given, inputs))
        return labels

    generator, before = torch.Generator().manual_seed(seed), torch.get_rng_state()
    first, second = draw(generator), draw(generator)
    again, other = (draw(torch.Generator().manual_seed(number)) for number in (seed, seed + 1))
    touched = not torch.equal(before, torch.get_rng_state())
    return wrong_are(
        {
            "the rewards that were passed in are changed": not left_alone,
            "two calls with the same seed give different labels": not torch.equal(first, again),
            "another seed gives the same labels": torch.equal(first, other),
            "a second call with the same generator gives the same labels": torch.equal(first, second),
            "torch's global generator is used although another is passed": touched,
            "two calls without a generator give the same labels": torch.equal(draw(None), draw(None)),
        }
    )


@exercise("label_by_bradley_terry", points=3)
def test_label_by_bradley_terry_wins_at_the_right_rate(submission, fresh):
    rewards_a = torch.tensor([2.0, 0.4, -1.0, 0.9]) + fresh.uniform(0, 0.2)
    rewards_b = rewards_a - torch.tensor([1.2, -0.8, 0.5, 2.4])
    seed, low, high = fresh.integer(0, 2**31), fresh.uniform(0.5, 0.7), fresh.uniform(1.7, 4.0)
    submission.compare(
        "label_by_bradley_terry",
        (rewards_a, rewards_b),
        {"shape": (4,), "dtype": "torch.bool"},
        mistakes=MISTAKES,
        via=form_of_the_labels,
        kwargs={"temperature": high, "seed": seed},
    )
    for temperature in (low, high, None):
        scale = 1.0 if temperature is None else temperature
        rates = [1 / (1 + math.exp(-gap / scale)) for gap in (rewards_a - rewards_b).tolist()]
        submission.compare(
            "label_by_bradley_terry",
            (rewards_a, rewards_b),
            torch.tensor(rates, dtype=torch.float64),
            mistakes=MISTAKES,
            via=share_won_by_a,
            kwargs={"temperature": temperature, "seed": seed},
            rtol=0,
            atol=FIVE_SIGMA,
        )


@exercise("label_by_bradley_terry")
def test_label_by_bradley_terry_draws_from_the_generator(submission, fresh):
    submission.compare(
        "label_by_bradley_terry",
        (fresh.normal(200), fresh.normal(200)),
        NOTHING,
        mistakes=MISTAKES,
        via=habits_of_the_draws,
        kwargs={"temperature": fresh.uniform(0.5, 4.0), "seed": fresh.integer(0, 2**31)},
    )


# majority_vote ----------------------------------------------------------------------------------------------


def each(function, ballots):
    """The function's answer to each list of votes."""
    return [function(list(votes)) for votes in ballots.lists]


def each_in_one_line(function, ballots):
    """The same as one text, so that a mistake is named only where all answers fit."""
    return in_one_line(ballots.lists, each(function, ballots))


def in_one_line(lists, answers):
    return ", ".join(
        f"{'+'.join(votes)} gives {answer}" for votes, answer in zip(lists, answers, strict=True)
    )


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
    yours = submission.run("majority_vote", each, Ballots(many))
    right = [answer == count_and_compare(votes) for answer, votes in zip(yours, many, strict=True)]
    many = [
        many[i] for i in sorted(range(len(many)), key=right.__getitem__)
    ]  # a report shows the first: a wrong one
    submission.compare(
        "majority_vote",
        (Ballots(many),),
        in_one_line(many, map(count_and_compare, many)),
        mistakes=MISTAKES,
        via=each_in_one_line,
    )


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
    """Rows with contradictions, duplicates, chains, other prompts and other spellings, shuffled, two of them neighbours.

    The first and the last row contradict each other word for word: an order by the later row shows.
    """
    p, q, x, y, z, w, u, v = some_texts(fresh, 8)
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
    spelled = [(q, u, v), *spelled, (q, v, u)]
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


@exercise("find_contradictions")
def test_find_contradictions_keeps_the_three_texts_apart(submission, fresh):
    a, b, c = fresh.rng.permutation("big cup fine good kind lamp old red".split())[:3].tolist()
    for blank in ("", " "):
        one = {"prompt": "p", "chosen": f"{a}{blank}{b}", "rejected": c}
        alike = [one, {"prompt": "p", "chosen": f"{b}{blank}{c}", "rejected": a}, one]
        submission.compare("find_contradictions", (alike,), [], mistakes=MISTAKES)


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


def clean(text):
    return " ".join(text.lower().split())


def how_key_is_given(column, as_function):
    return (lambda row: row[column]) if as_function else column


def faults_of_splits(function, rows, seeds, held_out=None, column="prompt", as_function=False):
    """What does not hold of the splits of several seeds; held_out None leaves it to its default."""
    pairs = rows.pairs
    group = {row["number"]: clean(row[column]) for row in pairs}
    spelled = {row["number"]: row[column] for row in pairs}
    largest = max(Counter(group.values()).values())
    share, given = (0.2, {}) if held_out is None else (held_out, {"held_out": held_out})
    target, key = share * len(pairs), how_key_is_given(column, as_function)
    found, held_numbers, sizes = dict.fromkeys(FAULTS, False), set(), [0, 0]
    for seed in seeds:
        train, test = (numbers(side) for side in function(pairs, key, **given, seed=seed))
        found[CUT] |= bool({spelled[n] for n in train} & {spelled[n] for n in test})
        found[CUT_SPELLED] |= bool({group[n] for n in train} & {group[n] for n in test})
        found[LOST] |= sorted(train + test) != sorted(group)
        found[ORDER] |= train != sorted(train) or test != sorted(test)
        found[FAR] |= abs(len(test) - target) > largest
        held_numbers.add(tuple(sorted(test)))
        sizes = [sizes[0] + len(train) / len(seeds), sizes[1] + len(test) / len(seeds)]
    found[SWAPPED] = abs(sizes[1] - target) > abs(sizes[0] - target)
    found[SEEDS] = len(held_numbers) <= 2
    return wrong_are(found)


def repeats_itself(function, rows, seed):
    """Whether the same seed gives the same split, and the generator of Python is left alone."""
    random.seed(1)
    first = [numbers(side) for side in function(rows.pairs, "prompt", 0.3, seed)]
    touched = random.random() != random.Random(1).random()
    random.seed(2)
    again = [numbers(side) for side in function(rows.pairs, "prompt", 0.3, seed)]
    return wrong_are(
        {
            "the same seed gives another split the second time": first != again,
            "Python's global generator is not left as it was": touched,
        }
    )


def same_in_another_session(function, rows, seed):
    """Splits by a key whose hashes differ, as those of strings do from one session to the next."""
    splits = []
    for salt in (17, 4099, 6007):
        sides = function(rows.pairs, lambda row, salt=salt: Group(row["group"], salt), 0.3, seed)
        splits.append([numbers(side) for side in sides])
    return wrong_are({"the same seed gives another split in another session": splits != splits[:1] * 3})


def types_of_the_sides(function, pairs, seed):
    train, test = function(pairs, "prompt", 0.3, seed)
    return {
        "type of the training side (that of `pairs`)": type(train).__name__,
        "type of the held-out side (that of `pairs`)": type(test).__name__,
    }


def empty_sides(function, sizes, held_out, seeds):
    """Which sides came out empty, over several seeds, for groups of these sizes."""
    pairs = [
        {"prompt": f"group {group}", "chosen": f"good {group} {row}", "rejected": "bad"}
        for group, size in enumerate(sizes)
        for row in range(size)
    ]
    splits = [function(pairs, "prompt", held_out, seed) for seed in seeds]
    return wrong_are(
        {
            "the training side came out empty": any(len(train) == 0 for train, _ in splits),
            "the held-out side came out empty": any(len(test) == 0 for _, test in splits),
        }
    )


CUT = "a group has rows on both sides"
CUT_SPELLED = "a group whose name is spelled in two ways has rows on both sides"
LOST = "not every row is on exactly one side"
ORDER = "the rows of a side are not in their order"
FAR = "too few or too many rows are held out"
SWAPPED = "the held-out side does not come second"
SEEDS = "many seeds give no more than two different splits"
FAULTS = (CUT, CUT_SPELLED, LOST, ORDER, FAR, SWAPPED, SEEDS)


def pairs_named(prompts, users=None):
    """Rows with these prompts, numbered; `group` numbers the prompts in order of appearance."""
    order = {name: i for i, name in enumerate(dict.fromkeys(map(clean, prompts)))}
    return [
        {
            "prompt": prompt,
            "chosen": f"good {n}",
            "rejected": f"bad {n}",
            "number": n,
            "group": order[clean(prompt)],
            "user": f"user {users[n] if users else n}",
        }
        for n, prompt in enumerate(prompts)
    ]


def uneven_groups(fresh, singles=90, large=6, size=10):
    """Pairs of groups of one and of `size` rows, shuffled; the large ones' prompts are spelled in two ways."""
    names = [f"review of item {i}" for i in range(singles)]
    for i in range(large):
        spelled = (f"review of thing {i}", f"Review  of THING {i} ")
        names += [spelled[row % 2] for row in range(size)]
    return pairs_named([names[i] for i in fresh.rng.permutation(len(names))])


def groups_of_two(fresh, groups=60):
    """Pairs of groups of two rows; the rows of one user have different prompts, and the other way round."""
    rows = fresh.rng.permutation(2 * groups).tolist()
    return pairs_named([f"review of item {i // 2}" for i in rows], [(i + 1) // 2 % groups for i in rows])


@exercise("group_split", points=4)
def test_group_split_keeps_groups_whole_and_meets_its_target(submission, fresh):
    submission.compare(
        "group_split",
        (Rows(uneven_groups(fresh)),),
        NOTHING,
        mistakes=MISTAKES,
        via=faults_of_splits,
        kwargs={"held_out": 0.3, "seeds": [fresh.integer(0, 10_000) for _ in range(40)]},
    )


@exercise("group_split")
def test_group_split_holds_out_the_share_that_is_asked_for(submission, fresh):
    rows = Rows(groups_of_two(fresh))
    for held_out in (*fresh.rng.permutation([0.15, 0.3, 0.45]).tolist(), None):
        submission.compare(
            "group_split",
            (rows,),
            NOTHING,
            mistakes=MISTAKES,
            via=faults_of_splits,
            kwargs={"held_out": held_out, "seeds": [fresh.integer(0, 10_000) for _ in range(8)]},
        )


@exercise("group_split")
def test_group_split_groups_by_the_key_that_is_given(submission, fresh):
    for as_function in (False, True):
        submission.compare(
            "group_split",
            (Rows(groups_of_two(fresh)),),
            NOTHING,
            mistakes=MISTAKES,
            via=faults_of_splits,
            kwargs={
                "column": "user",
                "as_function": as_function,
                "held_out": 0.3,
                "seeds": [fresh.integer(0, 10_000) for _ in range(8)],
            },
        )


@exercise("group_split")
def test_group_split_repeats_itself(submission, fresh):
    submission.compare(
        "group_split",
        (Rows(uneven_groups(fresh)),),
        NOTHING,
        mistakes=MISTAKES,
        via=repeats_itself,
        kwargs={"seed": fresh.integer(1, 10_000)},
    )


@exercise("group_split")
def test_group_split_is_the_same_in_another_session(submission, fresh):
    submission.compare(
        "group_split",
        (Rows(uneven_groups(fresh)),),
        NOTHING,
        mistakes=MISTAKES,
        via=same_in_another_session,
        kwargs={"seed": fresh.integer(1, 10_000)},
    )


@exercise("group_split")
def test_group_split_gives_each_side_a_group(submission, fresh):
    seeds = [fresh.integer(0, 10_000) for _ in range(6)]
    for sizes, held_out in (((9, 9), 0.2), ((90, 10), 0.1), ((9, 9), 0.9), ((5, 5, 5), 0.9)):
        submission.compare(
            "group_split",
            (),
            NOTHING,
            mistakes=MISTAKES,
            via=empty_sides,
            kwargs={"sizes": sizes, "held_out": held_out, "seeds": seeds},
        )


@exercise("group_split")
def test_group_split_gives_back_the_type_that_it_was_given(submission, fresh):
    pairs = uneven_groups(fresh, singles=8, large=1)
    for rows in (pairs, Dataset.from_list(pairs)):
        name = type(rows).__name__
        submission.compare(
            "group_split",
            (rows,),
            {
                "type of the training side (that of `pairs`)": name,
                "type of the held-out side (that of `pairs`)": name,
            },
            mistakes=MISTAKES,
            via=types_of_the_sides,
            kwargs={"seed": 3},
        )
