"""Coding challenges and system-design prompts: what to do, in which time, and what grades it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_lab.interview.bank import LEVELS, BankError, Proof, check_list, check_text, read_yaml, two_texts

FILE = Path(__file__).parent / "bank" / "tasks" / "tasks.yaml"
KINDS = ("coding", "design")
FIELDS = {"id", "kind", "level", "minutes", "task", "rubric"}
OPTIONAL = {"exercise", "notes", "proof"}


@dataclass(frozen=True)
class Task:
    """A coding challenge or a design prompt.

    Args:
        id: unique.
        kind: "coding" or "design".
        level: one of the bank's levels.
        minutes: time to do it in.
        task: what to do.
        rubric: points to grade oneself by.
        exercise: the exercise whose autograder grades the code; None where there is none.
        proof: where the course shows it; None where the exercise leads there.
        notes: where the course's source notes have it.
    """

    id: str
    kind: str
    level: str
    minutes: int
    task: str
    rubric: tuple[str, ...]
    exercise: str | None = None
    proof: Proof | None = None
    notes: tuple[str, ...] = ()


def load_tasks(path: str | Path | None = None) -> tuple[Task, ...]:
    """Read the tasks; BankError names the task and the field that is wrong."""
    path = Path(path) if path is not None else FILE
    rows = read_yaml(path)
    if not isinstance(rows, list) or not rows:
        raise BankError(f"{path.name} must be a list with at least one task")
    tasks = tuple(read_task(f"{path.name}, task {i}", row) for i, row in enumerate(rows))
    if len({task.id for task in tasks}) != len(tasks):
        raise BankError(f"{path.name}: two tasks have the same id")
    return tasks


def read_task(place: str, row: Any) -> Task:
    """One task; `place` begins the message of an error."""
    if not isinstance(row, dict) or not FIELDS <= set(row) <= FIELDS | OPTIONAL:
        raise BankError(f"{place}: needs {', '.join(sorted(FIELDS))}; may have {', '.join(sorted(OPTIONAL))}")
    for name in ("id", "task"):
        check_text(f"{place}, {name}", row[name])
    if row["kind"] not in KINDS or row["level"] not in LEVELS:
        raise BankError(f"{place}: kind {row['kind']!r} or level {row['level']!r} is unknown")
    if not isinstance(row["minutes"], int) or row["minutes"] < 1:
        raise BankError(f"{place}: minutes {row['minutes']!r} must be a whole number of at least 1")
    for name in ("rubric", "notes"):
        check_list(f"{place}, {name}", row.get(name, []))
    proof = row.get("proof")
    return Task(
        **{name: row[name] for name in ("id", "kind", "level", "minutes")},
        task=row["task"].strip(),
        rubric=tuple(row["rubric"]),
        exercise=row.get("exercise"),
        proof=Proof(**two_texts(f"{place}, proof", proof, ("lesson", "heading"))) if proof else None,
        notes=tuple(row.get("notes", [])),
    )
