"""What is in the data that nobody meant to teach: repeats, contradictions, length, topics, difficulty."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from dpo_lab.checks import check_batch, check_positive
from dpo_lab.preferences.rows import COLUMNS, Key, Pair, group_of, normalise, text_of

Pairs = Iterable[Pair]


def find_duplicates(pairs: Pairs) -> list[list[int]]:
    """Find pairs that say the same thing again: same prompt, same chosen, same rejected, after `normalise`.

    Returns:
        Groups of two or more row numbers, each in row order, the groups in the order of their first row. To
        clean up, keep the first row of each group.
    """
    rows_of = defaultdict(list)
    for row, pair in enumerate(pairs):
        said = tuple(normalise(pair[column]) for column in COLUMNS)
        rows_of[said].append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def find_contradictions(pairs: Pairs) -> list[tuple[int, int]]:
    """Find pairs that say the opposite of another: same prompt, same two texts, reversed, after `normalise`.

    A pair whose two completions are the same text prefers nothing, so it contradicts nothing.

    Args:
        pairs: rows with `prompt`, `chosen` and `rejected`, each a string or a list of messages.

    Returns:
        (i, j) with i < j, sorted, for every two rows that contradict each other.
    """
    rows_of = defaultdict(list)
    found = []
    for j, pair in enumerate(pairs):
        prompt, chosen, rejected = (normalise(pair[column]) for column in COLUMNS)
        if chosen != rejected:
            found += [(i, j) for i in rows_of[prompt, rejected, chosen]]
        rows_of[prompt, chosen, rejected].append(j)
    return sorted(found)


def count_words(text: str) -> int:
    """Number of words, that is, of runs without white space."""
    return len(text.split())


def length_bias(pairs: Pairs, length: Callable[[str], int] = count_words) -> dict[str, float]:
    """How far "the longer one wins" would predict the preferences.

    Args:
        pairs: rows with `chosen` and `rejected`, each a string or a list of messages; at least one.
        length: measures a completion's text; words unless you pass, say, a tokenizer's count.

    Returns:
        `chosen_longer`, `equal`, `rejected_longer`: shares that sum to 1; without bias first and last agree.
        `mean_difference`: mean of chosen minus rejected, in units of `length`.

    Raises:
        ValueError: no pairs.
    """
    differences = [length(text_of(pair["chosen"])) - length(text_of(pair["rejected"])) for pair in pairs]
    if not differences:
        raise ValueError("pairs is empty: no share can be taken")
    count = len(differences)
    return {
        "chosen_longer": sum(difference > 0 for difference in differences) / count,
        "equal": sum(difference == 0 for difference in differences) / count,
        "rejected_longer": sum(difference < 0 for difference in differences) / count,
        "mean_difference": sum(differences) / count,
    }


def topic_balance(pairs: Pairs, topic: Key) -> dict[Any, float]:
    """Share of the pairs that each topic has.

    Args:
        pairs: at least one.
        topic: a column's name, or a function from a pair to its topic. Text is compared after `normalise`.

    Returns:
        {topic: share}, largest first, equal shares in order of appearance; they sum to 1.

    Raises:
        ValueError: no pairs.
    """
    counts = Counter(group_of(pair, topic) for pair in pairs)
    if not counts:
        raise ValueError("pairs is empty: no share can be taken")
    return {name: count / counts.total() for name, count in counts.most_common()}


def effective_topics(shares: Mapping[Any, float]) -> float:
    """How many equally large topics would be as varied as these: exp of the entropy of their shares.

    Ten topics with 91 % of the pairs in one count as about 1.65.

    Args:
        shares: {topic: share}, as `topic_balance` returns it; they sum to 1.

    Returns:
        A number between 1 and the number of topics.

    Raises:
        ValueError: the shares don't sum to 1, or one is negative.
    """
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6) or min(shares.values()) < 0:
        raise ValueError(f"shares must be >= 0 and sum to 1, got {dict(shares)}")
    return math.exp(-sum(share * math.log(share) for share in shares.values() if share > 0))


def pair_difficulty(margins: Tensor, temperature: float = 1.0, easy_from: float = 0.9) -> list[str]:
    """Sort pairs by how surely an annotator would see the difference.

    Args:
        margins: (B,), true reward of the chosen minus that of the rejected completion.
        temperature: the annotator's noise, in units of the reward; P(chosen wins) = σ(margin / temperature).
        easy_from: a pair is easy from this probability on; in (0.5, 1).

    Returns:
        B labels: "easy" (P ≥ easy_from), "hard" (0.5 ≤ P < easy_from) or "flipped" (P < 0.5: the label
        contradicts the reward).

    Raises:
        ValueError: margins are not (B,) or hold NaN, temperature ≤ 0, or easy_from outside (0.5, 1).
    """
    check_batch(margins=margins)
    check_positive(temperature=temperature)
    if not 0.5 < easy_from < 1:
        raise ValueError(f"easy_from must lie in (0.5, 1), got {easy_from}")
    probabilities = torch.sigmoid(margins / temperature).tolist()
    return ["easy" if p >= easy_from else "hard" if p >= 0.5 else "flipped" for p in probabilities]
