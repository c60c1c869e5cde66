"""PPO in the exact world: a table of next-letter logits, one row a prefix, beside a table of values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter

from dpo_lab.baselines.ppo import PPOConfig, Rollout, run_ppo
from dpo_lab.checks import check_same_shape
from dpo_lab.history import History
from dpo_lab.worlds.exact import ExactWorld


class TablePolicy:
    """A policy that writes letter by letter, with free logits for each prefix: it can be any distribution over words.

    Args:
        world: its reference is where the logits start.
        rewards: (N,), what PPO is given as each word's reward; None takes the true ones.

    Attributes:
        logits: (P, A), one row a prefix: the empty one first, then those of one letter, and so on.
        value: (P,), the expected reward still to come at each prefix; starts at 0.

    Raises:
        ValueError: `rewards` is not (N,).
    """

    def __init__(self, world: ExactWorld, rewards: Tensor | None = None) -> None:
        self.world = world
        self.rewards = world.rewards if rewards is None else rewards
        check_same_shape(rewards=self.rewards, world_rewards=world.rewards)
        self.prefixes = prefix_numbers(world)
        self.ref_table = reference_table(world)
        self.logits = Parameter(self.ref_table.clone())
        self.value = Parameter(torch.zeros(len(self.ref_table), dtype=torch.float64))
        self.policy_parameters, self.value_parameters = [self.logits], [self.value]

    def token_logps(self, table: Tensor) -> Tensor:
        """(N, length) log-prob of every letter of every word under a (P, A) table of logits."""
        return table.log_softmax(dim=-1)[self.prefixes, self.world.letters]

    def logps(self) -> Tensor:
        """(N,) log π of every word, without gradient."""
        return self.token_logps(self.logits.detach()).sum(dim=-1)

    def rollout(self, size: int, seed: int) -> Rollout:
        """Draw words and look up all that PPO wants to know of them."""
        generator = torch.Generator().manual_seed(seed)
        token_logps = self.token_logps(self.logits.detach())
        words = token_logps.sum(dim=-1).exp().multinomial(size, replacement=True, generator=generator)
        return Rollout(
            completions=words,
            mask=torch.ones_like(self.prefixes[words], dtype=torch.bool),
            logps=token_logps[words],
            ref_logps=self.token_logps(self.ref_table)[words],
            values=self.value.detach()[self.prefixes[words]],
            scores=self.rewards[words],
        )

    def evaluate(self, rollout: Rollout, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probs, values and entropies of these rows' letters, with gradients."""
        words = rollout.completions[rows]
        prefixes = self.prefixes[words]
        table = self.logits.log_softmax(dim=-1)
        entropies = -(table.exp() * table).sum(dim=-1)
        return table[prefixes, self.world.letters[words]], self.value[prefixes], entropies[prefixes]


def exact_ppo(
    world: ExactWorld,
    config: PPOConfig,
    rewards: Tensor | None = None,
    callback: Callable[[History, TablePolicy], None] | None = None,
) -> tuple[Tensor, History]:
    """Train a table with PPO, starting at the world's reference.

    Args:
        world: reference and true reward.
        config: see `PPOConfig`; settings of language models are not looked at.
        rewards: (N,), what PPO is given as reward; None takes the true ones.
        callback: called with the history and the policy after each batch.

    Returns:
        (N,) log-probs of the trained policy, and the history.
    """
    policy = TablePolicy(world, rewards)
    follow = None if callback is None else (lambda history: callback(history, policy))
    history = run_ppo(policy, config, follow)
    return policy.logps(), history


def prefix_numbers(world: ExactWorld) -> Tensor:
    """(N, length): the row of the table from which each letter of each word is drawn."""
    size, (words, length) = len(world.alphabet), world.letters.shape
    index, offset, columns = torch.arange(words), 0, []
    for position in range(length):
        columns.append(offset + index // size ** (length - position))
        offset += size**position
    return torch.stack(columns, dim=1)


def reference_table(world: ExactWorld) -> Tensor:
    """(P, A) log-probs of the reference's next letter after each prefix, from those of whole words."""
    size, length = len(world.alphabet), world.letters.shape[1]
    logps, tables = world.ref_logps, []
    for _ in range(length):
        table = logps.view(-1, size)
        tables.append(table.log_softmax(dim=-1))
        logps = table.logsumexp(dim=-1)
    return torch.cat(tables[::-1])
