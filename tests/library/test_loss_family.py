"""Every loss against closed forms and its own algebra: what cancels, what saturates, where its optimum lies."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_lab.losses import (
    LOSSES,
    chosen_nll,
    cpo_loss,
    dpo_loss,
    dpo_nll_loss,
    dpop_loss,
    exo_pair_loss,
    ipo_loss,
    kto_loss,
    nca_pair_loss,
    orpo_loss,
    r_dpo_loss,
    robust_dpo_loss,
    simpo_loss,
    sppo_hard_loss,
)

OF_THE_MARGIN = ("sigmoid", "sigmoid_norm", "robust", "hinge", "ipo", "ipo_norm", "exo_pair", "discopop")
UNPAIRED = tuple(name for name, loss in LOSSES.items() if not loss.paired)
logps = st.floats(-60, -0.5)
pairs = st.lists(st.tuples(logps, logps, logps, logps), min_size=1, max_size=6)
betas = st.floats(0.02, 2)


def tensors(rows):
    return [torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)]


def four(seed=0, n=16):
    generator = torch.Generator().manual_seed(seed)
    return [-30 * torch.rand(n, generator=generator, dtype=torch.float64) - 0.1 for _ in range(4)]


def call(name, logps, **options):
    """The losses of one call, with made-up extras where the loss needs some."""
    loss, size = LOSSES[name], len(logps[0])
    extras = {}
    if loss.lengths:
        extras = {
            f"{side}_lengths": torch.arange(1.0, size + 1) + i
            for i, side in enumerate(("chosen", "rejected"))
        }
    if loss.mismatched:
        extras["mismatched_log_ratios"] = torch.full((size,), 0.3, dtype=torch.float64)
    return loss.function(*logps, **extras, **options)


def best(mean_loss, low=-200.0, high=200.0):
    """The number at which a convex loss has no slope, by bisection."""
    for _ in range(80):
        middle = torch.tensor([(low + high) / 2], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(mean_loss(middle).sum(), middle)
        low, high = (low, middle.item()) if slope > 0 else (middle.item(), high)
    return low


def best_gap(loss, p, **options):
    """The gap at which the mean of `loss` over labels that win with probability p is least."""
    zero = torch.zeros(1, dtype=torch.float64)
    return best(
        lambda gap: (
            p * loss(gap, zero, zero, zero, **options)[0]
            + (1 - p) * loss(zero, gap, zero, zero, **options)[0]
        )
    )


# what cancels


@settings(max_examples=25)
@given(pairs, betas, st.floats(-20, 20), st.sampled_from((*OF_THE_MARGIN, "aot", "r_dpo", "simpo")))
def test_what_a_prompt_adds_to_both_sides_cancels(rows, beta, shift, name):
    policy_chosen, policy_rejected, *reference = tensors(rows)
    shifts = shift + torch.arange(len(rows), dtype=torch.float64)  # each prompt has a log Z of its own
    if name == "aot":
        reference = [logps - shifts for logps in reference]  # both sortings see gaps, where it cancels
    plain = call(name, [policy_chosen, policy_rejected, *reference], beta=beta)[0]
    moved = call(name, [policy_chosen + shifts, policy_rejected + shifts, *reference], beta=beta)[0]
    torch.testing.assert_close(moved, plain, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", [*UNPAIRED, "apo_down", "dpop", "dpo_nll", "orpo", "cpo"])
def test_where_a_completion_is_judged_alone_it_does_not_cancel(name):
    policy_chosen, policy_rejected, *reference = four()
    plain = call(name, [policy_chosen, policy_rejected, *reference])[0]
    shifts = torch.arange(16.0)  # what differs from prompt to prompt; a constant cancels in aot_unpaired
    moved = call(name, [policy_chosen - shifts, policy_rejected - shifts, *reference])[0]
    assert (moved.mean() - plain.mean()).abs() > 1e-4


@settings(max_examples=25)
@given(pairs, betas, st.sampled_from(OF_THE_MARGIN))
def test_only_the_margin_counts(rows, beta, name):
    logps = tensors(rows)
    gap = logps[0] - logps[2] - logps[1] + logps[3]
    zeros = torch.zeros_like(gap)
    torch.testing.assert_close(
        call(name, logps, beta=beta)[0],
        call(name, [gap, zeros, zeros, zeros], beta=beta)[0],
        rtol=1e-8,
        atol=1e-8,
    )


@settings(max_examples=25)
@given(pairs, betas)
def test_antisymmetry(rows, beta):
    logps = tensors(rows)
    chosen, rejected = logps[0] - logps[2], logps[1] - logps[3]
    swapped = [logps[1], logps[0], logps[3], logps[2]]
    # logistic: a label turned round changes the loss by the margin
    margins = beta * (chosen - rejected)
    difference = call("sigmoid", logps, beta=beta)[0] - call("sigmoid", swapped, beta=beta)[0]
    torch.testing.assert_close(difference, -margins, rtol=1e-8, atol=1e-8)
    # a chosen completion a nat up is worth what a rejected one a nat down is
    zeros = torch.zeros_like(chosen)
    for name in ("bco_pair", "sppo_hard", "apo_zero"):
        mirrored = call(name, [-rejected, -chosen, zeros, zeros], beta=beta)[0]
        torch.testing.assert_close(call(name, logps, beta=beta)[0], mirrored, rtol=1e-8, atol=1e-8)


@settings(max_examples=25)
@given(pairs, st.sampled_from(sorted(set(LOSSES) - {"r_dpo", "dpo_nll", "cpo"})), st.randoms())
def test_the_order_of_pairs_does_not_matter(rows, name, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    logps = tensors(rows)
    plain, moved = (call(name, [t[o] for t in logps])[0] for o in (slice(None), order))
    expected = plain if name.startswith("aot") else plain[order]  # AOT's entries are quantiles
    torch.testing.assert_close(moved, expected)


# limits


@pytest.mark.parametrize("name", LOSSES)
def test_far_margins_stay_finite_with_a_gradient(name):
    policy_chosen = torch.tensor([-4000.0, -1.0, -2000.0], dtype=torch.float64, requires_grad=True)
    policy_rejected = torch.tensor([-1.0, -4000.0, -2000.0], dtype=torch.float64)
    losses, *_ = call(
        name, [policy_chosen, policy_rejected, *torch.full((2, 3), -2000.0, dtype=torch.float64)]
    )
    (slope,) = torch.autograd.grad(losses.sum(), policy_chosen)
    assert losses.isfinite().all() and slope.isfinite().all()


def slope_at(name, margin, beta=0.5):
    """dL/dlog π(y_w) over β, where chosen and rejected have moved by half of the margin each."""
    chosen = torch.tensor([margin / 2 / beta], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    return (
        torch.autograd.grad(call(name, [chosen, -chosen.detach(), zero, zero], beta=beta)[0].sum(), chosen)[0]
        / beta
    )


def test_who_pushes_a_hopeless_pair_and_who_lets_go_of_a_won_one():
    for name in ("sigmoid", "hinge", "bco_pair", "aot", "exo_pair"):
        hopeless, won = slope_at(name, -60).item(), slope_at(name, 60).item()
        expected = 0 if name == "exo_pair" else -1  # EXO's weight σ(m)σ(−m) fades on both sides
        assert hopeless == pytest.approx(expected, abs=1e-6) and won == pytest.approx(0, abs=1e-6), name
    for name in ("apo_zero", "kto"):
        assert [slope_at(name, margin).item() for margin in (-60, 60)] == pytest.approx([0, 0], abs=1e-6)
    assert slope_at("ipo", 60).item() > 100  # IPO pulls back what went too far


# optima


@pytest.mark.parametrize(
    ("p", "tau", "gap"), [(0.6, 0.05, 2), (0.8, 0.1, 3), (0.95, 0.5, 0.9), (1.0, 0.1, 5)]
)
def test_ipo_pulls_the_gap_to_its_published_optimum(p, tau, gap):
    assert best_gap(ipo_loss, p, beta=tau) == pytest.approx(gap, abs=1e-9)


@pytest.mark.parametrize(
    ("p", "beta", "gap"), [(0.6, 0.1, 4.054651), (0.8, 0.5, 2.772589), (0.95, 0.5, 5.888878)]
)
def test_dpo_pulls_the_gap_to_its_published_optimum(p, beta, gap):
    assert best_gap(dpo_loss, p, beta=beta) == pytest.approx(gap, abs=1e-6)


def test_smoothed_losses_stop_at_logit_of_the_noise_and_robust_does_not():
    stop = math.log(0.9 / 0.1) / 0.5
    assert best_gap(dpo_loss, 1.0, beta=0.5, label_smoothing=0.1) == pytest.approx(stop)
    assert best_gap(exo_pair_loss, 1.0, beta=0.5, label_smoothing=0.1) == pytest.approx(stop)
    assert (
        best_gap(robust_dpo_loss, 1.0, beta=0.5, label_smoothing=0.1) > 60
    )  # on labels it takes for clean in the mean
    # with the noise that it was told of it finds what DPO finds on clean labels
    assert best_gap(robust_dpo_loss, 0.8 * 0.9 + 0.2 * 0.1, beta=0.5, label_smoothing=0.1) == pytest.approx(
        2.772589
    )


def test_pointwise_targets():
    zero = torch.zeros(1, dtype=torch.float64)
    assert best(lambda x: sppo_hard_loss(x, zero, zero, zero, beta=0.1)[0]) == pytest.approx(5)
    assert best(lambda x: sppo_hard_loss(zero, x, zero, zero, beta=0.1)[0]) == pytest.approx(-5)
    assert best(lambda x: nca_pair_loss(x, zero, zero, zero, beta=0.5)[0]) == pytest.approx(math.log(2) / 0.5)


# values by hand


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
    logps, lengths = four(), torch.full((16,), 5.0)
    expected = dpo_loss(*logps)[0] - 0.3 * logps[0] / 5
    assert torch.allclose(dpo_nll_loss(*logps, lengths, lengths, alpha=0.3)[0], expected)
    with pytest.raises(ValueError, match="alpha"):
        dpo_nll_loss(*logps, lengths, lengths, alpha=-1.0)


def test_kto_by_hand():
    policy, ref = torch.tensor([-2.0, -7.0, -4.0]), torch.tensor([-4.0, -4.0, -4.0])
    up = torch.tensor([True, True, False])
    mismatched = torch.tensor([3.0, -1.0])  # z = 1
    losses, rewards = kto_loss(policy, ref, up, mismatched, beta=1.0, up_weight=2.0)
    sigmoid = [1 / (1 + math.exp(-x)) for x in (2 - 1, -3 - 1, 1 - 0)]
    assert losses.tolist() == pytest.approx([2 * (1 - sigmoid[0]), 2 * (1 - sigmoid[1]), 1 - sigmoid[2]])
    assert rewards.tolist() == [2.0, -3.0, 0.0]
    floor, _ = kto_loss(policy, ref, up, -mismatched.abs(), beta=1.0)
    assert torch.equal(floor, kto_loss(policy, ref, up, torch.zeros(2), beta=1.0)[0])
    with pytest.raises(ValueError, match="up_weight"):
        kto_loss(policy, ref, up, mismatched, up_weight=0.0)


def test_simpo_is_at_ln_2_where_the_rewards_are_apart_by_gamma():
    chosen, rejected = torch.tensor([-1.0]), torch.tensor([-1.5])
    losses, *rewards = simpo_loss(chosen, rejected, beta=2.0, gamma=1.0)
    assert losses.item() == pytest.approx(math.log(2))
    assert [reward.item() for reward in rewards] == [-2.0, -3.0]
    with pytest.raises(ValueError, match="gamma"):
        simpo_loss(chosen, rejected, gamma=-0.1)


def test_orpo_by_hand():
    chosen, rejected = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()  # odds 1 and 1/3
    assert orpo_loss(chosen, rejected, beta=0.3)[0].item() == pytest.approx(
        math.log(2) + 0.3 * math.log(4 / 3)
    )
    near_one = torch.tensor([-1e-9], dtype=torch.float64)
    assert orpo_loss(near_one, near_one, beta=1.0)[0].item() == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="below 0"):
        orpo_loss(torch.zeros(1), rejected)


def test_cpo_asks_for_the_lengths_that_its_nll_needs():
    chosen, rejected, *_ = four()
    assert torch.allclose(
        cpo_loss(chosen, rejected, alpha=0.0)[0], dpo_loss(chosen, rejected, *torch.zeros(2, 16))[0]
    )
    with pytest.raises(ValueError, match="chosen_lengths"):
        cpo_loss(chosen, rejected)


# the registry


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_returns_the_triple_and_rejects_what_dpo_rejects(name):
    good = four()
    good[0].requires_grad_()
    losses, *rewards = call(name, good)
    assert losses.shape == (16,) and losses.requires_grad
    assert all(reward.shape == (16,) and not reward.requires_grad for reward in rewards)
    for bad in ([good[0][:, None], *good[1:]], [good[0] * float("nan"), *good[1:]], [good[0][:3], *good[1:]]):
        with pytest.raises(ValueError):
            call(name, bad)
    with pytest.raises(ValueError, match="beta"):
        call(name, good, beta=0.0)


@pytest.mark.parametrize("name", LOSSES)
def test_the_flags_say_what_the_function_reads(name):
    chosen, rejected, *reference = four()
    moved = [logps - torch.arange(16.0) for logps in reference[:1]] + reference[1:]
    same = torch.equal(
        call(name, [chosen, rejected, *reference])[0], call(name, [chosen, rejected, *moved])[0]
    )
    assert same is not LOSSES[name].needs_reference
    assert LOSSES[name].source
