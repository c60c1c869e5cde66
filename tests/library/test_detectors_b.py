"""The detectors of lesson 07's second half, on healthy and on sick runs, and what their experiments rest on."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lab.diagnostics.active import majority_error, select_active_pairs
from dpo_lab.diagnostics.calibration import calibration, calibration_error
from dpo_lab.diagnostics.displacement import displaced_share, displacement, drop_similar, word_overlap
from dpo_lab.experiments import noisy_labels as noisy
from dpo_lab.experiments.displacement import twin_pairs
from dpo_lab.policies import frozen_reference, load_policy
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.worlds.review import shipped_pairs


@pytest.fixture(scope="module")
def reference():
    """The tiny policy before any training."""
    return frozen_reference(load_policy("tiny", device="cpu"))


def trained(reference, pairs, **settings):
    """The tiny policy after a few epochs on a few pairs."""
    policy = load_policy("tiny", device="cpu")
    config = DPOConfig(**{"lr": 5e-4, "batch_size": 16, "epochs": 4, "progress": False, **settings})
    train_dpo(policy, reference, pairs, config)
    return policy


def test_an_untrained_policy_is_neither_displaced_nor_confident(reference):
    pairs = twin_pairs(16)
    assert displacement(reference, reference, pairs) == (0.0, 0.0, 0.0)
    found = calibration(reference, reference, pairs, beta=0.1)
    assert (found.error, found.predicted, found.measured) == (0.0, 0.5, 0.5)
    assert found.loss == pytest.approx(math.log(2))


def test_a_sick_run_shows_displacement_and_dpop_a_healthy_one(reference):
    pairs = twin_pairs(32)
    sick = displacement(trained(reference, pairs), reference, pairs)
    cured = trained(reference, pairs, loss="dpop", loss_options={"penalty": 5.0})
    healthy = displacement(cured, reference, pairs)
    assert sick.chosen_change < 0 and sick.rejected_change < sick.chosen_change
    assert healthy.chosen_change > sick.chosen_change and healthy.share < sick.share


def test_a_policy_that_learnt_its_pairs_by_heart_is_overconfident(reference):
    policy = trained(reference, shipped_pairs("train")[:16], lr=1e-3, epochs=8)
    sick = calibration(policy, reference, shipped_pairs("heldout")[:96], beta=0.3)
    assert sick.predicted > sick.measured
    assert sick.error > 0.1


def test_displaced_share_wants_a_fall_and_a_margin():
    chosen, rejected = torch.tensor([-1.0, -1.0, 1.0, 0.0]), torch.tensor([-2.0, 0.0, -1.0, 0.0])
    assert displaced_share(chosen, rejected, torch.zeros(4), torch.zeros(4)) == 0.25
    with pytest.raises(ValueError, match="policy_rejected_logps"):
        displaced_share(chosen, rejected[:3], torch.zeros(4), torch.zeros(4))


def test_calibration_error_is_small_for_an_honest_forecaster_and_large_for_a_braggart():
    generator = torch.Generator().manual_seed(0)
    honest = torch.rand(20_000, generator=generator, dtype=torch.float64)
    outcomes = torch.bernoulli(honest, generator=generator)
    braggart = (4 * torch.logit(honest, eps=1e-9)).sigmoid()
    assert calibration_error(honest, outcomes) < 0.02
    assert calibration_error(braggart, outcomes) > 0.1
    with pytest.raises(ValueError, match="probabilities"):
        calibration_error(honest + 1, outcomes)


def test_twins_differ_in_one_word_and_are_what_the_filter_drops():
    twins = twin_pairs(32)
    for pair in twins:
        chosen, rejected = pair["chosen"].split(), pair["rejected"].split()
        assert sum(a != b for a, b in zip(chosen, rejected, strict=True)) == 1
    apart = [{"prompt": "x", "chosen": "a b c", "rejected": "d e f"}]
    long_twins = [pair for pair in twins if len(pair["chosen"].split()) >= 5]
    assert drop_similar(apart + long_twins) == apart
    assert word_overlap("a b", "a b") == 1 and word_overlap("a b", "c d") == 0
    with pytest.raises(ValueError, match="nothing to train on"):
        drop_similar(long_twins)


def test_selection_and_majority_refuse_bad_arguments():
    assert select_active_pairs(torch.tensor([3.0, -0.1, 0.2]), 2) == [1, 2]
    for n in (-1, 4):
        with pytest.raises(ValueError, match="n must lie between"):
            select_active_pairs(torch.zeros(3), n)
    for flipped, votes in ((1.1, 3), (0.1, 0)):
        with pytest.raises(ValueError, match="must"):
            majority_error(flipped, votes)


def test_majority_error_is_what_sampled_votes_give():
    wrong = torch.rand(200_000, 5, generator=torch.Generator().manual_seed(0)) < 0.3
    assert majority_error(0.3, 5) == pytest.approx((wrong.sum(dim=1) > 2).double().mean().item(), abs=0.005)


def test_the_linear_policy_can_hold_the_optimum():
    features, rewards = noisy.features(), noisy.world().rewards
    weights = torch.linalg.lstsq(features, rewards[:, None], driver="gelsd").solution.squeeze()
    found = noisy.judge(weights / noisy.BETA)
    assert found["gain"] == pytest.approx(1) and found["scale"] == pytest.approx(1)
    nothing = torch.zeros(features.shape[1], dtype=torch.float64)
    assert noisy.judge(nothing)["gain"] == pytest.approx(0, abs=1e-9)


def test_robust_loss_undoes_the_shrinkage_that_smoothing_adds_to():
    scales = {
        name: noisy.labels_run(8000, 0, flipped=0.3, **options)["scale"]
        for name, options in {
            "plain": {},
            "smoothed": {"label_smoothing": 0.3},
            "robust": {"loss": "robust", "label_smoothing": 0.3},
        }.items()
    }
    assert scales["smoothed"] < scales["plain"] < 0.5 < scales["robust"]
