"""The published vector, the algebra's invariances, and every bad input by name."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpo_lab.losses import dpo_loss, preference_metrics

# policy chosen, policy rejected, reference chosen, reference rejected: log-ratio gaps 0, 10, 20
VECTOR = tuple(
    torch.tensor(row)
    for row in ([-0.5, -10.0, -1.0], [-0.1, -30.0, -21.0], [-0.5, -10.1, -0.1], [-0.1, -20.1, -0.1])
)
logps = st.floats(-300, 0)


def test_the_published_vector():
    losses, chosen, rejected = dpo_loss(*VECTOR, beta=0.1)
    assert losses.tolist() == pytest.approx([0.693147, 0.313262, 0.126928], abs=1e-6)
    assert chosen.tolist() == pytest.approx([0, 0.01, -0.09], abs=1e-6)
    assert rejected.tolist() == pytest.approx([0, -0.99, -2.09], abs=1e-6)


@given(st.tuples(logps, logps, logps, logps), st.floats(0.01, 3), st.floats(0, 0.45), st.floats(-50, 50))
def test_a_constant_per_prompt_cancels_and_swapping_flips_the_margin(values, beta, smoothing, shift):
    four = [torch.tensor([v], dtype=torch.float64) for v in values]
    losses, chosen, rejected = dpo_loss(*four, beta=beta, label_smoothing=smoothing)
    margin = beta * (values[0] - values[2] - values[1] + values[3])
    exact = (1 - smoothing) * math.log1p(math.exp(-abs(margin))) + smoothing * math.log1p(
        math.exp(-abs(margin))
    )
    exact += (1 - smoothing) * max(-margin, 0) + smoothing * max(margin, 0)
    assert losses.item() == pytest.approx(exact, rel=1e-9, abs=1e-12)
    shifted, *_ = dpo_loss(
        four[0] + shift, four[1] + shift, four[2], four[3], beta=beta, label_smoothing=smoothing
    )
    assert shifted.item() == pytest.approx(losses.item(), abs=1e-9)
    swapped = dpo_loss(four[1], four[0], four[3], four[2], beta=beta, label_smoothing=smoothing)
    assert swapped[1].item() == rejected.item() and swapped[2].item() == chosen.item()


def test_extreme_margins_stay_finite_with_a_gradient():
    policy_chosen = torch.tensor([-5000.0, 0.0], requires_grad=True)
    losses, *_ = dpo_loss(
        policy_chosen, torch.tensor([0.0, -5000.0]), torch.zeros(2), torch.zeros(2), beta=1.0
    )
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([5000.0, 0.0])
    assert policy_chosen.grad.tolist() == pytest.approx([-1.0, 0.0])


def test_rewards_carry_no_gradient():
    policy_chosen = torch.zeros(2, requires_grad=True)
    losses, chosen, rejected = dpo_loss(policy_chosen, torch.zeros(2), torch.zeros(2), torch.zeros(2))
    assert losses.requires_grad and not chosen.requires_grad and not rejected.requires_grad


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({1: torch.zeros(3, 1)}, r"policy_rejected_logps \(3, 1\)"),
        ({0: torch.zeros(2)}, r"policy_chosen_logps \(2,\)"),
        ({2: torch.tensor([0.0, math.nan, 0.0])}, r"ref_chosen_logps is NaN in rows \[1\]"),
        ({3: torch.zeros(3, dtype=torch.long)}, "ref_rejected_logps must hold floats"),
    ],
)
def test_bad_tensors_are_named(change, words):
    inputs = [change.get(i, torch.zeros(3)) for i in range(4)]
    with pytest.raises(ValueError, match=words):
        dpo_loss(*inputs)


def test_scalars_and_bad_settings_are_refused():
    zeros = [torch.zeros(3)] * 4
    with pytest.raises(ValueError, match="B >= 1"):
        dpo_loss(*[torch.zeros(())] * 4)
    for beta in (0, -0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="beta"):
            dpo_loss(*zeros, beta=beta)
    for smoothing in (-0.1, 0.5, 1):
        with pytest.raises(ValueError, match="label_smoothing"):
            dpo_loss(*zeros, label_smoothing=smoothing)


def test_metrics_have_trl_names_and_count_a_tie_as_wrong():
    losses, chosen, rejected = dpo_loss(*VECTOR, beta=0.1)
    metrics = preference_metrics(losses, chosen, rejected, VECTOR[0], VECTOR[1])
    assert metrics["rewards/accuracies"] == pytest.approx(2 / 3)
    assert metrics["rewards/margins"] == pytest.approx(1.0)
    assert metrics["logps/rejected"] == pytest.approx(-51.1 / 3)
    assert set(preference_metrics(losses, chosen, rejected)) == {
        "loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins",
    }  # fmt: skip
