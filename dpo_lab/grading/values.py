"""Plain values as JSON: what a child may answer. Nothing that comes in is executed, whatever it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_lab.course.observing import Observation, Raised
from dpo_lab.course.plain import Opaque

MOST_NUMBERS = 200_000  # of one tensor
DEEPEST = 40  # containers in containers
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
ARRAY_KINDS = "biufc"


class Malformed(ValueError):
    """A child's answer that is no answer."""


def encode(value: Any) -> Any:
    """JSON for a value that `to_plain` gave: floats are exact, JSON's text reads back the same."""
    if value is None or type(value) in (bool, float, str):
        return value
    if type(value) is int:
        return value if abs(value) < 2**53 else {"int": hex(value)}
    if type(value) is complex:
        return {"complex": [value.real, value.imag]}
    if isinstance(value, Tensor):
        return _encode_tensor(value)
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if type(value) is list:
        return [encode(item) for item in value]
    if type(value) is tuple:
        return {"tuple": [encode(item) for item in value]}
    if type(value) is dict:
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    return {"opaque": value.type_name if isinstance(value, Opaque) else type(value).__name__}


def _encode_tensor(tensor: Tensor) -> Any:
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_quantized or name not in DTYPES or tensor.is_meta:
        return {"opaque": f"tensor of {name}"}
    if tensor.numel() > MOST_NUMBERS:
        return {"opaque": f"tensor of {tensor.numel()} values"}
    return {"tensor": _flat(tensor.flatten().tolist()), "shape": list(tensor.shape), "dtype": name}


def _encode_array(array: np.ndarray) -> Any:
    if array.dtype.kind not in ARRAY_KINDS or array.size > MOST_NUMBERS:
        return {"opaque": f"array of {array.dtype}"}
    return {"array": _flat(array.ravel().tolist()), "shape": list(array.shape), "dtype": str(array.dtype)}


def _flat(numbers: list) -> list:
    return [[x.real, x.imag] if isinstance(x, complex) else x for x in numbers]


def decode(data: Any, depth: int = 0) -> Any:
    """The value that JSON from a child stands for.

    Raises:
        Malformed: it stands for none.
    """
    if depth > DEEPEST:
        raise Malformed("too deep")
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if isinstance(data, list):
        return [decode(item, depth + 1) for item in data]
    if not isinstance(data, dict) or not data:
        raise Malformed("no value")
    kind = next(iter(data))
    if kind not in _DECODERS:
        raise Malformed("a kind of value that is not known")
    try:
        return _DECODERS[kind](data, depth)
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise Malformed(str(error)[:200]) from error


def _decode_tensor(data: dict, depth: int) -> Tensor:
    dtype, shape = DTYPES[data["dtype"]], _shape(data, len(data["tensor"]))
    return torch.tensor(_numbers(data["tensor"], dtype.is_complex), dtype=dtype).reshape(shape)


def _decode_array(data: dict, depth: int) -> np.ndarray:
    dtype = np.dtype(str(data["dtype"]))
    if dtype.kind not in ARRAY_KINDS:
        raise Malformed("array of no numbers")
    shape = _shape(data, len(data["array"]))
    return np.array(_numbers(data["array"], dtype.kind == "c"), dtype=dtype).reshape(shape)


def _shape(data: dict, count: int) -> list[int]:
    shape = data["shape"]
    if not all(type(size) is int and 0 <= size <= 2**31 for size in shape) or len(shape) > 16:
        raise Malformed("no shape")
    if math.prod(shape) != count or count > MOST_NUMBERS:
        raise Malformed("shape and values disagree")
    return shape


def _numbers(flat: list, is_complex: bool) -> list:
    if is_complex:
        return [complex(float(real), float(imaginary)) for real, imaginary in flat]
    if not all(type(x) in (bool, int, float) for x in flat):
        raise Malformed("not numbers")
    return flat


def _decode_dict(data: dict, depth: int) -> dict:
    pairs = [(decode(key, depth + 1), decode(item, depth + 1)) for key, item in data["dict"]]
    if not all(_is_key(key) for key, _ in pairs):
        raise Malformed("no key of a dict")
    return dict(pairs)


def _is_key(key: Any) -> bool:
    if type(key) is tuple:
        return all(_is_key(item) for item in key)
    return key is None or type(key) in (bool, int, float, str)


_DECODERS = {
    "int": lambda data, depth: int(str(data["int"])[:5000], 16),
    "complex": lambda data, depth: complex(*map(float, data["complex"])),
    "tensor": _decode_tensor,
    "array": _decode_array,
    "tuple": lambda data, depth: tuple(decode(item, depth + 1) for item in data["tuple"]),
    "dict": _decode_dict,
    "opaque": lambda data, depth: Opaque(clean(data["opaque"], 80)),
}


def encode_observation(seen: Observation) -> dict:
    """JSON for what one drive showed."""
    raised = seen.raised and {
        "kinds": list(seen.raised.kinds),
        "message": seen.raised.message[:2000],
        "line": seen.raised.line,
        "code": seen.raised.code[:400],
    }
    return {
        "value": encode(seen.value),
        "raised": raised,
        "changed": list(seen.changed),
        "printed": seen.printed,
    }


def decode_observation(data: Any) -> Observation:
    """What one drive showed, if the child is to be believed.

    Raises:
        Malformed: the data is no observation.
    """
    try:
        raised, line = data["raised"], None
        if raised is not None:
            kinds = tuple(clean(kind, 80) for kind in raised["kinds"][:20])
            line = raised["line"] if type(raised["line"]) is int else None
            raised = Raised(
                kinds or ("Exception",), clean(raised["message"]), line, clean(raised["code"], 200)
            )
        changed = tuple(each for each in data["changed"][:20] if type(each) in (int, str))
        return Observation(decode(data["value"]), raised, changed, clean(data["printed"], 2000))
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise Malformed(str(error)[:200]) from error


def clean(text: Any, limit: int = 1000) -> str:
    """Text from outside that may be shown: no control characters but line breaks and tabs, no lone surrogates."""
    shown = str(text)[:limit].encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in shown if c in "\n\t" or c.isprintable())
