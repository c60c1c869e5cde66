"""Everything that a scorecard judges, measured once: pairs, samples, distance, memory, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dpo_lab.diagnostics.calibration import calibration_error
from dpo_lab.diagnostics.forgetting import forgetting
from dpo_lab.diagnostics.variety import distinct_n
from dpo_lab.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from dpo_lab.evaluation.judges import Judge, Reward
from dpo_lab.evaluation.judging import (
    WinRate,
    judge_both_orders,
    length_controlled_win_rate,
    summarise_scores,
)
from dpo_lab.evaluation.kl import kl_terms
from dpo_lab.evaluation.pairs import accuracy_by_group, pair_margins
from dpo_lab.evaluation.reliability import reliability_bins
from dpo_lab.evaluation.sampled import score_samples
from dpo_lab.policies import Policy
from dpo_lab.sampling import sample_ids

MOST_GROUPS = 12


@dataclass(frozen=True)
class Bench:
    """What a policy is held against.

    Attributes:
        reference: the frozen one.
        pairs: held-out preference pairs.
        prompts: held-out prompts.
        max_new_tokens: longest completion.
        judge: decides comparisons with the reference; None: there is no win rate.
        reward: the true reward of a text, where it is known.
        memory: rows with `prompt` and `completion` that the reference had learnt; None: retention is not measured.
        judge_name: what the report calls the judge.
    """

    reference: Policy
    pairs: Sequence[Mapping[str, Any]]
    prompts: Sequence[Any]
    max_new_tokens: int
    judge: Judge | None = None
    reward: Reward | None = None
    memory: Sequence[Mapping[str, str]] | None = None
    judge_name: str = "judge"


@dataclass(frozen=True)
class Samples:
    """Completions of both sides for the same N prompts.

    Attributes:
        prompts: N prompts.
        ours: N completions of the policy.
        theirs: N completions of the reference.
        our_rewards: their true rewards, empty where no reward is known.
        their_rewards: likewise.
    """

    prompts: list[Any]
    ours: list[str]
    theirs: list[str]
    our_rewards: list[float] = field(default_factory=list)
    their_rewards: list[float] = field(default_factory=list)

    def length_differences(self) -> Tensor:
        """(N,) words of ours minus words of theirs."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return torch.tensor([float(len(ours.split()) - len(theirs.split())) for ours, theirs in pairs])


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one policy; None where the bench lacks what it needs.

    Attributes:
        accuracy: reward accuracy on the held-out pairs.
        ranking_accuracy: the same of the policy's own log-probs.
        ceiling: accuracy of the true reward itself on these pairs: more than that is luck.
        by_group: reward accuracy of each group of pairs.
        reliability: `reliability_bins` of the win probabilities that the implicit reward gives its favourites.
        calibration_error: their expected calibration error.
        overconfidence: mean forecast minus share of favourites that won.
        win_rate: against the reference.
        first: share of the judge's votes for the answer that it was shown first.
        length_controlled: win rate that a fit gives answers of equal length.
        gain: true reward, policy minus reference.
        kl: k1 estimate of KL(π ‖ π_ref), nats a completion.
        k3: the k3 estimate from the same samples.
        tokens: mean length of the policy's completions.
        lengths: mean words of policy and reference.
        retention: perplexity of policy over reference on `memory`.
        distinct: distinct-2 of policy and reference.
        samples: what both wrote.
    """

    accuracy: Interval
    ranking_accuracy: Interval
    ceiling: Interval | None
    by_group: dict[str, Interval]
    reliability: dict[str, Tensor]
    calibration_error: float
    overconfidence: Interval
    win_rate: WinRate | None
    first: float | None
    length_controlled: float | None
    gain: Interval | None
    kl: Interval
    k3: float
    tokens: float
    lengths: tuple[float, float]
    retention: float | None
    distinct: tuple[float, float]
    samples: Samples


def evaluate_policy(
    policy: Policy,
    bench: Bench,
    beta: float,
    samples: int = 256,
    seed: int = 0,
    progress: str | None = None,
) -> Evaluation:
    """Measure a policy against its reference on held-out pairs and prompts.

    Args:
        policy: the trained one.
        bench: reference, pairs, prompts, judge.
        beta: as in training: scales the implicit rewards, and so their forecasts.
        samples: completions of either side; the prompts take turns.
        seed: of the sampling. Both sides get seeds of their own, so that they are independent.
        progress: label of a progress bar; None shows none.

    Raises:
        ValueError: no pairs or prompts, one that can't be used, or fewer than two samples.
    """
    if samples < 2 or not len(bench.prompts):
        raise ValueError(
            f"need at least 2 samples and one prompt, got {samples} samples, {len(bench.prompts)} prompts"
        )
    prompts = [bench.prompts[i % len(bench.prompts)] for i in range(samples)]
    ids = draw(policy, prompts, bench.max_new_tokens, 2 * seed, progress and f"{progress}: policy")
    their_ids = draw(
        bench.reference, prompts, bench.max_new_tokens, 2 * seed + 1, progress and f"{progress}: reference"
    )
    written = as_samples(policy, bench, prompts, ids, their_ids)
    logps = score_samples(policy, prompts, ids), score_samples(bench.reference, prompts, ids)
    return Evaluation(
        **pair_numbers(policy, bench, beta),
        **sample_numbers(written, bench, seed),
        kl=bootstrap_interval(kl_terms(*logps, "k1")),
        k3=kl_terms(*logps, "k3").mean().item(),
        tokens=sum(map(len, ids)) / samples,
        retention=forgetting(policy, bench.reference, bench.memory) if bench.memory else None,
        samples=written,
    )


def draw(
    policy: Policy, prompts: Sequence[Any], max_new_tokens: int, seed: int, progress: str | None
) -> list[list[int]]:
    """One completion a prompt at temperature 1, as ids."""
    return sample_ids(policy, prompts, max_new_tokens=max_new_tokens, seed=seed, progress=progress or None)


def as_samples(
    policy: Policy, bench: Bench, prompts: list[Any], ids: list[list[int]], their_ids: list[list[int]]
) -> Samples:
    """Both sides' texts, with their true rewards where there is one."""
    ours, theirs = (
        [policy.tokenizer.decode(row, skip_special_tokens=True) for row in side] for side in (ids, their_ids)
    )
    if bench.reward is None:
        return Samples(prompts, ours, theirs)
    return Samples(prompts, ours, theirs, list(map(bench.reward, ours)), list(map(bench.reward, theirs)))


def pair_numbers(policy: Policy, bench: Bench, beta: float) -> dict[str, Any]:
    """What the held-out pairs tell, by the names of `Evaluation`."""
    rewarded, ranked = pair_margins(policy, bench.reference, bench.pairs)
    margins = beta * rewarded.double()
    favourite = margins.abs().sigmoid()
    won = torch.where(margins == 0, 0.5, (margins > 0).double())  # no opinion: a fair coin
    count = len(margins)
    ceiling = None
    if bench.reward is not None and all(isinstance(pair["chosen"], str) for pair in bench.pairs):
        agrees = [bench.reward(pair["chosen"]) > bench.reward(pair["rejected"]) for pair in bench.pairs]
        ceiling = wilson_interval(sum(agrees), count)
    return {
        "accuracy": wilson_interval(int((rewarded > 0).sum()), count),
        "ranking_accuracy": wilson_interval(int((ranked > 0).sum()), count),
        "ceiling": ceiling,
        "by_group": accuracy_by_group(rewarded, group_names(bench.pairs)),
        "reliability": reliability_bins(favourite, won),
        "calibration_error": calibration_error(favourite, won),
        "overconfidence": bootstrap_interval(favourite - won),
    }


def sample_numbers(written: Samples, bench: Bench, seed: int) -> dict[str, Any]:
    """What the samples tell, by the names of `Evaluation`."""
    win_rate = first = controlled = gain = None
    if bench.judge is not None:
        verdicts = judge_both_orders(bench.judge, written.prompts, written.ours, written.theirs)
        win_rate, first = summarise_scores(verdicts.scores, seed), verdicts.first
        controlled = length_controlled_win_rate(verdicts.scores, written.length_differences().double())
    if written.our_rewards:
        differences = torch.tensor(written.our_rewards) - torch.tensor(written.their_rewards)
        gain = bootstrap_interval(differences, seed=seed)
    sides = (written.ours, written.theirs)
    return {
        "win_rate": win_rate,
        "first": first,
        "length_controlled": controlled,
        "gain": gain,
        "lengths": tuple(sum(len(text.split()) for text in side) / len(side) for side in sides),
        "distinct": tuple(distinct_n(side, 2) for side in sides),
    }


def group_names(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A group for each pair: its prompt where there are few, else which completion is longer."""
    prompts = [prompt_text(pair["prompt"]) for pair in pairs]
    if len(set(prompts)) <= MOST_GROUPS:
        return prompts
    lengths = [(len(str(pair["chosen"])), len(str(pair["rejected"]))) for pair in pairs]
    return [
        "chosen longer" if chosen > rejected else "rejected longer" if chosen < rejected else "equal length"
        for chosen, rejected in lengths
    ]


def prompt_text(prompt: Any) -> str:
    """A prompt as one line of text: a chat's last message."""
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
