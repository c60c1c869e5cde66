"""Fresh inputs for the autograders: drawn anew in each run, so that an answer can't be written for known numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Fresh:
    """Random inputs from one seed.

    Args:
        seed: the same seed gives the same inputs in the same order.

    `rng` is a NumPy generator and `torch` a torch generator, for what the methods don't offer.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.torch = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """One number, e.g. a beta."""
        return float(self.rng.uniform(low, high))

    def integer(self, low: int, high: int) -> int:
        """One integer, low ≤ n < high."""
        return int(self.rng.integers(low, high))

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Gaussian numbers, float32."""
        return torch.randn(*shape, generator=self.torch) * scale

    def logps(self, batch: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sequence log-probs in nats: policy chosen, policy rejected, reference chosen, reference rejected, each (B,).

        Completions cost between 5 and 60 nats; the policy has moved by a few nats either way.
        """
        reference = -5.0 - 55.0 * torch.rand(2, batch, generator=self.torch)
        policy = reference + self.normal(2, batch, scale=4.0)
        return policy[0], policy[1], reference[0], reference[1]

    def ragged_batch(
        self, rows: int = 3, length: int = 9, vocabulary: int = 17, padding_side: str = "right"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A padded batch of prompts with completions.

        Args:
            rows, length, vocabulary: B, T and V.
            padding_side: "right" or "left".

        Returns:
            logits (B, T, V) float32; input_ids (B, T), padded with 0, an id that also occurs inside the completions;
            completion_mask (B, T) bool, true at the completion's tokens. Every row has at least one prompt token and
            one completion token, and at least one row is padded.
        """
        logits = self.normal(rows, length, vocabulary, scale=2.0)
        input_ids = torch.zeros(rows, length, dtype=torch.long)
        completion_mask = torch.zeros(rows, length, dtype=torch.bool)
        for row in range(rows):
            used = length if row == 0 and rows > 1 else self.integer(3, length)
            prompt = self.integer(1, used - 1)
            start = 0 if padding_side == "right" else length - used
            tokens = torch.randint(1, vocabulary, (used,), generator=self.torch)
            tokens[-1] = 0  # the completion's EOS shares its id with the padding, as SmolLM2's does
            input_ids[row, start : start + used] = tokens
            completion_mask[row, start + prompt : start + used] = True
        return logits, input_ids, completion_mask
