"""From logits to the log-probability of a completion."""

from __future__ import annotations

import torch
from torch import Tensor

from dpo_lab.checks import check_same_shape, rows_where


def token_logprobs(logits: Tensor, input_ids: Tensor) -> Tensor:
    """Log-probability of each token given those before it, in nats.

    Args:
        logits: (B, T, V), the model's output for `input_ids`; any float dtype, upcast here.
        input_ids: (B, T), the tokens that went in.

    Returns:
        (B, T - 1) float32: entry t is log π(token t + 1 | tokens 0..t). The first token has no entry. A float64
        input stays float64.

    Raises:
        ValueError: logits and input_ids disagree in batch or length, or there are fewer than two tokens.
    """
    check_same_shape(logits=logits[..., 0], input_ids=input_ids)
    if input_ids.shape[1] < 2:
        raise ValueError(
            f"input_ids {tuple(input_ids.shape)}: a row needs two tokens, one to condition on, one to score"
        )
    # bf16 keeps 3 digits: too few for a sum
    upcast = logits if logits.dtype == torch.float64 else logits.float()
    predictions = upcast[:, :-1]  # the logits at t are about token t + 1
    picked = predictions.gather(dim=-1, index=input_ids[:, 1:, None]).squeeze(-1)
    # log_softmax in two steps: closer to float64 for a vocabulary of SmolLM2's size on a CPU (1e-6 against 3e-5 nats)
    return picked - predictions.logsumexp(dim=-1)


def sequence_logprobs(
    logits: Tensor, input_ids: Tensor, completion_mask: Tensor, average: bool = False
) -> Tensor:
    """Log-probability of each completion given its prompt, in nats.

    log π(y|x) = Σ_t log π(y_t | x, y_<t)          (Rafailov et al. 2023, section 3)

    Args:
        logits: (B, T, V), the model's output for `input_ids`; any float dtype, upcast here.
        input_ids: (B, T), prompt, completion and padding.
        completion_mask: (B, T), true exactly at the completion's tokens, its EOS included.
        average: divide by the completion's length (SimPO, IPO in TRL). DPO sums.

    Returns:
        (B,) float32, differentiable in `logits`.

    Raises:
        ValueError: shapes disagree, or a row has no completion token.
    """
    check_same_shape(input_ids=input_ids, completion_mask=completion_mask)
    scored = completion_mask[:, 1:].bool()  # position t of the logits predicts token t + 1
    lengths = scored.sum(dim=-1)
    if (lengths == 0).any():
        raise ValueError(f"rows {rows_where(lengths == 0)} have an empty completion: nothing to score")
    # masked_fill, not a product: 0 · (−inf) is NaN
    total = token_logprobs(logits, input_ids).masked_fill(~scored, 0.0).sum(dim=-1)
    return total / lengths if average else total


def completion_logprobs(model: torch.nn.Module, batch: dict[str, Tensor], average: bool = False) -> Tensor:
    """Run a causal language model on a collated batch and score its completions.

    The vocabulary projection is computed only from the column before the first completion token on: prompts cost no
    logits. Padding on either side gives the same numbers, since positions are counted over real tokens.

    Args:
        model: a `transformers` causal LM.
        batch: `input_ids`, `attention_mask`, `completion_mask`, each (R, T), as `encoding.collate` returns them.
        average: as in `sequence_logprobs`.

    Returns:
        (R,) float32 log-probs, in nats.

    Raises:
        ValueError: a row has no completion token, or one has no prompt token before it.
    """
    input_ids, completion_mask = batch["input_ids"], batch["completion_mask"]
    attention_mask = batch["attention_mask"]
    first = int(completion_mask.int().argmax(dim=-1).min())
    if not completion_mask.any() or first == 0:
        raise ValueError(
            "completion_mask needs a prompt token before each completion, and a completion in each row"
        )
    keep = input_ids.shape[1] - first + 1
    logits = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=(attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0),
        logits_to_keep=keep,
        use_cache=False,
    ).logits
    return sequence_logprobs(logits, input_ids[:, -keep:], completion_mask[:, -keep:], average=average)
