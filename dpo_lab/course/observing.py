"""Drive a function and write down what it did. This is the part that may run elsewhere, in a sandbox."""

from __future__ import annotations

import contextlib
import io
import linecache
import random
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dpo_lab.course.plain import copy_inputs, same_input, to_plain

GLOBAL_SEED = (
    20230529  # the same before every drive, so that a mistake that draws numbers draws the learner's
)
PRINTED_LIMIT = 2_000  # characters kept of what a function prints


@dataclass(frozen=True)
class Drive:
    """How to drive a function.

    Args:
        name: the exercise.
        inputs: positional arguments.
        kwargs: keyword arguments.
        scenario: a function that drives the learner's: scenario(function, *inputs, **kwargs).
        wrt: index of the input to differentiate by; None when no gradient is asked for.
        pick: which part of the output to differentiate; None for the whole of it.
    """

    name: str
    inputs: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)
    scenario: Callable | None = None
    wrt: int | None = None
    pick: int | str | None = None


@dataclass(frozen=True)
class Raised:
    """An exception that came out of a function.

    Args:
        kinds: names of the exception's class and its bases, nearest first.
        message: its text.
        line: line number in the learner's code, counted in the cell; None where no line of theirs took part.
        code: the text of that line.
    """

    kinds: tuple[str, ...]
    message: str
    line: int | None = None
    code: str = ""

    @property
    def kind(self) -> str:
        """Name of the exception's class."""
        return self.kinds[0]


@dataclass(frozen=True)
class Observation:
    """What one drive showed: a plain value or an exception, the inputs that it changed, what it printed."""

    value: Any = None
    raised: Raised | None = None
    changed: tuple[str | int, ...] = ()
    printed: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Raises:
    """An expected exception."""

    kind: str
    part: str


def raises(kind: type[BaseException], part: str = "") -> Raises:
    """For `compare`: the function must raise `kind`, and its message must contain `part` (case is ignored)."""
    return Raises(kind.__name__, part)


def observe(function: Callable, drive: Drive) -> Observation:
    """Drive `function` on copies of the inputs."""
    inputs, kwargs = copy_inputs(drive.inputs), copy_inputs(drive.kwargs)
    printed = io.StringIO()
    value, raised = None, None
    started = time.perf_counter()
    with _steady_state(), contextlib.redirect_stdout(printed):
        try:
            value = to_plain(_perform(function, drive, inputs, kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: a learner's code must not end the kernel
            raised = describe(error, function)
    seconds = time.perf_counter() - started
    changed = [
        i for i, (old, new) in enumerate(zip(drive.inputs, inputs, strict=True)) if not same_input(old, new)
    ]
    changed += [key for key in drive.kwargs if not same_input(drive.kwargs[key], kwargs[key])]
    if drive.scenario is not None:
        changed = []  # a scenario may hand over objects that are there to be changed: a model, an optimizer
    return Observation(value, raised, tuple(changed), printed.getvalue()[:PRINTED_LIMIT], seconds)


def _perform(function: Callable, drive: Drive, inputs: tuple, kwargs: dict[str, Any]) -> Any:
    if drive.scenario is not None:
        return drive.scenario(function, *inputs, **kwargs)
    if drive.wrt is None:
        return function(*inputs, **kwargs)
    source = inputs[drive.wrt].requires_grad_()
    # A leaf can't be written in place, its copy can: a learner who does so is not told about leaves.
    handed_over = [source.clone() if i == drive.wrt else value for i, value in enumerate(inputs)]
    output = function(*handed_over, **kwargs)
    output = output if drive.pick is None else output[drive.pick]
    if not output.requires_grad:
        return torch.zeros_like(source)
    (gradient,) = torch.autograd.grad(output.sum(), source, allow_unused=True)
    return torch.zeros_like(source) if gradient is None else gradient


@contextlib.contextmanager
def _steady_state() -> Iterator[None]:
    """The same global random numbers for every drive, and no lasting change of torch's settings."""
    dtype, grad, python, numpy_state = (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        random.getstate(),
        np.random.get_state(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(GLOBAL_SEED)
        random.seed(GLOBAL_SEED)
        np.random.seed(GLOBAL_SEED)
        torch.set_grad_enabled(True)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)
            random.setstate(python)
            np.random.set_state(numpy_state)


def describe(error: BaseException, function: Callable | None = None) -> Raised:
    """An exception as plain data, with the last line of the learner's own code that took part in it."""
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    kinds = tuple(base.__name__ for base in type(error).__mro__ if base is not object)
    if isinstance(error, SyntaxError):
        return Raised(kinds, error.msg, error.lineno, (error.text or "").strip())
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        filename = frame.f_code.co_filename
        if filename == own or is_notebook_cell(filename):
            return Raised(kinds, str(error), line, linecache.getline(filename, line).strip())
    return Raised(kinds, str(error))


def is_notebook_cell(filename: str) -> bool:
    """Whether a code object's file name is one that IPython, or this course's notebook reader, gives to a cell."""
    return "ipykernel_" in filename or filename.startswith("<ipython-input") or ".ipynb" in filename
