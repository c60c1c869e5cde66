"""Judges made from a reward: a fair one, and one with the weaknesses of real annotators."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

Reward = Callable[[str], float]
# judge(prompt, first, second): 1 if the first answer is better, 0 if the second is, ½ for a tie
Judge = Callable[[Any, str, str], float]


def reward_judge(reward: Reward, tie_within: float = 0.0) -> Judge:
    """A judge without noise: the answer with the higher reward wins.

    Args:
        reward: scores an answer's text.
        tie_within: rewards that differ by no more than this are a tie.
    """

    def judge(prompt: Any, first: str, second: str) -> float:
        difference = reward(first) - reward(second)
        return 0.5 if abs(difference) <= tie_within else float(difference > 0)

    return judge


class NoisyJudge:
    """A judge who errs as Bradley-Terry says, and may have two weaknesses.

    P(first wins) = σ( r(first) − r(second) + position + length · (words of first − words of second) )
    """

    def __init__(self, reward: Reward, position: float = 0.0, length: float = 0.0, seed: int = 0) -> None:
        """Make a judge.

        Args:
            reward: scores an answer's text.
            position: leaning to the answer that is shown first, in units of reward; below 0, to the second.
            length: what a word more is worth to this judge, on top of the reward.
            seed: of the draws: the same questions in the same order get the same answers.
        """
        self.reward, self.position, self.length = reward, position, length
        self.draws = random.Random(seed)

    def __call__(self, prompt: Any, first: str, second: str) -> float:
        """One vote: 1 for the first answer, 0 for the second."""
        words = len(first.split()) - len(second.split())
        score = self.reward(first) - self.reward(second) + self.position + self.length * words
        return float(self.draws.random() < 1 / (1 + math.exp(-score)))
