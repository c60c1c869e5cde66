"""`dpo-lab grade`."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from pathlib import Path

FORMATS = ("json", "gradescope", "classroom50", "github", "csv", "junit", "markdown")
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `dpo-lab grade` takes."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a notebook, a repository, or a folder of them"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="children at a time (default: one a core)"
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="seconds an exercise (default: 10)"
    )
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB", help="of a child (default: 1024)")
    parser.add_argument(
        "--out", default="grades", metavar="DIR", help="folder for the reports (default: grades)"
    )
    parser.add_argument(
        "--seed", type=int, help="of the private inputs (default: drawn, and kept in the report)"
    )
    parser.add_argument(
        "--lesson", action="append", default=[], metavar="NAME", help="grade this lesson only"
    )
    parser.add_argument("--rules", metavar="YAML", help="rules for late and partial work")
    parser.add_argument("--format", choices=FORMATS, help="also print the grades in this format")


def grade_command(options: argparse.Namespace) -> int:
    """Grade, write the reports, and print a summary.

    Returns:
        Exit status: 0, or 1 when something could not be graded for a reason that lies with the course or the machine.
    """
    if not hasattr(os, "fork"):
        print("Grading needs an operating system that can fork: on Windows, run it in WSL.", file=sys.stderr)
        return 1
    if options.jobs < 1 or options.timeout <= 0 or options.memory < 64:
        print("--jobs is at least 1, --timeout above 0, --memory at least 64", file=sys.stderr)
        return 1
    missing = [path for path in options.paths if not os.path.lexists(path)]
    if missing:
        print(f"{missing[0]}: no such notebook or folder", file=sys.stderr)
        return 1
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"), TOKENIZERS_PARALLELISM="false")
    return _grade(options)


def _grade(options: argparse.Namespace) -> int:
    import torch

    from dpo_lab.course.layout import Course, CourseError
    from dpo_lab.grading.grader import Grader
    from dpo_lab.grading.reading import find_work
    from dpo_lab.grading.rules import Rules
    from dpo_lab.grading.sandbox import Limits

    torch.set_num_threads(1)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    out = Path(options.out)
    try:
        rules = Rules.load(Path(options.rules)) if options.rules else None
        works = find_work([Path(path) for path in options.paths])
        limits = Limits(options.timeout, options.memory)
        grader = Grader(Course.default(), seed, options.jobs, limits, tuple(options.lesson))
        result = grader.grade(works, hide=[out] if out.exists() else [])
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    for student in result.students if rules else ():
        rules.apply(student)
    write_reports(result, out, options.format)
    broken = any(each.report.status == "broken" for student in result.students for each in student.exercises)
    return int(broken)


def write_reports(result, out: Path, chosen: str | None) -> None:
    """Write every format into `out`; the chosen one goes to stdout too."""
    from dpo_lab.grading import formats
    from dpo_lab.grading.page import class_page

    out.mkdir(parents=True, exist_ok=True)
    for name, (file, write) in formats.OF_CLASS.items():
        text = write(result)
        _write(out / file, text)
        if name == chosen:
            print(text, end="")
    _write(out / "class.html", class_page(result))
    for student in result.students:
        folder = out if len(result.students) == 1 else out / "students" / _folder_name(student.student)
        folder.mkdir(parents=True, exist_ok=True)
        for name, (file, write) in formats.OF_STUDENT.items():
            text = write(student)
            _write(folder / file, text)
            if name == chosen:
                print(text, end="")
    if chosen is None:
        for student in result.students:
            print(f"{student.student}: {student.earned:g} of {student.points}")
        print("\n".join([f"seed {result.seed}, {result.seconds:.1f} s, reports in {out}", *result.walls]))


def _folder_name(student: str) -> str:
    return re.sub(r"[^\w.() -]", "_", student).strip(". ") or "_"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
