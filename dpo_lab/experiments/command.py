"""`dpo-lab sweep`: any grid of DPO settings from the command line, into one table."""

from __future__ import annotations

import argparse
import ast
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from dpo_lab.experiments.language import dpo_run
from dpo_lab.sweeps import grid, sweep
from dpo_lab.trainer import DPOConfig

OWN = {"config", "progress", "output_dir", "resume", "save_every"}


def sweep_command(options: argparse.Namespace) -> int:
    """Run the grid, print means and spread over seeds, write every run to a CSV file."""
    try:
        settings = grid(**parse_grid(options.settings))
    except ValueError as error:
        print(error)
        return 1
    table = sweep(dpo_run, settings, jobs=options.jobs)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    print_summary(table, list(settings[0]))
    print(f"{len(table)} runs, each a row of {out}")
    return 0


def parse_grid(arguments: Sequence[str]) -> dict[str, list[Any]]:
    """`["beta=0.1,1", "loss=ipo"]` as `{"beta": [0.1, 1], "loss": ["ipo"], "seed": [0]}`.

    Raises:
        ValueError: not NAME=VALUE[,VALUE...], or not a setting of a DPO run.
    """
    known = set(inspect.signature(dpo_run).parameters) | set(inspect.signature(DPOConfig).parameters)
    values: dict[str, list[Any]] = {}
    for argument in arguments:
        name, equals, listed = argument.partition("=")
        if not equals or not listed:
            raise ValueError(f"give settings as NAME=VALUE or NAME=VALUE,VALUE; got {argument!r}")
        if name not in known - OWN:
            raise ValueError(f"there is no setting {name!r}; there are {', '.join(sorted(known - OWN))}")
        values[name] = [parse_value(text) for text in listed.split(",")]
    return {"beta": [0.1], "seed": [0]} | values


def parse_value(text: str) -> Any:
    """A number, True, False or None as Python reads it; anything else is a text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def print_summary(table: pd.DataFrame, names: list[str]) -> None:
    """A row for each setting but the seed: mean and standard deviation over seeds of all that was measured."""
    by = [name for name in names if name != "seed"]
    measured = [name for name in table if name not in names]
    grouped = table.groupby(by, sort=False)[measured]
    shown = Table(title="mean ± standard deviation over seeds")
    for name in (*by, *measured):
        shown.add_column(name, justify="right")
    for (keys, means), (_, spread) in zip(grouped.mean().iterrows(), grouped.std().iterrows(), strict=True):
        keys = keys if isinstance(keys, tuple) else (keys,)
        cells = [
            f"{means[name]:.3f}" + ("" if pd.isna(spread[name]) else f" ± {spread[name]:.3f}")
            for name in measured
        ]
        shown.add_row(*(str(key) for key in keys), *cells)
    Console(width=200).print(shown)
