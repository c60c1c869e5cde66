"""Log-probs of what a policy has sampled: the very tokens, cut or finished as they were."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dpo_lab.encoding import Messages, encode_sampled
from dpo_lab.evaluation.scoring import score_rows
from dpo_lab.policies import Policy


def score_samples(
    policy: Policy,
    prompts: Sequence[str | Messages],
    token_ids: Sequence[Sequence[int]],
    batch_size: int = 64,
) -> Tensor:
    """log π(y|x) of sampled completions, in nats; one that was cut gets no EOS that it never had.

    Args:
        policy: any policy or reference.
        prompts: N prompts.
        token_ids: N completions as `sample_ids` returns them.
        batch_size: rows a forward pass.

    Returns:
        (N,) float32 on the CPU.

    Raises:
        ValueError: lengths differ.
    """
    return score_rows(policy, encode_sampled(policy.tokenizer, prompts, token_ids), batch_size)
