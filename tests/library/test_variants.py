"""DPO's relatives against closed forms, and the trainer's way with them."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from dpo_lab.losses import dpo_loss
from dpo_lab.policies import Policy, frozen_reference
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.variants import LOSSES, chosen_nll, dpop_loss, ipo_loss, r_dpo_loss, robust_dpo_loss

FAST = {"lr": 3e-3, "epochs": 4, "batch_size": 2, "progress": False}


def four(seed=0, n=16):
    generator = torch.Generator().manual_seed(seed)
    return [-30 * torch.rand(n, generator=generator, dtype=torch.float64) for _ in range(4)]


def best_gap(loss, p, **options):
    """The gap δ at which a mean of `loss` over labels that win with probability p has no slope, by bisection."""
    zero = torch.zeros(1, dtype=torch.float64)

    def slope(gap):
        gap = torch.tensor([gap], dtype=torch.float64, requires_grad=True)
        mean = (
            p * loss(gap, zero, zero, zero, **options)[0]
            + (1 - p) * loss(zero, gap, zero, zero, **options)[0]
        )
        return torch.autograd.grad(mean.sum(), gap)[0].item()

    low, high = -200.0, 200.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return low


@pytest.mark.parametrize(("p", "tau", "gap"), [(0.6, 0.05, 2), (0.8, 0.1, 3), (0.95, 0.5, 0.9)])
def test_ipo_pulls_the_gap_to_its_published_optimum(p, tau, gap):
    assert best_gap(ipo_loss, p, beta=tau) == pytest.approx(gap, abs=1e-9)


@pytest.mark.parametrize(("p", "beta", "gap"), [(0.6, 0.1, 4.054651), (0.8, 0.5, 2.772589)])
def test_dpo_pulls_the_gap_to_its_published_optimum(p, beta, gap):
    assert best_gap(dpo_loss, p, beta=beta) == pytest.approx(gap, abs=1e-6)


def test_robust_loss_over_flipped_labels_is_dpo_on_the_clean_ones():
    logps, noise = four(), 0.3
    flipped = [logps[1], logps[0], logps[3], logps[2]]
    mean = (1 - noise) * robust_dpo_loss(*logps, label_smoothing=noise)[0]
    mean += noise * robust_dpo_loss(*flipped, label_smoothing=noise)[0]
    assert torch.allclose(mean, dpo_loss(*logps)[0], rtol=1e-10)
    assert torch.allclose(robust_dpo_loss(*logps)[0], dpo_loss(*logps)[0], rtol=1e-12)


def test_dpop_is_dpo_until_a_chosen_completion_falls():
    _, rejected, ref_chosen, ref_rejected = four()
    risen, fallen = ref_chosen + 1, ref_chosen - 2
    args = (rejected, ref_chosen, ref_rejected)
    assert torch.allclose(dpop_loss(risen, *args)[0], dpo_loss(risen, *args)[0])
    margin = 0.1 * ((fallen - ref_chosen) - (rejected - ref_rejected)) - 0.1 * 5 * 2
    expected = [math.log1p(math.exp(-m)) for m in margin.tolist()]
    assert dpop_loss(fallen, *args, penalty=5)[0].tolist() == pytest.approx(expected)


def test_length_explains_a_win_away_in_r_dpo():
    logps, long, short = four(), torch.full((16,), 20.0), torch.full((16,), 5.0)
    plain = dpo_loss(*logps)[0]
    assert (r_dpo_loss(*logps, long, short, alpha=0.1)[0] < plain).all()
    assert (r_dpo_loss(*logps, short, long, alpha=0.1)[0] > plain).all()
    assert torch.allclose(r_dpo_loss(*logps, long, short, alpha=0.0)[0], plain)


def test_nll_is_a_mean_over_the_completions_tokens():
    nll = chosen_nll(torch.tensor([-6.0, -1.0]), torch.tensor([3.0, 4.0]))
    assert nll.tolist() == [2.0, 0.25]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_rejects_what_dpo_rejects(name):
    lengths = [torch.ones(16)] * 2 if LOSSES[name].lengths else []
    good = four()
    for bad in ([good[0][:, None], *good[1:]], [good[0] * float("nan"), *good[1:]]):
        with pytest.raises(ValueError):
            LOSSES[name].function(*bad, *lengths)
    with pytest.raises(ValueError, match="beta"):
        LOSSES[name].function(*good, *lengths, beta=0.0)


def trained(policy, pairs, **settings):
    policy = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.name)
    extra = {name: settings.pop(name) for name in ("replay", "beta_schedule") if name in settings}
    config = DPOConfig(**{**FAST, **settings})
    return policy, train_dpo(policy, frozen_reference(policy), pairs, config, **extra)


@pytest.mark.parametrize("name", LOSSES)
def test_the_trainer_lowers_every_loss(toy_policy, toy_pairs, name):
    _, history = trained(toy_policy, toy_pairs, loss=name, epochs=12, batch_size=5, beta=0.5)
    assert history["loss"][-1] < history["loss"][0]
    assert history["logps/chosen"][0] < -1  # sums, also where the loss takes means


def test_the_general_path_agrees_with_the_textbook_step(toy_policy, toy_pairs):
    plain = trained(toy_policy, toy_pairs)[1]
    general = trained(toy_policy, toy_pairs, loss="robust")[1]
    assert general["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert general["logps/chosen"] == pytest.approx(plain["logps/chosen"], rel=1e-5)


def test_nll_term_holds_the_chosen_completions_up(toy_policy, toy_pairs):
    without = trained(toy_policy, toy_pairs, epochs=12)[1]
    with_nll = trained(toy_policy, toy_pairs, epochs=12, nll_weight=1.0)[1]
    assert with_nll["logps/chosen"][-1] > without["logps/chosen"][-1]
    assert with_nll["nll"][-1] < with_nll["nll"][0]


def test_replay_is_logged_and_learnt(toy_policy, toy_pairs):
    examples = [{"prompt": pair["prompt"], "completion": pair["rejected"]} for pair in toy_pairs]
    history = trained(toy_policy, toy_pairs, epochs=12, replay=examples, replay_weight=1.0)[1]
    assert history["replay"][-1] < history["replay"][0]


def test_a_beta_schedule_is_asked_before_each_step(toy_policy, toy_pairs):
    history = trained(toy_policy, toy_pairs, beta_schedule=lambda history: 0.1 * (1 + len(history)))[1]
    assert history["beta"] == pytest.approx([0.1 * step for step in history.steps("beta")])
    constant = trained(toy_policy, toy_pairs, beta_schedule=lambda history: 0.1)[1]
    assert constant["loss"] == trained(toy_policy, toy_pairs)[1]["loss"]


def test_sgd_is_plain_gradient_descent(toy_policy, toy_pairs):
    one = {"optimizer": "sgd", "epochs": 1, "batch_size": 5, "warmup_ratio": 0.0, "max_grad_norm": 1e9}
    moved = {}
    for lr in (1e-3, 2e-3):
        policy, _ = trained(toy_policy, toy_pairs, **one, lr=lr)
        start, end = toy_policy.model.parameters(), policy.model.parameters()
        moved[lr] = torch.cat([(b - a).detach().flatten() for a, b in zip(start, end, strict=True)])
    assert torch.allclose(2 * moved[1e-3], moved[2e-3], rtol=1e-3, atol=1e-6)
    assert moved[1e-3].abs().max() > 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "sigmoidal"}, "loss must be one of sigmoid"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "takes no label_smoothing"),
        ({"loss": "dpop", "loss_options": {"lambda": 1.0}}, "takes penalty"),
        ({"nll_weight": -1.0}, "nll_weight"),
        ({"optimizer": "adam"}, "optimizer"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        DPOConfig(**settings)
