"""One tier of model with all that an experiment on it needs, so that a notebook reads the same on every machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dpo_lab.encoding import Messages, encode_sampled
from dpo_lab.evaluation import Interval, bootstrap_interval, kl_estimate, score_rows
from dpo_lab.policies import Policy, best_device, frozen_reference, load_policy
from dpo_lab.preferences import load_pairs
from dpo_lab.sampling import sample_ids
from dpo_lab.trainer import DPOConfig
from dpo_lab.worlds import everyday, review

TIERS = ("tiny", "smollm2")


@dataclass(frozen=True)
class Measurement:
    """What a policy writes for held-out prompts, and what that is worth.

    Attributes:
        prompts: N prompts, held-out items in turn.
        token_ids: N completions, one a prompt, sampled at temperature 1; the last id is EOS where it finished.
        texts: the same completions as text.
        rewards: N true rewards.
        reward: their mean with its 95 % bootstrap interval.
    """

    prompts: list[str | Messages]
    token_ids: list[list[int]]
    texts: list[str]
    rewards: list[float]
    reward: Interval


@dataclass
class Lab:
    """A policy, its reference, preference pairs and the true reward of one tier.

    Attributes:
        tier: "tiny" or "smollm2".
        policy: fresh, to be trained.
        reference: the policy's frozen copy.
        pairs: training pairs.
        heldout_pairs: pairs about other items.
        heldout_prompts: one a held-out item.
        true_reward: scores a completion's text.
        max_new_tokens: long enough for this tier's completions.
        config: settings that work on this tier.
    """

    tier: str
    policy: Policy
    reference: Policy
    pairs: Sequence[Mapping[str, Any]]
    heldout_pairs: Sequence[Mapping[str, Any]]
    heldout_prompts: list[str | Messages]
    true_reward: Callable[[str], float]
    max_new_tokens: int
    config: DPOConfig

    @classmethod
    def auto(cls, tier: str | None = None, device: str | torch.device | None = None) -> Lab:
        """The tier that suits this machine: SmolLM2 on CUDA or MPS, the tiny policy on a CPU.

        Args:
            tier: "tiny" or "smollm2"; None asks the environment variable DPO_LAB_TIER, then the machine.
            device: None takes the best there is.

        Raises:
            ValueError: an unknown tier.
        """
        device = torch.device(device) if device is not None else best_device()
        tier = tier or os.environ.get("DPO_LAB_TIER") or ("tiny" if device.type == "cpu" else "smollm2")
        if tier not in TIERS:
            raise ValueError(f"tier must be one of {', '.join(TIERS)}, got {tier!r}")
        policy = load_policy(tier, device=device)
        parts = tiny_parts() if tier == "tiny" else smollm2_parts()
        return cls(tier=tier, policy=policy, reference=frozen_reference(policy), **parts)

    def fresh_policy(self) -> Policy:
        """Another policy as it was before any training: the start of the next experiment."""
        return load_policy(self.tier, device=self.policy.device)

    def measure(
        self, policy: Policy, samples: int, seed: int = 0, progress: str | None = None
    ) -> Measurement:
        """Sample a policy on the held-out prompts and score what it wrote.

        Args:
            policy: whose completions are scored.
            samples: how many; the held-out prompts take turns, so two policies measured alike can be compared in pairs.
            seed: of the sampling.
            progress: label of a progress bar; None shows none.
        """
        prompts = [self.heldout_prompts[i % len(self.heldout_prompts)] for i in range(samples)]
        ids = sample_ids(policy, prompts, max_new_tokens=self.max_new_tokens, seed=seed, progress=progress)
        texts = [policy.tokenizer.decode(row, skip_special_tokens=True) for row in ids]
        rewards = [self.true_reward(text) for text in texts]
        return Measurement(prompts, ids, texts, rewards, bootstrap_interval(rewards))

    def kl(self, policy: Policy, measurement: Measurement, samples: int | None = None) -> float:
        """Estimate KL(policy ‖ reference), in nats a completion, on what the policy itself wrote.

        Scored are the very tokens that were sampled, so a completion cut at `max_new_tokens` gets no EOS that it never
        had.

        Args:
            policy: the one that `measurement` is of: samples of another policy would estimate something else.
            measurement: its samples.
            samples: take the first so many; None takes all.
        """
        sampled = measurement.prompts[:samples], measurement.token_ids[:samples]
        rows = encode_sampled(policy.tokenizer, *sampled)
        size = 2 * self.config.batch_size  # a pair is two rows
        return kl_estimate(score_rows(policy, rows, size), score_rows(self.reference, rows, size)).item()


def tiny_parts() -> dict[str, Any]:
    """Data, reward and settings of the review world."""
    return {
        "pairs": load_pairs("review_train"),
        "heldout_pairs": load_pairs("review_heldout"),
        "heldout_prompts": review.prompts("heldout"),
        "true_reward": review.true_reward,
        "max_new_tokens": 80,
        "config": DPOConfig(beta=0.1, lr=3e-4, epochs=2, batch_size=64),
    }


def smollm2_parts() -> dict[str, Any]:
    """Data, reward and settings of the everyday world."""
    return {
        "pairs": load_pairs("everyday_train"),
        "heldout_pairs": load_pairs("everyday_heldout"),
        "heldout_prompts": [everyday.prompt_for(item) for item in everyday.HELDOUT_ITEMS],
        "true_reward": everyday.true_reward,
        "max_new_tokens": 60,
        "config": DPOConfig(beta=0.1, lr=1e-5, epochs=1, batch_size=8, micro_batch_size=2, warmup_ratio=0.0),
    }
