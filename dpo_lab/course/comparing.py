"""Compare an answer with the expected one, and say in neutral words how they differ."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_lab.course.plain import Opaque

SHOWN = 4  # values of a tensor that a report shows
NUMBER = (int, float)
TELLING_FACTORS = (-1, 2, 0.5, -2, -0.5)  # for one number every factor fits; only these are named
CLOSE = 1e-3  # relative error from which a difference is no longer called one of precision
ALL_ZERO = "yours is 0 everywhere"


@dataclass(frozen=True)
class Difference:
    """How an answer differs: in words, with both values, and at which part of the result."""

    words: str
    expected: Any
    yours: Any
    part: str = ""


@dataclass(frozen=True)
class Tolerance:
    """|yours − expected| ≤ atol + rtol · |expected|, in float64."""

    rtol: float = 1e-5
    atol: float = 1e-6


@dataclass(frozen=True)
class _Pair:
    """Two values to compare, and where in the result they stand."""

    expected: Any
    yours: Any
    tolerance: Tolerance
    part: str = ""

    def differs(self, words: str) -> Difference:
        return Difference(words, self.expected, self.yours, self.part)

    def unlike(self, wanted: str) -> Difference:
        return self.differs(f"expected {wanted}, yours is {kind_of(self.yours)}{_advice(self.yours)}")

    def inner(self, expected: Any, yours: Any, part: str) -> Difference | None:
        return difference(expected, yours, self.tolerance, f"{self.part}, {part}" if self.part else part)

    def as_numbers(self, expected: Tensor, yours: Tensor) -> Difference | None:
        return _tensors(replace(self, expected=expected, yours=yours))


def difference(expected: Any, yours: Any, tolerance: Tolerance, part: str = "") -> Difference | None:
    """The first difference between two plain values, or None."""
    pair = _Pair(expected, yours, tolerance, part)
    for types, rule in _RULES:
        if isinstance(expected, types):
            return rule(pair)
    return None if expected == yours else pair.unlike(kind_of(expected))


def _tensors(pair: _Pair) -> Difference | None:
    expected, yours = pair.expected, pair.yours
    if not isinstance(yours, Tensor):
        return pair.unlike("a tensor")
    if expected.shape != yours.shape:
        return pair.differs(f"wrong shape: expected {tuple(expected.shape)}, yours is {tuple(yours.shape)}")
    if _family(expected) != _family(yours):
        return pair.differs(f"wrong dtype: expected {_family(expected)}, yours is {yours.dtype}")
    if expected.dtype == torch.bool:
        wrong = int((expected != yours).sum())
        return pair.differs(f"{wrong} of {expected.numel()} entries are wrong") if wrong else None
    expected, yours, near = _wide(expected), _wide(yours), pair.tolerance
    if torch.allclose(yours, expected, rtol=near.rtol, atol=near.atol, equal_nan=True):
        return None
    return pair.differs(describe_numbers(expected, yours, near))


def _arrays(pair: _Pair) -> Difference | None:
    if not isinstance(pair.yours, np.ndarray):
        return pair.unlike("a NumPy array")
    return pair.as_numbers(torch.as_tensor(pair.expected), torch.as_tensor(pair.yours))


def _bools(pair: _Pair) -> Difference | None:
    if not isinstance(pair.yours, bool):
        return pair.unlike("True or False")
    return (
        None
        if pair.expected == pair.yours
        else pair.differs(f"expected {pair.expected}, yours is {pair.yours}")
    )


def _numbers(pair: _Pair) -> Difference | None:
    if not isinstance(pair.yours, NUMBER) or isinstance(pair.yours, bool):
        return pair.unlike("a Python number")
    found = pair.as_numbers(_wide(torch.tensor(pair.expected)), _wide(torch.tensor(pair.yours)))
    return found and pair.differs(found.words)


def _sequences(pair: _Pair) -> Difference | None:
    expected, yours = pair.expected, pair.yours
    if isinstance(yours, Tensor) and _numeric(expected):
        return pair.as_numbers(as_tensor(expected), yours)
    if not isinstance(yours, (list, tuple)):
        return pair.unlike(kind_of(expected))
    if len(expected) != len(yours):
        return pair.differs(f"expected {len(expected)} items, yours has {len(yours)}")
    if all(_plain_number(item) for item in (*expected, *yours)) and expected:
        return pair.as_numbers(_wide(torch.tensor(expected)), _wide(torch.tensor(yours)))
    for i, (left, right) in enumerate(zip(expected, yours, strict=True)):
        inner = pair.inner(left, right, f"part {i + 1} of {len(expected)}")
        if inner:
            return inner
    return None


def _dicts(pair: _Pair) -> Difference | None:
    expected, yours = pair.expected, pair.yours
    if not isinstance(yours, dict):
        return pair.unlike(kind_of(expected))
    missing = [repr(key) for key in expected if key not in yours]
    extra = [repr(key) for key in yours if key not in expected]
    if missing or extra:
        words = [f"missing: {', '.join(missing)}"] if missing else []
        return pair.differs("; ".join([*words, f"not wanted: {', '.join(extra)}"] if extra else words))
    for key, value in expected.items():
        inner = pair.inner(value, yours[key], repr(key))
        if inner:
            return inner
    return None


def _strings(pair: _Pair) -> Difference | None:
    if not isinstance(pair.yours, str):
        return pair.unlike("a string")
    return None if pair.expected == pair.yours else pair.differs("the text differs")


_RULES = [
    (Tensor, _tensors),
    (np.ndarray, _arrays),
    (bool, _bools),
    (NUMBER, _numbers),
    ((list, tuple), _sequences),
    (dict, _dicts),
    (str, _strings),
]


def describe_numbers(expected: Tensor, yours: Tensor, tolerance: Tolerance) -> str:
    """Words for two unequal float64 tensors of one shape: NaN, inf, a constant factor or offset, another order."""
    if yours.isnan().any() and not expected.isnan().any():
        lost = yours.isnan()
        return f"{int(lost.sum())} of {yours.numel()} values are NaN{_first_hidden(expected, yours, lost)}"
    if yours.isinf().any() and not expected.isinf().any():
        lost = yours.isinf()
        return (
            f"{int(lost.sum())} of {yours.numel()} values are infinite{_first_hidden(expected, yours, lost)}"
        )
    finite = expected.isfinite() & yours.isfinite()
    if not finite.all() or not finite.numel():
        return "the numbers differ"
    near = {"rtol": tolerance.rtol, "atol": tolerance.atol}
    if (yours == 0).all():
        return ALL_ZERO
    error = float(((yours - expected).abs() / expected.abs().clamp(min=1e-12)).max())
    if error < CLOSE:
        return f"close, but not exact: off by up to {error:.1e} of the value. Was something rounded, or half precision?"
    factor = _constant_factor(expected, yours)
    if factor is not None and torch.allclose(factor * expected, yours, **near):
        return f"your result is the expected one times {_short(factor)}"
    offset = (yours - expected).mean()
    if expected.numel() > 1 and torch.allclose(expected + offset, yours, **near):
        return f"your result is the expected one plus {_short(float(offset))}"
    if torch.allclose(expected.flatten().sort().values, yours.flatten().sort().values, **near):
        return "these are the right numbers in another order"
    if expected.numel() == 1:
        return "the value differs"
    apart = ~torch.isclose(yours, expected, **near)
    return f"{int(apart.sum())} of {expected.numel()} values differ{_first_hidden(expected, yours, apart)}"


def _first_hidden(expected: Tensor, yours: Tensor, apart: Tensor) -> str:
    """Where the first difference is, if it lies beyond the values that a report shows; else nothing."""
    first = int(apart.flatten().int().argmax())
    if first < SHOWN:
        return ""
    wanted, found = (_short(tensor.flatten()[first].item()) for tensor in (expected, yours))
    index = ", ".join(str(int(i)) for i in np.unravel_index(first, expected.shape))
    return f", first at [{index}]: expected {wanted}, yours {found}"


def _constant_factor(expected: Tensor, yours: Tensor) -> float | None:
    used = expected != 0
    if not used.any():
        return None
    factor = float((yours[used] * expected[used]).sum() / (expected[used] ** 2).sum())
    telling = expected.numel() > 1 or any(
        math.isclose(factor, each, rel_tol=1e-4) for each in TELLING_FACTORS
    )
    return factor if telling else None


def as_declared(expected: Any, annotation: str) -> Any:
    """Numbers and lists as tensors where the library's return annotation says `Tensor`.

    An oracle made of plain loops gives lists; the learner must still hand back what the signature promises.
    """
    if annotation in ("Tensor", "torch.Tensor"):
        return as_tensor(expected) if not isinstance(expected, Tensor) and _numeric(expected) else expected
    try:
        tree = ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return expected
    if not isinstance(tree, ast.Subscript):
        return expected
    outer = ast.unparse(tree.value)
    inner = [
        ast.unparse(item) for item in (tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice])
    ]
    if outer == "dict" and isinstance(expected, dict):
        return {key: as_declared(value, inner[-1]) for key, value in expected.items()}
    if outer == "tuple" and isinstance(expected, (list, tuple)):
        each = inner[:1] * len(expected) if inner[-1] == "..." else inner
        return tuple(as_declared(*pair) for pair in zip(expected, each, strict=False))
    if outer == "list" and isinstance(expected, (list, tuple)):
        return [as_declared(value, inner[0]) for value in expected]
    return expected


def as_tensor(value: Any) -> Tensor:
    """A tensor of numbers, floats in float64."""
    tensor = torch.as_tensor(value)
    return torch.as_tensor(value, dtype=torch.float64) if tensor.is_floating_point() else tensor


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array of shape {value.shape}"
    if isinstance(value, Opaque):
        return f"a {value.type_name}"
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    return {str: "a string", bool: "a bool", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )


def show(value: Any) -> str:
    """A value in one short line, for a report."""
    if isinstance(value, (Tensor, np.ndarray)):
        flat = torch.as_tensor(value).flatten()
        shown = ", ".join(_short(item) for item in flat[:SHOWN].tolist())
        if flat.numel() > SHOWN:
            return f"[{shown}, …] {tuple(value.shape)}"
        return f"[{shown}]" if len(value.shape) == 1 else f"{shown} {tuple(value.shape)}"
    if isinstance(value, NUMBER):
        return _short(value)
    if isinstance(value, (list, tuple)):
        inner = ", ".join(show(item) for item in value[:SHOWN]) + (", …" if len(value) > SHOWN else "")
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, dict):
        inner = ", ".join(f"{key!r}: {show(item)}" for key, item in list(value.items())[:SHOWN])
        return f"{{{inner}{', …' if len(value) > SHOWN else ''}}}"
    if isinstance(value, Opaque):
        return f"<{value.type_name}>"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _advice(yours: Any) -> str:
    if yours is None:
        return ": is a `return` missing?"
    if isinstance(yours, Tensor):
        return "; `.item()` turns a tensor of one value into a number" if yours.numel() == 1 else ""
    return ""


def _family(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    if tensor.is_complex():
        return "complex"
    return "floating point" if tensor.is_floating_point() else "integer"


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_complex() else tensor.to(torch.float64)


def _numeric(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(_numeric(item) for item in value) and _rectangular(value)
    if isinstance(value, Tensor):
        return value.ndim == 0
    return isinstance(value, (bool, int, float, np.ndarray))


def _plain_number(value: Any) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool)


def _rectangular(value: list | tuple) -> bool:
    return len({len(item) if isinstance(item, (list, tuple)) else -1 for item in value}) == 1


def _short(number: float) -> str:
    return str(number) if isinstance(number, (bool, int)) else f"{number:.5g}"
