"""Likelihood displacement on reviews: pairs that differ in one word, and what holds their log-probs up."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.diagnostics.displacement import displacement, drop_similar
from dpo_lab.encoding import collate_rows, encode_pairs
from dpo_lab.lab import Lab
from dpo_lab.logprobs import token_logprobs
from dpo_lab.policies import Policy
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.worlds.review import ADJECTIVES, shipped_pairs, true_reward, valence


def twin_pairs(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Pairs of one review and its twin: one adjective exchanged for another of its group, the better one chosen.

    Args:
        n: number of pairs, at most one for each shipped training pair.
        seed: of which review, which adjective and which replacement.
    """
    rng = random.Random(seed)
    groups = {word: group for group in ADJECTIVES.values() for word in group}
    rows = shipped_pairs("train")
    rng.shuffle(rows)
    found: list[dict[str, str]] = []
    for row in rows:
        words = row["chosen"].split()
        places = [i for i, word in enumerate(words) if word in groups]
        if not places or len(found) == n:
            continue
        place = rng.choice(places)
        others = [word for word in groups[words[place]] if valence(word) != valence(words[place])]
        twin = " ".join([*words[:place], rng.choice(others), *words[place + 1 :]])
        better, worse = sorted((row["chosen"], twin), key=true_reward, reverse=True)
        found.append({"prompt": row["prompt"], "chosen": better, "rejected": worse})
    return found


def displacement_run(
    seed: int,
    *,
    twins: float = 1.0,
    most_overlap: float = 1.0,
    n: int = 160,
    samples: int = 64,
    **config: Any,
) -> dict[str, float]:
    """Train on a mixture of twins and ordinary pairs; measure what became of the log-probs of what was trained on.

    Args:
        seed: of pairs, batch order and samples.
        twins: share of twins among the n pairs.
        most_overlap: pairs with a word overlap of so much or more are left out; 1 keeps all.
        n: pairs, gone through once in batches of 16.
        samples: completions to measure the reward on.
        config: other settings of `DPOConfig`.

    Returns:
        `pairs` trained on; the mean change of the chosen and of the rejected log-probs, `chosen` and `rejected`, in
        nats; of the chosen change the parts `before`, `at` and `after` the first word in which the pair differs;
        the `displaced` share; and on held-out prompts `reward` and `kl`.
    """
    lab = Lab.auto("tiny", "cpu")
    policy = lab.fresh_policy()
    pairs = mixture(n, twins, seed)
    if most_overlap < 1:
        pairs = drop_similar(pairs, most_overlap)
    settings = DPOConfig(**{"lr": 5e-4, "batch_size": 16, "seed": seed, "progress": False, **config})
    train_dpo(policy, lab.reference, pairs, settings)
    found = displacement(policy, lab.reference, pairs)
    before, at, after = chosen_changes(policy, lab.reference, pairs)
    written = lab.measure(policy, samples, seed=seed)
    return {
        "pairs": len(pairs),
        "chosen": found.chosen_change,
        "rejected": found.rejected_change,
        "before": before,
        "at": at,
        "after": after,
        "displaced": found.share,
        "reward": written.reward.mean,
        "kl": lab.kl(policy, written),
    }


def mixture(n: int, twins: float, seed: int) -> list[Mapping[str, str]]:
    """n pairs in random order, a share of them twins, the others shipped ones."""
    of_twins = round(n * twins)
    rng = random.Random(seed)
    pairs = twin_pairs(of_twins, seed) + rng.sample(shipped_pairs("train"), n - of_twins)
    rng.shuffle(pairs)
    return pairs


def chosen_changes(
    policy: Policy, reference: Policy, pairs: Sequence[Mapping[str, Any]]
) -> tuple[float, float, float]:
    """Mean change of the chosen log-probs, in nats: before, at and after the first token in which a pair differs."""
    chosen, rejected = encode_pairs(policy.tokenizer, pairs)
    batch = collate_rows(chosen, policy.tokenizer.pad_token_id)
    change = score_tokens(policy, batch) - score_tokens(reference, batch)
    positions = torch.arange(1, batch["input_ids"].shape[1])
    differs = torch.tensor(
        [
            next(i for i, (a, b) in enumerate(zip(w.input_ids, r.input_ids, strict=False)) if a != b)
            for w, r in zip(chosen, rejected, strict=True)
        ]
    )[:, None]
    change = change.masked_fill(~batch["completion_mask"][:, 1:], 0.0)
    parts = (positions < differs, positions == differs, positions > differs)
    return tuple((change * part).sum(dim=1).mean().item() for part in parts)


@torch.no_grad()
def score_tokens(policy: Policy, batch: dict[str, Tensor]) -> Tensor:
    """(R, T - 1) log-probs of a batch's tokens."""
    policy.model.eval()
    logits = policy.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return token_logprobs(logits, batch["input_ids"])
