"""Blind comparisons for a human annotator: sides at random, each decision saved at once, undo, agreement."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpo_lab.evaluation.intervals import Interval, wilson_interval
from dpo_lab.evaluation.judges import Reward

CHOICES = ("left", "right", "tie")


class Comparison(NamedTuple):
    """What the annotator sees: which side is ours stays hidden until the end."""

    number: int
    """its place among all comparisons, from 0."""
    prompt: Any
    left: str
    right: str


class RatingSession:
    """A queue of blind comparisons, and a file that grows by a line with every decision.

    `path` holds the decided pairs, one JSON object a line, with `prompt`, `chosen`, `rejected` as `load_pairs` reads
    them, and `comparison`, `winner` ("ours" or "theirs") and `shown` (on which side the chosen one was). Ties are no
    pairs: they go to a second file beside it, `NAME.ties.jsonl`. Whatever the files held before stays; a session on
    files of an earlier one with the same seed goes on where that stopped.
    """

    def __init__(
        self,
        prompts: Sequence[Any],
        ours: Sequence[str],
        theirs: Sequence[str],
        path: str | Path,
        seed: int = 0,
    ) -> None:
        """Line up the comparisons.

        Args:
            prompts: N prompts.
            ours: N answers of the policy that is evaluated.
            theirs: N answers of the other one.
            path: of the .jsonl file; its folder is made.
            seed: of the order of the comparisons and of the sides.

        Raises:
            ValueError: lengths differ, no pair of different answers is left, or path doesn't end in .jsonl.
        """
        if not len(prompts) == len(ours) == len(theirs):
            raise ValueError(
                f"need one answer of each side for every prompt, got {len(prompts)} prompts, {len(ours)} of ours, "
                f"{len(theirs)} of theirs"
            )
        self.path = Path(path)
        if self.path.suffix != ".jsonl":
            raise ValueError(f"path must end in .jsonl, as load_pairs reads it, got {self.path.name!r}")
        self.ties_path = self.path.with_suffix(".ties.jsonl")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            (number, *row)
            for number, row in enumerate(zip(prompts, ours, theirs, strict=True))
            if row[1].strip() and row[2].strip() and row[1] != row[2]
        ]
        if not rows:
            raise ValueError("no prompt has two different answers: there is nothing to compare")
        draws = random.Random(seed)
        draws.shuffle(rows)
        self.rows = [(*row, draws.random() < 0.5) for row in rows]  # the last entry: ours is on the left
        self.decisions: list[dict[str, Any]] = []
        self.take_up()

    def take_up(self) -> None:
        """Find the decisions that the files already hold on the comparisons of this session, in its order."""
        kept = {}
        for path in (self.path, self.ties_path):
            for row in read_lines(path):
                kept[row.get("comparison"), row.get("prompt_text", str(row.get("prompt")))] = row
        for number, prompt, *_ in self.rows:
            found = kept.get((number, str(prompt)))
            if found is None:
                break
            self.decisions.append(found)

    def __len__(self) -> int:
        return len(self.rows)

    def current(self) -> Comparison | None:
        """The comparison to decide next; None when all are done."""
        if len(self.decisions) == len(self.rows):
            return None
        number, prompt, ours, theirs, ours_left = self.rows[len(self.decisions)]
        left, right = (ours, theirs) if ours_left else (theirs, ours)
        return Comparison(number, prompt, left, right)

    def choose(self, choice: str) -> None:
        """Decide the current comparison and save it.

        Args:
            choice: "left", "right" or "tie".

        Raises:
            ValueError: another choice, or no comparison is left.
        """
        if choice not in CHOICES:
            raise ValueError(f"choice must be one of {', '.join(CHOICES)}, got {choice!r}")
        shown = self.current()
        if shown is None:
            raise ValueError("all comparisons are decided; undo() takes the last decision back")
        ours_left = self.rows[len(self.decisions)][-1]
        if choice == "tie":
            row = {"prompt": shown.prompt, "first": shown.left, "second": shown.right, "winner": "tie"}
            row["ours"] = "first" if ours_left else "second"
        else:
            sides = (shown.left, shown.right) if choice == "left" else (shown.right, shown.left)
            row = {"prompt": shown.prompt, "chosen": sides[0], "rejected": sides[1], "shown": choice}
            row["winner"] = "ours" if (choice == "left") == ours_left else "theirs"
        row["comparison"] = shown.number
        with self.file_of(row).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.decisions.append(row)

    def undo(self) -> bool:
        """Take the last decision back: its line, the file's last, is cut off. False where there is none."""
        if not self.decisions:
            return False
        row = self.decisions.pop()
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        with self.file_of(row).open("rb+") as file:
            file.seek(-len(line), 2)
            if file.read() != line:
                self.decisions.append(row)
                raise ValueError(
                    f"{self.file_of(row)} was changed by someone else: its last line is not mine"
                )
            file.seek(-len(line), 2)
            file.truncate()
        return True

    def file_of(self, row: dict[str, Any]) -> Path:
        """Where a decision is kept."""
        return self.ties_path if row["winner"] == "tie" else self.path

    def scores(self) -> list[float]:
        """Our side's score in each decided comparison: 1 won, ½ tied, 0 lost. Only now look at who is who."""
        return [{"ours": 1.0, "theirs": 0.0, "tie": 0.5}[row["winner"]] for row in self.decisions]

    def agreement(self, reward: Reward) -> Interval:
        """How often the annotator chose the answer of higher true reward, with its 95 % Wilson interval.

        Ties of the annotator and answers of equal reward are left out.

        Raises:
            ValueError: no comparison is left to count.
        """
        pairs = [
            (reward(row["chosen"]), reward(row["rejected"])) for row in self.decisions if "chosen" in row
        ]
        counted = [chosen > rejected for chosen, rejected in pairs if chosen != rejected]
        if not counted:
            raise ValueError("no decided comparison has different true rewards: rate some more")
        return wilson_interval(sum(counted), len(counted))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file, none where there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
