"""Log-probs of whole completions under a policy, for everything that evaluation compares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpo_lab.encoding import Encoded, Messages, encode_pair
from dpo_lab.loop import split
from dpo_lab.packing import score_groups
from dpo_lab.policies import Policy


@torch.no_grad()
def score_rows(policy: Policy, rows: Sequence[Encoded], batch_size: int = 64) -> Tensor:
    """log π(y|x) of encoded rows, in nats: the sum over their completion tokens.

    Args:
        policy: any policy or reference; evaluated with dropout off.
        rows: N encoded prompts with completions.
        batch_size: rows a forward pass.

    Returns:
        (N,) float32 on the CPU.
    """
    policy.model.eval()
    pad = policy.tokenizer.pad_token_id
    parts = [
        score_groups(policy.model, [[row] for row in part], pad) for part in split(list(rows), batch_size)
    ]
    return torch.cat(parts).cpu()


def score_completions(
    policy: Policy, prompts: Sequence[str | Messages], completions: Sequence[str]
) -> Tensor:
    """log π(y|x) of given texts, in nats, EOS included.

    Args:
        policy: any policy or reference.
        prompts: N prompts, text or chat messages.
        completions: N texts, one a prompt.

    Returns:
        (N,) float32 on the CPU.

    Raises:
        ValueError: lengths differ, or a completion is empty.
    """
    if len(prompts) != len(completions):
        raise ValueError(
            f"need one completion a prompt, got {len(prompts)} prompts, {len(completions)} completions"
        )
    return score_rows(
        policy, [encode_pair(policy.tokenizer, x, y) for x, y in zip(prompts, completions, strict=True)]
    )
