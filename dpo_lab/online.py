"""DPO on pairs that the policy makes while it learns: iterative, online, best-of-n, active; offline is one round."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dpo_lab.collecting import Collector, Judge, Labeller, Prompt
from dpo_lab.history import History
from dpo_lab.loop import epoch_batches, run_loop
from dpo_lab.policies import Policy, check_same_tokenizer, frozen_reference
from dpo_lab.trainer import DPOConfig, PairObjective


@dataclass(frozen=True, kw_only=True)
class OnlineConfig(DPOConfig):
    """A run in rounds: each round samples and labels fresh pairs, then trains on them.

    `rounds=1` is offline DPO on the policy's own pairs. `refresh_reference=True` is iterative DPO (Xu et al. 2023,
    arXiv 2312.16682). Many rounds of a step or a few each, with the reference left alone, are online DPO (Guo et al.
    2024, arXiv 2402.04792). The options combine, but for `candidates` with `samples_per_prompt`.

    Args:
        rounds: how often fresh pairs are made.
        labels_per_round: comparisons that the judge is asked for in each round. A pair of two samples costs one.
        steps_per_round: optimiser steps of `batch_size` pairs a round, through its pairs as often as that takes.
        refresh_reference: at the start of each round but the first, the reference becomes a copy of the policy.
        samples_per_prompt: n; the pair is the best and the worst of n samples (see `best_and_worst`). 2 is the usual
            pair.
        candidates: sample so many times as many pairs as are labelled, and label those whose implicit-reward margin is
            nearest to 0 (active selection). 1 labels all.
        max_new_tokens: longest sampled completion.
        temperature: of the sampling.
    """

    rounds: int = 4
    labels_per_round: int = 128
    steps_per_round: int = 8
    refresh_reference: bool = False
    samples_per_prompt: int = 2
    candidates: int = 1
    max_new_tokens: int = 64
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"rounds": 1, "labels_per_round": 1, "steps_per_round": 1, "candidates": 1}
        for name, smallest in (least | {"samples_per_prompt": 2, "max_new_tokens": 1}).items():
            if getattr(self, name) < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {getattr(self, name)}")
        if self.candidates > 1 and self.samples_per_prompt > 2:
            raise ValueError(
                f"candidates={self.candidates} chooses among pairs of two samples; it can't be combined with "
                f"samples_per_prompt={self.samples_per_prompt}. Set one of them to its default"
            )
        if self.epochs != 1:
            raise ValueError(f"epochs must be 1, got {self.epochs}: set steps_per_round instead")
        if self.resume:
            raise ValueError("resume=True: a run in rounds can't be taken up again, its pairs are not kept")


@dataclass(frozen=True)
class OnlineRun:
    """What a run in rounds leaves behind.

    Attributes:
        history: one record a step; beside DPO's metrics `round`, and `labels` and `tokens` spent so far.
        pairs: all pairs that were trained on, in order; each row has its `round`, from 0.
        reference: the last round's; where it is not refreshed, the one that was given.
        labels: comparisons that the judge was asked for.
        completions, tokens: how many were sampled.
        unfinished, identical: completions without an end, and prompts whose samples were all one text; such draws are
            dropped and made anew.
    """

    history: History
    pairs: list[dict[str, Any]]
    reference: Policy
    labels: int
    completions: int
    tokens: int
    unfinished: int
    identical: int


def train_online(
    policy: Policy,
    reference: Policy,
    prompts: Sequence[Prompt],
    judge: Judge,
    config: OnlineConfig | None = None,
    eval_pairs: Iterable[Mapping[str, Any]] | None = None,
    callback: Callable[[History], None] | None = None,
) -> OnlineRun:
    """Train `policy` in place on pairs that it writes itself and `judge` labels, round by round.

    One optimiser and one learning-rate schedule run through all rounds, so that runs with another number of rounds
    differ in their pairs alone. Ctrl-C ends the run between two steps.

    Args:
        policy: the model that learns and writes.
        reference: the frozen one, usually `frozen_reference(policy)`.
        prompts: texts or chats to write for; they take turns.
        judge: judge(prompt, first, second) -> probability that the first completion wins; a hard label is drawn from
            it. `judge_by_reward` makes one of a reward.
        config: see `OnlineConfig`.
        eval_pairs: held-out rows, evaluated against the reference that was given, whether or not it is refreshed.
        callback: called with the history after each step.

    Returns:
        The history with the pairs, and what they cost.

    Raises:
        ValueError: no prompts, tokenizers that differ, a judge that returns no probability, or a bad setting.
        RuntimeError: the policy collapsed, so that no two of its samples differ.
    """
    config = config or OnlineConfig()
    check_same_tokenizer(policy, reference)
    rounds = Rounds(policy, reference, Collector(prompts, Labeller(judge, config.seed), config), config)
    evaluate = None
    if eval_pairs is not None:
        held_out = PairObjective(policy, reference, eval_pairs, config, "held-out")
        evaluate = partial(held_out.evaluate, policy.model)
    history = run_loop(policy, rounds, config, evaluate, callback, rounds.prepare)
    spent = rounds.collector
    return OnlineRun(
        history,
        rounds.pairs,
        rounds.reference,
        spent.labeller.labels,
        spent.completions,
        spent.tokens,
        spent.unfinished,
        spent.identical,
    )


def begin_round(
    policy: Policy,
    reference: Policy,
    number: int,
    refresh_reference: bool,
    collect: Callable[[Policy, Policy], list[dict[str, Any]]],
) -> tuple[Policy, list[dict[str, Any]]]:
    """What a round of training starts with: its reference and its pairs.

    Args:
        policy: as it is now, trained by the rounds before.
        reference: the round before's; in round 0 the first one.
        number: of the round, from 0.
        refresh_reference: True makes the reference a frozen copy of the policy in every round but the first (iterative
            DPO); False keeps it (online DPO).
        collect: collect(policy, reference) samples completions from `policy`, has them labelled, and returns pairs;
            `reference` is there for rules that choose pairs by their margin.

    Returns:
        (reference, pairs) of this round.
    """
    if refresh_reference and number > 0:
        reference = frozen_reference(policy)
    return reference, collect(policy, reference)


class Rounds:
    """The objective of a run in rounds: the loop's rows are places, filled with pairs when their round begins."""

    def __init__(self, policy: Policy, reference: Policy, collector: Collector, config: OnlineConfig) -> None:
        self.name = "offline DPO" if config.rounds == 1 else "DPO in rounds"
        self.policy, self.reference, self.collector, self.config = policy, reference, collector, config
        self.size = config.rounds * config.steps_per_round * config.batch_size
        self.batches = epoch_batches(self.size, 0, config)
        self.pairs: list[dict[str, Any]] = []
        self.current: PairObjective | None = None
        self.pair_at: dict[int, int] = {}

    def prepare(self, history: History) -> None:
        """Before a step: make fresh pairs if a round begins."""
        step, steps = len(history), self.config.steps_per_round
        if step % steps:
            return
        number = step // steps
        refresh = self.config.refresh_reference
        self.reference, pairs = begin_round(
            self.policy, self.reference, number, refresh, self.collector.collect
        )
        quiet = replace(self.config, progress=False)
        self.current = PairObjective(self.policy, self.reference, pairs, quiet, self.name)
        self.pairs += [pair | {"round": number} for pair in pairs]
        places = [row for batch in self.batches[step : step + steps] for row in batch]
        order = shuffled_rows(len(pairs), len(places), self.config.seed * 100_003 + number)
        self.pair_at = dict(zip(places, order, strict=True))

    def weight(self, rows: list[int]) -> float:
        return len(rows)

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = self.current.loss(model, [self.pair_at[row] for row in rows])
        spent = {"labels": self.collector.labeller.labels, "tokens": self.collector.tokens}
        return loss, metrics | {"round": self.pairs[-1]["round"]} | spent


def shuffled_rows(size: int, length: int, seed: int) -> list[int]:
    """`length` row numbers below `size`: one shuffle after another, so that no row comes twice more than another."""
    draw = random.Random(seed)
    rows: list[int] = []
    while len(rows) < length:
        rows += draw.sample(range(size), size)
    return rows[:length]
