"""The review world: a grammar of short restaurant reviews whose true reward is the valence of their words, added up."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import NamedTuple

from dpo_lab.policies import Policy
from dpo_lab.sampling import sample

PAIRS_FOLDER = Path(__file__).parents[1] / "assets" / "pairs"

# What a prompt may ask about. The language model has read reviews of all of them; preference pairs are made for the
# training items only, so that the held-out ones show what carries over.
ITEMS = {
    "train": ("soup", "salad", "pizza", "pasta", "burger", "curry", "cake", "tea"),
    "heldout": ("steak", "bread", "coffee", "fish"),
}

# The table of the true reward: a word that is not in it is worth 0, and a word that occurs twice counts twice.
VALENCE = {
    # food
    "delicious": 1.0, "tasty": 0.5, "fresh": 0.5, "bland": -0.5, "stale": -0.5, "awful": -1.0,
    # staff
    "helpful": 1.0, "friendly": 0.5, "slow": -0.5, "rude": -1.0,
    # price
    "fair": 0.5, "cheap": 0.25, "steep": -0.25, "high": -0.5,
    # room
    "lovely": 1.0, "cosy": 0.5, "noisy": -0.5, "dirty": -1.0,
    # adverbs that intensify: each stands before adjectives of its own sign
    "wonderfully": 0.5, "pleasantly": 0.25, "sadly": -0.25, "terribly": -0.5,
    # verbs
    "loved": 1.0, "liked": 0.5, "disliked": -0.5, "hated": -1.0,
    # last words
    "return": 0.5, "recommended": 0.5, "never": -0.5, "avoid": -0.5,
}  # fmt: skip

ADJECTIVES = {
    "food": ("delicious", "tasty", "fresh", "bland", "stale", "awful"),
    "staff": ("helpful", "friendly", "slow", "rude"),
    "price": ("fair", "cheap", "steep", "high"),
    "room": ("lovely", "cosy", "noisy", "dirty"),
}
STAFF = ("staff", "waiter", "cook")
SUBJECTS = {"staff": STAFF, "price": ("price", "bill"), "room": ("room", "table")}
ADVERBS = {1: ("wonderfully", "pleasantly"), -1: ("terribly", "sadly"), 0: ("very", "quite")}
VERBS = ("loved", "liked", "disliked", "hated")
MOST_CLAUSES = 6
ENDINGS = {1: ("we will return", "highly recommended"), -1: ("never again", "best to avoid")}


def valence(word: str) -> float:
    """What one word adds to the true reward; 0 for a word that is not in the table."""
    return VALENCE.get(word, 0.0)


def true_reward(text: str) -> float:
    """The true reward of a review: the valence of its words, added up. Unbounded, so longer praise is worth more."""
    return sum(valence(word) for word in text.split())


def staff_reward(text: str) -> float:
    """A second, independent reward: 1 if the review mentions anyone who works there, else 0."""
    return float(any(word in STAFF for word in text.split()))


def prompts(split: str = "train") -> list[str]:
    """One prompt an item, such as `review of the soup :`.

    Args:
        split: "train", "heldout" or "all".

    Raises:
        ValueError: another split.
    """
    splits = {**ITEMS, "all": ITEMS["train"] + ITEMS["heldout"]}
    if split not in splits:
        raise ValueError(f"split must be one of {', '.join(splits)}, got {split!r}")
    return [f"review of the {item} :" for item in splits[split]]


def vocabulary() -> list[str]:
    """Every word that the grammar can write, in a prompt or a review, sorted."""
    words = {"review", "of", "the", ":", "was", "i", "and", "but", ".", *VALENCE}
    for group in (ITEMS, SUBJECTS, ADVERBS, ENDINGS):
        words.update(" ".join(" ".join(phrases) for phrases in group.values()).split())
    return sorted(words)


def sample_reviews(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Draw reviews from the grammar: what the `tiny` policy is fine-tuned on.

    A review has one to six clauses, each with even odds of another. After `and` the next clause has the sign of the
    last, after `but` the other one; a last phrase of the same sign may follow.

    Args:
        n: number of reviews.
        seed: the same seed gives the same reviews.

    Returns:
        n rows with `prompt` and `completion`; items take turns.
    """
    rng = random.Random(seed)
    asked = prompts("all")
    rows = []
    for index in range(n):
        prompt = asked[index % len(asked)]
        rows.append({"prompt": prompt, "completion": _review(prompt.split()[3], rng)})
    return rows


class ReviewPairs(NamedTuple):
    """Preference pairs made on policy, and what was left out."""

    pairs: list[dict[str, str]]
    """rows with `prompt`, `chosen`, `rejected`."""
    identical: int
    """how many draws were dropped because both completions were the same text."""
    empty: int
    """how many were dropped because a completion had no word."""


def review_pairs(policy: Policy, n: int, seed: int = 0, split: str = "train") -> ReviewPairs:
    """Sample two reviews a prompt from a policy and let Bradley-Terry on the true reward say which one won.

    Args:
        policy: who writes the reviews.
        n: number of pairs wanted; drawing goes on until there are so many.
        seed: fixes the samples and the labels.
        split: whose prompts: "train", "heldout" or "all".

    Raises:
        ValueError: n < 1, or another split.
        RuntimeError: the policy writes nearly the same text every time, so that no pairs can be made.
    """
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    rng = random.Random(seed)
    asked = prompts(split)
    pairs: list[dict[str, str]] = []
    identical = empty = 0
    for attempt in range(20):
        wanted = [asked[index % len(asked)] for index in range(len(pairs), n)]
        texts = sample(policy, wanted * 2, max_new_tokens=48, seed=1000 * seed + attempt, batch_size=256)
        for prompt, first, second in zip(wanted, texts[: len(wanted)], texts[len(wanted) :], strict=True):
            if first == second:
                identical += 1
            elif not (first and second):
                empty += 1
            else:
                pairs.append({"prompt": prompt, **_label(first, second, rng)})
        if len(pairs) == n:
            return ReviewPairs(pairs, identical, empty)
    raise RuntimeError(
        f"found {len(pairs)} of {n} pairs; {identical} draws gave one text twice, {empty} an empty one: "
        "the policy has collapsed"
    )


def shipped_pairs(split: str = "train") -> list[dict[str, str]]:
    """The pairs that `review_pairs` made with the `tiny` policy: 2,048 for "train", 256 for "heldout".

    Raises:
        ValueError: another split.
    """
    if split not in ITEMS:
        raise ValueError(f"split must be one of {', '.join(ITEMS)}, got {split!r}")
    lines = (PAIRS_FOLDER / f"review_{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _label(first: str, second: str, rng: random.Random) -> dict[str, str]:
    """One noisy judgement: the first wins with probability σ(r_first − r_second)."""
    first_wins = rng.random() < 1 / (1 + math.exp(true_reward(second) - true_reward(first)))
    chosen, rejected = (first, second) if first_wins else (second, first)
    return {"chosen": chosen, "rejected": rejected}


def _review(item: str, rng: random.Random) -> str:
    """One review of an item, as words separated by blanks."""
    sign = rng.choice((1, -1))
    aspect = "food"
    words = _clause(item, aspect, sign, rng)
    for _ in range(MOST_CLAUSES - 1):
        if rng.random() < 0.5:
            break
        connective = rng.choices(("and", "but"), weights=(6, 4))[0]
        sign = sign if connective == "and" else -sign
        aspect = rng.choice([other for other in ADJECTIVES if other != aspect])
        words += f" {connective} {_clause(item, aspect, sign, rng)}"
    if rng.random() < 0.4:
        words += f" . {rng.choice(ENDINGS[sign])}"
    return f"{words} ."


def _clause(item: str, aspect: str, sign: int, rng: random.Random) -> str:
    """`the waiter was terribly slow` or `i loved the soup`, of the given sign."""
    if aspect == "food" and rng.random() < 0.3:
        verb = rng.choice([word for word in VERBS if sign * valence(word) > 0])
        return f"i {verb} the {item}"
    subject = item if aspect == "food" else rng.choice(SUBJECTS[aspect])
    adjective = rng.choice([word for word in ADJECTIVES[aspect] if sign * valence(word) > 0])
    adverb = rng.choice(ADVERBS[sign] + ADVERBS[0]) + " " if rng.random() < 0.4 else ""
    return f"the {subject} was {adverb}{adjective}"
