"""Argument checks, one named call each, so that a function's body stays the maths."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors have one shape: `(B,)` against `(B, 1)` would broadcast silently."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes must agree, got {listing}")


def check_batch(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors are floating, of one shape `(B,)` with B ≥ 1, and free of NaN."""
    check_same_shape(**tensors)
    for name, tensor in tensors.items():
        if tensor.ndim != 1 or tensor.numel() == 0:
            raise ValueError(f"{name} must have shape (B,) with B >= 1, got {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must hold floats, got {tensor.dtype}; use {name}.float()")
        if tensor.isnan().any():
            raise ValueError(
                f"{name} is NaN in rows {rows_where(tensor.isnan())}: look at the model's logits there"
            )


def check_positive(**values: float) -> None:
    """Raise ValueError unless every value is a finite number above zero."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number > 0, got {value}")


def check_fraction(**values: float) -> None:
    """Raise ValueError unless every value lies in [0, 0.5): half of the labels flipped carries no signal."""
    for name, value in values.items():
        if not 0 <= value < 0.5:
            raise ValueError(f"{name} must lie in [0, 0.5), got {value}")


def check_probabilities(**tensors: Tensor) -> None:
    """Raise ValueError unless all are (N,) tensors of one shape with entries in [0, 1]."""
    check_batch(**tensors)
    for name, values in tensors.items():
        if ((values < 0) | (values > 1)).any():
            raise ValueError(
                f"{name} must be probabilities in [0, 1], got {values.min():g} to {values.max():g}"
            )


def rows_where(mask: Tensor) -> list[int]:
    """Indices of the true rows of a `(B,)` mask, for an error message."""
    return torch.nonzero(mask).flatten().tolist()
