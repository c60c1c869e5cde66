"""Runs of lesson 07: mode collapse, length exploitation, forgetting."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.diagnostics.forgetting import forgetting
from dpo_lab.diagnostics.lengths import prefers_longer
from dpo_lab.diagnostics.variety import distinct_n, self_bleu
from dpo_lab.encoding import encode_pairs
from dpo_lab.history import History
from dpo_lab.lab import Lab
from dpo_lab.policies import Policy
from dpo_lab.trainer import DPOConfig, pair_logprobs, train_dpo
from dpo_lab.worlds import review

Pair = dict[str, str]
LENGTH_PRICE = 0.1  # nats of preference that a word is worth to the annotator of `length_pairs`
LENGTH_CURES: dict[str, dict[str, Any]] = {
    "fair labels": {},
    "biased labels": {},
    "balanced pairs": {},
    "R-DPO": {"loss": "r_dpo", "loss_options": {"alpha": LENGTH_PRICE}},
    # β times the mean length of about 12 tokens: as strong as the summed loss on a review of that length
    "sigmoid_norm": {"loss": "sigmoid_norm", "beta": 4.0},
}
MEMORY_CURES: dict[str, dict[str, Any]] = {
    "none": {},
    "β = 1": {"beta": 1.0},
    "NLL term": {"nll_weight": 0.3},
    "replay": {"replay_weight": 0.3},
}


def clauses(text: str) -> int:
    """How many clauses a review has: those that `and` and `but` join, and one."""
    return 1 + sum(word in ("and", "but") for word in text.split())


def words(text: str) -> int:
    """How many words a review has."""
    return len(text.split())


def train(policy: Policy, lab: Lab, pairs: Sequence[Pair], steps: int, seed: int, **settings: Any) -> None:
    """`steps` batches of DPO; the pairs are gone through as often as that needs."""
    replay = settings.pop("replay", None)
    callback = settings.pop("callback", None)
    size = settings.setdefault("batch_size", 16)
    epochs = -(-steps * size // len(pairs))
    config = DPOConfig(seed=seed, epochs=epochs, progress=False, **({"lr": 5e-4} | settings))
    train_dpo(
        policy, lab.reference, pairs[: steps * size // epochs], config, callback=callback, replay=replay
    )


# --- 1 mode collapse


def house_pairs(n: int, seed: int = 0, preferred: float = 0.75) -> list[Pair]:
    """One-clause reviews against a house sentence, `i loved the soup .`, which wins with probability `preferred`."""
    rng = random.Random(seed)
    pairs: list[Pair] = []
    for row in review.sample_reviews(8 * n, seed=100 + seed):
        item, other = row["prompt"].split()[3], row["completion"]
        house = f"i loved the {item} ."
        if item in review.ITEMS["train"] and clauses(other) == 1 and other != house and len(pairs) < n:
            chosen, rejected = (house, other) if rng.random() < preferred else (other, house)
            pairs.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
    return pairs


def collapse_run(
    beta: float, seed: int, *, steps: int = 48, every: int = 16, samples: int = 96
) -> dict[str, Any]:
    """DPO on `house_pairs`, looked at every so many steps.

    Returns:
        Lists over the looks: `step`, `top_share` (of the most common text, items masked), `distinct_2`, `self_bleu`;
        and of the last look `kl` and `texts` (the first 30).
    """
    lab = Lab.auto("tiny")
    policy = lab.fresh_policy()
    looks: list[dict[str, Any]] = []

    def look(history: History) -> None:
        if len(history.records) % every == 0:
            looks.append(variety(lab, policy, samples, seed) | {"step": len(history.records)})

    train(policy, lab, house_pairs(512), steps, seed, beta=beta, lr=3e-4, batch_size=32, callback=look)
    found = lab.measure(policy, samples, seed=seed)
    rows = {name: [row[name] for row in looks] for name in looks[0]}
    return rows | {"kl": lab.kl(policy, found), "texts": found.texts[:30]}


def variety(lab: Lab, policy: Policy, samples: int, seed: int) -> dict[str, float]:
    """`top_share`, `distinct_2` and `self_bleu` of samples, items masked so that they don't pass for variety."""
    found = lab.measure(policy, samples, seed=seed)
    texts = [mask_item(prompt, text) for prompt, text in zip(found.prompts, found.texts, strict=True)]
    written = [text for text in texts if text.strip()]
    top = Counter(texts).most_common(1)[0][1]
    return {
        "top_share": top / samples,
        "distinct_2": distinct_n(written, 2),
        "self_bleu": self_bleu(written),
    }


def mask_item(prompt: str, text: str) -> str:
    """The review with the item that its prompt asks for replaced by ITEM."""
    item = prompt.split()[3]
    return " ".join("ITEM" if word == item else word for word in text.split())


# --- 2 length


def length_pairs(price: float, seed: int = 0, longest: int = 24) -> list[Pair]:
    """The shipped reviews, judged anew by an annotator to whom each word is worth `price` beside its valence."""
    rng = random.Random(seed)
    pairs: list[Pair] = []
    for row in review.shipped_pairs():
        first, second = sorted((row["chosen"], row["rejected"]), key=lambda _: rng.random())
        if max(words(first), words(second)) > longest:
            continue
        gain = review.true_reward(first) - review.true_reward(second) + price * (words(first) - words(second))
        if rng.random() >= 1 / (1 + math.exp(-gain)):
            first, second = second, first
        pairs.append({"prompt": row["prompt"], "chosen": first, "rejected": second})
    return pairs


def balance_lengths(pairs: Sequence[Pair], seed: int = 0, width: int = 3) -> list[Pair]:
    """As many pairs in which the longer one won as the shorter, in each bin of `width` words of difference."""
    rng = random.Random(seed)
    kept = [pair for pair in pairs if words(pair["chosen"]) == words(pair["rejected"])]
    bins: dict[int, dict[bool, list[Pair]]] = {}
    for pair in pairs:
        if difference := words(pair["chosen"]) - words(pair["rejected"]):
            sides = bins.setdefault(abs(difference) // width, {True: [], False: []})
            sides[difference > 0].append(pair)
    for sides in bins.values():
        size = min(map(len, sides.values()))
        kept += sides[True][:size] + sides[False][:size]
    rng.shuffle(kept)
    return kept


def pair_lengths(pairs: Sequence[Mapping[str, str]]) -> tuple[Tensor, Tensor]:
    """Words of the chosen and of the rejected completions, as floats."""
    chosen, rejected = ([float(words(pair[side])) for pair in pairs] for side in ("chosen", "rejected"))
    return torch.tensor(chosen), torch.tensor(rejected)


def length_run(cure: str, seed: int, *, steps: int = 40, samples: int = 96) -> dict[str, float]:
    """DPO on pairs whose annotator likes words, with one of `LENGTH_CURES`.

    Returns:
        `length` (tokens), `reward` (true), `kl`, and on held-out pairs `prefers_longer` and `accuracy` (of the sign of
        the true reward's difference; pairs that tie in it are left out).
    """
    lab = Lab.auto("tiny")
    policy = lab.fresh_policy()
    pairs = length_pairs(0.0 if cure == "fair labels" else LENGTH_PRICE)
    if cure == "balanced pairs":
        pairs = balance_lengths(pairs)
    train(policy, lab, pairs, steps, seed, **({"beta": 0.3} | LENGTH_CURES[cure]))
    found = lab.measure(policy, samples, seed=seed)
    pairs = list(lab.heldout_pairs)
    margins = log_ratio_gaps(policy, lab.reference, pairs)
    gains = torch.tensor([lab.true_reward(row["chosen"]) - lab.true_reward(row["rejected"]) for row in pairs])
    right = (margins * gains > 0)[gains != 0]
    return {
        "length": sum(map(len, found.token_ids)) / samples,
        "reward": found.reward.mean,
        "kl": lab.kl(policy, found),
        "prefers_longer": prefers_longer(margins, *pair_lengths(pairs)),
        "accuracy": right.double().mean().item(),
    }


def log_ratio_gaps(policy: Policy, reference: Policy, pairs: Sequence[Mapping[str, str]]) -> Tensor:
    """(B,) log-ratio gaps δ of pairs, in nats: implicit-reward margins over β."""
    encoded = encode_pairs(policy.tokenizer, pairs)
    chosen, rejected = pair_logprobs(policy, *encoded, batch_size=64)
    ref_chosen, ref_rejected = pair_logprobs(reference, *encoded, batch_size=64)
    return (chosen - ref_chosen) - (rejected - ref_rejected)


# --- 3 forgetting


def memory_examples(n: int = 100) -> dict[str, list[dict[str, str]]]:
    """Held-out SFT reviews: `all`, and those in which every word of worth is praise, or blame."""
    rows = review.sample_reviews(6 * n, seed=99)
    signs = [
        {review.valence(word) > 0 for word in row["completion"].split() if review.valence(word)}
        for row in rows
    ]
    praise = [row for row, found in zip(rows, signs, strict=True) if found == {True}]
    blame = [row for row, found in zip(rows, signs, strict=True) if found == {False}]
    return {"all": rows[:n], "praise": praise[:n], "blame": blame[:n]}


def memory_run(cure: str, seed: int, *, steps: int = 40, samples: int = 96) -> dict[str, float]:
    """DPO on the shipped pairs, with one of `MEMORY_CURES`.

    Returns:
        `reward`, `kl`, `forgetting` of all held-out SFT reviews, of `praise` and of `blame` alone, and `on_topic`:
        share of samples that name the item they were asked about.
    """
    lab = Lab.auto("tiny")
    policy = lab.fresh_policy()
    pairs = [row for row in review.shipped_pairs() if max(words(row["chosen"]), words(row["rejected"])) <= 16]
    settings = {"beta": 0.1} | MEMORY_CURES[cure]
    if cure == "replay":
        settings["replay"] = review.sample_reviews(512, seed=5)
    train(policy, lab, pairs, steps, seed, **settings)
    found = lab.measure(policy, samples, seed=seed)
    named = [
        prompt.split()[3] in text.split() for prompt, text in zip(found.prompts, found.texts, strict=True)
    ]
    ratios = {name: forgetting(policy, lab.reference, rows) for name, rows in memory_examples().items()}
    return {
        "reward": found.reward.mean,
        "kl": lab.kl(policy, found),
        "forgetting": ratios["all"],
        "praise": ratios["praise"],
        "blame": ratios["blame"],
        "on_topic": sum(named) / samples,
    }
