"""Plain values: what may pass between a learner's code and the judge."""

from __future__ import annotations

import copy
import dataclasses
import types
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Opaque:
    """Stands for a value of a type that the judge doesn't compare."""

    type_name: str


def to_plain(value: Any) -> Any:
    """Numbers, strings, None, CPU tensors without gradient, arrays, and lists, tuples and dicts of them.

    A named tuple becomes a tuple, a dataclass a dict of its fields, a NumPy scalar a Python number; anything else is
    an `Opaque` that keeps its type's name.
    """
    if value is None or type(value) in (bool, int, float, complex, str):
        return value
    if isinstance(value, Tensor):
        return value.detach().as_subclass(Tensor).cpu().clone()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (str, bool, int, float)):
        return next(base(value) for base in (str, int, float) if isinstance(value, base))
    if isinstance(value, dict) or type(value).__name__ == "BatchEncoding":
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(to_plain(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [to_plain(item) for item in (value if isinstance(value, list) else sorted(value, key=repr))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return Opaque(type(value).__name__)


def copy_inputs(value: Any) -> Any:
    """A deep copy, so that no call sees what another one did to its inputs.

    Functions, classes, modules and tokenizers are handed on as they are: a tokenizer's copy takes longer than a check.
    """
    if isinstance(value, Tensor) and type(value) is Tensor:
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if type(value) in (list, tuple):
        return type(value)(copy_inputs(item) for item in value)
    if type(value) is dict:
        return {key: copy_inputs(item) for key, item in value.items()}
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)):
        return value
    if any("Tokenizer" in base.__name__ for base in type(value).__mro__):
        return value
    return copy.deepcopy(value)


def same_input(before: Any, after: Any) -> bool:
    """Whether an input still holds what it held; tensors, arrays, data classes and containers of them are looked at."""
    if dataclasses.is_dataclass(before) and not isinstance(before, type):
        return all(same_input(vars(before)[name], vars(after)[name]) for name in vars(before))
    if isinstance(before, Tensor):
        same_form = before.shape == after.shape and before.dtype == after.dtype
        return same_form and torch.allclose(*_bits(before, after), rtol=0, atol=0, equal_nan=True)
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after)
    if type(before) in (list, tuple):
        return len(before) == len(after) and all(
            same_input(*pair) for pair in zip(before, after, strict=True)
        )
    if type(before) is dict:
        return list(before) == list(after) and all(same_input(before[key], after[key]) for key in before)
    return (
        True
        if not isinstance(before, (str, int, float, bool, type(None)))
        else before == after or before != before
    )


def _bits(*tensors: Tensor) -> list[Tensor]:
    """Tensors in a dtype that `allclose` takes; booleans have none of their own."""
    return [
        tensor.detach().to(torch.uint8) if tensor.dtype == torch.bool else tensor.detach()
        for tensor in tensors
    ]
