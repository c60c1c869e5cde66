"""Learning-rate schedules: pure functions of the step, as a share of the peak rate."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """Linear rise from 0 to 1, then half a cosine from 1 down to 0 (Loshchilov & Hutter 2017, without restarts).

    In the warm-up: step / warmup_steps. After it: (1 + cos(π·u)) / 2, where u runs from 0 at the warm-up's end to 1 at
    `total_steps`.

    Args:
        step: optimiser steps done so far, 0 ≤ step ≤ total_steps; the first step is taken at the rate of step 0.
        warmup_steps: length of the rise, 0 ≤ warmup_steps < total_steps; with 0 the run starts at the peak.
        total_steps: length of the run, ≥ 1.

    Returns:
        The share of the peak learning rate, in [0, 1].
    """
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return (1 + math.cos(math.pi * progress)) / 2


def warmup_linear(step: int, warmup_steps: int, total_steps: int) -> float:
    """The same rise, then a straight line from 1 down to 0 at `total_steps`; arguments as in `warmup_cosine`."""
    if step < warmup_steps:
        return step / warmup_steps
    return (total_steps - step) / max(1, total_steps - warmup_steps)


def warmup_constant(step: int, warmup_steps: int, total_steps: int) -> float:
    """The same rise, then 1 for good; arguments as in `warmup_cosine`."""
    return min(1.0, step / max(1, warmup_steps)) if warmup_steps else 1.0


SCHEDULES = {"cosine": warmup_cosine, "linear": warmup_linear, "constant_with_warmup": warmup_constant}


def make_schedule(
    optimizer: torch.optim.Optimizer, name: str, warmup_steps: int, total_steps: int
) -> LambdaLR:
    """A scheduler that multiplies the optimiser's learning rate by a schedule's share at each step.

    Args:
        optimizer: its current learning rate is the peak.
        name: a key of SCHEDULES.
        warmup_steps: length of the rise.
        total_steps: length of the run.

    Raises:
        ValueError: an unknown schedule.
    """
    check_schedule(name)
    factor = partial(SCHEDULES[name], warmup_steps=warmup_steps, total_steps=total_steps)
    return LambdaLR(optimizer, factor)


def check_schedule(name: str) -> None:
    """Raise ValueError unless there is a schedule of that name."""
    if name not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {name!r}")
