"""Held-out pairs that share nothing with the training pairs, and a check that they don't."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from datasets import Dataset

from dpo_lab.preferences.rows import Key, Pair, group_of, normalise

PairsT = TypeVar("PairsT", Dataset, Sequence[Pair])


def group_split(pairs: PairsT, key: Key, held_out: float = 0.2, seed: int = 0) -> tuple[PairsT, PairsT]:
    """Split pairs so that no group, such as all pairs of one prompt, has rows on both sides.

    Groups are shuffled; each is then held out if that brings the number of held-out pairs nearer to its
    target. So the number is off by at most the size of the largest group. Either side gets at least one
    group.

    Args:
        pairs: a data set or a list of rows.
        key: a column's name, or a function from a pair to its group. Text is compared after `normalise`.
        held_out: share of the pairs to hold out, in (0, 1).
        seed: the same seed gives the same split, on any machine and in any session. The draws come from a
            generator of its own, so Python's global one is left as it was.

    Returns:
        (train, held out), each of the type of `pairs`, rows in their order.

    Raises:
        ValueError: held_out outside (0, 1), or fewer than two groups.
    """
    groups = [group_of(pair, key) for pair in pairs]
    sizes = Counter(groups)
    if not 0 < held_out < 1 or len(sizes) < 2:
        raise ValueError(
            f"need held_out in (0, 1) and at least 2 groups, got {held_out}, {len(sizes)} groups"
        )
    names = list(sizes)  # in order of appearance: a set's order would change from session to session
    random.Random(seed).shuffle(names)
    target, taken, chosen = held_out * len(groups), 0, set()
    for name in names[:-1]:  # the last one always trains
        if abs(taken + sizes[name] - target) < abs(taken - target):
            chosen.add(name)
            taken += sizes[name]
    chosen = chosen or {min(names, key=sizes.get)}
    train = [row for row, group in enumerate(groups) if group not in chosen]
    test = [row for row, group in enumerate(groups) if group in chosen]
    return take(pairs, train), take(pairs, test)


def take(pairs: PairsT, rows: Sequence[int]) -> PairsT:
    """The given rows of a data set or a list."""
    return pairs.select(rows) if isinstance(pairs, Dataset) else [pairs[row] for row in rows]


def leakage(train: Iterable[Pair], test: Iterable[Pair]) -> dict[str, list[int]]:
    """Find test pairs that a model has seen something of in training, after `normalise`.

    Args:
        train: the training pairs.
        test: the held-out pairs.

    Returns:
        Row numbers of `test`, ascending: `prompts`, whose prompt is in `train`; `completions`, one of whose
        completions is in `train`, as chosen or as rejected, under any prompt; `pairs`, whose prompt and both
        completions come together in `train`, in either order. All empty for a clean split.
    """
    prompts, completions, seen = set(), set(), set()
    for pair in train:
        prompt, both = _parts(pair)
        prompts.add(prompt)
        completions |= both
        seen.add((prompt, both))
    found = {"prompts": [], "completions": [], "pairs": []}
    for row, pair in enumerate(test):
        prompt, both = _parts(pair)
        if prompt in prompts:
            found["prompts"].append(row)
        if both & completions:
            found["completions"].append(row)
        if (prompt, both) in seen:
            found["pairs"].append(row)
    return found


def _parts(pair: Pair) -> tuple[str, frozenset[str]]:
    """A pair's prompt and its two completions, normalised, without their order."""
    return normalise(pair["prompt"]), frozenset((normalise(pair["chosen"]), normalise(pair["rejected"])))
