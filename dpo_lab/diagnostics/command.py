"""`dpo-lab doctor`: the findings on a run, in the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dpo_lab.diagnostics.doctor import diagnose
from dpo_lab.diagnostics.findings import Finding, alarms

COLOURS = {"error": "bright_red", "warning": "yellow", "note": "cyan"}
PAGE_WIDTH = 84  # columns of a notebook's page; Rich would take 115 there, and the page cuts off the rest


def show_findings(findings: Sequence[Finding], console: Console | None = None) -> None:
    """Print findings, most urgent first, or that there is none."""
    console = console or Console()
    if console.is_jupyter:
        console.width = PAGE_WIDTH
    if not alarms(findings):
        console.print("[green]No alarm:[/green] nothing that the doctor knows is wrong with this run.")
    for number, finding in enumerate(findings, start=1):
        console.print(panel(number, finding))


def panel(number: int, finding: Finding) -> Panel:
    """One finding as a box: what was seen, why, what to do, what to read. A note may be of a healthy run: no fix."""
    colour = COLOURS[finding.severity]
    where = "" if finding.step is None else f", step {finding.step}"
    rows = {
        "Seen": finding.evidence,
        "Cause": finding.cause,
        "Fix": finding.fix,
        "Read": f"lesson {finding.lesson}",
    }
    if finding.severity == "note":
        del rows["Fix"]
    lines = Table.grid(padding=(0, 2))
    for label, text in rows.items():
        lines.add_row(Text(label, style="bold"), Text(text))
    title = f"[bold {colour}]{number} · {finding.severity}: {finding.name}[/]{where}"
    return Panel(lines, title=title, title_align="left", border_style=colour)


def doctor_command(options: argparse.Namespace) -> int:
    """`dpo-lab doctor RUN`: 0 if there is no alarm, 1 if there is one or the run can't be read."""
    console = Console()
    try:
        findings = diagnose(
            options.run_path, *models_and_pairs(options), config=saved_config(options.run_path)
        )
    except (OSError, ValueError) as error:
        console.print(f"{error}", style="red", highlight=False, markup=False)
        return 1
    show_findings(findings, console)
    return 1 if alarms(findings) else 0


def models_and_pairs(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Policy, reference and pairs, each None where the command line names none."""
    from dpo_lab.policies import frozen_reference, load_policy
    from dpo_lab.preferences import load_pairs

    policy = load_policy(options.policy) if options.policy else None
    reference = frozen_reference(load_policy(options.reference)) if options.reference else None
    return policy, reference, load_pairs(options.pairs) if options.pairs else None


def saved_config(run: str | Path) -> dict[str, Any] | None:
    """The config that our trainer keeps in a run's checkpoint; None where there is none."""
    path = Path(run)
    folder = path if path.is_dir() else path.parent
    file = folder / "checkpoint" / "training.pt"
    return torch.load(file, weights_only=True, mmap=True)["config"] if file.is_file() else None
