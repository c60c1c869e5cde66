"""What some losses take from beyond their own batch of pairs: KTO's zero point, BCO's reward shift."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpo_lab.encoding import Encoded
from dpo_lab.history import History
from dpo_lab.packing import score_groups
from dpo_lab.policies import Policy

MEMORY = 0.9  # of the running reward: it reaches back some ten batches


class Mismatched:
    """Each prompt with the next pair's completion, by turns a chosen and a rejected one.

    The mean of log π − log π_ref over them estimates KTO's zero point. Which prompt meets which completion is settled
    once, so that the reference's log-probs can be kept.
    """

    def __init__(
        self, reference: Policy, chosen: Sequence[Encoded], rejected: Sequence[Encoded], batch_size: int
    ) -> None:
        self.pad = reference.tokenizer.pad_token_id
        self.rows = mismatched_rows(chosen, rejected)
        parts = [self.rows[start : start + batch_size] for start in range(0, len(self.rows), batch_size)]
        self.ref_logps = torch.cat([self.score(reference.model, part).cpu() for part in parts])

    @torch.no_grad()
    def score(self, model: torch.nn.Module, rows: Sequence[Encoded]) -> Tensor:
        return score_groups(model, [[row] for row in rows], self.pad)

    def log_ratios(self, model: torch.nn.Module, numbers: list[int]) -> Tensor:
        """(B,) log π(y'|x) − log π_ref(y'|x) of those rows, in nats, without gradient: one more forward pass."""
        logps = self.score(model, [self.rows[i] for i in numbers])
        return logps - self.ref_logps[numbers].to(logps.device)


def mismatched_rows(chosen: Sequence[Encoded], rejected: Sequence[Encoded]) -> list[Encoded]:
    """Row i: the prompt of pair i, the completion of pair i + 1 (the last takes the first's).

    Raises:
        ValueError: there is one pair only, so that no completion belongs to another prompt.
    """
    if len(chosen) < 2:
        raise ValueError("this loss needs two pairs or more: it scores each prompt with another's completion")
    rows = []
    for i, own in enumerate(chosen):
        other = (chosen, rejected)[i % 2][(i + 1) % len(chosen)]
        prompt = own.input_ids[: own.completion_mask.index(True)]
        completion = other.input_ids[other.completion_mask.index(True) :]
        mask = [False] * len(prompt) + [True] * len(completion)
        rows.append(Encoded([*prompt, *completion], mask))
    return rows


class RunningReward:
    """Moving average of the implicit rewards of chosen and rejected completions alike; 0 at first.

    It follows the log, a step at a time, so a resumed run has the average of the unbroken one.
    """

    def __init__(self) -> None:
        self.mean, self.seen = 0.0, 0

    def follow(self, history: History) -> None:
        """Take in the mean rewards of the steps that were logged since the last call."""
        sides = (history["rewards/chosen"], history["rewards/rejected"]) if len(history) else ([], [])
        for chosen_reward, rejected_reward in list(zip(*sides, strict=True))[self.seen :]:
            self.mean = MEMORY * self.mean + (1 - MEMORY) * (chosen_reward + rejected_reward) / 2
            self.seen += 1
