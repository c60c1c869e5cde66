"""Two objectives: each way ends where its closed form says, and the front holds what nothing dominates."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from dpo_lab.bradley_terry import optimal_policy
from dpo_lab.losses import dpo_loss
from dpo_lab.multi_objective import pareto_front, true_front, weighted_label_loss, weighted_margin_loss
from dpo_lab.multi_objective_training import train_in_stages, train_weighted
from dpo_lab.policies import Policy, frozen_reference
from dpo_lab.trainer import DPOConfig, train_dpo

FAST = {"lr": 3e-3, "epochs": 3, "batch_size": 3, "progress": False}


def four(batch=5, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return [-20 * torch.rand(batch, generator=draw, dtype=dtype) for _ in range(4)]


def test_weight_one_is_dpo():
    logps, other = four(), torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    expected = dpo_loss(*logps, 0.3)
    for function in (weighted_margin_loss, weighted_label_loss):
        for ours, theirs in zip(function(*logps, other, 1.0, 0.3), expected, strict=True):
            assert torch.allclose(ours, theirs)


def test_margin_loss_by_hand():
    losses, chosen, rejected = weighted_margin_loss(
        *(torch.tensor([v]) for v in (-3.0, -5.0, -4.0, -5.5)), torch.tensor([-2.0]), 0.25, 0.5
    )
    # β δ = 0.5 · (1 − 0.5) = 0.25, minus 0.75 · (−2), over 0.25
    assert losses.item() == pytest.approx(math.log1p(math.exp(-(0.25 + 1.5) / 0.25)), rel=1e-4)
    assert (chosen.item(), rejected.item()) == pytest.approx((0.5, 0.25))


def test_label_loss_by_hand():
    inputs = [torch.tensor([v, v]) for v in (-3.0, -5.0, -4.0, -5.5)]
    losses, *_ = weighted_label_loss(*inputs, torch.tensor([1.0, 0.0]), 0.25, 0.5)
    win, lose = math.log1p(math.exp(-0.25)), math.log1p(math.exp(0.25))
    assert losses.tolist() == pytest.approx([win, 0.25 * win + 0.75 * lose], rel=1e-5)


def least(loss):
    """The gap at which a convex loss is least, by ternary search."""
    low, high = -60.0, 60.0
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return (low + high) / 2


def gap_inputs(gap):
    return [torch.tensor([v], dtype=torch.float64) for v in (gap, 0.0, 0.0, 0.0)]


def test_margins_average_rewards_and_losses_average_probabilities():
    first, second, weight, beta = 1.0, -6.0, 0.4, 0.5
    p1, p2 = (1 / (1 + math.exp(-d)) for d in (first, second))

    def margins(gap):
        asked = (
            (p1, gap_inputs(gap), second),
            (1 - p1, [gap_inputs(gap)[i] for i in (1, 0, 3, 2)], -second),
        )
        return sum(
            p * weighted_margin_loss(*logps, torch.tensor([d], dtype=torch.float64), weight, beta)[0].item()
            for p, logps, d in asked
        )

    def losses(gap):
        total = 0.0
        for a, pa in ((True, p1), (False, 1 - p1)):
            for b, pb in ((True, p2), (False, 1 - p2)):
                logps = gap_inputs(gap) if a else [gap_inputs(gap)[i] for i in (1, 0, 3, 2)]
                agrees = torch.tensor([float(a == b)], dtype=torch.float64)
                total += pa * pb * weighted_label_loss(*logps, agrees, weight, beta)[0].item()
        return total

    assert beta * least(margins) == pytest.approx(weight * first + (1 - weight) * second, abs=1e-5)
    mixed = weight * p1 + (1 - weight) * p2
    assert beta * least(losses) == pytest.approx(math.log(mixed / (1 - mixed)), abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 1.2, -0.5])
def test_bad_weights(weight):
    with pytest.raises(ValueError, match=r"weight must lie in \(0, 1\]"):
        weighted_margin_loss(*four(), four()[0], weight)


def test_bad_shapes():
    with pytest.raises(ValueError, match="shapes must agree"):
        weighted_margin_loss(*four(), torch.zeros(4, dtype=torch.float64), 0.5)


def test_pareto_front_matches_brute_force():
    draw = torch.Generator().manual_seed(1)
    for objectives in (1, 2, 3):
        points = torch.randint(0, 6, (60, objectives), generator=draw).float()
        rows = points.tolist()

        def dominated(j, rows=rows):
            return any(
                all(a >= b for a, b in zip(row, rows[j], strict=True)) and row != rows[j] for row in rows
            )

        assert pareto_front(points) == [j for j in range(60) if not dominated(j)]


def test_pareto_front_of_equals_and_errors():
    assert pareto_front(torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]])) == [0, 1]
    assert pareto_front(torch.tensor([[0.0, 3.0], [1.4, 1.4], [3.0, 0.0]])) == [
        0,
        1,
        2,
    ]  # none convex hull only
    for points in (torch.zeros(3), torch.zeros(0, 2), torch.tensor([[math.nan, 1.0]])):
        with pytest.raises(ValueError, match="points must have shape"):
            pareto_front(points)


def test_no_policy_within_the_distance_beats_the_true_front():
    draw = torch.Generator().manual_seed(2)
    ref_logps = torch.randn(30, generator=draw, dtype=torch.float64).log_softmax(-1)
    rewards = torch.randn(2, 30, generator=draw, dtype=torch.float64)
    for point in true_front(ref_logps, rewards, [0.0, 0.3, 1.0], kl=0.5):
        assert (point.logps.exp() * (point.logps - ref_logps)).sum().item() == pytest.approx(0.5, abs=1e-6)
        best = point.weight * point.rewards[0] + (1 - point.weight) * point.rewards[1]
        for _ in range(300):
            tilt = torch.randn(30, generator=draw, dtype=torch.float64)
            logps = (ref_logps + 0.7 * tilt).log_softmax(-1)
            if (logps.exp() * (logps - ref_logps)).sum() <= 0.5:
                earned = rewards @ logps.exp()
                assert point.weight * earned[0] + (1 - point.weight) * earned[1] <= best + 1e-9
    with pytest.raises(ValueError, match="weights must lie"):
        true_front(ref_logps, rewards, [1.5], kl=0.5)


def test_stages_on_unlimited_data_are_the_weighted_optimum():
    draw = torch.Generator().manual_seed(3)
    ref_logps = torch.randn(12, generator=draw, dtype=torch.float64).log_softmax(-1)
    first, second = torch.randn(2, 12, generator=draw, dtype=torch.float64)
    staged = optimal_policy(optimal_policy(ref_logps, first, 0.7), second, 0.4)
    assert torch.allclose(staged, (ref_logps + first / 0.7 + second / 0.4).log_softmax(-1))


def copied(policy):
    return Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.name)


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.model.parameters()])


@pytest.mark.parametrize("way, column", [("margins", "other_margin"), ("losses", "other_agrees")])
def test_training_with_weight_one_is_plain_dpo(toy_policy, toy_pairs, way, column):
    plain, weighted = copied(toy_policy), copied(toy_policy)
    rows = [pair | {column: 1.0} for pair in toy_pairs]
    reference = frozen_reference(toy_policy)
    expected = train_dpo(plain, reference, toy_pairs, DPOConfig(**FAST))
    found = train_weighted(weighted, reference, rows, DPOConfig(**FAST), way=way, weight=1.0)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert torch.allclose(weights(weighted), weights(plain), atol=1e-6)


def last_margin(policy, pairs, way, **other):
    policy = copied(policy)
    rows = [pair | other for pair in pairs]
    config = DPOConfig(**FAST | {"epochs": 10})
    history = train_weighted(policy, frozen_reference(policy), rows, config, way=way, weight=0.2)
    return history["rewards/margins"][-1]


def test_the_second_objective_can_turn_a_pair_around(toy_policy, toy_pairs):
    assert last_margin(toy_policy, toy_pairs, "losses", other_agrees=1.0) > 0.02
    assert last_margin(toy_policy, toy_pairs, "losses", other_agrees=0.0) < -0.01
    # a margin sets how much a label asks for: all but nothing where the other objective is strongly against it
    assert last_margin(toy_policy, toy_pairs, "margins", other_margin=9.0) > 0.02
    assert abs(last_margin(toy_policy, toy_pairs, "margins", other_margin=-9.0)) < 1e-4


def test_stages_take_the_last_stage_as_reference(toy_policy, toy_pairs):
    turned = [pair | {"chosen": pair["rejected"], "rejected": pair["chosen"]} for pair in toy_pairs]
    settings = DPOConfig(**FAST)
    first, second = train_in_stages(
        toy_policy, frozen_reference(toy_policy), [(toy_pairs, settings), (turned, settings)]
    )
    assert first["rewards/margins"][-1] > 0.01
    assert second["loss"][0] == pytest.approx(math.log(2), abs=1e-5)
    assert second["rewards/margins"][0] == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="stages is empty"):
        train_in_stages(toy_policy, frozen_reference(toy_policy), [])


def test_errors_of_weighted_training(toy_policy, toy_pairs):
    reference = frozen_reference(toy_policy)
    with pytest.raises(ValueError, match="way must be one of margins, losses, got 'sum'"):
        train_weighted(toy_policy, reference, toy_pairs, way="sum", weight=0.5)
    with pytest.raises(ValueError, match=r"pairs \[0, 1, 2, 3, 4\] have no 'other_margin'"):
        train_weighted(toy_policy, reference, toy_pairs, way="margins", weight=0.5)
    with pytest.raises(ValueError, match="plain DPO loss"):
        train_weighted(
            toy_policy,
            reference,
            [pair | {"other_agrees": 1} for pair in toy_pairs],
            DPOConfig(label_smoothing=0.1),
            way="losses",
            weight=0.5,
        )
