"""What β does, in closed form: the frontier, the gap that a loss wants, best-of-n beside it, and a controller for β."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpo_lab.bradley_terry import optimal_policy
from dpo_lab.checks import check_positive, check_same_shape


def frontier_point(ref_logps: Tensor, rewards: Tensor, beta: float) -> tuple[float, float]:
    """Where the optimum of E[r] − β KL lies: its distance from the reference, and what it earns.

    π*(y) = π_ref(y) exp(r(y)/β) / Z;   KL(π* ‖ π_ref) = Σ π* (log π* − log π_ref),   E[r] = Σ π* r

    Args:
        ref_logps: (N,), log π_ref of all N completions of a prompt, in nats; their probabilities sum to 1.
        rewards: (N,), r(y).
        beta: weight of the KL term, > 0.

    Returns:
        kl, in nats, and the expected reward: two floats. No policy at that KL earns more.

    Raises:
        ValueError: shapes differ, or beta ≤ 0.
    """
    logps = optimal_policy(ref_logps, rewards, beta)
    probabilities = logps.exp()
    kl = (probabilities * (logps - ref_logps)).sum()
    return kl.item(), (probabilities * rewards).sum().item()


def optimal_gap(win_probabilities: Tensor, beta: float, loss: str = "sigmoid") -> Tensor:
    """The log-ratio gap δ at which a pair's expected loss is least.

    DPO (Rafailov et al. 2023):  E = −p log σ(βδ) − (1 − p) log σ(−βδ)
    IPO (Azar et al. 2023):      E = p (δ − 1/(2β))² + (1 − p) (δ + 1/(2β))²

    Args:
        win_probabilities: (P,), probability p in [0, 1] that the label calls the first completion of a pair chosen.
        beta: weight of the KL term, > 0; IPO's τ.
        loss: "sigmoid" is DPO, "ipo" is IPO.

    Returns:
        (P,) gaps in nats, first completion minus second; DPO's is infinite where p is 0 or 1.

    Raises:
        ValueError: beta ≤ 0, or another loss.
    """
    check_positive(beta=beta)
    if loss == "sigmoid":
        return torch.logit(win_probabilities) / beta  # where σ(βδ) = p
    if loss == "ipo":
        return (2 * win_probabilities - 1) / (2 * beta)  # the mean of the two targets
    raise ValueError(f"loss must be 'sigmoid' or 'ipo', got {loss!r}")


def best_of_n_logps(ref_logps: Tensor, rewards: Tensor, n: int) -> Tensor:
    """The policy that draws n completions from the reference and keeps the one with the highest reward.

    With B(y) = P_ref(r < r(y)) and A(y) = P_ref(r ≤ r(y)), all n draws lie at or below y's reward with probability
    A(y)ⁿ, and all lie strictly below it with probability B(y)ⁿ, so

        π_n(y) = π_ref(y) (A(y)ⁿ − B(y)ⁿ) / (A(y) − B(y)) = π_ref(y) Σ_k A(y)^(n−1−k) B(y)^k,   k = 0 … n − 1

    Args:
        ref_logps: (N,), log π_ref of all N completions; their probabilities sum to 1.
        rewards: (N,), r(y). Among equally good draws the first one is kept.
        n: draws, ≥ 1.

    Returns:
        (N,) log-probs of best-of-n; their exponentials sum to 1.

    Raises:
        ValueError: shapes differ, or n < 1.
    """
    check_same_shape(ref_logps=ref_logps, rewards=rewards)
    if n < 1:
        raise ValueError(f"n must be at least 1 draw, got {n}")
    probabilities = ref_logps.exp()
    below = (rewards[None, :] < rewards[:, None]).to(probabilities) @ probabilities
    up_to = (rewards[None, :] <= rewards[:, None]).to(probabilities) @ probabilities
    powers = torch.arange(n)
    # the sum instead of the fraction: for a rare completion both differences are 0 in floating point
    lift = (up_to[:, None] ** (n - 1 - powers) * below[:, None] ** powers).sum(dim=-1)
    return ref_logps + lift.log()


def best_of_n_kl_bound(n: int) -> float:
    """log n − (n − 1)/n, in nats: KL(best-of-n ‖ reference) is at most that (Beirami et al. 2024, arXiv 2401.01879).

    It is reached where no completion that can win is likely to be drawn twice (n π_ref(y) far below 1); else the KL
    lies below.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1 draw, got {n}")
    return math.log(n) - (n - 1) / n


def adapt_beta(beta: float, kl: float, target_kl: float, gain: float = 0.1) -> float:
    """The next β of a controller that steers the KL to a target (Ziegler et al. 2019, arXiv 1909.08593, section 2.2).

    e = clip((KL − target) / target, −0.2, 0.2);   β ← β (1 + K e)

    Args:
        beta: the present weight of the KL term, > 0.
        kl: KL(π ‖ π_ref) as just measured, in nats a completion; an estimate may lie below 0.
        target_kl: where it should be, > 0.
        gain: K in (0, 5), so that β stays positive; the paper's is 0.1, which changes β by 2 % at most.

    Returns:
        The next β: higher where the policy is too far from the reference, lower where it is too close.

    Raises:
        ValueError: beta or target_kl ≤ 0, or gain outside (0, 5).
    """
    check_positive(beta=beta, target_kl=target_kl)
    if not 0 < gain < 5:
        raise ValueError(f"gain must lie in (0, 5), got {gain}: with the error at −0.2, β would reach 0")
    error = (kl - target_kl) / target_kl
    clipped = max(-0.2, min(0.2, error))
    return beta * (1 + gain * clipped)
