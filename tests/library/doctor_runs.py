"""The runs that the doctor is measured on: healthy ones, shipped bugs, and failures of data and settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from dpo_lab.bugs import run_bug
from dpo_lab.diagnostics import Finding, alarms, diagnose
from dpo_lab.lab import Lab
from dpo_lab.policies import Policy, frozen_reference
from dpo_lab.sweeps import sweep
from dpo_lab.trainer import DPOConfig, train_dpo

# Thresholds were set on seeds 0 to 4 and on the first 1,024 pairs. These seeds and the other pairs are the test's own.
TEST_SEEDS = (11, 12)  # and any from 10 on
TEST_PAIRS = 1024

HEALTHY: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "rate 1e-4": {"lr": 1e-4},
    "rate 1e-3": {"lr": 1e-3},
    "beta 0.03": {"beta": 0.03},
    "beta 1": {"beta": 1.0},
    "beta 3": {"beta": 3.0},
    "ipo": {"loss": "ipo"},
    "ipo, beta 1": {"loss": "ipo", "beta": 1.0},
    "sigmoid_norm": {"loss": "sigmoid_norm", "beta": 2.0},
    "robust": {"loss": "robust", "label_smoothing": 0.1},
    "dpop": {"loss": "dpop", "loss_options": {"penalty": 5.0}},
    "r_dpo": {"loss": "r_dpo", "loss_options": {"alpha": 0.02}},
    "label smoothing": {"label_smoothing": 0.2},
    "nll term": {"nll_weight": 0.2},
    "few pairs, 3 epochs": {"pairs": 48, "epochs": 3},
    "no warm-up": {"warmup_ratio": 0.0},
    "long warm-up": {"warmup_ratio": 0.5, "schedule": "linear"},
    "batches of 4": {"batch_size": 4},
    "batches of 32": {"batch_size": 32, "pairs": 128},
    "bf16": {"precision": "bf16", "pairs": 48},
    "held-out pairs": {"eval_every": 4, "eval": 16},
}
"""Settings of sound runs; what is not named is 96 pairs, batches of 8, rate 3e-4, β 0.1."""


@cache
def lab() -> Lab:
    """The tiny tier, loaded once a process; its reference is never trained."""
    return Lab.auto("tiny", device="cpu")


def some_pairs(seed: int, count: int) -> list[dict[str, Any]]:
    """`count` pairs in a row, other ones for another seed; the second half of the pairs belongs to the test."""
    first = (TEST_PAIRS if seed >= 10 else 0) + 97 * seed % (TEST_PAIRS - count)
    return [dict(lab().pairs[i]) for i in range(first, first + count)]


def train(
    seed: int, rows: list[dict[str, Any]], reference: Policy | None = None, **settings: Any
) -> dict[str, Any]:
    """One run of the trainer, as keyword arguments of `diagnose`."""
    held_out = settings.pop("eval", 0)
    config = DPOConfig(**{"lr": 3e-4, "batch_size": 8, "seed": seed, "progress": False, **settings})
    policy, reference = lab().fresh_policy(), reference or lab().reference
    eval_pairs = list(lab().heldout_pairs)[:held_out] or None
    history = train_dpo(policy, reference, rows, config, eval_pairs)
    return {"history": history, "policy": policy, "reference": reference, "pairs": rows, "config": config}


def healthy(name: str, seed: int) -> dict[str, Any]:
    """A sound run."""
    settings = dict(HEALTHY[name])
    return train(seed, some_pairs(seed, settings.pop("pairs", 96)), **settings)


def near_identical(seed: int) -> dict[str, Any]:
    """Pairs that differ in one adjective: likelihood displacement."""
    weaker = {
        "delicious": "tasty",
        "helpful": "friendly",
        "lovely": "cosy",
        "fair": "cheap",
        "loved": "liked",
    }
    rows = {}
    for pair in some_pairs(seed, 512):
        words = pair["chosen"].split()
        strong = next((word for word in words if word in weaker), None)
        if strong is not None:
            changed = [weaker[word] if word == strong else word for word in words]
            rows[pair["prompt"] + pair["chosen"]] = {**pair, "rejected": " ".join(changed)}
    return train(seed, list(rows.values())[:64], lr=1e-3, epochs=2)


def by_heart(seed: int) -> dict[str, Any]:
    """Twelve passes over sixteen pairs."""
    return train(seed, some_pairs(seed, 16), lr=1e-3, epochs=12, eval_every=4, eval=32)


def other_reference(seed: int) -> dict[str, Any]:
    """The reference is another checkpoint: one that went on training."""
    other = train(seed + 100, some_pairs(seed, 64), lr=1e-3)["policy"]
    return train(seed, some_pairs(seed, 64), reference=frozen_reference(other))


def contradicting(seed: int) -> dict[str, Any]:
    """Each pair again, the other way round."""
    rows = some_pairs(seed, 32)
    return train(
        seed, rows + [{**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]} for pair in rows]
    )


def copied(seed: int) -> dict[str, Any]:
    """Four copies of each pair."""
    return train(seed, some_pairs(seed, 24) * 4)


FAILURES = {
    "near-identical pairs": (near_identical, {"near_identical_pairs", "displacement"}),
    "pairs by heart": (by_heart, {"overfitting"}),
    "other reference": (other_reference, {"reference_mismatch"}),
    "contradicting pairs": (contradicting, {"contradictory_pairs"}),
    "copied pairs": (copied, {"duplicate_pairs"}),
}
"""Failures of data and settings: how to bring each about, and which first finding is right."""

# The right first finding for each bug, after how it is told.
FROM_CURVES = {
    "pair_swapped": {"pair_swapped"},
    "reference_shared": {"reference_is_policy"},
    "reference_random": {"reference_untrained"},
    "dropout_on": {"dropout_on"},
    "mean_for_sum": {"logps_averaged"},
    "prompt_mean": {"scored_with_prompt_averaged"},
    "padding_summed": {"padding_scored"},
    "bf16_sum": {"low_precision"},
    "beta_zero": {"beta_zero"},
    "log_of_sigmoid": {"log_of_sigmoid"},
    "no_gradient": {"no_gradient"},
    "rate_100x": {"learning_rate_too_high"},
    "warmup_too_long": {"learning_rate_too_low"},
}
"""The curves alone show that something is wrong; for some, models and pairs then tell what."""
FROM_MODELS_AND_PAIRS = {
    "reference_trainable": {"reference_trainable"},
    "completion_cut": {"completion_truncated"},
}
"""The curves look healthy; a look at the models, or at the pairs and the length limit, tells."""
FROM_THE_CONFIG = {"loss_ignored": {"loss_ignored"}}
"""The curves are those of a healthy run of another loss than was asked for."""
FROM_SCORING_AGAIN = {
    "columns_swapped": {"pair_swapped"},
    "off_by_one": {"scored_off_by_one"},
    "eos_masked": {"eos_not_scored"},
    "wrong_slice": {"scored_from_wrong_token"},
    "clamp": {"logps_clamped"},
}
"""The curves look healthy; the first batch, scored again under the reference, has other log-probs than were logged."""
BUG_EXPECTED = FROM_CURVES | FROM_MODELS_AND_PAIRS | FROM_THE_CONFIG | FROM_SCORING_AGAIN

# log(sigmoid(m)) is as good as logsigmoid(m) until a margin passes −88: nobody can see it in a run that stays above.
BUG_SETTINGS: dict[str, dict[str, float]] = {"log_of_sigmoid": {"beta": 3.0, "lr": 1e-2}}


def bug(name: str, seed: int, steps: int, batch_size: int) -> dict[str, Any]:
    """A run with one of the shipped bugs."""
    return vars(run_bug(name, seed, steps=steps, batch_size=batch_size, **BUG_SETTINGS.get(name, {})))


def cases(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Every bug and every failure with each seed, every healthy run with one of them."""
    sick = [("bug", name) for name in BUG_EXPECTED] + [("failure", name) for name in FAILURES]
    rows = [{"kind": kind, "name": name, "seed": seed} for kind, name in sick for seed in seeds]
    for index, name in enumerate(HEALTHY):
        rows.append({"kind": "healthy", "name": name, "seed": seeds[index % len(seeds)]})
    return rows


def expected(kind: str, name: str) -> set[str]:
    """The first findings that are right for this run; none for a healthy one."""
    if kind == "healthy":
        return {""}
    return BUG_EXPECTED[name] if kind == "bug" else FAILURES[name][1]


def examine(kind: str, name: str, seed: int, steps: int = 12, batch_size: int = 8) -> dict[str, str]:
    """Train one case; its first alarm in the whole examination and from the curves alone, "" where there is none."""
    if kind == "healthy":
        run = healthy(name, seed)
    elif kind == "bug":
        run = bug(name, seed, steps, batch_size)
    else:
        run = FAILURES[name][0](seed)
    return {"first": first_alarm(diagnose(**run)), "curves": first_alarm(diagnose(run["history"]))}


def first_alarm(findings: list[Finding]) -> str:
    """Its name, or ""."""
    return next((finding.name for finding in alarms(findings)), "")


def examine_all(seeds: Sequence[int], folder: Path, jobs: int, **size: int) -> pd.DataFrame:
    """A row a run: what was expected, what the doctor said first, and whether that was right."""
    table = sweep(
        examine, [{**case, **size} for case in cases(seeds)], jobs=jobs, folder=folder, progress=None
    )
    wanted = [expected(kind, name) for kind, name in zip(table["kind"], table["name"], strict=True)]
    table["expected"] = [" or ".join(sorted(names)) for names in wanted]
    table["right"] = [first in names for first, names in zip(table["first"], wanted, strict=True)]
    return table[["kind", "name", "seed", "expected", "first", "curves", "right"]]


def totals(table: pd.DataFrame) -> dict[str, float]:
    """Share of the sick with the right first finding, share of the healthy with an alarm of either examination."""
    well = table["kind"] == "healthy"
    alarm = (table["first"] != "") | (table["curves"] != "")
    return {
        "runs": len(table),
        "sick": int((~well).sum()),
        "sick, right first finding": table["right"][~well].mean(),
        "healthy": int(well.sum()),
        "healthy, false alarm": alarm[well].mean(),
    }


def report(table: pd.DataFrame) -> str:
    """The whole table and its totals, as text."""
    lines = [table.replace("", "–").to_string(index=False), ""]
    return "\n".join([*lines, *(f"{name}: {value:.4g}" for name, value in totals(table).items())])
