"""One β on a language model, and what it is compared with: SFT on the chosen completions, best-of-n."""

from __future__ import annotations

from typing import Any

from dpo_lab.beta import best_of_n_kl_bound
from dpo_lab.experiments.language import measure_policy, train_run, whole_epochs
from dpo_lab.lab import Lab
from dpo_lab.trainer import SFTConfig, train_sft


def beta_run(beta: float, seed: int, *, samples: int = 128, **config: Any) -> dict[str, Any]:
    """`language.dpo_run`, with the text of the first sample.

    Args:
        beta: weight of the KL term.
        seed: of the batch order and of the samples.
        samples: completions to measure on.
        config: `steps`, `batch_size`, `lr`, and other settings of `DPOConfig`.

    Returns:
        What `measure_policy` returns, `grad_norm` before clipping at the first step whose rate was not 0, and `text`,
        the first completion for the first held-out prompt: not chosen by anyone.
    """
    lab, policy, history = train_run(beta, seed, **config)
    moved = next(record for record in history.records if record["learning_rate"] > 0)
    return measure_policy(lab, policy, beta, samples, seed) | {
        "grad_norm": moved["grad_norm"],
        "text": lab.measure(policy, 2, seed=seed).texts[0],
    }


def sft_run(
    seed: int, *, steps: int = 64, batch_size: int = 32, lr: float = 3e-4, samples: int = 128
) -> dict[str, float]:
    """Plain imitation of the chosen completions, with the same pairs, steps and rate as a DPO run; then measured."""
    lab = Lab.auto()
    policy = lab.fresh_policy()
    pairs, epochs = whole_epochs(lab.pairs, steps, batch_size)
    examples = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in pairs]
    config = SFTConfig(lr=lr, batch_size=batch_size, epochs=epochs, seed=seed, progress=False)
    train_sft(policy, examples, config)
    return measure_policy(lab, policy, 1.0, samples, seed)


def best_of_n_run(seed: int, *, sizes: list[int], samples: int = 64) -> dict[str, list[float]]:
    """The reference's best of n completions for each held-out prompt, judged by the true reward.

    Args:
        seed: of the samples.
        sizes: the n to report; a smaller n takes the first of the same draws.
        samples: prompts, the held-out ones in turn.

    Returns:
        Lists with an entry for each size: `n`, `reward` (mean true reward of what was kept) and `kl`, the upper
        bound log n − (n − 1)/n, not a measurement.
    """
    lab = Lab.auto()
    draws = [
        lab.measure(lab.reference, samples, seed=1000 * (seed + 1) + draw).rewards
        for draw in range(max(sizes))
    ]
    rewards = []
    for n in sizes:
        best = [max(of_prompt) for of_prompt in zip(*draws[:n], strict=True)]
        rewards.append(sum(best) / samples)
    return {"n": list(sizes), "reward": rewards, "kl": [best_of_n_kl_bound(n) for n in sizes]}
