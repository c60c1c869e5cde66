"""Rules for finding a bug in a DPO run: from its log, from its models, from its scoring function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


def first_step_failures(
    record: Mapping[str, float], ref_chosen_logps: float, ref_rejected_logps: float, tolerance: float = 0.02
) -> list[str]:
    """Which parts of a run's first record are not what a policy that equals its reference must give.

    Args:
        record: what a run with DPO's sigmoid loss logged at step 1: `loss`, `rewards/chosen`, `rewards/rejected`,
            `logps/chosen`, `logps/rejected`, each a mean over the batch, in nats.
        ref_chosen_logps: mean log π_ref(y_w|x) of the same batch, computed by a function that is known to be right.
        ref_rejected_logps: mean log π_ref(y_l|x) of the same batch.
        tolerance: how far, in nats, a number may be off.

    Returns:
        Those of "loss", "rewards", "logps" that are wrong, in this order. "loss": not ln 2. "rewards": one of the two
        is not 0. "logps": one of the two is not the reference's. NaN is always wrong.
    """
    errors = {
        "loss": [record["loss"] - math.log(2)],
        "rewards": [record["rewards/chosen"], record["rewards/rejected"]],
        "logps": [
            record["logps/chosen"] - ref_chosen_logps,
            record["logps/rejected"] - ref_rejected_logps,
        ],
    }
    # "not all within", for NaN is neither within nor beyond
    return [name for name, sizes in errors.items() if not all(abs(size) <= tolerance for size in sizes)]


def diagnose_flat_loss(records: Sequence[Mapping[str, float]], lr: float) -> str:
    """Why a loss stays at ln 2.

    Args:
        records: one a step, with `rewards/chosen`, `rewards/rejected`, `grad_norm` and `learning_rate`.
        lr: the peak learning rate that the config asked for.

    Returns:
        "moving" if any reward exceeds 0.001 in magnitude at any step: then the loss is not stuck. Otherwise,
        if the gradient norm is 0 at every step: "beta_zero" where all rewards are exactly 0, else "no_gradient".
        If there is a gradient: "reference_shared" where all rewards are exactly 0, else "warmup_too_long" where the
        largest learning rate is below a tenth of `lr`, else "rate_too_low".
    """
    rewards = [record[f"rewards/{side}"] for record in records for side in ("chosen", "rejected")]
    if max(map(abs, rewards)) > 1e-3:
        return "moving"
    exactly_zero = not any(rewards)
    if not any(record["grad_norm"] for record in records):
        return "beta_zero" if exactly_zero else "no_gradient"
    if exactly_zero:
        return "reference_shared"
    too_late = max(record["learning_rate"] for record in records) < lr / 10
    return "warmup_too_long" if too_late else "rate_too_low"


def positions_scored(score: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Which positions' logits a log-prob depends on: what a scoring function looks at, whatever it says it does.

    Args:
        score: takes logits (R, T, V) and returns (R,), one number a row, differentiable.
        logits: (R, T, V), any numbers; left as they are.

    Returns:
        (R, T) bool: true at (r, t) where the score of row r changes with at least one of the V logits at position t.
    """
    probe = logits.detach().clone().requires_grad_()
    gradient = torch.autograd.grad(score(probe).sum(), probe)[0]
    # any, not a sum: the gradient of a log-softmax sums to 0 over the vocabulary
    return (gradient != 0).any(dim=-1)


def repaired_logprobs(logits: Tensor, prompt_ids: Tensor, completion_ids: Tensor, lengths: Tensor) -> Tensor:
    """Log-probs of completions that follow prompts of one length.

    Args:
        logits: (B, P + C, V), the model's output for each prompt followed by its completion; any float dtype.
        prompt_ids: (B, P), unpadded.
        completion_ids: (B, C), padded on the right with any id, which may be EOS.
        lengths: (B,), the tokens of each completion, its EOS included; 1 to C.

    Returns:
        (B,) float32: log π(y|x), the sum over the completion's tokens, in nats.
    """
    predictions = logits[:, prompt_ids.shape[1] - 1 : -1].float()  # the logits at t are about token t + 1
    logps = predictions.log_softmax(dim=-1).gather(-1, completion_ids[..., None]).squeeze(-1)
    own = torch.arange(completion_ids.shape[1], device=lengths.device) < lengths[:, None]
    return logps.masked_fill(~own, 0.0).sum(dim=-1)


def reference_leaks(model: nn.Module, before: Mapping[str, Tensor]) -> list[str]:
    """The parameters of a reference that training could reach, or did.

    Args:
        model: the reference's model, after some steps.
        before: a copy of every parameter, by its name, from before the first step.

    Returns:
        Names, in the order of `model.named_parameters()`, of the parameters that ask for a gradient or are no longer
        exactly what they were.
    """
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or not torch.equal(parameter.detach(), before[name])
    ]


def read_dashboard(run: str) -> tuple[str, str]:
    """The state of one of the six drills, and what to do next.

    Args:
        run: "1" to "6".

    Returns:
        A state ("healthy", "stuck", "too fast", "overfitting", "displacement", "no signal") and an action ("go on",
        "fix the set-up", "lower the rate", "go back to the best weights", "change the loss",
        "read the pairs", "lower beta", "train longer").
    """
    readings = {
        "1": ("healthy", "go on"),
        "2": ("overfitting", "go back to the best weights"),
        "3": ("no signal", "read the pairs"),
        "4": ("too fast", "lower the rate"),
        "5": ("stuck", "fix the set-up"),
        "6": ("displacement", "change the loss"),
    }
    return readings[run]


def name_suspect(run: str) -> str:
    """The bug behind one of the eight runs of the hunt.

    Args:
        run: "A" to "H".

    Returns:
        One of "pair_swapped", "reference_random", "dropout_on", "mean_for_sum", "off_by_one", "padding_summed",
        "clamp", "rate_100x", "loss_ignored", "beta_zero".
    """
    suspects = {
        "A": "rate_100x",
        "B": "reference_random",
        "C": "mean_for_sum",
        "D": "pair_swapped",
        "E": "off_by_one",
        "F": "dropout_on",
        "G": "loss_ignored",
        "H": "padding_summed",
    }
    return suspects[run]
