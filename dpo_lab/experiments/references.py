"""Weak, mismatched and stale references on the review world, and a second round with fresh pairs."""

from __future__ import annotations

from dpo_lab.lab import Lab
from dpo_lab.policies import Policy, frozen_reference
from dpo_lab.tiny_recipe import untrained_policy
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.worlds.review import review_pairs, shipped_pairs

CASES = ("start = reference = SFT", "SFT skipped", "another reference")


def reference_run(case: str, seed: int, *, n: int = 128, samples: int = 64) -> dict[str, float]:
    """One epoch of DPO from a sound or an unsound beginning.

    Args:
        case: one of `CASES`. "SFT skipped": start and reference are a policy with random weights. "another reference":
            the start is the SFT policy, the reference the one with random weights.
        seed: of pairs, batch order and samples.
        n: pairs.
        samples: completions to measure on.

    Returns:
        `first loss` and `last loss`, `accuracy` on the last 4 batches, then of the trained policy on held-out prompts
        `reward`, `length` (words) and `ended` (share of completions that reach EOS).
    """
    if case not in CASES:
        raise ValueError(f"case must be one of {', '.join(CASES)}, got {case!r}")
    lab = Lab.auto("tiny", "cpu")
    policy = untrained_policy(seed) if case == "SFT skipped" else lab.fresh_policy()
    reference = untrained_policy(seed + 100) if case == "another reference" else policy
    pairs = shipped_pairs("train")[seed * n : (seed + 1) * n]
    config = DPOConfig(lr=3e-4, batch_size=16, seed=seed, progress=False)
    history = train_dpo(policy, frozen_reference(reference), pairs, config)
    accuracies = history["rewards/accuracies"]
    return {
        "first loss": history["loss"][0],
        "last loss": sum(history["loss"][-4:]) / 4,
        "first accuracy": accuracies[0],
        "last accuracy": sum(accuracies[-4:]) / 4,
        **written(lab, policy, samples, seed),
    }


def written(lab: Lab, policy: Policy, samples: int, seed: int) -> dict[str, float]:
    """What the policy writes: true reward, distance from the SFT policy, length, whether it ends."""
    found = lab.measure(policy, samples, seed=seed)
    ends = [ids[-1] == policy.tokenizer.eos_token_id for ids in found.token_ids]
    return {
        "reward": found.reward.mean,
        "kl": lab.kl(policy, found),
        "length": sum(len(text.split()) for text in found.texts) / samples,
        "ended": sum(ends) / samples,
        "text": found.texts[0],
    }


def two_rounds(
    seed: int, pairs: str, reference: str, *, n: int = 96, samples: int = 64
) -> dict[str, float | str]:
    """DPO twice; the second round's pairs and reference are old or new.

    Args:
        seed: of pairs, batch order and samples.
        pairs: of the second round: "old" (more of those that the SFT policy wrote) or "new" (written by the policy of
            the first round, judged by Bradley-Terry on the true reward).
        reference: of the second round: "old" (the SFT policy) or "new" (the policy of the first round).
        n: pairs a round.
        samples: completions to measure on.

    Returns:
        `reward` and `kl` (to the SFT policy) after each round, and the first loss of the second round.
    """
    lab = Lab.auto("tiny", "cpu")
    policy = lab.fresh_policy()
    shipped = shipped_pairs("train")[2 * seed * n : 2 * (seed + 1) * n]
    config = DPOConfig(lr=3e-4, batch_size=16, seed=seed, progress=False)
    train_dpo(policy, lab.reference, shipped[:n], config)
    after_one = written(lab, policy, samples, seed)
    second = review_pairs(policy, n, seed=100 + seed).pairs if pairs == "new" else shipped[n:]
    anchor = frozen_reference(policy) if reference == "new" else lab.reference
    history = train_dpo(policy, anchor, second, config)
    after_two = written(lab, policy, samples, seed)
    return {
        "reward 1": after_one["reward"],
        "kl 1": after_one["kl"],
        "first loss": history["loss"][0],
        "reward 2": after_two["reward"],
        "kl 2": after_two["kl"],
    }
