"""Do forecasts come true as often as they say? The bins of a reliability diagram."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpo_lab.checks import check_positive, check_probabilities
from dpo_lab.evaluation.intervals import wilson_interval

COLUMNS = ("count", "predicted", "measured", "low", "high")


def reliability_bins(predicted: Tensor, outcomes: Tensor, bins: int = 10) -> dict[str, Tensor]:
    """What a reliability diagram shows: forecasts sorted into bins, and how often each bin's came true.

    Bin k of K holds the forecasts in [k/K, (k + 1)/K), k = 0 … K − 1; a forecast of exactly 1 is in the last bin.

    Args:
        predicted: (N,), probabilities in [0, 1].
        outcomes: (N,), 1. where the event came true, else 0.
        bins: K ≥ 1, all equally wide.

    Returns:
        Five (K,) tensors: `count` (how many forecasts), `predicted` (their mean), `measured` (share that came true),
        `low` and `high` (95 % Wilson interval of `measured`). The last four are NaN where a bin is empty.

    Raises:
        ValueError: shapes differ or are not (N,), an entry lies outside [0, 1], or bins < 1.
    """
    check_forecasts(predicted, outcomes, bins)
    places = (predicted * bins).long().clamp(max=bins - 1)
    rows = []
    for place in range(bins):
        inside = places == place
        count = int(inside.sum())
        if count:
            share = wilson_interval(outcomes[inside].sum().item(), count)
            rows.append([count, predicted[inside].mean().item(), share.mean, share.low, share.high])
        else:
            rows.append([0] + 4 * [math.nan])
    table = torch.tensor(rows, dtype=torch.float64)
    return dict(zip(COLUMNS, table.unbind(dim=1), strict=True))


def check_forecasts(predicted: Tensor, outcomes: Tensor, bins: int) -> None:
    """Raise ValueError unless both are (N,) with entries in [0, 1], and bins ≥ 1."""
    check_probabilities(predicted=predicted, outcomes=outcomes)
    check_positive(bins=bins)
