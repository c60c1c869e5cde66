"""DPO and PPO on a language model, with the same pairs: looked at along the way, the clock stopped meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.baselines.language_ppo import train_ppo
from dpo_lab.baselines.ppo import PPOConfig
from dpo_lab.baselines.reward_model import RewardModel, RewardModelConfig, train_reward_model
from dpo_lab.baselines.rows import Scorer, text_scorer
from dpo_lab.beta import best_of_n_kl_bound
from dpo_lab.history import History
from dpo_lab.lab import Lab
from dpo_lab.policies import Policy
from dpo_lab.trainer import DPOConfig, train_dpo

TUNED = {"batch_size": 32, "epochs": 2, "minibatches": 2, "lr": 3e-4, "value_lr": 1e-3}
"""PPO's settings on the tiny policy, found by trying a few."""
METHODS = ("DPO", "PPO, reward model", "PPO, true reward")


class Watch:
    """Looks at a policy now and then, with the clock stopped: seconds of training alone, and what it writes."""

    def __init__(self, lab: Lab, policy: Policy, samples: int, seed: int) -> None:
        self.lab, self.policy, self.samples, self.seed = lab, policy, samples, seed
        self.looks: dict[str, list[float]] = {
            name: [] for name in ("step", "seconds", "reward", "kl", "length")
        }
        self.spent, self.started = 0.0, time.perf_counter()

    def look(self, step: int) -> None:
        """Stop the clock, sample and score, start it again."""
        self.spent += time.perf_counter() - self.started
        found = self.lab.measure(self.policy, self.samples, seed=self.seed)
        row = {
            "step": step,
            "seconds": self.spent,
            "reward": found.reward.mean,
            "kl": self.lab.kl(self.policy, found),
            "length": sum(map(len, found.token_ids)) / self.samples,
        }
        for name, value in row.items():
            self.looks[name].append(value)
        self.started = time.perf_counter()

    def every(self, steps: int) -> Any:
        """A callback that looks every so many steps."""

        def callback(history: History) -> None:
            if len(history) % steps == 0:
                self.look(len(history))

        return callback


def rival_run(
    method: str,
    seed: int,
    *,
    beta: float = 0.3,
    pairs: int = 768,
    steps: int,
    looks: int = 4,
    samples: int = 64,
) -> dict[str, Any]:
    """Train a fresh tiny policy by one method on the first so many pairs, and look at it along the way.

    Args:
        method: one of `METHODS`.
        seed: of batch order, sampling and looks.
        beta: weight of the KL term, in DPO's loss or in PPO's reward.
        pairs: preference pairs for DPO or the reward model, gone through twice, 16 a step.
        steps: PPO's batches. DPO's steps follow from the pairs.
        looks: how often to look; once more before the first step, which for PPO lies after the reward model's training.
        samples: completions for held-out prompts a look.

    Returns:
        Lists with an entry a look: `step`, `seconds` of training so far (with the reward model's, or the reference
        log-probs'), `reward` (true, mean), `kl` (nats a completion), `length` (tokens).
    """
    lab = Lab.auto("tiny")
    policy, data = lab.fresh_policy(), list(lab.pairs)[:pairs]
    watch = Watch(lab, policy, samples, seed)
    if method == "DPO":
        watch.look(0)
        config = DPOConfig(beta=beta, lr=3e-4, batch_size=16, epochs=2, seed=seed, progress=False)
        train_dpo(policy, lab.reference, data, config, callback=watch.every(max(1, pairs // 8 // looks)))
        return watch.looks
    reward = text_scorer(policy.tokenizer, lab.true_reward)
    if method == "PPO, reward model":
        reward = train_scorer(lab, data, seed).scorer()
    watch.look(0)
    config = PPOConfig(beta=beta, steps=steps, seed=seed, progress=False, **TUNED)
    train_ppo(
        policy,
        lab.reference,
        train_prompts(lab),
        reward,
        config,
        callback=watch.every(max(1, steps // looks)),
    )
    return watch.looks


def train_scorer(lab: Lab, pairs: Sequence[Any], seed: int, epochs: int = 2) -> RewardModel:
    """A reward model of these pairs, gone through so often, 16 a step."""
    config = RewardModelConfig(lr=1e-3, batch_size=16, epochs=epochs, seed=seed, progress=False)
    return train_reward_model(lab.reference, pairs, config)[0]


def train_prompts(lab: Lab) -> list[Any]:
    """The prompts that the training pairs are about, each once."""
    return list(dict.fromkeys(pair["prompt"] for pair in lab.pairs))


def over_optimisation_run(
    seed: int,
    *,
    pairs: int = 96,
    epochs: int = 8,
    beta: float = 0.02,
    steps: int = 24,
    sizes: Sequence[int] = (1, 2, 4, 8),
    samples: int = 64,
) -> dict[str, list[float]]:
    """Push against a reward model of few pairs, by PPO and by best-of-n, and score with the truth as well.

    Args:
        seed: of everything drawn; it also decides which pairs are taken.
        pairs, epochs: what the reward model learns from, and how often.
        beta: weight of PPO's KL penalty: small, so that it pushes hard.
        steps: PPO's batches.
        sizes: the n of best-of-n.
        samples: completions a draw of best-of-n.

    Returns:
        Lists: `learned`, `true` and `kl` of PPO's batches as they were sampled; `bon_learned`, `bon_true` and `bon_kl`
        (the upper bound) of best-of-n, an entry a size.
    """
    lab = Lab.auto("tiny")
    data = list(lab.pairs)[seed * pairs : (seed + 1) * pairs]
    reward_model = train_scorer(lab, data, seed, epochs)
    learned, truth = reward_model.scorer(), text_scorer(lab.reference.tokenizer, lab.true_reward)
    best = best_of(lab, learned, truth, sizes, samples, seed)
    policy, seen = lab.fresh_policy(), []

    def spied(prompts: Sequence[Any], token_ids: Sequence[list[int]]) -> Tensor:
        seen.append(truth(prompts, token_ids).mean().item())
        return learned(prompts, token_ids)

    config = PPOConfig(beta=beta, steps=steps, seed=seed, progress=False, **TUNED)
    history = train_ppo(policy, lab.reference, train_prompts(lab), spied, config)
    return {"learned": history["objective/scores"], "true": seen, "kl": history["objective/kl"], **best}


def best_of(
    lab: Lab, learned: Scorer, truth: Scorer, sizes: Sequence[int], samples: int, seed: int
) -> dict[str, list[float]]:
    """Both scores of the reference's best of n by the learned one."""
    found: list[tuple[Tensor, Tensor]] = []
    for draw in range(max(sizes)):
        drawn = lab.measure(lab.reference, samples, seed=1000 * (seed + 1) + draw)
        found.append(tuple(score(drawn.prompts, drawn.token_ids) for score in (learned, truth)))
    by_learned, by_truth = (torch.stack(scores) for scores in zip(*found, strict=True))  # (draws, samples)
    rows: dict[str, list[float]] = {"bon_learned": [], "bon_true": [], "bon_kl": []}
    for n in sizes:
        kept = by_learned[:n].argmax(dim=0, keepdim=True)
        rows["bon_learned"].append(by_learned[:n].gather(0, kept).mean().item())
        rows["bon_true"].append(by_truth[:n].gather(0, kept).mean().item())
        rows["bon_kl"].append(best_of_n_kl_bound(n))
    return rows
