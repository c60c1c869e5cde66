"""Win rates: which of two policies does a judge prefer, whichever is shown first?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from dpo_lab.checks import check_batch
from dpo_lab.evaluation.intervals import Interval, bootstrap_interval
from dpo_lab.evaluation.judges import Judge
from dpo_lab.evaluation.significance import sign_test


def win_rate(policy_rewards: Tensor, reference_rewards: Tensor) -> float:
    """How often the policy's completion beats the reference's for the same prompt.

    Args:
        policy_rewards: (N,), a judge's score of the policy's completion for each of N prompts; higher is better.
        reference_rewards: (N,), the scores of the reference's completions for the same prompts.

    Returns:
        A number from 0 to 1: each win counts 1, each tie one half, so that a policy against itself gets 0.5.

    Raises:
        ValueError: shapes differ or are not (N,), or a score is NaN.
    """
    check_batch(policy_rewards=policy_rewards, reference_rewards=reference_rewards)
    wins = policy_rewards > reference_rewards
    ties = policy_rewards == reference_rewards
    return (wins.double() + 0.5 * ties.double()).mean().item()


class Verdicts(NamedTuple):
    """What a judge said of N comparisons, each shown in both orders."""

    scores: Tensor
    """(N,) float64, our side's mean of its two votes: 1 won twice, ½ undecided, 0 lost twice."""
    first: float
    """mean vote for the answer that was shown first, over all 2N votes; ½ if the order doesn't matter."""


def judge_both_orders(
    judge: Judge, prompts: Sequence[Any], ours: Sequence[str], theirs: Sequence[str]
) -> Verdicts:
    """Ask a judge about each pair of answers twice, with the sides exchanged (Zheng et al. 2023, section 3.4).

    A judge who always takes the first answer gives each side one vote: a score of ½ for every comparison.

    Args:
        judge: called as judge(prompt, first, second); returns 1 if the first answer is better, 0 if the second is, ½
            for a tie.
        prompts: N prompts.
        ours: N answers of the policy that is evaluated.
        theirs: N answers of the other one, to the same prompts.

    Returns:
        `Verdicts(scores, first)`: our side's score in each comparison, and how often the first place won.

    Raises:
        ValueError: lengths differ or are 0, or a vote lies outside [0, 1].
    """
    check_comparisons(prompts, ours, theirs)
    ours_first = [judge(x, mine, other) for x, mine, other in zip(prompts, ours, theirs, strict=True)]
    theirs_first = [judge(x, other, mine) for x, mine, other in zip(prompts, ours, theirs, strict=True)]
    votes = torch.tensor([ours_first, theirs_first], dtype=torch.float64)
    check_votes(votes)
    return Verdicts(scores=(votes[0] + 1 - votes[1]) / 2, first=votes.mean().item())


def judge_one_order(
    judge: Judge, prompts: Sequence[Any], ours: Sequence[str], theirs: Sequence[str]
) -> Tensor:
    """(N,) float64, votes for our side when it is always shown first: half the work, open to the judge's leaning.

    Arguments and errors as in `judge_both_orders`.
    """
    check_comparisons(prompts, ours, theirs)
    votes = [judge(x, mine, other) for x, mine, other in zip(prompts, ours, theirs, strict=True)]
    found = torch.tensor(votes, dtype=torch.float64)
    check_votes(found)
    return found


@dataclass(frozen=True)
class WinRate:
    """A win rate with what one needs to believe it.

    Attributes:
        rate: mean score with its 95 % bootstrap interval; ties count one half.
        wins: comparisons with a score above ½.
        ties: at ½.
        losses: below ½.
        p_value: of the sign test on wins and losses.
    """

    rate: Interval
    wins: int
    ties: int
    losses: int
    p_value: float


def summarise_scores(scores: Tensor, seed: int = 0) -> WinRate:
    """Win rate, interval, ties and sign test of N ≥ 2 independent comparisons, from their scores in [0, 1]."""
    check_batch(scores=scores)
    wins, losses = int((scores > 0.5).sum()), int((scores < 0.5).sum())
    rate = bootstrap_interval(scores, seed=seed)
    return WinRate(rate, wins, len(scores) - wins - losses, losses, sign_test(wins, losses))


def length_controlled_win_rate(scores: Tensor, length_differences: Tensor) -> float:
    """The win rate that a logistic fit gives two answers of equal length (after Dubois et al. 2024, arXiv 2404.04475).

    P(win) = σ(a + b · length difference) is fitted to the scores; reported is σ(a). That takes out all that goes with
    length: a judge's weakness for long answers, and also what longer answers are really worth.

    Args:
        scores: (N,), our side's scores in [0, 1].
        length_differences: (N,), ours minus theirs, in words or tokens.

    Returns:
        A number in (0, 1).

    Raises:
        ValueError: shapes differ or are not (N,), or an entry is NaN.
    """
    check_batch(scores=scores, length_differences=length_differences)
    spread = length_differences.double().std(unbiased=False).clamp_min(1e-9)
    inputs, targets = length_differences.double() / spread, scores.double()
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = binary_cross_entropy_with_logits(weights[0] + weights[1] * inputs, targets)
        loss = loss + 1e-6 * weights.square().sum()  # keeps the fit finite where every comparison was won
        loss.backward()
        return loss

    search.step(closure)
    return weights[0].sigmoid().item()


def check_comparisons(prompts: Sequence[Any], ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Raise ValueError unless there are equally many of all three, at least one."""
    counts = {"prompts": len(prompts), "ours": len(ours), "theirs": len(theirs)}
    if len(set(counts.values())) > 1 or not len(prompts):
        listing = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(f"need one answer of each side for every prompt, got {listing}")


def check_votes(votes: Tensor) -> None:
    """Raise ValueError unless every vote lies in [0, 1]."""
    outside = votes[~((votes >= 0) & (votes <= 1))]
    if len(outside):
        raise ValueError(
            f"a judge must return a number in [0, 1] (1: the first is better), got {outside[0]:g}"
        )
