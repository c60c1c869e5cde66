"""`dpo-lab demo`: align SmolLM2 in the terminal and compare before with after on prompts it was not trained on."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from dpo_lab.evaluation import Interval, bootstrap_interval, pair_accuracies, win_rate
from dpo_lab.history import History
from dpo_lab.lab import Lab, Measurement
from dpo_lab.plots.demo import plot_alignment
from dpo_lab.trainer import train_dpo

SAMPLES, HELDOUT_PAIRS, SHOWN = 96, 40, 4
RECORDED = Path(__file__).parent / "assets" / "demo"


@dataclass(frozen=True)
class DemoResult:
    """Everything a demo run found; `result.json` holds it."""

    before: Measurement
    after: Measurement
    gain: Interval
    win_rate: float
    kl: float
    reward_accuracy: float
    pairs: int
    steps: int
    seconds: float


def run_demo(args: argparse.Namespace) -> int:
    """Load, measure, align, measure again, report; returns the exit code."""
    console, started = Console(), time.perf_counter()
    console.rule("[bold]DPO Lab: align SmolLM2-135M-Instruct[/bold]")
    lab = Lab.auto("smollm2")
    console.print(
        f"Device: {lab.policy.device}. Prompt: [italic]{lab.heldout_prompts[0][0]['content']}[/italic]"
    )
    console.print(
        "True reward: VADER's sentiment, from −1 to 1, of the review. The policy sees preference pairs only.\n"
    )
    before = lab.measure(lab.policy, SAMPLES, progress="1/4 reviews before")
    pairs = [lab.pairs[i] for i in range(min(args.pairs, len(lab.pairs)))]
    history = train_dpo(
        lab.policy, lab.reference, pairs, replace(lab.config, epochs=args.epochs, seed=args.seed)
    )
    after = lab.measure(lab.policy, SAMPLES, progress="3/4 reviews after")
    console.print("4/4 KL to the reference and accuracy on held-out pairs …")
    heldout_pairs = [lab.heldout_pairs[i] for i in range(HELDOUT_PAIRS)]
    result = DemoResult(
        before=before,
        after=after,
        gain=paired_gain(before, after, len(lab.heldout_prompts)),
        win_rate=win_rate(torch.tensor(after.rewards), torch.tensor(before.rewards)),
        kl=lab.kl(lab.policy, after, samples=HELDOUT_PAIRS),
        reward_accuracy=pair_accuracies(lab.policy, lab.reference, heldout_pairs)["rewards/accuracies"],
        pairs=len(pairs),
        steps=len(history),
        seconds=time.perf_counter() - started,
    )
    console.print(summary(result))
    console.print(side_by_side(before, after))
    save(result, history, Path(args.out))
    console.print(f"Figure, numbers and history: {args.out}. {result.seconds:.0f} s, {peak_memory()}.")
    return 0


def save(result: DemoResult, history: History, folder: Path) -> None:
    """Write `history.jsonl`, `result.json` and `before_after.png`."""
    history.save(folder / "history.jsonl")
    (folder / "result.json").write_text(
        json.dumps(asdict(result), ensure_ascii=False) + "\n", encoding="utf-8"
    )
    label = "true reward (VADER, −1 to 1)"
    plot_alignment(result.before.rewards, result.after.rewards, history, label, -1, 1).savefig(
        folder / "before_after.png"
    )


def recorded_demo() -> tuple[DemoResult, History]:
    """The run that the course ships: `dpo-lab demo --out dpo_lab/assets/demo`, on 2 CPU cores."""
    found = json.loads((RECORDED / "result.json").read_text(encoding="utf-8"))
    for side in ("before", "after"):
        found[side] = Measurement(**{**found[side], "reward": Interval(**found[side]["reward"])})
    found["gain"] = Interval(**found["gain"])
    return DemoResult(**found), History.load(RECORDED / "history.jsonl")


def paired_gain(before: Measurement, after: Measurement, items: int) -> Interval:
    """The gain in true reward, item by item: each held-out item is one independent measurement."""
    differences = torch.tensor(after.rewards) - torch.tensor(before.rewards)
    return bootstrap_interval([differences[i::items].mean() for i in range(min(items, len(differences)))])


def summary(result: DemoResult) -> Table:
    """The numbers that a run is judged by."""
    before, after, gain = result.before, result.after, result.gain
    title = f"\nHeld-out prompts, {len(before.texts)} samples each; {result.pairs} pairs, {result.steps} steps of DPO"
    table = Table(title=title)
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("mean true reward [95 % interval]", str(before.reward), str(after.reward))
    verdict = "real: the interval excludes 0" if gain.excludes(0) else "not shown: the interval holds 0"
    table.add_row(f"gain, item by item ({verdict})", "", str(gain))
    table.add_row("win rate against before", "", f"{result.win_rate:.3f}")
    table.add_row(f"reward accuracy, {HELDOUT_PAIRS} held-out pairs", "", f"{result.reward_accuracy:.3f}")
    table.add_row("KL to the reference (nats a review)", "0", f"{result.kl:.2f}")
    return table


def side_by_side(before: Measurement, after: Measurement) -> Table:
    """The first few samples of both, not picked."""
    table = Table(title=f"\nThe first {SHOWN} held-out items, one sample each, not picked", show_lines=True)
    table.add_column("before", ratio=1)
    table.add_column("after", ratio=1)
    for i in range(SHOWN):
        table.add_row(
            *(f"{m.texts[i].strip()}\n[dim]reward {m.rewards[i]:+.2f}[/dim]" for m in (before, after))
        )
    return table


def peak_memory() -> str:
    """The most main memory this process has held so far."""
    if sys.platform == "win32":
        return "peak memory not measured on Windows"
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak / (2**30 if sys.platform == 'darwin' else 2**20):.1f} GiB at most"  # macOS counts bytes, Linux KiB
