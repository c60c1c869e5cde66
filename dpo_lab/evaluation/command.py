"""`dpo-lab evaluate`: the scorecard of a run, in the terminal and as a report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpo_lab.diagnostics.command import PAGE_WIDTH, saved_config
from dpo_lab.diagnostics.doctor import diagnose
from dpo_lab.diagnostics.findings import alarms
from dpo_lab.diagnostics.reading import read_history
from dpo_lab.evaluation.judges import reward_judge
from dpo_lab.evaluation.measuring import Bench, evaluate_policy
from dpo_lab.evaluation.report import summary, write_report
from dpo_lab.evaluation.scorecard import FAIL, NOT_MEASURED, PASS, UNDECIDED, Row, scorecard
from dpo_lab.history import History
from dpo_lab.lab import TIERS, Lab
from dpo_lab.policies import Policy, check_same_tokenizer, frozen_reference, load_policy
from dpo_lab.preferences import load_pairs
from dpo_lab.worlds import review

COLOURS = {PASS: "green", FAIL: "bright_red", UNDECIDED: "yellow", NOT_MEASURED: "bright_black"}
REMEMBERED = 128  # reviews that retention is measured on
DEFAULT_BETA = 0.1


def evaluate_command(options: argparse.Namespace) -> int:
    """`dpo-lab evaluate RUN`: 0 if no criterion failed, 1 if one did or the run can't be read."""
    console = Console()
    try:
        rows, path = evaluate_run(options)
    except (OSError, ValueError) as error:
        console.print(f"{error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 1
    show_scorecard(rows, console)
    console.print(f"report: {path}", style="dim", highlight=False, soft_wrap=True)
    return 1 if any(row.verdict == FAIL for row in rows) else 0


def evaluate_run(options: argparse.Namespace) -> tuple[list[Row], Path]:
    """Load a run, measure it, write its report.

    Raises:
        FileNotFoundError: there is no policy. ValueError: no tier fits and no reference is named, or data are bad.
    """
    run = Path(options.run_path).expanduser()
    policy = load_policy(policy_folder(run))
    bench = make_bench(policy, options)
    config = saved_config(run) or {}
    beta = options.beta or config.get("beta", DEFAULT_BETA)
    found = evaluate_policy(policy, bench, beta, options.samples, options.seed, progress="sampling")
    history, names = training_log(run, config)
    rows = scorecard(found, alarms=names)
    facts = {
        "run": str(run),
        "reference": bench.reference.name,
        "held-out pairs": f"{len(bench.pairs)}, implicit rewards at β = {beta:g}",
        "samples": f"{options.samples} a side on {len(bench.prompts)} held-out prompts, temperature 1, "
        f"at most {bench.max_new_tokens} tokens, seed {options.seed}",
        "judge": bench.judge_name if bench.judge is not None else "none",
        "intervals": "95 %: Wilson for accuracies, bootstrap over samples for the rest. They cover the luck of "
        "sampling, not that of training seeds, prompts or pairs",
    }
    path = Path(options.out) if options.out else run / "report.html"
    return rows, write_report(path, f"Scorecard of {run.name}", rows, found, facts, history=history)


def policy_folder(run: Path) -> Path:
    """The finished policy of a run, else its checkpoint, else the folder itself."""
    for folder in (run / "policy", run / "checkpoint", run):
        if (folder / "config.json").is_file():
            return folder
    raise FileNotFoundError(
        f"{run} holds no policy: give a folder that a run with output_dir has written, or a policy's own"
    )


def make_bench(policy: Policy, options: argparse.Namespace) -> Bench:
    """Reference, pairs, prompts and judge: those of the tier, with what the command line names instead."""
    tier = options.tier or find_tier(policy)
    if tier is None and not (options.reference and options.pairs):
        raise ValueError(
            f"the policy's tokenizer is of none of the course's tiers ({', '.join(TIERS)}): "
            "name --reference and --pairs"
        )
    lab = Lab.auto(tier, policy.device) if tier else None
    reference = frozen_reference(load_policy(options.reference)) if options.reference else lab.reference
    check_same_tokenizer(policy, reference)
    pairs = load_pairs(options.pairs) if options.pairs else lab.heldout_pairs
    memory = load_memory(options.memory) if options.memory else remembered(tier)
    if lab is None:
        prompts = list({str(pair["prompt"]): pair["prompt"] for pair in pairs}.values())
        return Bench(reference, pairs, prompts, max_new_tokens=128, memory=memory)
    return Bench(
        reference,
        pairs,
        lab.heldout_prompts,
        lab.max_new_tokens,
        judge=reward_judge(lab.true_reward),
        reward=lab.true_reward,
        memory=memory,
        judge_name=f"the true reward of the {tier} tier",
    )


def find_tier(policy: Policy) -> str | None:
    """The tier whose tokenizer this policy has; SmolLM2's is looked at only where its size fits."""
    sizes = {"tiny": 200, "smollm2": 49_152}
    vocabulary = policy.tokenizer.get_vocab()
    if len(vocabulary) < sizes["tiny"]:
        return "tiny" if set(review.vocabulary()) <= set(vocabulary) else None
    return "smollm2" if len(vocabulary) == sizes["smollm2"] else None


def remembered(tier: str | None) -> list[dict[str, str]] | None:
    """Text that a tier's reference had learnt and that its pairs do not ask to lose: reviews without blame."""
    if tier != "tiny":
        return None
    rows = review.sample_reviews(8 * REMEMBERED, seed=977)
    kind = [row for row in rows if all(review.valence(word) >= 0 for word in row["completion"].split())]
    return kind[:REMEMBERED]


def load_memory(path: str | Path) -> list[dict[str, str]]:
    """Rows with `prompt` and `completion`; ValueError where a row lacks one."""
    rows = History.load(path).records
    for number, row in enumerate(rows):
        if not {"prompt", "completion"} <= set(row):
            raise ValueError(f"{path}, row {number}: needs prompt and completion, has {', '.join(row)}")
    return rows


def training_log(run: Path, config: dict[str, Any]) -> tuple[History | None, list[str] | None]:
    """A run's history and the names of the doctor's alarms; None and None where it has no log."""
    try:
        history = read_history(run)
    except (FileNotFoundError, ValueError):
        return None, None
    return history, [finding.name for finding in alarms(diagnose(history, config=config or None))]


def show_scorecard(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print a scorecard as a table."""
    console = console or Console()
    if console.is_jupyter:
        console.width = PAGE_WIDTH
    table = Table(title=f"Scorecard: {summary(rows)}", title_justify="left", show_lines=True)
    for name in ("criterion", "measured", "verdict"):
        table.add_column(name, no_wrap=name == "verdict")
    for row in rows:
        criterion = Text.assemble((row.criterion, "bold"), "\n", (row.target, "dim"))
        measured = Text.assemble(row.measured, ("\n" + row.note if row.note else "", "dim"))
        table.add_row(criterion, measured, Text(row.verdict, style=COLOURS[row.verdict]))
    console.print(table)
