"""The run doctor: what is wrong with a run, most urgent first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpo_lab.diagnostics.catalogue import found
from dpo_lab.diagnostics.dynamic import curve_findings, first_rewards
from dpo_lab.diagnostics.findings import Finding, ranked
from dpo_lab.diagnostics.reading import Curves, Settings, read_history
from dpo_lab.diagnostics.replay import first_step_findings, last_steps_findings
from dpo_lab.diagnostics.static import dropout_rate, has_error, setup_findings, some_rows
from dpo_lab.encoding import encode_pairs
from dpo_lab.history import History
from dpo_lab.policies import Policy
from dpo_lab.trainer import pair_logprobs

# The trained policy is scored on so many of its pairs: enough to tell 40 % from 50 %.
PAIRS_SCORED = 64
# Two-sided 1 in 400 for a policy that ranks its own training pairs at random.
SURE = 3.0


def diagnose(
    history: History | Iterable[Mapping[str, Any]] | str | Path,
    policy: Policy | None = None,
    reference: Policy | None = None,
    pairs: Iterable[Mapping[str, Any]] | None = None,
    config: Any = None,
) -> list[Finding]:
    """Say what is wrong with a run, from its log and whatever else is at hand.

    The log alone tells what moves, what does not and which way. The reference and the pairs tell whether the set-up is
    sound. With the config as well, the first batch is scored again: a wrong log-prob is caught in its first number. The
    trained policy tells whether the pairs were learned the right way round.

    Args:
        history: a History, its records, or a path to one (see `reading.read_history`); TRL's log counts as well.
        policy: the policy after training.
        reference: the frozen reference.
        pairs: the training pairs, in the order in which the trainer got them.
        config: the run's `DPOConfig`, or a mapping with some of its names.

    Returns:
        Findings, ranked: errors before warnings before notes, and among equals what the set-up shows before what
        the curves hint at. Notes alone mean a healthy run.

    Raises:
        FileNotFoundError: the path holds no log.
        ValueError: the log is not one of a training run.
    """
    curves, settings = Curves(read_history(history)), Settings.of(config)
    if policy is not None:
        settings = replace(settings, dropout=dropout_rate(policy.model))
    rows = None if pairs is None else list(pairs)
    findings = setup_findings(policy, reference, rows, settings.max_length)
    curve = curve_findings(curves, settings)
    if not has_error(findings) and reference is not None and rows:
        known = any(finding.name == "pair_swapped" for finding in curve)
        again = replayed(curves, None if known else policy, reference, rows, settings)
        if settings.batches_known and curves.first_step == 1 and not again:
            # short completions have small sums: scored again, these are right
            curve = [finding for finding in curve if finding.name != "logps_averaged"]
        findings += again
    return ranked([*findings, *curve])


def replayed(
    curves: Curves,
    policy: Policy | None,
    reference: Policy,
    rows: Sequence[Mapping[str, Any]],
    settings: Settings,
) -> list[Finding]:
    """What scoring the pairs again tells; which pairs a step had is known only from the config."""
    findings = []
    if settings.batches_known:
        findings += first_step_findings(curves, reference, rows, settings)
    # a reference that is not the start says nothing of what the policy has learned
    if policy is None or first_rewards(curves, settings) is not None:
        return findings
    if settings.batches_known:
        return findings + last_steps_findings(curves, policy, reference, rows, settings)
    return findings + trained_findings(policy, reference, rows)


def trained_findings(policy: Policy, reference: Policy, rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Score the trained policy afresh: did it learn to prefer what the pairs prefer?"""
    encoded = encode_pairs(policy.tokenizer, some_rows(rows, PAIRS_SCORED), policy.tokenizer.model_max_length)
    chosen, rejected = pair_logprobs(policy, *encoded)
    ref_chosen, ref_rejected = pair_logprobs(reference, *encoded)
    gaps = (chosen - ref_chosen) - (rejected - ref_rejected)
    z = gaps.mean().item() / max(gaps.std().item() / len(gaps) ** 0.5, 1e-9)
    accuracy = (gaps > 0).double().mean().item()
    if z > -SURE or accuracy > 0.5:
        return []
    text = (
        f"on {len(gaps)} pairs the log-ratio gap is {gaps.mean().item():.2f} nats on average ({z:.1f} standard "
        f"errors), the accuracy {accuracy:.0%}."
    )
    numbers = {"gap": gaps.mean().item(), "accuracy": accuracy}
    return [found("trained_backwards", "error", text, numbers=numbers, stage="trained")]
