"""Our trainer against TRL's: pairs a second and peak memory, on this machine. Not a test: nothing here passes or fails.

    python tests/benchmarks/against_trl.py --model tiny
    python tests/benchmarks/against_trl.py --model smollm2 --batch 4 --steps 3

Both train the same model on the same pairs with the same batch size and rate, in float32, on one device. TRL computes
the reference's log-probs at each step, its default; gradient checkpointing is off in both. Our time holds everything
that `train_dpo` does, tokenizing and the reference's pass over the pairs included; of TRL's it is `train()` alone.
Trainings alternate within one process, so that a busy moment hits both; peak memory comes from a process for each.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table

from dpo_lab.policies import Policy, frozen_reference, load_policy
from dpo_lab.preferences import load_pairs
from dpo_lab.quiet import quiet_transformers
from dpo_lab.trainer import DPOConfig, train_dpo

SHIPPED = {"tiny": "review_train", "smollm2": "everyday_train"}
LR = 1e-5


def main() -> None:
    """Time both in turn, then measure each one's memory."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.only:
        policy, pairs = inputs(options)
        TRAINERS[options.only](policy, pairs, options.batch)
        print(peak_mib())
        return
    times = alternate(options)
    memory = {name: memory_of(name, options) for name in TRAINERS}
    report(options, times, memory)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=list(SHIPPED), default="tiny")
    parser.add_argument("--batch", type=int, default=32, help="pairs a step (default: 32)")
    parser.add_argument("--steps", type=int, default=10, help="steps a training (default: 10)")
    parser.add_argument("--alternations", type=int, default=5, help="trainings of each (default: 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=["ours", "trl"], help="train once and print the peak memory in MiB")
    return parser.parse_args()


def inputs(options: argparse.Namespace) -> tuple[Policy, list[dict[str, str]]]:
    """A policy on the CPU or the GPU, and as many pairs as the steps take, as text."""
    policy = load_policy(options.model, dtype=torch.float32)
    rows = list(load_pairs(SHIPPED[options.model]).select(range(options.batch * options.steps)))
    if isinstance(rows[0]["prompt"], str):
        return policy, [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows]
    render = policy.tokenizer.apply_chat_template
    return policy, [
        {"prompt": render(row["prompt"], tokenize=False, add_generation_prompt=True)}
        | {side: row[side][0]["content"] for side in ("chosen", "rejected")}
        for row in rows
    ]


def train_ours(policy: Policy, pairs: list[dict[str, str]], batch: int) -> float:
    """Seconds of `train_dpo`, from text to the last step."""
    reference = frozen_reference(policy)
    config = DPOConfig(lr=LR, batch_size=batch, precision="fp32", progress=False)
    start = time.perf_counter()
    train_dpo(policy, reference, pairs, config)
    return time.perf_counter() - start


def train_trl(policy: Policy, pairs: list[dict[str, str]], batch: int) -> float:
    """Seconds of TRL's `train()`, tokenizing left out."""
    from trl import DPOConfig as TRLConfig
    from trl import DPOTrainer

    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        config = TRLConfig(
            output_dir=folder,
            per_device_train_batch_size=batch,
            learning_rate=LR,
            num_train_epochs=1,
            bf16=False,
            gradient_checkpointing=False,
            max_length=None,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=policy.device.type == "cpu",
        )
        trainer = DPOTrainer(
            policy.model,
            args=config,
            train_dataset=Dataset.from_list(pairs),
            processing_class=policy.tokenizer,
        )
        start = time.perf_counter()
        with redirect_stdout(sys.stderr):  # TRL prints its last metrics
            trainer.train()
        return time.perf_counter() - start


TRAINERS: Mapping[str, Callable[[Policy, Any, int], float]] = {"ours": train_ours, "trl": train_trl}


def alternate(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each training; the first of each is left out: it warms up."""
    times: dict[str, list[float]] = {name: [] for name in TRAINERS}
    for round_number in range(options.alternations + 1):
        for name, train in TRAINERS.items():
            seconds = train(*inputs(options), options.batch)
            if round_number:
                times[name].append(seconds)
    return times


def memory_of(name: str, options: argparse.Namespace) -> float:
    """Peak memory in MiB of one training in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--model", options.model]
    for flag in ("batch", "steps", "threads"):
        command += [f"--{flag}", str(getattr(options, flag))]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(lines[-1])


def peak_mib() -> float:
    """Most memory this process has held: on the GPU where it trained there, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def report(options: argparse.Namespace, times: dict[str, list[float]], memory: dict[str, float]) -> None:
    """Print pairs a second (median, lowest to highest), peak memory, and the ratios."""
    pairs = options.batch * options.steps
    table = Table(title=f"{options.model}: {options.steps} steps of {options.batch} pairs")
    for heading in ("trainer", "pairs/s", "lowest to highest", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "trainer" else "right")
    speeds = {name: [pairs / seconds for seconds in runs] for name, runs in times.items()}
    for name, runs in speeds.items():
        spread = f"{min(runs):.2f} to {max(runs):.2f}"
        table.add_row(name, f"{statistics.median(runs):.2f}", spread, f"{memory[name]:.0f}")
    ratios = [ours / trl for ours, trl in zip(speeds["ours"], speeds["trl"], strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    table.add_row(
        "ratio", f"{statistics.median(ratios):.2f}", spread, f"{memory['ours'] / memory['trl']:.2f}"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
