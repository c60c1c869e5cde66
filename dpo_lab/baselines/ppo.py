"""PPO with a KL penalty in the reward: sample, score, estimate advantages, take a few clipped steps, throw away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter
from tqdm.auto import tqdm

from dpo_lab.baselines.advantages import check_unit, gae, kl_shaped_rewards, whiten
from dpo_lab.baselines.ppo_loss import approximate_kl, ppo_policy_loss, ppo_value_loss
from dpo_lab.beta import adapt_beta
from dpo_lab.checks import check_positive
from dpo_lab.history import History


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """A PPO run.

    Args:
        beta: weight of the KL penalty, > 0; the start value where `target_kl` is given.
        target_kl: nats a completion that an adaptive β steers to (`beta.adapt_beta`); None keeps β.
        kl_gain: gain of that controller.
        steps: batches that are sampled.
        batch_size: completions in each.
        epochs: passes over a batch before it is thrown away.
        minibatches: optimiser steps a pass.
        lr: of the policy; falls linearly to a tenth.
        value_lr: of the value model, likewise.
        clip_range: ε of the policy's loss.
        value_clip_range: ε of the value's loss, in units of reward.
        gamma: discount.
        lam: λ of GAE.
        entropy_weight: bonus for entropy, in units of advantage a nat; 0 leaves it out, as the KL penalty holds the
            policy already.
        max_grad_norm: of policy and value model each.
        max_new_tokens: longest completion, for language models.
        missing_eos_penalty: taken off the score of a completion that does not end within `max_new_tokens`.
        seed: of sampling and minibatches.
        progress: show a progress bar.
    """

    beta: float = 0.1
    target_kl: float | None = None
    kl_gain: float = 0.1
    steps: int = 40
    batch_size: int = 64
    epochs: int = 4
    minibatches: int = 1
    lr: float = 3e-4
    value_lr: float = 1e-3
    clip_range: float = 0.2
    value_clip_range: float = 1.0
    gamma: float = 1.0
    lam: float = 0.95
    entropy_weight: float = 0.0
    max_grad_norm: float = 1.0
    max_new_tokens: int = 80
    missing_eos_penalty: float = 0.0
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        positive = "beta kl_gain steps batch_size epochs minibatches lr value_lr clip_range value_clip_range "
        positive += "max_grad_norm max_new_tokens"
        check_positive(**{name: getattr(self, name) for name in positive.split()})
        check_unit(gamma=self.gamma, lam=self.lam)
        if self.target_kl is not None:
            check_positive(target_kl=self.target_kl)
        for name in ("entropy_weight", "missing_eos_penalty"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a finite number >= 0, got {getattr(self, name)}")
        if self.minibatches > self.batch_size:
            raise ValueError(
                f"minibatches {self.minibatches} exceeds batch_size {self.batch_size}: some would be empty"
            )


class Rollout(NamedTuple):
    """A batch of completions as they were sampled; nothing of it carries a gradient."""

    completions: Any
    """B completions in the actor's own form."""
    mask: Tensor
    """(B, T) bool, true at their tokens."""
    logps: Tensor
    """(B, T), log π_old of each token."""
    ref_logps: Tensor
    """(B, T), log π_ref of each token."""
    values: Tensor
    """(B, T), the value model's estimates before each token."""
    scores: Tensor
    """(B,), reward of each completion."""


class Actor(Protocol):
    """What PPO needs of a world: completions with their numbers, and the same numbers anew with gradients."""

    policy_parameters: list[Parameter]
    value_parameters: list[Parameter]

    def rollout(self, size: int, seed: int) -> Rollout:
        """Sample and score so many completions."""

    def evaluate(self, rollout: Rollout, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probs, values and entropies of these rows' tokens, each (rows, T), with gradients."""


def run_ppo(actor: Actor, config: PPOConfig, callback: Callable[[History], None] | None = None) -> History:
    """Train an actor in place.

    Args:
        actor: policy and value model in some world.
        config: see `PPOConfig`.
        callback: called with the history after each batch.

    Returns:
        The history, one record a batch, under TRL's metric names. `objective/kl` is in nats a completion,
        `policy/approxkl_avg` in nats a token; `objective/rlhf_reward` is score − β KL.

    Raises:
        FloatingPointError: a gradient norm is not finite.
    """
    groups = [
        {"params": actor.policy_parameters, "lr": config.lr},
        {"params": actor.value_parameters, "lr": config.value_lr},
    ]
    optimizer = torch.optim.Adam(groups)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=config.steps)
    history, beta = History(), config.beta
    shuffle = torch.Generator().manual_seed(config.seed)
    for step in tqdm(range(1, config.steps + 1), desc="PPO", unit="batch", disable=not config.progress):
        rollout = actor.rollout(config.batch_size, seed=config.seed * 100_003 + step)
        learning_rate = decay.get_last_lr()[0]
        metrics = objective_metrics(rollout, beta)
        metrics |= update(actor, rollout, beta, optimizer, config, shuffle)
        decay.step()
        history.log(step, episode=step * config.batch_size, **metrics, beta=beta, lr=learning_rate)
        if config.target_kl is not None:
            beta = adapt_beta(beta, metrics["objective/kl"], config.target_kl, config.kl_gain)
        if callback is not None:
            callback(history)
    return history


def update(
    actor: Actor,
    rollout: Rollout,
    beta: float,
    optimizer: torch.optim.Optimizer,
    config: PPOConfig,
    shuffle: torch.Generator,
) -> dict[str, float]:
    """`epochs` passes over one batch; the means of what was seen on the way."""
    rewards = kl_shaped_rewards(rollout.scores, rollout.logps, rollout.ref_logps, rollout.mask, beta)
    advantages = gae(rewards, rollout.values, rollout.mask, config.gamma, config.lam)
    returns = advantages + rollout.values
    advantages = whiten(advantages, rollout.mask)
    seen: list[dict[str, float]] = []
    for _ in range(config.epochs):
        order = torch.randperm(len(rollout.mask), generator=shuffle)
        for rows in order.chunk(config.minibatches):
            loss, metrics = minibatch_loss(actor, rollout, rows, advantages, returns, config)
            optimizer.zero_grad()
            loss.backward()
            metrics["grad_norm"] = clip_gradients(optimizer, config.max_grad_norm)
            optimizer.step()
            seen.append(metrics)
    return {name: sum(metrics[name] for metrics in seen) / len(seen) for name in seen[0]}


def minibatch_loss(
    actor: Actor, rollout: Rollout, rows: Tensor, advantages: Tensor, returns: Tensor, config: PPOConfig
) -> tuple[Tensor, dict[str, float]]:
    """Policy loss + value loss − entropy bonus on some rows of a batch, and their metrics.

    The two losses move different parameters, so they need no weight between them.
    """
    mask, old_logps, old_values = rollout.mask[rows], rollout.logps[rows], rollout.values[rows]
    logps, values, entropies = actor.evaluate(rollout, rows)
    policy_loss, clip_fraction = ppo_policy_loss(logps, old_logps, advantages[rows], mask, config.clip_range)
    value_loss = ppo_value_loss(values, old_values, returns[rows], mask, config.value_clip_range)
    entropy = entropies[mask].mean()
    value_moved = (values - old_values).abs() > config.value_clip_range
    metrics = {
        "loss/policy_avg": policy_loss.item(),
        "loss/value_avg": value_loss.item(),
        "policy/clipfrac_avg": clip_fraction.item(),
        "policy/approxkl_avg": approximate_kl(logps.detach(), old_logps, mask).item(),
        "policy/entropy_avg": entropy.item(),
        "val/clipfrac_avg": value_moved[mask].double().mean().item(),
        "val/ratio": (logps.detach() - old_logps).exp()[mask].mean().item(),
    }
    return policy_loss + value_loss - config.entropy_weight * entropy, metrics


def objective_metrics(rollout: Rollout, beta: float) -> dict[str, float]:
    """What a batch says of the policy that sampled it."""
    kl = (rollout.logps - rollout.ref_logps).masked_fill(~rollout.mask, 0.0).sum(dim=-1).mean().item()
    surprise = -rollout.logps.masked_fill(~rollout.mask, 0.0).sum(dim=-1).mean().item()
    score = rollout.scores.mean().item()
    return {
        "objective/scores": score,
        "objective/kl": kl,
        "objective/non_score_reward": -beta * kl,
        "objective/rlhf_reward": score - beta * kl,
        "objective/entropy": surprise,
        "completions/mean_length": rollout.mask.sum(dim=-1).double().mean().item(),
    }


def clip_gradients(optimizer: torch.optim.Optimizer, max_grad_norm: float) -> float:
    """Shrink each parameter group's gradient to at most this norm; the policy's norm before, in the first group."""
    norms = [
        torch.nn.utils.clip_grad_norm_(group["params"], max_grad_norm, error_if_nonfinite=False)
        for group in optimizer.param_groups
    ]
    if not all(norm.isfinite() for norm in norms):
        found = ", ".join(f"{norm.item():.3g}" for norm in norms)
        rates = ", ".join(f"{group['lr']:.3g}" for group in optimizer.param_groups)
        raise FloatingPointError(
            f"gradient norms of policy and value model are {found} at learning rates {rates}: lower lr or value_lr"
        )
    return norms[0].item()
