"""Lesson 04: the loss, its gradient, its metrics. Oracles are float64 loops over Python numbers."""

from __future__ import annotations

import math

import torch
from mistakes_04_dpo_loss import MISTAKES

from dpo_lab.course import exercise

PARTS = ("losses", "chosen_rewards", "rejected_rewards")


def log_sigmoid(margin: float) -> float:
    """log σ(m) in float64, by whichever form does not overflow."""
    return -math.log1p(math.exp(-margin)) if margin > 0 else margin - math.log1p(math.exp(margin))


def loop_over_pairs(four, beta, smoothing=0.0):
    """Losses and rewards, a pair at a time."""
    losses, chosen, rejected = [], [], []
    for pc, pr, rc, rr in zip(*[tensor.double().tolist() for tensor in four], strict=True):
        chosen.append(beta * (pc - rc))
        rejected.append(beta * (pr - rr))
        margin = chosen[-1] - rejected[-1]
        losses.append(-(1 - smoothing) * log_sigmoid(margin) - smoothing * log_sigmoid(-margin))
    return torch.tensor(losses), torch.tensor(chosen), torch.tensor(rejected)


def flags_of_gradient(function, *four):
    """Which of the three results carry a gradient when the policy's log-probs do."""
    results = function(*[tensor.clone().requires_grad_(i < 2) for i, tensor in enumerate(four)])
    return {
        f"{name}.requires_grad": bool(result.requires_grad)
        for name, result in zip(PARTS, results, strict=True)
    }


def gradient_of_the_loss(function, *four, beta):
    """Gradient of the summed loss in the policy's chosen and rejected log-probs; zeros where none arrives."""
    inputs = [tensor.clone().requires_grad_(i < 2) for i, tensor in enumerate(four)]
    losses = function(*inputs, beta=beta)[0]
    found = [torch.zeros_like(four[0])] * 2
    if losses.requires_grad:
        arrived = torch.autograd.grad(losses.sum(), inputs[:2], allow_unused=True)
        found = [torch.zeros_like(four[0]) if gradient is None else gradient for gradient in arrived]
    return {"gradient in policy_chosen_logps": found[0], "gradient in policy_rejected_logps": found[1]}


@exercise("stable_log_sigmoid", points=2)
def test_stable_log_sigmoid_matches_float64(submission, fresh):
    margins = torch.randn(40, generator=fresh.torch) * 6
    expected = torch.tensor([log_sigmoid(m) for m in margins.double().tolist()])
    submission.compare("stable_log_sigmoid", (margins,), expected, mistakes=MISTAKES)


@exercise("stable_log_sigmoid")
def test_stable_log_sigmoid_is_finite_at_the_extremes(submission, fresh):
    margins = torch.tensor([-1e4, -200.0, -30.0, -20.0, 0.0, 20.0, 200.0, 1e4]) * (
        1 + 0.1 * fresh.rng.random()
    )
    expected = torch.tensor([log_sigmoid(m) for m in margins.double().tolist()])
    submission.compare("stable_log_sigmoid", (margins,), expected, mistakes=MISTAKES)


@exercise("stable_log_sigmoid")
def test_stable_log_sigmoid_has_the_gradient_of_the_logistic(submission, fresh):
    margins = torch.tensor([-150.0, -2.0, 0.0, 1.5, 150.0]) * (1 + 0.1 * fresh.rng.random())
    expected = torch.tensor([math.exp(log_sigmoid(-m)) for m in margins.double().tolist()])
    submission.compare("stable_log_sigmoid", (margins,), expected, mistakes=MISTAKES, via="grad")


@exercise("dpo_loss", points=5)
def test_dpo_loss_matches_a_float64_loop(submission, fresh):
    four = fresh.logps(7)
    beta = float(fresh.rng.uniform(0.05, 0.6))
    submission.compare(
        "dpo_loss", four, loop_over_pairs(four, beta), mistakes=MISTAKES, kwargs={"beta": beta}
    )


@exercise("dpo_loss")
def test_dpo_loss_smooths_labels(submission, fresh):
    four = fresh.logps(6)
    settings = {"beta": 0.1, "label_smoothing": float(fresh.rng.uniform(0.05, 0.4))}
    expected = loop_over_pairs(four, 0.1, settings["label_smoothing"])
    submission.compare("dpo_loss", four, expected, mistakes=MISTAKES, parts=PARTS, kwargs=settings)


@exercise("dpo_loss")
def test_dpo_loss_is_finite_at_extreme_margins(submission, fresh):
    four = extreme_pairs(fresh)
    for smoothing in (0.0, 0.1):
        settings = {"beta": 1.0, "label_smoothing": smoothing}
        expected = loop_over_pairs(four, 1.0, smoothing)
        submission.compare("dpo_loss", four, expected, mistakes=MISTAKES, parts=PARTS, kwargs=settings)


@exercise("dpo_loss")
def test_dpo_loss_sends_a_gradient_to_the_policy(submission, fresh):
    for four in (fresh.logps(5), extreme_pairs(fresh)):
        slopes = torch.tensor([-0.2 * math.exp(log_sigmoid(-m)) for m in margins_of(four, 0.2)])
        expected = {"gradient in policy_chosen_logps": slopes, "gradient in policy_rejected_logps": -slopes}
        submission.compare(
            "dpo_loss", four, expected, mistakes=MISTAKES, via=gradient_of_the_loss, kwargs={"beta": 0.2}
        )


@exercise("dpo_loss")
def test_dpo_loss_detaches_the_rewards(submission, fresh):
    expected = {f"{name}.requires_grad": name == "losses" for name in PARTS}
    submission.compare("dpo_loss", fresh.logps(3), expected, mistakes=MISTAKES, via=flags_of_gradient)


def extreme_pairs(fresh):
    """Pairs that are badly wrong, and pairs that are long since right."""
    chosen = torch.tensor([-900.0, -300.0, -5.0, 6.0, 300.0, 900.0]) - fresh.rng.random()
    zeros = torch.zeros(len(chosen))
    return chosen.clamp(max=0), (-chosen).clamp(max=0), zeros, zeros.clone()


def margins_of(four, beta):
    pc, pr, rc, rr = [tensor.double() for tensor in four]
    return (beta * ((pc - rc) - (pr - rr))).tolist()


@exercise("dpo_gradient", points=3)
def test_dpo_gradient_matches_the_difference_quotient(submission, fresh):
    four = fresh.logps(6)
    beta, step = float(fresh.rng.uniform(0.1, 0.5)), 1e-5
    quotients = []
    for side in (0, 1):
        up = [t.double() + (step if i == side else 0) for i, t in enumerate(four)]
        down = [t.double() - (step if i == side else 0) for i, t in enumerate(four)]
        above, below = ([-log_sigmoid(m) for m in margins_of(moved, beta)] for moved in (up, down))
        quotients.append(torch.tensor([(a - b) / (2 * step) for a, b in zip(above, below, strict=True)]))
    submission.compare(
        "dpo_gradient", four, tuple(quotients), mistakes=MISTAKES, kwargs={"beta": beta}, atol=1e-6
    )


@exercise("dpo_gradient")
def test_dpo_gradient_is_finite_at_extreme_margins(submission, fresh):
    four = extreme_pairs(fresh)
    pushes = torch.tensor([0.5 * math.exp(log_sigmoid(-m)) for m in margins_of(four, 0.5)])
    submission.compare("dpo_gradient", four, (-pushes, pushes), mistakes=MISTAKES, kwargs={"beta": 0.5})


@exercise("dpo_gradient")
def test_dpo_gradient_at_margin_zero_is_half_of_beta(submission, fresh):
    reference = fresh.logps(4)[:2]
    expected = (torch.full((4,), -0.15), torch.full((4,), 0.15))
    submission.compare(
        "dpo_gradient", (*reference, *reference), expected, mistakes=MISTAKES, kwargs={"beta": 0.3}
    )


def mean(tensor):
    return sum(tensor.double().tolist()) / len(tensor)


def expected_metrics(losses, chosen, rejected):
    wins = [c > r for c, r in zip(chosen.tolist(), rejected.tolist(), strict=True)]
    return {
        "loss": mean(losses),
        "rewards/chosen": mean(chosen),
        "rewards/rejected": mean(rejected),
        "rewards/accuracies": sum(wins) / len(wins),
        "rewards/margins": mean(chosen) - mean(rejected),
    }


def three_tensors(fresh, size):
    """Losses and rewards with one tie, both signs, and a mean that hides a wrong pair."""
    chosen, rejected = torch.randn(2, size, generator=fresh.torch)
    chosen[0] = rejected[0]
    chosen[1:3], rejected[1:3] = torch.tensor([-1.0, 0.5]), torch.tensor([-2.0, 0.9])
    return torch.rand(size, generator=fresh.torch), chosen, rejected


@exercise("preference_metrics", points=3)
def test_preference_metrics_are_means_over_the_batch(submission, fresh):
    inputs = three_tensors(fresh, 8)
    submission.compare("preference_metrics", inputs, expected_metrics(*inputs), mistakes=MISTAKES)


@exercise("preference_metrics")
def test_preference_metrics_add_the_logps_that_are_given(submission, fresh):
    inputs = three_tensors(fresh, 6)
    both = torch.stack(fresh.logps(6)[:2])
    policy = both.amin(dim=0), both.amax(dim=0)  # ranks every pair the wrong way, the rewards do not
    expected = expected_metrics(*inputs) | {
        "logps/chosen": mean(policy[0]),
        "logps/rejected": mean(policy[1]),
    }
    submission.compare("preference_metrics", (*inputs, *policy), expected, mistakes=MISTAKES)
    del expected["logps/rejected"]
    submission.compare("preference_metrics", (*inputs, policy[0]), expected, mistakes=MISTAKES)
