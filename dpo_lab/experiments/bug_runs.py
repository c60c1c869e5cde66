"""The runs of the lesson on debugging: healthy ones, drills, and the mysteries of the hunt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dpo_lab.bugs import run_bug
from dpo_lab.bugs.runs import BrokenRun, tiny_lab
from dpo_lab.encoding import encode_pairs
from dpo_lab.evaluation import score_rows
from dpo_lab.history import History
from dpo_lab.loop import epoch_batches
from dpo_lab.trainer import DPOConfig, train_dpo

Pair = dict[str, Any]

# The hunt's runs go by letters, so that a notebook can show the curves and keep the name back.
CASES = {
    "A": "rate_100x",
    "B": "reference_random",
    "C": "mean_for_sum",
    "D": "pair_swapped",
    "E": "off_by_one",
    "F": "dropout_on",
    "G": "loss_ignored",
    "H": "padding_summed",
}


def bug_run(bug: str, seed: int, *, steps: int = 24) -> dict[str, Any]:
    """One run of the loop with a bug, "none" for the healthy loop: its log, and what the reference says of step 1.

    Returns:
        `log` (JSON lines, for `history_of`), `ref_chosen` and `ref_rejected`: mean log-probs, in nats, of the first
        batch under the sound reference.
    """
    run = run_bug(None if bug == "none" else bug, seed, steps=steps)
    return {"log": log_of(run.history)} | first_batch(run)


def case_run(case: str, seed: int) -> dict[str, Any]:
    """`bug_run` of one of the hunt's cases, by its letter."""
    return bug_run(CASES[case], seed)


def drill_run(drill: str, seed: int) -> dict[str, Any]:
    """One of the drills, by its number: its log."""
    return {"log": log_of(DRILLS[drill](seed))}


def train(pairs: list[Pair], seed: int, held_out: int = 0, **settings: Any) -> History:
    """The healthy trainer on the tiny tier."""
    config = DPOConfig(**{"lr": 3e-4, "batch_size": 8, "seed": seed, "progress": False, **settings})
    lab = tiny_lab()
    eval_pairs = [dict(lab.heldout_pairs[i]) for i in range(held_out)] or None
    return train_dpo(lab.fresh_policy(), lab.reference, pairs, config, eval_pairs)


def some_pairs(seed: int, count: int) -> list[Pair]:
    """`count` shipped pairs in a row, other ones for another seed."""
    pairs = tiny_lab().pairs
    first = 131 * seed % (len(pairs) - count + 1)
    return [dict(pairs[i]) for i in range(first, first + count)]


def small_batches(seed: int) -> History:
    """Sound, with batches of 8 and so with noise."""
    return train(some_pairs(seed, 384), seed)


def by_heart(seed: int) -> History:
    """Forty-eight pairs, gone through fourteen times."""
    return train(some_pairs(seed, 48), seed, 64, batch_size=16, lr=1e-3, epochs=14, eval_every=3)


def coin_flips(seed: int) -> History:
    """Every second pair is exchanged: labels without information."""
    pairs = [
        pair if i % 2 else {**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]}
        for i, pair in enumerate(some_pairs(seed, 384))
    ]
    return train(pairs, seed, batch_size=16)


def too_fast(seed: int) -> History:
    """A rate of 2e-2, where 3e-4 is usual."""
    return train(some_pairs(seed + 1, 192), seed, lr=2e-2)


def warming_up(seed: int) -> History:
    """A warm-up as long as a thousand runs."""
    return run_bug("warmup_too_long", seed).history


WEAKER = {"delicious": "tasty", "helpful": "friendly", "lovely": "cosy", "fair": "cheap", "loved": "liked"}


def near_identical(seed: int) -> History:
    """Pairs that differ in one word."""
    return train([twin for _, twin in twins(seed)], seed, **DRILL_6)


def twins(seed: int, count: int = 96) -> list[tuple[Pair, Pair]]:
    """Shipped pairs, each with itself again where a weaker word in the chosen text makes the rejected one."""
    rows = {}
    for pair in some_pairs(seed, 1024):
        words = pair["chosen"].split()
        strong = next((word for word in words if word in WEAKER), None)
        if strong is not None:
            changed = " ".join(WEAKER[word] if word == strong else word for word in words)
            rows[pair["prompt"] + pair["chosen"]] = (pair, {**pair, "rejected": changed})
    return list(rows.values())[:count]


DRILL_6 = {"lr": 1e-3, "epochs": 3}
ASKED: Mapping[str, dict[str, Any]] = {
    "as in run 6": {},
    "the original rejected texts": {},
    "rate of 3e-4": {"lr": 3e-4},
    "NLL term": {"nll_weight": 1.0},
    "DPOP": {"loss": "dpop"},
}
"""What one could change about drill 6, to see what its falling chosen reward comes from."""


def cause_run(change: str, seed: int) -> dict[str, float]:
    """Drill 6 with one thing changed, a key of `ASKED`: its mean chosen reward over the last third of the steps."""
    pairs = [pair if change == "the original rejected texts" else twin for pair, twin in twins(seed)]
    rewards = train(pairs, seed, **{**DRILL_6, **ASKED[change]})["rewards/chosen"]
    late = rewards[-(len(rewards) // 3) :]
    return {"chosen reward": sum(late) / len(late)}


DRILLS: Mapping[str, Callable[[int], History]] = {
    "1": small_batches,
    "2": by_heart,
    "3": coin_flips,
    "4": too_fast,
    "5": warming_up,
    "6": near_identical,
}


def first_batch(run: BrokenRun) -> dict[str, float]:
    """Mean log-probs of the first batch under the reference, rightly scored."""
    lab = tiny_lab()
    rows = epoch_batches(len(run.pairs), 0, run.config)[0]
    sides = encode_pairs(lab.policy.tokenizer, [run.pairs[i] for i in rows])
    score = partial(score_rows, lab.reference)
    chosen, rejected = (score(side, 2 * run.config.batch_size).mean().item() for side in sides)
    return {"ref_chosen": chosen, "ref_rejected": rejected}


def log_of(history: History) -> str:
    """A history as text, one record a line: a sweep keeps plain values."""
    return "\n".join(json.dumps(record) for record in history)


def history_of(log: str) -> History:
    """The history that a run's `log` holds."""
    return History([json.loads(line) for line in log.splitlines()])
