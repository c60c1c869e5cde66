"""`dpo-lab`: the course's commands. Each imports what it needs only when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the command.

    Returns:
        Exit status: 0 when all is well, 1 when the command found something wrong, 130 after Ctrl-C.
    """
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(
        prog="dpo-lab", description="Learn Direct Preference Optimization by building it."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    add_training_commands(commands)
    add_run_commands(commands)
    add_course_commands(commands)
    return parser


def add_training_commands(commands: Any) -> None:
    """What trains a model or looks at a run."""
    demo = commands.add_parser(
        "demo", help="align SmolLM2 on the shipped pairs and compare before with after"
    )
    demo.add_argument(
        "--pairs", type=int, default=64, help="how many preference pairs to train on (default: 64)"
    )
    demo.add_argument("--epochs", type=int, default=1, help="passes over them (default: 1)")
    demo.add_argument("--seed", type=int, default=0, help="of the batch order (default: 0)")
    demo.add_argument("--out", default="runs/demo", help="folder for figure and history (default: runs/demo)")
    demo.set_defaults(run=run_demo)

    sweep = commands.add_parser("sweep", help="train over a grid of settings, e.g. beta=0.1,1 seed=0,1,2")
    sweep.add_argument(
        "settings",
        nargs="+",
        metavar="NAME=VALUE[,VALUE...]",
        help="settings of a DPO run, each with its values",
    )
    sweep.add_argument("--jobs", type=int, help="runs side by side (default: one a core, one on a GPU)")
    sweep.add_argument("--out", default="runs/sweep.csv", help="table of all runs (default: runs/sweep.csv)")
    sweep.set_defaults(run=run_sweep)

    doctor = commands.add_parser("doctor", help="say what is wrong with a training run")
    doctor.add_argument(
        "run_path", metavar="RUN", help="a run's folder, its history.jsonl, or TRL's trainer_state.json"
    )
    doctor.add_argument("--policy", help="the trained policy: a folder, a hub id, tiny or smollm2")
    doctor.add_argument("--reference", help="the frozen reference, likewise")
    doctor.add_argument("--pairs", help="the training pairs: a JSON Lines file or the name of shipped ones")
    doctor.set_defaults(run=run_doctor)

    evaluate = commands.add_parser(
        "evaluate", help="hold a trained policy against its reference: a scorecard"
    )
    add_evaluation_options(evaluate)
    evaluate.set_defaults(run=run_evaluate)


def add_evaluation_options(evaluate: argparse.ArgumentParser) -> None:
    """What `dpo-lab evaluate` takes."""
    evaluate.add_argument("run_path", metavar="RUN", help="a run's folder (its output_dir), or a policy's")
    evaluate.add_argument(
        "--tier", choices=("tiny", "smollm2"), help="where it was trained (default: told by the tokenizer)"
    )
    evaluate.add_argument("--reference", help="the frozen reference, if it is not the tier's own policy")
    evaluate.add_argument("--pairs", help="held-out pairs: a JSON Lines file or the name of shipped ones")
    evaluate.add_argument("--memory", help="JSON Lines with prompt and completion that must not be forgotten")
    evaluate.add_argument("--beta", type=float, help="of the implicit rewards (default: the run's, else 0.1)")
    evaluate.add_argument("--samples", type=int, default=256, help="completions a side (default: 256)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the sampling (default: 0)")
    evaluate.add_argument("--out", help="the report (default: report.html in the run's folder)")


def add_run_commands(commands: Any) -> None:
    """A run of one's own: what it will take, and the run."""
    from dpo_lab import budget_command, train_command

    train = commands.add_parser("train", help="train on any model and pairs, as a YAML file says")
    train_command.add_arguments(train)
    train.set_defaults(run=train_command.train_command)

    budget = commands.add_parser("budget", help="memory, time and cost of a run before it is started")
    budget_command.add_arguments(budget)
    budget.set_defaults(run=budget_command.budget_command)


def add_course_commands(commands: Any) -> None:
    """What has to do with notebooks and set-up."""
    from dpo_lab.grading import command as grading

    check = commands.add_parser("check", help="grade notebooks in the terminal")
    check.add_argument(
        "notebooks", nargs="*", metavar="NOTEBOOK", help="notebooks or folders (default: notebooks/)"
    )
    check.set_defaults(run=run_check)

    grade = commands.add_parser("grade", help="grade the submissions of a class in a sandbox")
    grading.add_arguments(grade)
    grade.set_defaults(run=run_grade)

    build = commands.add_parser("build", help="build the notebooks from solutions/*.py and the library")
    build.add_argument(
        "names", nargs="*", metavar="NAME", help="lessons, e.g. 04_dpo_loss or 04 (default: all)"
    )
    build.add_argument(
        "--check", action="store_true", help="write nothing; fail if a notebook is not up to date"
    )
    build.add_argument("--no-execute", action="store_true", help="write the learner's notebooks only")
    build.set_defaults(run=run_build)

    from dpo_lab.interview import terminal

    interview = commands.add_parser("interview", help="practise interview questions with flashcards")
    terminal.add_arguments(interview)
    interview.set_defaults(run=terminal.interview_command)

    models = commands.add_parser("models", help="fetch the models that the course uses")
    models.set_defaults(run=run_models)


def run_demo(options: argparse.Namespace) -> int | None:
    """`dpo-lab demo`."""
    from dpo_lab.demo import run_demo as demo

    return demo(options)


def run_sweep(options: argparse.Namespace) -> int:
    """`dpo-lab sweep`."""
    from dpo_lab.experiments.command import sweep_command

    return sweep_command(options)


def run_doctor(options: argparse.Namespace) -> int:
    """`dpo-lab doctor`."""
    from dpo_lab.diagnostics.command import doctor_command

    return doctor_command(options)


def run_evaluate(options: argparse.Namespace) -> int:
    """`dpo-lab evaluate`."""
    from dpo_lab.evaluation.command import evaluate_command

    return evaluate_command(options)


def run_check(options: argparse.Namespace) -> int:
    """`dpo-lab check`."""
    from dpo_lab.course.commands import check_command

    return check_command(options.notebooks)


def run_grade(options: argparse.Namespace) -> int:
    """`dpo-lab grade`."""
    from dpo_lab.grading.command import grade_command

    return grade_command(options)


def run_build(options: argparse.Namespace) -> int:
    """`dpo-lab build`."""
    from dpo_lab.course.commands import build_command

    return build_command(options.names, check=options.check, execute=not options.no_execute)


def run_models(options: argparse.Namespace) -> int | None:
    """`dpo-lab models`."""
    from dpo_lab.download import models_command

    return models_command()


if __name__ == "__main__":
    sys.exit(main())
