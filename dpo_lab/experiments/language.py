"""DPO on a language model as one function of its settings, and what is measured of any policy afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dpo_lab.diagnostics.variety import distinct_n
from dpo_lab.encoding import encode_pairs
from dpo_lab.history import History
from dpo_lab.lab import Lab
from dpo_lab.policies import Policy
from dpo_lab.trainer import DPOConfig, pair_logprobs, train_dpo


def dpo_run(
    beta: float,
    seed: int,
    *,
    steps: int = 64,
    batch_size: int = 32,
    lr: float = 3e-4,
    samples: int = 128,
    **config: Any,
) -> dict[str, float]:
    """Train a fresh policy of this machine's tier on its pairs, and measure it on held-out prompts.

    Args:
        beta: weight of the KL term.
        seed: of the batch order and of the samples.
        steps: optimiser steps; the pairs are gone through as often as that needs.
        batch_size: pairs a step.
        lr: peak learning rate.
        samples: completions to measure on.
        config: other settings of `DPOConfig`.

    Returns:
        What `measure_policy` returns, and the last `loss`.
    """
    lab, policy, history = train_run(beta, seed, steps=steps, batch_size=batch_size, lr=lr, **config)
    return measure_policy(lab, policy, beta, samples, seed) | {"loss": history["loss"][-1]}


def train_run(
    beta: float,
    seed: int,
    *,
    steps: int = 64,
    batch_size: int = 32,
    lr: float = 3e-4,
    beta_schedule: Callable[[History], float] | None = None,
    **config: Any,
) -> tuple[Lab, Policy, History]:
    """`dpo_run`'s training alone, for runs that look at more than it measures: the lab, the policy, the history.

    Arguments as there; `beta_schedule` as in `train_dpo`.
    """
    lab = Lab.auto()
    policy = lab.fresh_policy()
    pairs, epochs = whole_epochs(lab.pairs, steps, batch_size)
    settings = DPOConfig(
        beta=beta, seed=seed, lr=lr, batch_size=batch_size, epochs=epochs, progress=False, **config
    )
    history = train_dpo(policy, lab.reference, pairs, settings, beta_schedule=beta_schedule)
    return lab, policy, history


def whole_epochs(
    pairs: Iterable[Mapping[str, Any]], steps: int, batch_size: int
) -> tuple[list[Mapping[str, Any]], int]:
    """Just so many of the pairs, and the epochs over them, that they come to `steps` batches."""
    rows = list(pairs)
    epochs = -(-steps * batch_size // len(rows))
    return rows[: steps * batch_size // epochs], epochs


def measure_policy(lab: Lab, policy: Policy, beta: float, samples: int, seed: int) -> dict[str, float]:
    """What the course looks at in any trained policy, on held-out prompts and pairs.

    Args:
        lab: holds reference, prompts, pairs and the true reward.
        policy: the trained one.
        beta: scales the implicit rewards' margin.
        samples: completions to draw, temperature 1.
        seed: of the sampling.

    Returns:
        `reward` (mean true reward), `kl` (nats a completion), `length` (tokens, EOS included), `distinct_2`, and on the
        held-out pairs `logps/chosen`, `logps/rejected` (nats), `rewards/margins`, `rewards/accuracies`.
    """
    found = lab.measure(policy, samples, seed=seed)
    encoded = encode_pairs(policy.tokenizer, lab.heldout_pairs)
    chosen, rejected = pair_logprobs(policy, *encoded)
    ref_chosen, ref_rejected = pair_logprobs(lab.reference, *encoded)
    margins = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return {
        "reward": found.reward.mean,
        "kl": lab.kl(policy, found),
        "length": sum(map(len, found.token_ids)) / samples,
        "distinct_2": distinct_n(found.texts, 2),
        "logps/chosen": chosen.mean().item(),
        "logps/rejected": rejected.mean().item(),
        "rewards/margins": margins.mean().item(),
        "rewards/accuracies": (margins > 0).double().mean().item(),
    }
