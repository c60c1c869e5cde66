"""Comparing plain values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dpo_lab.course.comparing import Tolerance, as_declared, difference, show
from dpo_lab.course.plain import Opaque, copy_inputs, same_input, to_plain

NEAR = Tolerance()


@dataclass
class Row:
    ids: torch.Tensor
    length: int


@pytest.mark.parametrize(
    ("expected", "yours"),
    [
        (
            torch.tensor([1.0, float("nan"), float("inf")]),
            torch.tensor([1.0 + 1e-6, float("nan"), float("inf")]),
        ),
        (torch.tensor([1, 2]), torch.tensor([1, 2], dtype=torch.int32)),
        (torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.1)),
        ([1.0, 2.0], [1, 2]),
        ((1, "a", None), [1, "a", None]),
        ({"a": [True, 2.5]}, {"a": [True, 2.5]}),
        ([], []),
        (np.arange(3), np.arange(3)),
        (3, 3.0),
    ],
)
def test_equal(expected, yours):
    assert difference(expected, yours, NEAR) is None


@pytest.mark.parametrize(
    ("expected", "yours", "words"),
    [
        (torch.zeros(2, dtype=torch.bool), torch.zeros(2), "wrong dtype"),
        (torch.ones(2), torch.ones(2, 1), "wrong shape"),
        (torch.ones(2), [1.0, 1.0], "expected a tensor"),
        (1.0, torch.tensor(1.0), ".item()"),
        (True, 1, "True or False"),
        ([1, 2], [1, 2.7], "1 of 2 values differ"),
        ([1, 2], [1, 2, 3], "expected 2 items"),
        ({"a": 1}, {"b": 1}, "missing: 'a'; not wanted: 'b'"),
        ("a", "b", "the text differs"),
        (None, 3, "expected None"),
        (torch.ones(3), Opaque("Model"), "yours is a Model"),
        (2.0, -2.0, "the expected one times -1"),
        (2.0, 17.3, "the value differs"),
    ],
)
def test_unequal(expected, yours, words):
    assert words in difference(expected, yours, NEAR).words


def test_the_part_that_differs_is_named():
    found = difference({"a": (1, [torch.ones(2), "x"])}, {"a": (1, [torch.ones(2), "y"])}, NEAR)
    assert found.part == "'a', part 2 of 2, part 2 of 2"


def test_lists_become_tensors_where_the_signature_promises_tensors():
    assert isinstance(as_declared([1.0, 2.0], "Tensor"), torch.Tensor)
    first, second = as_declared(([1.0], 2.0), "tuple[Tensor, float]")
    assert isinstance(first, torch.Tensor) and second == 2.0
    assert all(isinstance(part, torch.Tensor) for part in as_declared(([1.0], [2]), "tuple[Tensor, ...]"))
    assert as_declared([1, 2], "list[int]") == [1, 2]
    assert as_declared("text", "Tensor | None") == "text"


def test_plain_values_carry_no_gradient_and_no_objects():
    plain = to_plain(
        {"row": Row(torch.ones(2, requires_grad=True), 3), "object": object(), "count": np.int64(4)}
    )
    assert not plain["row"]["ids"].requires_grad
    assert plain["object"] == Opaque("object") and plain["count"] == 4


def test_copies_are_independent_and_changes_are_seen():
    inputs = (torch.zeros(2), {"a": [1]}, torch.Generator().manual_seed(3))
    copies = copy_inputs(inputs)
    assert torch.rand(1, generator=copies[2]) == torch.rand(1, generator=inputs[2])
    assert same_input(inputs[:2], copies[:2])
    copies[0][0] = 1
    assert not same_input(inputs[:2], copies[:2])


def test_values_are_shown_in_a_line():
    assert show(torch.arange(9.0)) == "[0, 1, 2, 3, …] (9,)"
    assert show({"a": None, "b": [1, 2.0]}) == "{'a': None, 'b': [1, 2]}"
