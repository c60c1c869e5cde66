"""Rebuild the everyday preference pairs: `python -m dpo_lab.everyday_recipe` (seconds: labels the shipped samples).

`--resample` first draws the samples anew from SmolLM2 (about a quarter of an hour; finished chunks are kept, so it may
be interrupted). The same seed gives the same samples on one machine and one version of torch, and the same labels
everywhere. `--describe` only prints the numbers of the datasheet.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from dpo_lab.download import cache_folder
from dpo_lab.policies import Policy, load_policy
from dpo_lab.preferences import label_by_bradley_terry
from dpo_lab.sampling import sample_ids
from dpo_lab.worlds.everyday import (
    HELDOUT_ITEMS,
    HELDOUT_PAIRS,
    ITEMS,
    SAMPLES,
    TRAIN_ITEMS,
    TRAIN_PAIRS,
    prompt_for,
    true_reward,
)

SAMPLES_PER_ITEM = 6
ITEMS_PER_CHUNK = 12
MAX_NEW_TOKENS = 48
SAMPLING_TEMPERATURE = 1.0
LABEL_TEMPERATURE = (
    0.2  # of the annotator, in units of the reward: half the reward's standard deviation, about
)
SEED = 0

Row = dict[str, Any]


def sample_chunk(policy: Policy, chunk: int) -> list[Row]:
    """Samples of one chunk of items: item, text, whether it ended by itself, true reward."""
    items = ITEMS[chunk * ITEMS_PER_CHUNK : (chunk + 1) * ITEMS_PER_CHUNK]
    asked = [item for item in items for _ in range(SAMPLES_PER_ITEM)]
    ids = sample_ids(
        policy,
        [prompt_for(item) for item in asked],
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=SAMPLING_TEMPERATURE,
        seed=SEED + chunk,
        batch_size=len(asked),
        progress=f"chunk {chunk + 1} of {chunk_count()}",
    )
    rows = []
    for item, row in zip(asked, ids, strict=True):
        text = policy.tokenizer.decode(row, skip_special_tokens=True).strip()
        finished = row[-1] == policy.tokenizer.eos_token_id
        rows.append({"item": item, "text": text, "finished": finished, "true_reward": true_reward(text)})
    return rows


def chunk_count() -> int:
    """Number of chunks that cover ITEMS."""
    return -(-len(ITEMS) // ITEMS_PER_CHUNK)


def resample(policy: Policy, work: Path) -> list[Row]:
    """All samples, in the order of ITEMS; chunks that `work` holds already are read from there."""
    work.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for chunk in range(chunk_count()):
        path = work / f"chunk_{chunk:02d}.jsonl"
        if not path.exists():
            write_jsonl(path, sample_chunk(policy, chunk))
        rows += read_jsonl(path)
    return rows


def make_pairs(samples: list[Row], items: list[str], seed: int = SEED) -> tuple[list[Row], dict[str, int]]:
    """Pairs of the finished samples of each item, labelled by Bradley-Terry.

    Every sample is in one pair; of an odd number, one is in two.

    Args:
        samples: rows as `sample_chunk` gives them.
        items: which items to pair, in this order.
        seed: of the pairing and of the labels.

    Returns:
        The pairs, and how many samples were left out and why.
    """
    rng = random.Random(seed)
    by_item: dict[str, list[Row]] = defaultdict(list)
    left_out = {"unfinished": 0, "empty": 0, "identical texts of one item": 0, "without a partner": 0}
    for row in samples:
        if row["item"] in set(items):
            why = reason_to_drop(row, by_item[row["item"]])
            if why:
                left_out[why] += 1
            else:
                by_item[row["item"]].append(row)
    couples = []
    for item in items:
        rows = rng.sample(by_item[item], len(by_item[item]))
        if len(rows) == 1:
            left_out["without a partner"] += 1
        elif len(rows) % 2:
            rows.append(rows[0])  # the odd one out meets a sample that is in a pair already
        couples += list(zip(rows[::2], rows[1::2], strict=False))
    return label(couples, seed), left_out


def reason_to_drop(row: Row, kept: list[Row]) -> str | None:
    """Why a sample can't be used beside those kept of its item; None if it can."""
    if not row["finished"]:
        return "unfinished"
    if not row["text"]:
        return "empty"
    return "identical texts of one item" if any(row["text"] == other["text"] for other in kept) else None


def label(couples: list[tuple[Row, Row]], seed: int) -> list[Row]:
    """One noisy judgement of each couple, P(first wins) = σ((r_first − r_second) / LABEL_TEMPERATURE)."""
    first, second = (
        torch.tensor([c[i]["true_reward"] for c in couples], dtype=torch.float64) for i in (0, 1)
    )
    wins = label_by_bradley_terry(first, second, LABEL_TEMPERATURE, torch.Generator().manual_seed(seed))
    pairs = []
    for (a, b), a_wins in zip(couples, wins.tolist(), strict=True):
        chosen, rejected = (a, b) if a_wins else (b, a)
        margin = torch.tensor((chosen["true_reward"] - rejected["true_reward"]) / LABEL_TEMPERATURE)
        pairs.append(
            {
                "prompt": prompt_for(a["item"]),
                "chosen": [{"role": "assistant", "content": chosen["text"]}],
                "rejected": [{"role": "assistant", "content": rejected["text"]}],
                "item": a["item"],
                "chosen_reward": chosen["true_reward"],
                "rejected_reward": rejected["true_reward"],
                "p_chosen": round(torch.sigmoid(margin).item(), 4),
            }
        )
    random.Random(seed).shuffle(pairs)  # items mixed, so that any first n pairs are a fair sample
    return pairs


def describe(samples: list[Row], splits: dict[str, tuple[list[Row], dict[str, int]]]) -> str:
    """The datasheet's numbers, one a line."""
    rewards = [row["true_reward"] for row in samples]
    finished = sum(row["finished"] for row in samples)
    lines = [
        f"samples: {len(samples)} of {len(ITEMS)} items, finished within {MAX_NEW_TOKENS} tokens: {finished}",
        f"true reward of all samples: mean {statistics.mean(rewards):.3f}, sd {statistics.stdev(rewards):.3f}, "
        f"above 0 {share(r > 0 for r in rewards)}, below 0 {share(r < 0 for r in rewards)}",
    ]
    for name, (pairs, left_out) in splits.items():
        lines.append(f"{name}: {len(pairs)} pairs on {len({pair['item'] for pair in pairs})} items")
        lines.append("  samples left out: " + ", ".join(f"{why} {n}" for why, n in left_out.items()))
        gaps = [pair["chosen_reward"] - pair["rejected_reward"] for pair in pairs]
        lines.append(
            f"  chosen has the higher true reward {share(g > 0 for g in gaps)}, equal {share(g == 0 for g in gaps)}, "
            f"lower {share(g < 0 for g in gaps)}"
        )
        for side in ("chosen", "rejected"):
            mean = statistics.mean(pair[f"{side}_reward"] for pair in pairs)
            words = statistics.mean(len(pair[side][0]["content"].split()) for pair in pairs)
            lines.append(f"  {side}: mean true reward {mean:.3f}, mean length {words:.1f} words")
    return "\n".join(lines)


def share(flags: Any) -> str:
    """Share of true flags, in per cent."""
    return f"{100 * statistics.mean(map(float, flags)):.1f} %"


def write_jsonl(path: Path, rows: list[Row]) -> None:
    """One JSON object a line; the file appears when it is whole."""
    partial = path.with_suffix(".part")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(path)


def read_jsonl(path: Path) -> list[Row]:
    """Rows of a JSON Lines file."""
    with path.open(encoding="utf-8") as file:  # not splitlines(): a text may hold other line separators
        return [json.loads(line) for line in file]


def main() -> None:
    """Sample if asked to, label, write, describe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resample", action="store_true", help="draw the samples anew from SmolLM2")
    parser.add_argument("--describe", action="store_true", help="print the numbers, write nothing")
    args = parser.parse_args()
    if args.resample:
        policy = load_policy("smollm2", device="cpu", dtype=torch.float32)
        write_jsonl(SAMPLES, resample(policy, cache_folder() / "everyday_samples"))
    samples = read_jsonl(SAMPLES)
    splits = {"train": make_pairs(samples, TRAIN_ITEMS), "heldout": make_pairs(samples, HELDOUT_ITEMS)}
    if not args.describe:
        write_jsonl(TRAIN_PAIRS, splits["train"][0])
        write_jsonl(HELDOUT_PAIRS, splits["heldout"][0])
    print(describe(samples, splits))


if __name__ == "__main__":
    main()
