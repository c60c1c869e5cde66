"""What a run logged: one record a step, under TRL's metric names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class History:
    """A list of records such as `{"step": 3, "loss": 0.61, "rewards/margins": 0.2, ...}`."""

    def __init__(self, records: list[dict[str, Any]] | None = None) -> None:
        self.records = records if records is not None else []

    def log(self, step: int, **metrics: Any) -> None:
        """Add metrics to the record of `step`, which is made if it is new; steps never go back."""
        if self.records and self.records[-1]["step"] == step:
            self.records[-1].update(metrics)
        elif self.records and step < self.records[-1]["step"]:
            raise ValueError(f"step {step} comes after step {self.records[-1]['step']} in this history")
        else:
            self.records.append({"step": step, **metrics})

    def __getitem__(self, name: str) -> list[Any]:
        """The values of one metric, in order, of the records that hold it."""
        values = [record[name] for record in self.records if name in record]
        if not values and self.records:
            raise KeyError(f"no record has {name!r}; there are {', '.join(self.names())}")
        return values

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self.records == other.records

    def __repr__(self) -> str:
        return f"History({len(self)} records of {', '.join(self.names())})"

    def names(self) -> list[str]:
        """Every metric that some record holds, in the order of first appearance."""
        return list(dict.fromkeys(name for record in self.records for name in record))

    def steps(self, name: str) -> list[int]:
        """The steps at which `name` was logged: the x-axis that goes with `history[name]`."""
        return [record["step"] for record in self.records if name in record]

    def save(self, path: str | Path) -> Path:
        """Write JSON Lines, one record a line."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in self.records), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what `save` wrote."""
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return cls([json.loads(line) for line in lines if line.strip()])
