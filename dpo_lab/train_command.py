"""`dpo-lab train`: the run of a YAML file, resumable, with everything written to its `output_dir`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `dpo-lab --help` must not wait for torch
    from dpo_lab.history import History
    from dpo_lab.run_file import RunFile

SHOWN = ("loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected", "grad_norm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--config", required=True, metavar="FILE", help="a run's YAML file")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in output_dir")
    parser.add_argument("--output-dir", help="another folder than the file's")


def train_command(options: argparse.Namespace) -> int:
    """Train, print first and last metrics and where things are; 1 where file, model or data are no good."""
    from dpo_lab.run_file import read_run_file

    changes = {"resume": True} if options.resume else {}
    if options.output_dir:
        changes["output_dir"] = options.output_dir
    try:
        run = read_run_file(options.config, **changes)
        history = train(run)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"dpo-lab train: {error}", file=sys.stderr)
        return 1
    show(run, history)
    return 0


def train(run: RunFile) -> History:
    """Load what the run names, and train.

    No second model is held: the reference's log-probs are computed before the first step, when the policy is still its
    own reference, adapters or not.
    """
    from dpo_lab.policies import load_policy, with_lora
    from dpo_lab.preferences import load_pairs
    from dpo_lab.trainer import train_dpo

    policy = load_policy(run.model)
    if run.lora_rank is not None:
        policy = with_lora(policy, rank=run.lora_rank)
    reference = policy if run.reference is None else load_policy(run.reference, device=policy.device)
    eval_pairs = None if run.eval_pairs is None else load_pairs(run.eval_pairs)
    return train_dpo(policy, reference, load_pairs(run.pairs), run.config, eval_pairs)


def show(run: RunFile, history: History) -> None:
    """First and last step's metrics as a table, and what to do next."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{run.model} on {run.pairs}, {len(history)} steps, β = {run.config.beta:g}")
    for heading in ("metric", "first", "last"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    held_out = [name for name in history.names() if name.startswith("eval_")]
    for name in (*SHOWN, *held_out):
        values = history[name]
        table.add_row(name, f"{values[0]:.4f}", f"{values[-1]:.4f}")
    console = Console()
    console.print(table)
    folder = run.config.output_dir
    if folder is None:
        console.print("Nothing was kept: set output_dir to keep the policy and its history.")
    else:
        console.print(f"policy and history are in {folder}; look at them with: dpo-lab doctor {folder}")
