"""Could it be luck? The sign test, its power, and how many comparisons a question needs."""

from __future__ import annotations

import math
from statistics import NormalDist


def binomial_probability(successes: int, trials: int, probability: float) -> float:
    """C(n, k) pᵏ (1 − p)ⁿ⁻ᵏ: the chance of exactly k successes in n trials of probability p each."""
    if probability in (0, 1):
        return float(successes == trials * probability)
    ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    return math.exp(
        ways + successes * math.log(probability) + (trials - successes) * math.log1p(-probability)
    )


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact sign test of "either side wins equally often" (ties say nothing and are left out).

    Under that hypothesis the wins of n = wins + losses comparisons are a fair coin's heads. The p-value is the chance
    of a result at least as lopsided as this one, in either direction:

        p = min(1, 2 P(K ≥ max(wins, losses))),  K ~ Binomial(n, ½)

    Args:
        wins: comparisons that our side won.
        losses: comparisons that it lost.

    Returns:
        The p-value, in (0, 1]. Without any decided comparison it is 1.

    Raises:
        ValueError: a count is negative or not a whole number.
    """
    check_whole(wins=wins, losses=losses)
    decided = wins + losses
    tail = sum(binomial_probability(k, decided, 0.5) for k in range(max(wins, losses), decided + 1))
    return min(1.0, 2 * tail)


def sign_test_power(comparisons: int, win_probability: float, alpha: float = 0.05) -> float:
    """How likely the sign test is to notice: the chance of a p-value of at most alpha.

    Args:
        comparisons: n decided comparisons, independent of each other.
        win_probability: the true chance p that our side wins one of them.
        alpha: the p-value from which on one calls a difference found.

    Returns:
        Σ P(K = k) over the k in 0 … n with sign_test(k, n − k) ≤ alpha, K ~ Binomial(n, p). At p = ½ that is the rate
        of false alarms, which is at most alpha.

    Raises:
        ValueError: comparisons is no whole number ≥ 0, or a probability lies outside [0, 1].
    """
    check_whole(comparisons=comparisons)
    check_probability(win_probability=win_probability, alpha=alpha)
    return sum(
        binomial_probability(wins, comparisons, win_probability)
        for wins in range(comparisons + 1)
        if sign_test(wins, comparisons - wins) <= alpha
    )


def comparisons_needed(win_probability: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """About how many decided comparisons the sign test needs to notice a given win probability.

    m = ( (z_{1−α/2} / 2 + z_power √(p (1 − p))) / (p − ½) )² is the normal approximation, and

        n = m/4 · ( 1 + √(1 + 2 / (m |p − ½|)) )²

    allows for wins being whole numbers (Fleiss's continuity correction). `sign_test_power` gives the exact power of n,
    within a few hundredths of the one wished for: it goes up and down from one n to the next.

    Args:
        win_probability: the smallest advantage that shall not be missed, in (0, 1) but not ½.
        power: how sure one wants to be to notice it.
        alpha: as in `sign_test_power`.

    Raises:
        ValueError: a probability lies outside (0, 1), or win_probability is ½: no number is enough to see nothing.
    """
    for name, value in {"win_probability": win_probability, "power": power, "alpha": alpha}.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {value}")
    if win_probability == 0.5:
        raise ValueError(
            "win_probability is 0.5: no number of comparisons can show a difference that isn't there"
        )
    normal = NormalDist()
    luck = normal.inv_cdf(1 - alpha / 2) / 2
    margin = normal.inv_cdf(power) * math.sqrt(win_probability * (1 - win_probability))
    advantage = abs(win_probability - 0.5)
    smooth = ((luck + margin) / advantage) ** 2
    return math.ceil(smooth / 4 * (1 + math.sqrt(1 + 2 / (smooth * advantage))) ** 2)


def check_whole(**counts: int) -> None:
    """Raise ValueError unless every count is a whole number ≥ 0."""
    for name, count in counts.items():
        if count < 0 or count != int(count):
            raise ValueError(f"{name} must be a whole number >= 0, got {count}; leave ties out")


def check_probability(**values: float) -> None:
    """Raise ValueError unless every value lies in [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
