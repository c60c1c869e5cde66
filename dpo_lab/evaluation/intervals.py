"""How sure is a number: confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


def bootstrap_interval(
    values: Sequence[float] | Tensor, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean (Efron 1979).

    For a before-after comparison on the same prompts give the differences: pairing removes the prompts' own spread.

    Args:
        values: N independent measurements, N ≥ 2.
        level: share of such intervals that hold the true mean, in (0, 1).
        resamples: draws of N values with replacement.
        seed: of the draws.

    Returns:
        The mean and the interval.

    Raises:
        ValueError: fewer than two values, one that is not finite, or a level outside (0, 1).
    """
    data = torch.as_tensor(values, dtype=torch.float64).flatten()
    if len(data) < 2 or not data.isfinite().all():
        raise ValueError(f"values must hold at least two finite numbers, got {len(data)}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(data), (resamples, len(data)), generator=generator)
    means = data[draws].mean(dim=1)
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(data.mean().item(), low, high)


def wilson_interval(wins: float, comparisons: int, level: float = 0.95) -> Interval:
    """Interval of a share, such as a win rate or an accuracy (Wilson 1927).

    With p̂ = wins / n and z the normal quantile of (1 + level) / 2 (1.96 for 95 %), the ends are

        ( p̂ + z²/2n ± z √( p̂ (1 − p̂)/n + z²/4n² ) ) / ( 1 + z²/n )

    They lie in [0, 1] and keep a width where all comparisons went one way, which p̂ ± z √(p̂ (1 − p̂)/n) does not.

    Args:
        wins: how many of the comparisons were won; a tie may count one half, which errs on the wide side.
        comparisons: n ≥ 1, independent of each other.
        level: share of such intervals that hold the true share, in (0, 1).

    Returns:
        An `Interval` whose `mean` is p̂ (not the interval's middle).

    Raises:
        ValueError: n < 1, wins outside [0, n], or a level outside (0, 1).
    """
    check_counts(wins, comparisons, level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, n = wins / comparisons, comparisons
    middle = share + z**2 / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return Interval(share, (middle - reach) / scale, (middle + reach) / scale)


def check_counts(wins: float, comparisons: int, level: float) -> None:
    """Raise ValueError unless 0 ≤ wins ≤ comparisons, comparisons ≥ 1 and level in (0, 1)."""
    if comparisons < 1:
        raise ValueError(f"comparisons must be at least 1, got {comparisons}")
    if not 0 <= wins <= comparisons:
        raise ValueError(f"wins must lie in [0, {comparisons}], the number of comparisons, got {wins}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}; write 95 % as 0.95")
