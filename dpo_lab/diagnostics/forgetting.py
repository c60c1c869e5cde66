"""What a policy can no longer do that its reference could."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from dpo_lab.checks import check_batch
from dpo_lab.encoding import encode_pair
from dpo_lab.evaluation import score_rows
from dpo_lab.policies import Policy


def perplexity(logps: Tensor, lengths: Tensor) -> float:
    """Perplexity of a set of completions: e to the mean negative log-prob of their tokens.

    ppl = exp(−Σ_i log π(y_i|x_i) / Σ_i |y_i|)

    The mean runs over all tokens of the set, so a long completion weighs more than a short one.

    Args:
        logps: (N,), log π(y|x) of each completion in nats, summed over its tokens.
        lengths: (N,), tokens of each completion, EOS included; floats.

    Returns:
        At least 1: among how many equally likely tokens the model seems to choose at each step.

    Raises:
        ValueError: shapes differ or are not (N,), an entry is NaN, or the lengths add up to nothing.
    """
    check_batch(logps=logps, lengths=lengths)
    tokens = lengths.double().sum().item()
    if not tokens > 0:
        raise ValueError(f"lengths must add up to at least one token, got {tokens:g}")
    return math.exp(-logps.double().sum().item() / tokens)


def forgetting(
    policy: Policy, reference: Policy, examples: Sequence[Mapping[str, str]], batch_size: int = 128
) -> float:
    """How much worse the policy predicts text that the reference had learnt: a ratio of perplexities.

    Args:
        policy: the trained model.
        reference: what it started from.
        examples: held-out rows with `prompt` and `completion`, of the kind that the reference was fine-tuned on.
        batch_size: rows a forward pass.

    Returns:
        The policy's perplexity over the reference's: 1 as good as before, 2 twice as many tokens to choose among.

    Raises:
        ValueError: no examples, or an empty completion.
    """
    if not examples:
        raise ValueError("examples is empty: there is nothing to remember")
    found = []
    for scored in (policy, reference):
        rows = [encode_pair(scored.tokenizer, row["prompt"], row["completion"]) for row in examples]
        logps = score_rows(scored, rows, batch_size)
        found.append(perplexity(logps, logps.new_tensor([sum(row.completion_mask) for row in rows])))
    return found[0] / found[1]
