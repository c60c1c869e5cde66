"""Save a run and take it up again with the same numbers as if it had never stopped."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpo_lab.history import History
from dpo_lab.policies import Policy

# these change how a run is watched or saved, not what it computes: a resumed run may differ in them
FREE_TO_CHANGE = {"output_dir", "save_every", "resume", "progress"}


class Checkpoint:
    """`output_dir/checkpoint`: the policy as `load_policy` reads it, and `training.pt` with all else a run needs."""

    def __init__(self, policy: Policy, optimizer: torch.optim.Optimizer, schedule: Any, config: Any) -> None:
        self.policy, self.optimizer, self.schedule, self.config = policy, optimizer, schedule, config
        self.root = None if config.output_dir is None else Path(config.output_dir)
        self.folder = None if self.root is None else self.root / "checkpoint"

    def restore(self) -> tuple[History, dict[str, Tensor] | None]:
        """History so far and the best weights so far; a fresh run has neither.

        Raises:
            ValueError: output_dir holds a run already and resume is off, or the saved run had another config.
        """
        found = self.newest()
        if found is None:
            return History(), None
        if not self.config.resume:
            raise ValueError(
                f"{found} holds a run already: set resume=True to go on with it, or name another output_dir"
            )
        saved = torch.load(found / "training.pt", weights_only=True)
        self.check_config(saved["config"])
        self.policy.model.load_state_dict(saved["weights"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        torch.set_rng_state(saved["rng"])
        return History(saved["records"]), saved["best"]

    def newest(self) -> Path | None:
        """The checkpoint's folder; the one before it, if the process died between the two renames of `save`."""
        if self.folder is None:
            return None
        previous = self.folder.with_suffix(".old")
        return next(
            (folder for folder in (self.folder, previous) if (folder / "training.pt").is_file()), None
        )

    def check_config(self, saved: dict[str, Any]) -> None:
        now = self.describe_config()
        differing = [
            f"{key}: {saved.get(key)!r} then, {now.get(key)!r} now"
            for key in now
            if saved.get(key) != now[key]
        ]
        if differing:
            raise ValueError(
                f"{self.folder} was made with another config ({'; '.join(differing)}); it can't be resumed"
            )

    def describe_config(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self.config).items() if name not in FREE_TO_CHANGE}

    def save(self, history: History, best: dict[str, Tensor] | None) -> None:
        """Write beside the last checkpoint, then swap: whenever the process dies, one whole checkpoint is there."""
        fresh, previous = self.folder.with_suffix(".new"), self.folder.with_suffix(".old")
        shutil.rmtree(fresh, ignore_errors=True)
        self.policy.save(fresh)
        training = {
            "config": self.describe_config(),
            "records": history.records,
            "weights": self.policy.model.state_dict(),
            "best": best,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": torch.get_rng_state(),
        }
        torch.save(training, fresh / "training.pt")
        if self.folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.rename(self.folder, previous)
        os.rename(fresh, self.folder)
        shutil.rmtree(previous, ignore_errors=True)
        history.save(self.root / "history.jsonl")

    def save_policy(self) -> None:
        """Write the finished policy to `output_dir/policy`, where `load_policy` and plain transformers read it."""
        self.policy.save(self.root / "policy")
