"""Rewards, preference probabilities and the optimal policy: the algebra that DPO's loss falls out of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.checks import check_batch, check_positive, check_same_shape


def preference_probability(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """Probability that the first completion of each pair wins.

    P(y_w ≻ y_l) = exp(r_w) / (exp(r_w) + exp(r_l)) = σ(r_w − r_l)       (Bradley & Terry 1952)

    Args:
        chosen_rewards: (B,), r_w.
        rejected_rewards: (B,), r_l.

    Returns:
        (B,) probabilities.

    Raises:
        ValueError: shapes differ or are not (B,), or a reward is NaN.
    """
    check_batch(chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards)
    return torch.sigmoid(chosen_rewards - rejected_rewards)


def bradley_terry_loss(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """Negative log-likelihood of each observed preference, in nats: what a reward model is trained on.

    Args:
        chosen_rewards: (B,), r_w.
        rejected_rewards: (B,), r_l.

    Returns:
        (B,), −log σ(r_w − r_l), finite also where the probability underflows.

    Raises:
        ValueError: shapes differ or are not (B,), or a reward is NaN.
    """
    check_batch(chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards)
    return -logsigmoid(chosen_rewards - rejected_rewards)


def play_tournament(rewards: Tensor, games: int, seed: int = 0) -> Tensor:
    """A table of wins in which every player meets every other one `games` times, decided by Bradley-Terry.

    Args:
        rewards: (N,), the players' true rewards.
        games: games of each pair of players.
        seed: the same seed gives the same table. The first games of a longer tournament are those of a shorter one.

    Returns:
        (N, N) float64, `wins[i, j]` is how often i beat j; the diagonal is 0.

    Raises:
        ValueError: `games` is below 1.
    """
    if games < 1:
        raise ValueError(f"games must be >= 1, got {games}")
    size = len(rewards)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(games, size, size, generator=generator, dtype=torch.float64)
    first_wins = (draws < torch.sigmoid(rewards[:, None] - rewards[None, :])).double().sum(dim=0)
    wins = first_wins.triu(diagonal=1)  # each pair is drawn once, by its first player
    return wins + (games - first_wins).triu(diagonal=1).T


def fit_bradley_terry(wins: Tensor, iterations: int = 10_000, tolerance: float = 1e-10) -> Tensor:
    """Maximum-likelihood rewards from a table of wins.

    With strengths s_i = exp(r_i), repeat for all players at once (Zermelo 1929; Hunter 2004, eq. 3):

        s_i ← Σ_j w_ij  /  Σ_{j≠i} (w_ij + w_ji) / (s_i + s_j)

    Args:
        wins: (N, N), `wins[i, j]` is how often i beat j; the diagonal is ignored.
        iterations: at most so many sweeps over all players.
        tolerance: stop after the first sweep that moves no reward by as much as this.

    Returns:
        (N,) float64 rewards with mean zero: Bradley-Terry sees only differences.

    Raises:
        ValueError: `wins` is not square or has negative entries, or the players split into two groups of which one
            never beat the other: the likelihood then has no maximum. `check_wins` raises both.
        RuntimeError: no such sweep within `iterations`.
    """
    wins = check_wins(wins)
    games = wins + wins.T
    rewards = torch.zeros(len(wins), dtype=torch.float64)
    for _ in range(iterations):
        strengths = rewards.exp()
        updated = (wins.sum(dim=1) / (games / (strengths[:, None] + strengths[None, :])).sum(dim=1)).log()
        updated = updated - updated.mean()
        if (updated - rewards).abs().max() < tolerance:
            return updated
        rewards = updated
    raise RuntimeError(f"no convergence within {iterations} iterations; raise `iterations` or `tolerance`")


def check_wins(wins: Tensor) -> Tensor:
    """A float64 copy of a win table without its diagonal; ValueError if Bradley-Terry can't be fitted to it."""
    square = wins.ndim == 2 and wins.shape[0] == wins.shape[1] >= 2
    if not square or not (wins >= 0).all() or wins.isinf().any():
        raise ValueError(
            f"wins must be a square table of finite counts >= 0 of two players or more, got shape {tuple(wins.shape)}"
        )
    table = wins.double().clone().fill_diagonal_(0)
    reach = (table > 0) | torch.eye(len(table), dtype=torch.bool)
    for _ in range(len(table)):
        reach = (reach.double() @ reach.double()) > 0
    if not reach.all():
        loser, winner = torch.nonzero(~reach)[0].tolist()
        raise ValueError(
            f"no chain of wins leads from player {loser} to player {winner}: their rewards would run to infinity. "
            "Add comparisons, or a prior of half a win each way"
        )
    return table


def log_partition(ref_logps: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """log Z(x) = log Σ_y π_ref(y|x) exp(r(x, y) / β), over every completion (Rafailov et al. 2023, eq. 4).

    Args:
        ref_logps: (..., N), log π_ref of all N completions of a prompt; their probabilities sum to 1.
        rewards: (..., N), r(x, y).
        beta: weight of the KL term, > 0.

    Returns:
        (...), one number a prompt.

    Raises:
        ValueError: shapes differ, or beta ≤ 0.
    """
    check_same_shape(ref_logps=ref_logps, rewards=rewards)
    check_positive(beta=beta)
    return torch.logsumexp(ref_logps + rewards / beta, dim=-1)


def optimal_policy(ref_logps: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """Log-probabilities of the policy that maximises E[r] − β KL(π ‖ π_ref).

    log π*(y|x) = log π_ref(y|x) + r(x, y) / β − log Z(x)              (Rafailov et al. 2023, eq. 4)

    Args:
        ref_logps: (..., N), log π_ref of all N completions.
        rewards: (..., N), r(x, y).
        beta: weight of the KL term, > 0.

    Returns:
        (..., N) log-probs; their exponentials sum to 1.

    Raises:
        ValueError: shapes differ, or beta ≤ 0.
    """
    return ref_logps + rewards / beta - log_partition(ref_logps, rewards, beta)[..., None]


def implicit_rewards(policy_logps: Tensor, ref_logps: Tensor, beta: float) -> Tensor:
    """The reward that a policy acts as if it maximised, up to β log Z(x), which depends on the prompt alone.

    r̂(x, y) = β (log π(y|x) − log π_ref(y|x))                          (Rafailov et al. 2023, eq. 5 and section 5)

    Args:
        policy_logps: (..., N) or (B,), log π.
        ref_logps: the same shape, log π_ref.
        beta: weight of the KL term, > 0.

    Returns:
        Implicit rewards, of the inputs' shape.

    Raises:
        ValueError: shapes differ, or beta ≤ 0.
    """
    check_same_shape(policy_logps=policy_logps, ref_logps=ref_logps)
    check_positive(beta=beta)
    return beta * (policy_logps - ref_logps)
