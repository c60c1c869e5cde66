"""Is the implicit reward's win probability right? Predicted against measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.checks import check_positive, check_probabilities
from dpo_lab.encoding import encode_pairs
from dpo_lab.policies import Policy
from dpo_lab.trainer import pair_logprobs


class Calibration(NamedTuple):
    """How a policy's implicit reward does as a forecast of who wins."""

    error: float
    """expected calibration error, in [0, 1]: 0 is a perfect forecaster."""
    predicted: float
    """mean probability that the policy gives to the completion it favours."""
    measured: float
    """share of pairs in which that completion is the chosen one. Well below `predicted`: overconfident."""
    loss: float
    """mean −log σ(m) in nats; ln 2 without an opinion."""


def calibration_error(predicted: Tensor, outcomes: Tensor, bins: int = 10) -> float:
    """Expected calibration error of forecasts (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599).

    ECE = Σ_k (n_k / N) |mean outcome of bin k − mean forecast of bin k|

    Bin k of K holds the forecasts in [k/K, (k + 1)/K), k = 0 … K − 1; a forecast of exactly 1 is in the last bin.
    Empty bins add nothing.

    Args:
        predicted: (N,), probabilities in [0, 1].
        outcomes: (N,), 1. where the event came true, else 0.; probabilities are allowed too.
        bins: K >= 1, all equally wide.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: shapes differ or are not (N,), an entry lies outside [0, 1], or bins < 1.
    """
    check_probabilities(predicted=predicted, outcomes=outcomes)
    check_positive(bins=bins)
    places = (predicted * bins).long().clamp(max=bins - 1)
    error = 0.0
    for place in range(bins):
        inside = places == place
        if inside.any():
            gap = outcomes[inside].double().mean() - predicted[inside].double().mean()
            error += inside.double().mean().item() * abs(gap.item())
    return error


def calibration(
    policy: Policy, reference: Policy, pairs: Sequence[Mapping[str, Any]], beta: float, bins: int = 10
) -> Calibration:
    """Compare the win probability σ(margin) with what annotators chose, on pairs that were not trained on.

    The completion with the higher implicit reward is the forecast's favourite, so forecasts run from ½ to 1.

    Args:
        policy: the trained model.
        reference: the frozen one.
        pairs: held-out rows with `prompt`, `chosen`, `rejected`.
        beta: as in training: the margin is β times the log-ratio gap.
        bins: of `calibration_error`, over [0, 1].

    Raises:
        ValueError: no pairs, one that can't be used, or beta ≤ 0.
    """
    check_positive(beta=beta)
    encoded = encode_pairs(policy.tokenizer, pairs)
    chosen, rejected = pair_logprobs(policy, *encoded, batch_size=64)
    ref_chosen, ref_rejected = pair_logprobs(reference, *encoded, batch_size=64)
    margins = beta * ((chosen - ref_chosen) - (rejected - ref_rejected)).double()
    favourite = margins.abs().sigmoid()
    won = torch.where(margins == 0, 0.5, (margins > 0).double())  # no opinion: a fair coin
    return Calibration(
        error=calibration_error(favourite, won, bins),
        predicted=favourite.mean().item(),
        measured=won.mean().item(),
        loss=-logsigmoid(margins).mean().item(),
    )
