"""How varied a policy's samples are: distinct-n and self-BLEU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Share of n-grams that are different from one another (Li et al. 2016, arXiv 1510.03055).

    Words are separated by blanks; n-grams do not cross from one text to the next. More texts repeat more: compare
    samples of one size only.

    Args:
        texts: what a policy wrote.
        n: words in an n-gram, >= 1.

    Returns:
        Different n-grams over all n-grams, in (0, 1]; near 0 when a policy says the same again and again.

    Raises:
        ValueError: n < 1, or no text has n words.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    grams = []
    for text in texts:
        words = text.split()
        grams += [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    if not grams:
        raise ValueError(f"no text has {n} words: there is no {n}-gram to count")
    return len(set(grams)) / len(grams)


def self_bleu(texts: Sequence[str], n: int = 3) -> float:
    """Mean BLEU of each text with all the others as its references (Zhu et al. 2018, arXiv 1802.01886).

    BLEU (Papineni et al. 2002) is the geometric mean of the shares of a text's 1- to n-grams that a reference holds
    too, times a penalty for texts shorter than the reference closest in length. An n-gram counts as often as it occurs
    in the one reference that has it most often. More texts match more: compare samples of one size only.

    Args:
        texts: what a policy wrote, at least two; words are separated by blanks.
        n: longest n-grams, >= 1; a text of fewer words is judged by those it has.

    Returns:
        From 0 (no text shares a word with another) to 1 (each text is found whole in the others).

    Raises:
        ValueError: n < 1, fewer than two texts, or a text without a word.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    rows = [text.split() for text in texts]
    if len(rows) < 2 or not all(rows):
        raise ValueError(f"texts must hold at least two, each with a word; got {list(texts)[:3]}")
    grams = [[ngrams(words, order) for words in rows] for order in range(1, n + 1)]
    tops = [highest_counts(rows_of_order) for rows_of_order in grams]
    total = 0.0
    for number, words in enumerate(rows):
        orders = range(min(n, len(words)))
        shares = [matched(grams[order][number], tops[order]) for order in orders]
        if min(shares) > 0:
            mean_log = sum(map(math.log, shares)) / len(shares)
            total += math.exp(mean_log + shortness(number, [len(row) for row in rows]))
    return total / len(rows)


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram occurs in one text."""
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def highest_counts(counts: Sequence[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int]]:
    """For each n-gram its two highest counts in any text: the second serves the text that holds the first."""
    tops: dict[tuple[str, ...], tuple[int, int]] = {}
    for counter in counts:
        for gram, count in counter.items():
            first, second = tops.get(gram, (0, 0))
            tops[gram] = (max(first, count), max(second, min(first, count)))
    return tops


def matched(own: Counter[tuple[str, ...]], tops: dict[tuple[str, ...], tuple[int, int]]) -> float:
    """Share of a text's n-grams that some other text holds as often."""
    hits = 0
    for gram, count in own.items():
        first, second = tops[gram]
        hits += min(count, second if count == first else first)
    return hits / own.total()


def shortness(number: int, lengths: Sequence[int]) -> float:
    """Logarithm of BLEU's brevity penalty: 0 unless the closest other text is longer (the shorter of two as close)."""
    own = lengths[number]
    others = [*lengths[:number], *lengths[number + 1 :]]
    closest = min(others, key=lambda length: (abs(length - own), length))
    return min(0.0, 1 - closest / own)
