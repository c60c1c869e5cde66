"""`dpo-lab demo`: align SmolLM2 in the terminal and compare before with after on prompts it was not trained on."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from dpo_lab.evaluation import Interval, bootstrap_interval, pair_accuracies
from dpo_lab.lab import Lab, Measurement
from dpo_lab.plots.demo import plot_before_after
from dpo_lab.trainer import train_dpo

SAMPLES, HELDOUT_PAIRS, SHOWN = 96, 40, 4


def run_demo(args: argparse.Namespace) -> int:
    """Load, measure, align, measure again, report; returns the exit code."""
    console, started = Console(), time.perf_counter()
    console.rule("[bold]DPO Lab: align SmolLM2-135M-Instruct[/bold]")
    lab = Lab.auto("smollm2")
    console.print(f"Device: {lab.policy.device}. Prompt: [italic]{lab.heldout_prompts[0][0]['content']}[/italic]")
    console.print("True reward: VADER's sentiment, from −1 to 1, of the review. The policy sees preference pairs only.\n")
    before = lab.measure(lab.policy, SAMPLES, progress="1/4 reviews before")
    pairs = [lab.pairs[i] for i in range(min(args.pairs, len(lab.pairs)))]
    config = replace(lab.config, epochs=args.epochs, seed=args.seed)
    history = train_dpo(lab.policy, lab.reference, pairs, config)
    after = lab.measure(lab.policy, SAMPLES, progress="3/4 reviews after")
    console.print("4/4 KL to the reference and accuracy on held-out pairs …")
    kl = lab.kl(lab.policy, after, samples=HELDOUT_PAIRS)
    accuracies = pair_accuracies(lab.policy, lab.reference, [lab.heldout_pairs[i] for i in range(HELDOUT_PAIRS)])
    gain = paired_gain(before, after, len(lab.heldout_prompts))
    console.print(summary(before, after, gain, kl, accuracies, len(pairs), len(history)))
    console.print(side_by_side(before, after))
    folder = Path(args.out)
    history.save(folder / "history.jsonl")
    plot_before_after(before.rewards, after.rewards, history).savefig(folder / "before_after.png")
    console.print(f"Figure: {folder / 'before_after.png'}   history: {folder / 'history.jsonl'}")
    console.print(f"{time.perf_counter() - started:.0f} s, {peak_memory()}.")
    return 0


def paired_gain(before: Measurement, after: Measurement, items: int) -> Interval:
    """The gain in true reward, item by item: each held-out item is one independent measurement."""
    differences = torch.tensor(after.rewards) - torch.tensor(before.rewards)
    return bootstrap_interval([differences[i::items].mean() for i in range(min(items, len(differences)))])


def summary(
    before: Measurement, after: Measurement, gain: Interval, kl: float, accuracies: dict[str, float], pairs: int, steps: int
) -> Table:
    """The numbers that a run is judged by."""
    table = Table(title=f"\nHeld-out prompts, {len(before.texts)} samples each; {pairs} pairs, {steps} steps of DPO")
    for column in ("", "before", "after"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("mean true reward [95 % interval]", str(before.reward), str(after.reward))
    verdict = "real: the interval excludes 0" if gain.excludes(0) else "not shown: the interval holds 0"
    table.add_row(f"gain, item by item ({verdict})", "", str(gain))
    table.add_row(f"reward accuracy, {HELDOUT_PAIRS} held-out pairs", "–", f"{accuracies['rewards/accuracies']:.3f}")
    table.add_row("KL to the reference (nats a review)", "0", f"{kl:.2f}")
    return table


def side_by_side(before: Measurement, after: Measurement) -> Table:
    """The first few samples of both, not picked."""
    table = Table(title=f"\nThe first {SHOWN} held-out items, one sample each, not picked", show_lines=True)
    table.add_column("before", ratio=1)
    table.add_column("after", ratio=1)
    for i in range(SHOWN):
        table.add_row(*(f"{m.texts[i].strip()}\n[dim]reward {m.rewards[i]:+.2f}[/dim]" for m in (before, after)))
    return table


def peak_memory() -> str:
    """The most main memory this process has held so far."""
    if sys.platform == "win32":
        return "peak memory not measured on Windows"
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak / (2**30 if sys.platform == 'darwin' else 2**20):.1f} GiB at most"  # macOS counts bytes, Linux KiB
