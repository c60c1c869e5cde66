"""In a child: read the definitions of one notebook, run them on the inputs, and say what they gave.

This is trusted code, but it shares its interpreter with a student's: whatever leaves here is a claim.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from dpo_lab.course import library
from dpo_lab.course.layout import Course
from dpo_lab.course.learner import CodeCell, LearnerNotebook, read_cell
from dpo_lab.course.observing import Drive, Observation, Raised, observe
from dpo_lab.grading import trap
from dpo_lab.grading.values import encode_observation

REPEATED = 2  # drives of an exercise that are made a second time, to see whether it gives the same again


def run_job(job: dict, course: Course, drives: dict[str, Drive], pipe: int) -> None:
    """Answer all exercises of a job.

    Args:
        job: cells, the file's name, and `exercises`: name → digests of its drives.
        drives: by digest.
        pipe: where frames go: JSON, one a line, that starts with the exercise's name.
    """

    def say(frame: dict) -> None:
        data = json.dumps(frame).encode() + b"\n"
        while data:
            data = data[os.write(pipe, data) :]

    notebook = None
    for name, digests in job["exercises"].items():
        say({"exercise": name, "begin": True})
        notebook = notebook or notebook_of(job)
        answer_exercise(notebook, course, name, [(digest, drives[digest]) for digest in digests], say)
        say({"exercise": name, "end": True, "library": trap.calls})
        trap.calls = 0


def notebook_of(job: dict) -> LearnerNotebook:
    """The notebook of a job, as `dpo-lab check` would read it."""
    cells: list[CodeCell] = []
    for i, cell in enumerate(job["cells"]):
        metadata = {"exercise": cell["exercise"]} if cell["exercise"] else {}
        cells.append(
            read_cell(f"{job['file']}[{i}]", SimpleNamespace(source=cell["source"], metadata=metadata))
        )
    names = [cell.exercise for cell in cells if cell.exercise]
    return LearnerNotebook(Path(job["file"]), cells, list(dict.fromkeys([*names, *job["exercises"]])))


def answer_exercise(
    notebook: LearnerNotebook, course: Course, name: str, asked: list[tuple[str, Drive]], say: Callable
) -> None:
    """Drive one exercise on all its inputs, and on the first few once more."""
    with trap.locked(library.find(course, name).load()):
        found = notebook.function(course, name)
        if isinstance(found, Raised):
            refusal = encode_observation(Observation(raised=found))
            for digest, _ in asked:
                say({"exercise": name, "digest": digest, "seen": refusal})
            return
        watch = SettingsWatch(found)
        for digest, drive in asked:
            seen = observe(watch.function, drive)
            say({"exercise": name, "digest": digest, "seen": encode_observation(seen), "left": watch.left})
        for digest, drive in asked[:REPEATED]:
            seen = observe(watch.function, drive)
            say({"exercise": name, "digest": digest, "seen": encode_observation(seen), "again": True})


class SettingsWatch:
    """Wraps a function and notes which of torch's settings it leaves changed."""

    def __init__(self, function: Callable) -> None:
        self.left: list[str] = []

        @functools.wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            before = _settings()
            try:
                return function(*arguments, **named)
            finally:
                changed = [key for key, value in _settings().items() if value != before[key]]
                self.left = sorted({*self.left, *changed})

        self.function = watched


def _settings() -> dict[str, Any]:
    return {
        "default dtype": str(torch.get_default_dtype()),
        "gradient mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }
