"""Runs of lesson 11: what accuracy, win rate, KL and true reward say of one and the same policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.evaluation import (
    judge_both_orders,
    kl_terms,
    pair_margins,
    reward_judge,
    summarise_scores,
)
from dpo_lab.evaluation.sampled import score_samples
from dpo_lab.experiments.failures import length_pairs, train
from dpo_lab.history import History
from dpo_lab.lab import Lab, Measurement
from dpo_lab.policies import Policy
from dpo_lab.worlds.review import shipped_pairs

THEIR_SEED = 9_000  # of the reference's samples: independent of every policy's


def won_against(lab: Lab, found: Measurement, theirs: Measurement) -> dict[str, Any]:
    """`win_rate`, `wins`, `ties`, `losses` of a policy's samples against the reference's, by the true reward."""
    scores = judge_both_orders(reward_judge(lab.true_reward), found.prompts, found.texts, theirs.texts).scores
    result = summarise_scores(scores)
    return {
        "win_rate": result.rate.mean,
        "wins": result.wins,
        "ties": result.ties,
        "losses": result.losses,
        "p_value": result.p_value,
    }


def accuracy_run(lr: float, seed: int, *, steps: int = 24, samples: int = 200) -> dict[str, Any]:
    """A DPO run of one learning rate: accuracy on held-out pairs, and whether the samples have become better.

    Args:
        lr: peak learning rate.
        seed: of batch order and samples.
        steps: of 16 pairs.
        samples: completions a side.

    Returns:
        `rewards/accuracies`, `ranking_accuracy`, `kl`, what `won_against` returns, and `margins`, a list: the log-ratio
        gap of each held-out pair.
    """
    lab = Lab.auto("tiny", "cpu")
    policy = lab.fresh_policy()
    train(policy, lab, list(lab.pairs), steps, seed, lr=lr, beta=0.1)
    found = lab.measure(policy, samples, seed=seed)
    theirs = lab.measure(lab.reference, samples, seed=THEIR_SEED + seed)
    rewarded, ranked = pair_margins(policy, lab.reference, lab.heldout_pairs)
    return {
        "rewards/accuracies": (rewarded > 0).double().mean().item(),
        "ranking_accuracy": (ranked > 0).double().mean().item(),
        "kl": lab.kl(policy, found),
        **won_against(lab, found, theirs),
        "margins": rewarded.tolist(),
    }


def texts_run(price: float, seed: int, *, steps: int = 24, samples: int = 200) -> dict[str, list[str]]:
    """What a policy writes whose annotator pays `price` for a word (0: a fair one), and what the reference writes.

    Args:
        price: in units of reward, see `experiments.failures.length_pairs`.
        seed: of the labels, the batch order and the samples.
        steps: of 16 pairs.
        samples: completions a side.

    Returns:
        `prompts`, `ours`, `theirs`, and `again`: the reference once more, with another seed.
    """
    lab = Lab.auto("tiny", "cpu")
    policy = lab.fresh_policy()
    train(policy, lab, length_pairs(price, seed), steps, seed, beta=0.1)
    found = lab.measure(policy, samples, seed=seed)
    theirs = lab.measure(lab.reference, samples, seed=THEIR_SEED + seed)
    again = lab.measure(lab.reference, samples, seed=2 * THEIR_SEED + seed)
    return {
        "prompts": list(found.prompts), "ours": found.texts, "theirs": theirs.texts, "again": again.texts
    }  # fmt: skip


def optimisation_run(
    seed: int,
    *,
    n: int = 128,
    beta: float = 0.05,
    looks: Sequence[int] = (8, 24, 48, 96, 192),
    samples: int = 120,
) -> dict[str, Any]:
    """DPO on few pairs for many epochs: what training sees, what held-out pairs see, what the samples are worth.

    Args:
        seed: which n of the shipped pairs, their order, and the samples.
        n: training pairs.
        beta: low, so that little holds the policy back.
        looks: the steps, of 16 pairs, at which to measure; the last one ends the run.
        samples: completions a look, on each side.

    Returns:
        Lists over the looks: `step`; `train_margin` (mean implicit-reward margin) and `train_accuracy` of the training
        pairs; `held_out_loss`, `held_out_accuracy`, and `margins` (lists: β times the log-ratio gaps) of the held-out
        pairs; `reward`, `win_rate` and mean `words` of the samples; and `k1`, `k2`, `k3` with their terms' standard
        deviations.
    """
    lab = Lab.auto("tiny", "cpu")
    policy = lab.fresh_policy()
    pairs, heldout = shipped_pairs("train")[seed * n : (seed + 1) * n], shipped_pairs("heldout")
    theirs = lab.measure(lab.reference, samples, seed=THEIR_SEED + seed)
    found: list[dict[str, Any]] = []

    def look(history: History) -> None:
        if len(history) in looks:
            margins = beta * pair_margins(policy, lab.reference, heldout)[0]
            seen = pair_numbers(beta * pair_margins(policy, lab.reference, pairs)[0], margins)
            written = lab.measure(policy, samples, seed=seed)
            rate = won_against(lab, written, theirs)["win_rate"]
            row = {"step": len(history), **seen, "reward": written.reward.mean, "win_rate": rate}
            row["words"] = sum(len(text.split()) for text in written.texts) / samples
            found.append(row | kl_looks(lab, policy, written))

    train(
        policy,
        lab,
        pairs,
        looks[-1],
        seed,
        beta=beta,
        lr=3e-4,
        schedule="constant_with_warmup",
        callback=look,
    )
    return {name: [row[name] for row in found] for name in found[0]}


def pair_numbers(training: Tensor, held_out: Tensor) -> dict[str, Any]:
    """What a look says of the margins of both kinds of pairs."""
    return {
        "train_margin": training.mean().item(),
        "train_accuracy": (training > 0).double().mean().item(),
        "held_out_loss": -logsigmoid(held_out).mean().item(),
        "held_out_accuracy": (held_out > 0).double().mean().item(),
        "margins": held_out.tolist(),
    }


def kl_looks(lab: Lab, policy: Policy, written: Measurement) -> dict[str, float]:
    """Mean and standard deviation of each KL estimator's terms, on one set of samples."""
    logps = (score_samples(side, written.prompts, written.token_ids) for side in (policy, lab.reference))
    ours, theirs = (side.double() for side in logps)
    found: dict[str, float] = {}
    for name in ("k1", "k2", "k3"):
        terms = kl_terms(ours, theirs, name)
        found |= {name: terms.mean().item(), f"{name}_std": terms.std().item()}
    return found
