"""Read a run's log, ours or TRL's, into curves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dpo_lab.history import History

LOGS = ("history.jsonl", "trainer_state.json")


def read_history(source: History | Iterable[Mapping[str, Any]] | str | Path) -> History:
    """The records of a run, one a step, whatever wrote them.

    Args:
        source: a History, a list of records, or a path: a `history.jsonl`, TRL's `trainer_state.json`, or a folder
            that holds one of them (TRL's newest checkpoint counts).

    Raises:
        FileNotFoundError: the path holds no log.
        ValueError: the file is not a log of training steps.
    """
    if isinstance(source, History):
        return source
    if not isinstance(source, str | Path):
        return from_records(source)
    path = find_log(Path(source))
    if path.suffix == ".jsonl":
        return from_records(History.load(path))
    state = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(state, dict) or "log_history" not in state:
        raise ValueError(
            f"{path} has no 'log_history': it is not a trainer_state.json of TRL or transformers"
        )
    return from_records(state["log_history"])


def find_log(path: Path) -> Path:
    """The log at or in `path`."""
    if path.is_file():
        return path
    found = [path / name for name in LOGS if (path / name).is_file()]
    checkpoints = sorted(path.glob("checkpoint-*/trainer_state.json"), key=checkpoint_step)
    if not found and not checkpoints:
        raise FileNotFoundError(f"{path} is no log and holds neither {' nor '.join(LOGS)}")
    return (found or checkpoints[::-1])[0]


def checkpoint_step(path: Path) -> int:
    """The step in `checkpoint-200/trainer_state.json`; -1 where there is none."""
    number = path.parent.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def from_records(records: Iterable[Mapping[str, Any]]) -> History:
    """One record a step: TRL logs an evaluation as a record of its own, and the run's totals as another.

    Raises:
        ValueError: a record has no step, or none has a loss.
    """
    history = History()
    for number, record in enumerate(records):
        if "step" not in record:
            raise ValueError(f"record {number} has no 'step': {dict(record)}")
        metrics = {name: value for name, value in record.items() if name != "step"}
        if "train_runtime" in metrics:  # the totals; their train_loss is a mean over the run
            continue
        history.log(record["step"], **metrics)
    if "loss" not in history.names():
        raise ValueError("no record has a 'loss': this is not the log of a training run")
    return history


@dataclass(frozen=True)
class Curves:
    """The curves that detectors read, as plain lists."""

    history: History

    def has(self, *names: str) -> bool:
        """Whether each of these metrics was logged at least once."""
        return all(name in self.history.names() for name in names)

    def values(self, name: str) -> list[float]:
        """All values of a metric, in order; an empty list where it was never logged."""
        return [number(value) for value in self.history[name]] if self.has(name) else []

    def points(self, name: str) -> list[tuple[int, float]]:
        """Step and value, for each record that holds the metric."""
        return list(zip(self.history.steps(name), self.values(name), strict=True)) if self.has(name) else []

    def start(self, name: str) -> float:
        """The first value."""
        return self.values(name)[0]

    def end(self, name: str, share: float = 1 / 3) -> float:
        """Mean over the last `share` of the run: one batch says little."""
        values = self.values(name)
        return mean(values[-max(1, round(share * len(values))) :])

    @property
    def first_step(self) -> int:
        """The step of the first training record: 1 if every step was logged; k if records are means over k steps."""
        return self.history.steps("loss")[0]

    def first(self, name: str, test: Callable[[float], bool]) -> tuple[int, float] | None:
        """The first step whose value passes the test, with the value."""
        return next(((step, value) for step, value in self.points(name) if test(value)), None)


@dataclass(frozen=True)
class Settings:
    """What the detectors need to know of a run's config; None where it is not known.

    A class of its own, since a broken run may have settings that `DPOConfig` refuses, such as β = 0.
    """

    beta: float | None = None
    loss: str | None = None
    seed: int | None = None
    batch_size: int | None = None
    max_length: int | None = None
    precision: str = "auto"
    nll_weight: float = 0.0
    dropout: float = 0.0
    """the policy's own rate, where the policy is at hand."""

    @classmethod
    def of(cls, config: Any) -> Settings:
        """From a `DPOConfig`, a mapping with some of its names, or None."""
        if config is None:
            return cls()
        values = config if isinstance(config, Mapping) else vars(config)
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    @property
    def batches_known(self) -> bool:
        """Whether it can be told which pairs a step had: the trainer's shuffle needs the seed and the batch size."""
        return self.batch_size is not None and self.seed is not None

    def first_loss(self) -> float | None:
        """The loss at margin 0; None where it is not known, or depends on lengths or an NLL term."""
        if self.loss is None or self.nll_weight or self.loss == "r_dpo":
            return None
        if self.loss == "ipo":
            return 1 / (4 * self.beta**2) if self.beta else None
        return math.log(2)


def number(value: Any) -> float:
    """A logged value as a float; JSON has no NaN in some writers' hands, so None and texts such as "nan" count."""
    return math.nan if value is None else float(value)


def mean(values: list[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def spread(values: list[float]) -> float:
    """Standard deviation of a sample; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    centre = mean(values)
    return math.sqrt(sum((value - centre) ** 2 for value in values) / (len(values) - 1))


def slope(x: list[float], y: list[float]) -> float:
    """Least-squares slope of y against x; NaN where x does not vary."""
    x0, y0 = mean(x), mean(y)
    variance = sum((a - x0) ** 2 for a in x)
    return sum((a - x0) * (b - y0) for a, b in zip(x, y, strict=True)) / variance if variance else math.nan
