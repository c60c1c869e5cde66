"""One training step of each kind on the tiny policy, done by hand, so that all it holds and runs can be counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dpo_lab.baselines.language_ppo import LanguageActor
from dpo_lab.baselines.memory import count_passes
from dpo_lab.baselines.ppo import PPOConfig, update
from dpo_lab.baselines.reward_model import RewardModel, ScalarModel, score_rows
from dpo_lab.bradley_terry import bradley_terry_loss
from dpo_lab.encoding import encode_pairs
from dpo_lab.experiments.ppo_language import TUNED, train_prompts
from dpo_lab.lab import Lab
from dpo_lab.losses import dpo_loss
from dpo_lab.packing import score_pairs


@dataclass
class Step:
    """What one step needed.

    Attributes:
        models: every model in memory, by name, as they are after the step: the trained ones have their gradients.
        optimizers: with their state.
        passes: what `count_passes` counted.
        seconds: how long the step took.
    """

    models: dict[str, torch.nn.Module]
    optimizers: list[torch.optim.Optimizer]
    passes: dict[str, dict[str, int]]
    seconds: float


def counted(
    models: dict[str, torch.nn.Module], optimizers: list[torch.optim.Optimizer], step: Callable[[], None]
) -> Step:
    """Run a step with the hooks on."""
    started = time.perf_counter()
    with count_passes(models) as passes:
        step()
    return Step(models, optimizers, passes, time.perf_counter() - started)


def dpo_step(lab: Lab, pairs: int = 16) -> Step:
    """One step of DPO with the reference's log-probs in it; a trainer computes them once, before the first step."""
    policy = lab.fresh_policy()
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=3e-4)
    encoded = encode_pairs(policy.tokenizer, list(lab.pairs)[:pairs])
    pad = policy.tokenizer.pad_token_id

    def step() -> None:
        with torch.no_grad():
            references = score_pairs(lab.reference.model, *encoded, pad)
        losses, _, _ = dpo_loss(*score_pairs(policy.model, *encoded, pad), *references, 0.3)
        losses.mean().backward()
        optimizer.step()

    return counted({"policy": policy.model, "reference": lab.reference.model}, [optimizer], step)


def reward_model_step(lab: Lab, pairs: int = 16) -> Step:
    """One step of a reward model on as many pairs."""
    model = ScalarModel(lab.reference.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    chosen, rejected = encode_pairs(lab.reference.tokenizer, list(lab.pairs)[:pairs])

    def step() -> None:
        scores = score_rows(model, [*chosen, *rejected], lab.reference.tokenizer.pad_token_id)
        bradley_terry_loss(*scores.chunk(2)).mean().backward()
        optimizer.step()

    return counted({"reward model": model}, [optimizer], step)


def ppo_step(lab: Lab, completions: int = 32) -> Step:
    """One batch of PPO: sampling, scoring, and all passes over it."""
    policy, reward = lab.fresh_policy(), ScalarModel(lab.reference.model).requires_grad_(False)
    scorer = RewardModel(reward, policy.tokenizer).scorer()
    config = PPOConfig(progress=False, **{**TUNED, "batch_size": completions})
    actor = LanguageActor(policy, lab.reference, train_prompts(lab), scorer, config)
    groups = [{"params": actor.policy_parameters}, {"params": actor.value_parameters}]
    optimizer = torch.optim.Adam(groups, lr=3e-4)

    def step() -> None:
        rollout = actor.rollout(completions, seed=0)
        update(actor, rollout, config.beta, optimizer, config, torch.Generator().manual_seed(0))

    models = {
        "policy": policy.model,
        "value model": actor.value_model,
        "reference": lab.reference.model,
        "reward model": reward,
    }
    return counted(models, [optimizer], step)
