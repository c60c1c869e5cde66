"""The exact world: so few completions that Z(x), KL and E[r] are sums, and DPO can be held to its own optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.bradley_terry import implicit_rewards, log_partition, optimal_policy, preference_probability
from dpo_lab.checks import check_positive, check_same_shape


class IndexPairs(NamedTuple):
    """Preference pairs of the exact world: completions are named by their index."""

    chosen: Tensor
    """(n,) indices of the completions that won."""
    rejected: Tensor
    """(n,) indices of those that lost."""
    targets: Tensor
    """(n,) the label the loss is given: 1 for a hard label, P(chosen wins) for a soft one."""


class ExactWorld:
    """One prompt, and every completion of `length` letters of `alphabet`: 6⁴ = 1,296 of them.

    The reference writes letter by letter, with random logits for each prefix. The reward of a word is the sum of its
    letters' values, plus a value for each pair of neighbours: large enough an interaction that no policy can win letter
    by letter alone. Everything is float64.

    Attributes:
        alphabet: the letters.
        completions: all N words, in alphabetical order of `alphabet`.
        letters: (N, length) the same words as letter indices.
        ref_logps: (N,) log π_ref(y), in nats; the probabilities sum to 1.
        letter_values: (A,) value of each letter.
        pair_values: (A, A) value of letter i followed by letter j.
        rewards: (N,) the true reward r(y).
    """

    def __init__(self, seed: int = 0, alphabet: str = "abcdef", length: int = 4) -> None:
        """Draw a world.

        Args:
            seed: the same seed gives the same reference and reward.
            alphabet: A distinct letters.
            length: letters in a completion; there are A ** length completions.

        Raises:
            ValueError: a letter occurs twice, or there would be fewer than 2 or more than 4,096 completions.
        """
        size = len(alphabet)
        if len(set(alphabet)) < size:
            raise ValueError(f"alphabet {alphabet!r} repeats a letter; give each once")
        if not 2 <= size**length <= 4096:
            raise ValueError(
                f"length {length} gives {size}**{length} = {size**length} completions; keep them within 2 to 4096"
            )
        generator = torch.Generator().manual_seed(seed)
        self.alphabet = alphabet
        self.completions = ["".join(word) for word in product(alphabet, repeat=length)]
        self.letters = torch.tensor(list(product(range(size), repeat=length)))
        self.ref_logps = _autoregressive_logps(size, length, generator)
        self.letter_values = torch.linspace(-0.5, 0.5, size, dtype=torch.float64)
        self.pair_values = 0.5 * torch.randn(size, size, generator=generator, dtype=torch.float64)
        self.rewards = self.letter_values[self.letters].sum(dim=-1)
        self.rewards += self.pair_values[self.letters[:, :-1], self.letters[:, 1:]].sum(dim=-1)

    def __len__(self) -> int:
        return len(self.completions)

    def log_partition(self, beta: float) -> Tensor:
        """log Z of this world's prompt, a scalar: a sum over all N completions."""
        return log_partition(self.ref_logps, self.rewards, beta)

    def optimal_logps(self, beta: float) -> Tensor:
        """(N,) log π* = log π_ref + r/β − log Z, the policy that maximises `objective`."""
        return optimal_policy(self.ref_logps, self.rewards, beta)

    def expected_reward(self, logps: Tensor) -> float:
        """E[r(y)] for y drawn from a policy, given its (N,) log-probs."""
        check_same_shape(logps=logps, rewards=self.rewards)
        return (logps.exp() * self.rewards).sum().item()

    def kl(self, logps: Tensor) -> float:
        """KL(π ‖ π_ref) in nats, given the policy's (N,) log-probs."""
        check_same_shape(logps=logps, ref_logps=self.ref_logps)
        probabilities = logps.exp()
        # a completion that the policy never gives adds nothing, but 0 · (−inf) is NaN
        terms = (probabilities * (logps - self.ref_logps)).masked_fill(probabilities == 0, 0.0)
        return terms.sum().item()

    def objective(self, logps: Tensor, beta: float) -> float:
        """E[r] − β KL(π ‖ π_ref): what RLHF maximises (Rafailov et al. 2023, eq. 3)."""
        check_positive(beta=beta)
        return self.expected_reward(logps) - beta * self.kl(logps)

    def frontier(self, betas: Iterable[float]) -> list[dict[str, float]]:
        """`beta`, `kl` and `reward` of the closed-form optimum for each beta: no policy has more reward at that KL."""
        optima = [(beta, self.optimal_logps(beta)) for beta in betas]
        return [
            {"beta": b, "kl": self.kl(logps), "reward": self.expected_reward(logps)} for b, logps in optima
        ]

    @cached_property
    def win_probabilities(self) -> Tensor:
        """(N, N), entry i, j is P(i ≻ j) = σ(r_i − r_j); ½ on the diagonal."""
        size = len(self)
        first, second = self.rewards.repeat_interleave(size), self.rewards.repeat(size)
        return preference_probability(first, second).view(size, size)

    @cached_property
    def pair_weights(self) -> Tensor:
        """(N, N), entry i, j is the probability that a pair drawn from π_ref comes out as chosen i, rejected j."""
        drawn = self.ref_logps.exp()
        return (
            2 * drawn[:, None] * drawn[None, :] * self.win_probabilities
        )  # twice: either may be drawn first

    def dpo_limit_loss(self, logits: Tensor, beta: float) -> Tensor:
        """DPO's loss in the limit of infinite data: its mean over every pair, weighted by how often π_ref gives it.

        E[−log σ(m)], m = r̂(y_w) − r̂(y_l), r̂ = β (log π − log π_ref), with both completions drawn from π_ref and the
        label from Bradley-Terry on the true reward.

        Args:
            logits: (N,), one a completion; the policy is their softmax.
            beta: weight of the KL term, > 0.

        Returns:
            a scalar, differentiable in `logits`.
        """
        rewards = implicit_rewards(logits.log_softmax(dim=-1), self.ref_logps, beta)
        return -(self.pair_weights * logsigmoid(rewards[:, None] - rewards[None, :])).sum()

    def sample_pairs(self, n: int, seed: int = 0, soft: bool = False) -> IndexPairs:
        """Draw n pairs of different completions from π_ref, each judged once by Bradley-Terry on the true reward.

        Args:
            n: number of pairs.
            seed: fixes both the completions and who wins.
            soft: give the loss P(chosen wins) instead of the outcome 1. The pairs of a seed stay the same.
        """
        if n < 1:
            raise ValueError(f"n must be >= 1, got {n}")
        generator = torch.Generator().manual_seed(seed)
        probabilities = self.ref_logps.exp()
        drawn = probabilities.multinomial(2 * n, replacement=True, generator=generator).view(n, 2)
        while (same := drawn[:, 0] == drawn[:, 1]).any():  # a completion against itself teaches nothing
            again = probabilities.multinomial(2 * int(same.sum()), replacement=True, generator=generator)
            drawn[same] = again.view(-1, 2)
        first, second = drawn.unbind(dim=-1)
        first_wins = (
            torch.rand(n, generator=generator, dtype=torch.float64) < self.win_probabilities[first, second]
        )
        chosen, rejected = torch.where(first_wins, first, second), torch.where(first_wins, second, first)
        targets = self.win_probabilities[chosen, rejected] if soft else torch.ones(n, dtype=torch.float64)
        return IndexPairs(chosen, rejected, targets)

    def pair_loss(self, logits: Tensor, pairs: IndexPairs, beta: float) -> Tensor:
        """DPO's mean loss on finitely many pairs: −t log σ(m) − (1 − t) log σ(−m), t the target. A scalar."""
        rewards = implicit_rewards(logits.log_softmax(dim=-1), self.ref_logps, beta)
        margins = rewards[pairs.chosen] - rewards[pairs.rejected]
        return -(pairs.targets * logsigmoid(margins) + (1 - pairs.targets) * logsigmoid(-margins)).mean()

    def ipo_optimum(self, tau: float) -> Tensor:
        """(N,) log-probs that IPO's loss on infinite data leads to: log π_ref + P(y beats a draw from π_ref)/τ − log Z.

        IPO maximises how often the policy beats the reference, minus τ KL, not the reward (Azar et al. 2023, eq. 8).
        """
        return optimal_policy(self.ref_logps, self.win_probabilities @ self.ref_logps.exp(), tau)

    def ipo_limit_loss(self, logits: Tensor, tau: float) -> Tensor:
        """IPO's loss in the limit of infinite data, (δ − 1/(2τ))² averaged over `pair_weights`. A scalar."""
        log_ratios = logits.log_softmax(dim=-1) - self.ref_logps
        return (self.pair_weights * (log_ratios[:, None] - log_ratios[None, :] - 1 / (2 * tau)) ** 2).sum()

    def ipo_pair_loss(self, logits: Tensor, pairs: IndexPairs, tau: float) -> Tensor:
        """IPO's mean loss on finitely many pairs: t (δ − 1/(2τ))² + (1 − t) (δ + 1/(2τ))², t the target. A scalar."""
        log_ratios = logits.log_softmax(dim=-1) - self.ref_logps
        gaps, goal = log_ratios[pairs.chosen] - log_ratios[pairs.rejected], 1 / (2 * tau)
        return (pairs.targets * (gaps - goal) ** 2 + (1 - pairs.targets) * (gaps + goal) ** 2).mean()

    def fit(
        self, beta: float, pairs: IndexPairs | None = None, steps: int = 200, loss: str = "sigmoid"
    ) -> Tensor:
        """Train a softmax over all completions with DPO or IPO, starting at the reference.

        Args:
            beta: weight of the KL term, > 0; IPO's τ.
            pairs: train on these; None: on infinite data.
            steps: at most so many L-BFGS steps. Hard labels in which some completion never lost have no optimum under
                DPO: its margin grows with every step, whatever beta is.
            loss: "sigmoid" is DPO, "ipo" is IPO.

        Returns:
            (N,) log-probs of the trained policy.

        Raises:
            ValueError: beta ≤ 0, or another loss.
        """
        check_positive(beta=beta)
        losses = {
            "sigmoid": (self.dpo_limit_loss, self.pair_loss),
            "ipo": (self.ipo_limit_loss, self.ipo_pair_loss),
        }
        if loss not in losses:
            raise ValueError(f"loss must be one of {', '.join(losses)}, got {loss!r}")
        limit, finite = losses[loss]
        bend = beta if loss == "sigmoid" else 1.0
        if pairs is None:
            return _minimise(lambda logits: limit(logits, beta), self.ref_logps, bend, steps)
        return _minimise(lambda logits: finite(logits, pairs, beta), self.ref_logps, bend, steps)


def _autoregressive_logps(size: int, length: int, generator: torch.Generator) -> Tensor:
    """(size ** length,) log-probs of all words under one random next-letter distribution a prefix."""
    logps = torch.zeros(1, dtype=torch.float64)
    for position in range(length):
        logits = torch.randn(size**position, size, generator=generator, dtype=torch.float64)
        logps = (
            logps[:, None] + logits.log_softmax(dim=-1)
        ).flatten()  # every prefix, followed by every letter
    return logps


def _minimise(loss: Callable[[Tensor], Tensor], ref_logps: Tensor, bend: float, steps: int) -> Tensor:
    """(N,) log-probs of the softmax that minimises `loss` of its logits, by L-BFGS from the reference on.

    The search runs in units in which the loss bends about equally in every direction: completion i's logit moves the
    loss by bend² π_ref(i), where bend is β for DPO and 1 for IPO, so that a plain search would reach rare completions
    last, and those are where a low β sends π*.
    """
    scale = 1 / (bend * (0.5 * ref_logps).exp())
    moves = torch.zeros_like(ref_logps, requires_grad=True)
    search = torch.optim.LBFGS(
        [moves],
        max_iter=steps,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        search.zero_grad()
        value = loss(ref_logps + scale * moves)
        value.backward()
        return value

    search.step(closure)
    return (ref_logps + scale * moves.detach()).log_softmax(dim=-1)
