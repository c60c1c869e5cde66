"""Run the training loop with one of the bugs in it, or with none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from dpo_lab.bugs.catalogue import BUGS
from dpo_lab.bugs.objectives import ReferenceShared, ReferenceTrainable
from dpo_lab.history import History
from dpo_lab.lab import Lab
from dpo_lab.loop import run_loop
from dpo_lab.policies import Policy, frozen_reference
from dpo_lab.trainer import DPOConfig, PairObjective

LR, BETA = 3e-4, 0.1


@dataclass(frozen=True)
class BrokenRun:
    """What is left of a run: enough to look for its bug.

    Attributes:
        history: one record a step. A step whose gradient is not finite is the last.
        policy: after training.
        reference: the model that the rewards were measured against.
        pairs: the training pairs, in the order in which the trainer got them.
        config: what the run was asked to do. The bug may have done otherwise.
    """

    history: History
    policy: Policy
    reference: Policy
    pairs: list[Mapping[str, Any]]
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
    """Train the tiny policy with DPO and one bug.

    Args:
        name: a key of `BUGS`; None trains with the healthy loop.
        seed: of the batch order, and of which pairs are trained on.
        steps: optimiser steps, one pass over `steps * batch_size` pairs.
        batch_size: pairs a step.
        lr: peak learning rate; None takes the bug's own, or 3e-4.
        beta: weight of the KL term; None takes the bug's own, or 0.1.
        config: other settings of `DPOConfig`.

    Returns:
        The run.

    Raises:
        ValueError: an unknown bug, or more steps than there are pairs for.
    """
    if name is not None and name not in BUGS:
        raise ValueError(f"name must be one of {', '.join(BUGS)}, or None for a healthy run; got {name!r}")
    own = {} if name is None else dict(BUGS[name].settings)
    asked = {key: value for key, value in (("lr", lr), ("beta", beta)) if value is not None}
    settings = {"lr": LR, "beta": BETA, "batch_size": batch_size, "seed": seed, "progress": False}
    asked_config = DPOConfig(**{**settings, **own, **asked, **config})
    pairs = pairs_of(seed, steps * batch_size)
    policy = tiny_lab().fresh_policy()
    reference = frozen_reference(policy)
    if name is None:
        objective = PairObjective(policy, reference, pairs, asked_config, "DPO")
    else:
        objective = BUGS[name].objective(policy, reference, pairs, asked_config)
    history = run_to_the_end(policy, objective, asked_config)
    if isinstance(objective, ReferenceTrainable):
        del (
            policy.model.reference
        )  # the wrapper that held both models is gone; the policy is a plain model again
    if isinstance(objective, ReferenceShared):
        reference = policy
    return BrokenRun(history, policy, reference, pairs, asked_config)


def run_to_the_end(policy: Policy, objective: PairObjective, config: DPOConfig) -> History:
    """`run_loop`; the step that breaks it is logged as well, for a log that ends without a word helps nobody."""
    history = History()

    def keep(so_far: History) -> None:
        history.records = so_far.records

    try:
        return run_loop(policy, objective, config, callback=keep)
    except FloatingPointError:
        policy.model.eval()
        history.log(len(history) + 1, **objective.last, grad_norm=float("nan"), learning_rate=config.lr)
        return history


def pairs_of(seed: int, count: int) -> list[Mapping[str, Any]]:
    """`count` pairs in a row; another seed starts elsewhere."""
    pairs = tiny_lab().pairs
    if count > len(pairs):
        raise ValueError(
            f"steps * batch_size is {count}, but there are {len(pairs)} pairs: take fewer steps or smaller batches"
        )
    first = 131 * seed % (len(pairs) - count + 1)
    return [dict(pairs[i]) for i in range(first, first + count)]


@cache
def tiny_lab() -> Lab:
    """The tiny tier on the CPU, loaded once a process; its own policy is never trained."""
    return Lab.auto("tiny", device="cpu")
