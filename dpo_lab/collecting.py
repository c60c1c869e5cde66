"""Fresh preference pairs: sampled from a policy, compared by a judge, every comparison counted."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_lab.checks import check_positive
from dpo_lab.diagnostics.active import select_active_pairs
from dpo_lab.encoding import Messages, encode_pairs
from dpo_lab.policies import Policy
from dpo_lab.sampling import sample_ids
from dpo_lab.trainer import pair_logprobs

Prompt = str | Messages
Judge = Callable[[Prompt, str, str], float]
"""judge(prompt, first, second) -> probability in [0, 1] that the first completion wins."""
ATTEMPTS = 20


@dataclass(frozen=True)
class Group:
    """Different completions of one prompt, not yet compared."""

    prompt: Prompt
    completions: list[str]


def judge_by_reward(reward: Callable[[str], float], temperature: float = 1.0) -> Judge:
    """A judge that follows Bradley-Terry on a reward: P(first wins) = σ((r_first − r_second) / temperature).

    Args:
        reward: scores a completion's text.
        temperature: the judge's noise in units of the reward, > 0.

    Raises:
        ValueError: temperature ≤ 0.
    """
    check_positive(temperature=temperature)

    def judge(prompt: Prompt, first: str, second: str) -> float:
        difference = (reward(first) - reward(second)) / temperature
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, difference))))

    return judge


class Labeller:
    """Draws hard labels from a judge's probabilities and counts them.

    Attributes:
        labels: comparisons asked for so far.
    """

    def __init__(self, judge: Judge, seed: int = 0) -> None:
        self.judge, self.labels = judge, 0
        self.random = random.Random(seed)

    def beats(self, prompt: Prompt, first: str, second: str) -> bool:
        """Whether the first completion wins this once; one label.

        Raises:
            ValueError: the judge's answer is not a probability.
        """
        probability = float(self.judge(prompt, first, second))
        if not 0 <= probability <= 1:
            raise ValueError(
                f"judge must return a probability in [0, 1], got {probability}; wrap a reward in judge_by_reward"
            )
        self.labels += 1
        return self.random.random() < probability


def best_and_worst(completions: Sequence[str], beats: Callable[[str, str], bool]) -> tuple[str, str]:
    """Find the best and the worst of n completions by comparing two at a time.

    The first two are compared with each other. Each later one meets the best so far; only if it loses, the worst so
    far. That takes between n − 1 and 2n − 3 comparisons, each of which somebody is paid for.

    Args:
        completions: n different texts, n ≥ 2.
        beats: beats(first, second) asks for one comparison and says whether the first wins. It may err.

    Returns:
        (best, worst): a pair's chosen and rejected completion. They differ even if comparisons contradict each other.

    Raises:
        ValueError: fewer than two completions.
    """
    if len(completions) < 2:
        raise ValueError(f"completions must hold at least 2 texts, got {len(completions)}")
    first, second, *others = completions
    best, worst = (first, second) if beats(first, second) else (second, first)
    for other in others:
        if beats(other, best):
            best = other
        elif not beats(other, worst):
            worst = other
    return best, worst


class Collector:
    """Samples groups of completions and spends a budget of labels on them.

    Attributes:
        completions, tokens: how many were sampled so far, EOS counted.
        unfinished: completions dropped because they reached `max_new_tokens`: in a pair they would get an EOS that the
            policy never wrote there, and it would learn to break off.
        identical: groups dropped because fewer than two different, finished, non-empty texts were left in them.
    """

    def __init__(self, prompts: Sequence[Prompt], labeller: Labeller, config: Any) -> None:
        if not prompts:
            raise ValueError("prompts is empty: there is nothing to sample from")
        self.prompts, self.labeller, self.config = list(prompts), labeller, config
        self.completions = self.tokens = self.unfinished = self.identical = self.draws = 0

    def collect(self, policy: Policy, reference: Policy) -> list[dict[str, Any]]:
        """Pairs from `policy` for exactly `config.labels_per_round` labels: rows `prompt`, `chosen`, `rejected`.

        Args:
            policy: who writes the completions.
            reference: with `policy` it decides which pairs are unsure, where `config.candidates` > 1.

        Raises:
            RuntimeError: the policy writes nearly the same text every time, so that no pairs can be made.
        """
        if self.config.candidates > 1:
            waiting = self.least_sure(policy, reference)
        else:
            waiting = []
        pairs: list[dict[str, Any]] = []
        goal = self.labeller.labels + self.config.labels_per_round
        for _ in range(ATTEMPTS):
            left = goal - self.labeller.labels
            waiting = waiting or self.draw(policy, -(-left // (2 * self.config.samples_per_prompt - 3)))
            while waiting and self.labeller.labels < goal:
                pairs.append(self.label(waiting.pop(0), goal - self.labeller.labels))
            if self.labeller.labels == goal:
                return pairs
        raise RuntimeError(
            f"made {len(pairs)} pairs for {self.config.labels_per_round} labels; {self.identical} prompts gave no two "
            f"different texts, and {self.unfinished} of {self.completions} texts had no end: the policy has collapsed, "
            "or max_new_tokens is too small. Raise beta, lower lr, or sample at a higher temperature"
        )

    def label(self, group: Group, left: int) -> dict[str, Any]:
        """One pair from a group, of which no more is used than `left` labels suffice for."""
        affordable = (left + 3) // 2
        chosen, rejected = best_and_worst(
            group.completions[:affordable],
            lambda first, second: self.labeller.beats(group.prompt, first, second),
        )
        return {"prompt": group.prompt, "chosen": chosen, "rejected": rejected}

    def draw(self, policy: Policy, count: int) -> list[Group]:
        """Sample `count` groups, prompts in turn; unfinished texts and groups of one text are dropped and counted."""
        config, size = self.config, self.config.samples_per_prompt
        asked = [self.prompts[(self.draws + i) % len(self.prompts)] for i in range(count)]
        rows = sample_ids(
            policy,
            [prompt for prompt in asked for _ in range(size)],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=config.seed * 1_000_003 + self.draws,
            batch_size=256,
        )
        finished = [row[-1] == policy.tokenizer.eos_token_id for row in rows]
        texts = [
            policy.tokenizer.decode(row, skip_special_tokens=True) if ended else ""
            for row, ended in zip(rows, finished, strict=True)
        ]
        self.unfinished += finished.count(False)
        self.draws += count
        self.completions += len(rows)
        self.tokens += sum(map(len, rows))
        groups = []
        for number, prompt in enumerate(asked):
            drawn = texts[number * size : (number + 1) * size]
            different = list(dict.fromkeys(text for text in drawn if text.strip()))
            if len(different) > 1:
                groups.append(Group(prompt, different))
            else:
                self.identical += 1
        return groups

    def least_sure(self, policy: Policy, reference: Policy) -> list[Group]:
        """Of `candidates` times as many pairs as there are labels, those whose margin is nearest to 0."""
        wanted = self.config.labels_per_round
        groups = self.draw(policy, wanted * self.config.candidates)
        pairs = [
            {"prompt": g.prompt, "chosen": g.completions[0], "rejected": g.completions[1]} for g in groups
        ]
        if not pairs:
            return []
        encoded = encode_pairs(policy.tokenizer, pairs, self.config.max_length)
        first, second = pair_logprobs(policy, *encoded, batch_size=64)
        ref_first, ref_second = pair_logprobs(reference, *encoded, batch_size=64)
        margins = self.config.beta * ((first - ref_first) - (second - ref_second))
        return [groups[row] for row in select_active_pairs(margins, min(wanted, len(groups)))]
