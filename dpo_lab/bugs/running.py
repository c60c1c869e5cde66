"""Run the healthy loop or one with a bug, on the tiny policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpo_lab.bugs.catalogue import BUGS
from dpo_lab.bugs.loops import Loop
from dpo_lab.history import History
from dpo_lab.lab import Lab
from dpo_lab.loop import run_loop
from dpo_lab.policies import Policy, frozen_reference
from dpo_lab.trainer import DPOConfig


@dataclass(frozen=True)
class BrokenRun:
    """What one who looks for a bug has to go by.

    Attributes:
        history: what was logged.
        policy: after training.
        reference: as it is after training.
        pairs: the rows, in order.
        config: the settings that the run believes in.
    """

    history: History
    policy: Policy
    reference: Policy
    pairs: list[dict[str, str]]
    config: DPOConfig


def run_bug(
    name: str | None,
    seed: int,
    *,
    steps: int = 24,
    batch_size: int = 16,
    lr: float | None = None,
    beta: float | None = None,
    **config: Any,
) -> BrokenRun:
    """Train the tiny policy with one bug.

    Args:
        name: a key of `BUGS`; None runs the healthy loop.
        seed: of the batch order and of which pairs are taken.
        steps: optimiser steps, one epoch.
        batch_size: pairs a step.
        lr: peak learning rate; None takes the bug's own, else 3e-4.
        beta: weight of the KL term; None takes the bug's own, else 0.1.
        config: other settings of `DPOConfig`.

    Returns:
        The run. Where the gradient became infinite or NaN the last record says so, and training ended there.

    Raises:
        KeyError: no such bug.
    """
    bug = None if name is None else BUGS[name]
    given = {name: value for name, value in {"lr": lr, "beta": beta}.items() if value is not None}
    settings = {"lr": 3e-4, "beta": 0.1, **(bug.settings if bug else {}), **given, **config}
    settings = DPOConfig(batch_size=batch_size, seed=seed, progress=False, **settings)
    lab = Lab.auto("tiny", device="cpu")
    first = 97 * seed % (len(lab.pairs) - steps * batch_size + 1)
    pairs = [dict(lab.pairs[i]) for i in range(first, first + steps * batch_size)]
    policy, reference = lab.policy, frozen_reference(lab.policy)
    objective = (bug.loop if bug else Loop)(policy, reference, pairs, settings)
    history = History()

    def keep(now: History) -> None:
        history.records = now.records

    try:
        run_loop(policy, objective, settings, callback=keep)
    except FloatingPointError:
        # what a loop without our check would log before it trains on with NaN
        history.log(len(history) + 1, loss=float("nan"), grad_norm=float("nan"))
    return BrokenRun(history, policy, reference, pairs, settings)
