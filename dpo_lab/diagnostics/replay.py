"""Score batches of the run again, rightly and in every wrong way that is known, and compare with what was logged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpo_lab.diagnostics.catalogue import found
from dpo_lab.diagnostics.findings import Finding
from dpo_lab.diagnostics.reading import Curves, Settings
from dpo_lab.encoding import collate, encode_pairs
from dpo_lab.loop import epoch_batches, split
from dpo_lab.policies import Policy
from dpo_lab.trainer import to_device

# Log-probs of one batch by two routes agree to 1e-5 in float32. A slip moves the mean by a tenth of a nat or more,
# apart from rounding to 16 bits, which moves it by 0.1 %.
TOLERANCE = 1e-4
TOLERANCE_16_BITS = 1e-2
STEPS_REPLAYED = 4
UNMOVED = 1e-3
# Logged over measured margins: near 1 for a sound run, near −1 where chosen and rejected are exchanged.
BACKWARDS = -0.3
LOGPS = ("logps/chosen", "logps/rejected")
ROWS_AT_ONCE = 8  # bounds the memory of the logits: 8 rows of 100 tokens of SmolLM2's vocabulary are 160 MB


@dataclass(frozen=True)
class Scored:
    """The first batch under the reference.

    Attributes:
        shifted: (R, T − 1), log-prob of token t + 1 given those before it.
        unshifted: (R, T), what one gets by matching the logits at t with token t.
        completion: (R, T) bool, the completion's positions.
        attention: (R, T) bool, all positions but the padding's.
    """

    shifted: Tensor
    unshifted: Tensor
    completion: Tensor
    attention: Tensor


def first_step_findings(
    curves: Curves, reference: Policy, rows: Sequence[Mapping[str, Any]], settings: Settings
) -> list[Finding]:
    """At step 1 the policy is the reference, so the logged log-probs must be the reference's.

    Where the first rewards are not 0, policy and reference differ for some reason: then only a slip that gives the very
    numbers is named.
    """
    if not curves.has(*LOGPS) or curves.first_step != 1:
        return []
    logged = torch.tensor([curves.start(name) for name in LOGPS], dtype=torch.float64)
    scored = score_batch(reference, batch_of_step(1, rows, settings), settings)
    right = means(completion_sum(scored))
    rounded = settings.precision == "bf16" or (
        settings.precision == "auto" and reference.device.type == "cuda"
    )
    name = slip(logged, scored, right, TOLERANCE_16_BITS if rounded else TOLERANCE)
    if name is None or (name == "scoring_unknown" and not starts_at_zero(curves)):
        return []
    text = (
        f"step 1 logged logps/chosen {logged[0]:.3f} and logps/rejected {logged[1]:.3f}; "
        f"the reference gives these pairs {right[0]:.3f} and {right[1]:.3f}."
    )
    numbers = dict(zip(("logged_chosen", "logged_rejected"), logged.tolist(), strict=True))
    numbers |= dict(zip(("right_chosen", "right_rejected"), right.tolist(), strict=True))
    severity = "warning" if name == "low_precision" else "error"
    return [found(name, severity, text, numbers=numbers, step=1, stage="replay")]


def starts_at_zero(curves: Curves) -> bool:
    """Whether the rewards of the first step are 0 but for rounding."""
    rewards = [curves.start(name) for name in ("rewards/chosen", "rewards/rejected") if curves.has(name)]
    return all(abs(reward) < 1e-2 for reward in rewards)


def last_steps_findings(
    curves: Curves,
    policy: Policy,
    reference: Policy,
    rows: Sequence[Mapping[str, Any]],
    settings: Settings,
) -> list[Finding]:
    """Score the last batches with the trained policy: their margins must have the sign that the run logged.

    The policy has moved little since those steps: the rate is at its lowest.
    """
    if not (curves.has("rewards/margins") and settings.beta):
        return []
    steps = curves.history.steps("rewards/margins")[-STEPS_REPLAYED:]
    logged = torch.tensor(curves.values("rewards/margins")[-STEPS_REPLAYED:], dtype=torch.float64)
    measured = torch.stack([margin(policy, reference, step, rows, settings) for step in steps])
    if measured.abs().max() < UNMOVED or not logged.isfinite().all():
        return []
    agreement = (logged @ measured / (measured @ measured)).item()
    if agreement > BACKWARDS:
        return []
    text = (
        f"the last {len(steps)} steps logged a mean margin of {logged.mean():.3f}; scored afresh, the policy has "
        f"{measured.mean():.3f} on these pairs."
    )
    numbers = {"logged_margin": logged.mean().item(), "measured_margin": measured.mean().item()}
    return [found("pair_swapped", "error", text, numbers=numbers, step=steps[0], stage="replay")]


def margin(
    policy: Policy, reference: Policy, step: int, rows: Sequence[Mapping[str, Any]], settings: Settings
) -> Tensor:
    """Mean implicit-reward margin of the pairs of one step, scored rightly."""
    batch = batch_of_step(step, rows, settings)
    ours, theirs = (
        means(completion_sum(score_batch(model, batch, settings))) for model in (policy, reference)
    )
    chosen, rejected = settings.beta * (ours - theirs)
    return chosen - rejected


def slip(logged: Tensor, scored: Scored, right: Tensor, tolerance: float) -> str | None:
    """The name of the slip that gives the logged numbers; None if they are right."""
    if close(logged, right, tolerance):
        return None
    if close(logged, right.flip(0), tolerance):
        return "pair_swapped"
    for name, values in slips(scored):
        if close(logged, means(values), tolerance):
            return name
    if close(logged, right, TOLERANCE_16_BITS):
        return "low_precision"
    return "scoring_unknown"


def close(logged: Tensor, candidate: Tensor, tolerance: float) -> bool:
    """Whether both means agree, relative to their size."""
    return torch.allclose(logged, candidate, rtol=tolerance, atol=tolerance)


def means(values: Tensor) -> Tensor:
    """Means over the chosen and over the rejected rows."""
    return torch.stack([half.mean() for half in values.double().chunk(2)])


def completion_sum(scored: Scored) -> Tensor:
    """(R,), the right answer: the sum over the completion's tokens."""
    return (scored.shifted * scored.completion[:, 1:]).sum(-1)


def slips(scored: Scored) -> Iterator[tuple[str, Tensor]]:
    """Every known way to score a batch wrongly, with what it gives for each row."""
    shifted, completion, attention = scored.shifted, scored.completion[:, 1:], scored.attention[:, 1:]
    last = completion & ~torch.nn.functional.pad(completion, (0, 1))[:, 1:]
    yield "logps_averaged", (shifted * completion).sum(-1) / completion.sum(-1)
    yield "scored_with_prompt", (shifted * attention).sum(-1)
    yield "scored_with_prompt_averaged", (shifted * attention).sum(-1) / attention.sum(-1)
    yield "eos_not_scored", (shifted * (completion & ~last)).sum(-1)
    yield "eos_not_scored", (shifted * (completion & ~last)).sum(-1) / (completion & ~last).sum(-1)
    yield "padding_scored", (shifted * (completion | ~attention)).sum(-1)
    yield "scored_off_by_one", (scored.unshifted * scored.completion).sum(-1)
    yield "scored_off_by_one", (scored.unshifted[:, 1:] * completion).sum(-1)
    yield "scored_off_by_one", (shifted * scored.completion[:, :-1]).sum(-1)
    whole = (shifted * completion).sum(-1)
    for limit in range(int(whole.min()), 0):
        yield "logps_clamped", whole.clamp(min=limit)
    positions = torch.arange(1, scored.completion.shape[1])
    for start in positions.tolist():
        yield "scored_from_wrong_token", (shifted * (attention & (positions >= start))).sum(-1)
    for length in positions.tolist():
        yield "completion_cut", (shifted * (completion & (positions < length))).sum(-1)


def batch_of_step(
    step: int, rows: Sequence[Mapping[str, Any]], settings: Settings
) -> list[Mapping[str, Any]]:
    """The pairs of one step, as the trainer's own shuffle picks them."""
    steps_an_epoch = math.ceil(len(rows) / settings.batch_size)
    epoch, index = divmod(step - 1, steps_an_epoch)
    return [rows[i] for i in epoch_batches(len(rows), epoch, settings)[index]]


@torch.no_grad()
def score_batch(policy: Policy, pairs: Sequence[Mapping[str, Any]], settings: Settings) -> Scored:
    """Run a model on some pairs and keep every position's log-prob."""
    chosen, rejected = encode_pairs(policy.tokenizer, pairs, settings.max_length)
    batch = to_device(collate(chosen, rejected, policy.tokenizer.pad_token_id), policy.model)
    policy.model.eval()
    shifted, unshifted = [], []
    for part in split(list(range(len(batch["input_ids"]))), ROWS_AT_ONCE):
        ids, attention = batch["input_ids"][part], batch["attention_mask"][part]
        logits = policy.model(input_ids=ids, attention_mask=attention, use_cache=False).logits.float()
        logps = logits.log_softmax(-1)
        shifted.append(logps[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1).cpu())
        unshifted.append(logps.gather(-1, ids[..., None]).squeeze(-1).cpu())
    return Scored(
        torch.cat(shifted),
        torch.cat(unshifted),
        batch["completion_mask"].cpu(),
        batch["attention_mask"].bool().cpu(),
    )
