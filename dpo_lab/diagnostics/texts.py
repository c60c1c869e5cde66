"""Detectors that read a policy's samples: how varied they are."""

from __future__ import annotations

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
