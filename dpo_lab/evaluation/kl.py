"""Estimators of KL(π ‖ π_ref) from samples of the policy."""

from __future__ import annotations

import torch
from torch import Tensor

from dpo_lab.checks import check_batch

KL_ESTIMATORS = ("k1", "k2", "k3")


def kl_estimate(policy_logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Monte-Carlo estimate of KL(π ‖ π_ref), in nats a completion.

    KL(π ‖ π_ref) = E_{y ~ π} [log π(y|x) − log π_ref(y|x)]

    Args:
        policy_logps: (N,), log π of completions that were sampled **from the policy**.
        ref_logps: (N,), log π_ref of the same completions.

    Returns:
        A scalar. Unbiased, so it can come out below zero on few samples, which the KL itself never is.

    Raises:
        ValueError: shapes differ or are not (N,), or a log-prob is NaN.
    """
    check_batch(policy_logps=policy_logps, ref_logps=ref_logps)
    return (policy_logps - ref_logps).mean()


def kl_terms(policy_logps: Tensor, ref_logps: Tensor, estimator: str = "k1") -> Tensor:
    """What each sample of the policy contributes to an estimate of KL(π ‖ π_ref); the estimate is the mean.

    With log r = log π_ref(y|x) − log π(y|x) (Schulman 2020, "Approximating KL divergence"):

        k1 = −log r           unbiased; a sample may be negative
        k2 = (log r)² / 2     biased; never negative
        k3 = r − 1 − log r    unbiased where π > 0 wherever π_ref > 0; never negative

    Args:
        policy_logps: (N,), log π of completions that were sampled **from the policy**, in nats.
        ref_logps: (N,), log π_ref of the same completions.
        estimator: "k1", "k2" or "k3".

    Returns:
        (N,), in nats.

    Raises:
        ValueError: shapes differ or are not (N,), a log-prob is NaN, or another estimator.
    """
    check_batch(policy_logps=policy_logps, ref_logps=ref_logps)
    log_ratio = ref_logps - policy_logps
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio**2 / 2
    if estimator == "k3":
        return torch.expm1(log_ratio) - log_ratio  # expm1: r - 1 without cancellation where r is close to 1
    raise ValueError(f"estimator must be one of {', '.join(KL_ESTIMATORS)}, got {estimator!r}")
