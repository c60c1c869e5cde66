"""Checks of models and pairs that need no training step: what can be known before a run starts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Any

import torch

from dpo_lab.diagnostics.catalogue import found
from dpo_lab.diagnostics.findings import Finding, ranked
from dpo_lab.diagnostics.reading import mean
from dpo_lab.encoding import encode_pairs, encode_prompt, render_completion
from dpo_lab.policies import Policy, check_same_tokenizer
from dpo_lab.preferences.quality import find_contradictions, find_duplicates
from dpo_lab.preferences.rows import text_of
from dpo_lab.trainer import pair_logprobs

# Models are run on so many pairs only: enough for a mean, a second on a CPU.
PAIRS_SCORED = 32
# Texts are compared on so many pairs only: comparing two texts is quadratic in their length.
PAIRS_COMPARED = 512
# The 2,048 shipped review pairs repeat 0.7 % of their rows and contradict themselves in 1.1 %: short texts, few words.
MOST_DUPLICATES = 0.05
MOST_CONTRADICTIONS = 0.03
# Two completions are nearly one when 80 % of their words match in order; 3 % of the shipped review pairs are.
NEARLY_ONE = 0.8
MOST_NEARLY_ONE = 0.25
# A random model spends ln V nats a token; the tiny policy spends 0.2 of that on its pairs.
UNTRAINED_SHARE = 0.9
# Two-sided 1 in 10,000: a reference that ranks pairs at random passes this bound about never.
STRIKING_Z = 4.0


def check_setup(
    policy: Policy | None,
    reference: Policy | None,
    pairs: Iterable[Mapping[str, Any]] | None,
    max_length: int | None = None,
) -> list[Finding]:
    """All checks before training; what is None is not checked.

    Args:
        policy: as it is before the first step.
        reference: the frozen one.
        pairs: rows with `prompt`, `chosen`, `rejected`.
        max_length: longest row in tokens, if the run has such a limit.

    Returns:
        Findings, ranked; [] when all is well.
    """
    rows = None if pairs is None else list(pairs)
    findings = setup_findings(policy, reference, rows, max_length)
    if policy is not None and reference is not None and not has_error(findings):
        findings += present([reference_not_start(policy, reference, rows)])
    return ranked(findings)


def setup_findings(
    policy: Policy | None,
    reference: Policy | None,
    rows: Sequence[Mapping[str, Any]] | None,
    max_length: int | None = None,
) -> list[Finding]:
    """What holds before and after training alike. Models are not run on pairs that are known to be broken."""
    findings = check_models(policy, reference)
    if rows is None:
        return present(findings)
    findings += check_texts(rows)
    model = reference or policy
    if model is not None and not has_error(findings):
        findings += check_tokens(model, rows, max_length)
    if reference is not None and not has_error(findings):
        findings += check_reference(reference, rows)
    return present(findings)


def present(findings: Iterable[Finding | None]) -> list[Finding]:
    """The findings without the gaps: a check that finds nothing returns None."""
    return [finding for finding in findings if finding is not None]


def has_error(findings: Iterable[Finding | None]) -> bool:
    """Whether one of them is an error."""
    return any(finding.severity == "error" for finding in present(findings))


def check_models(policy: Policy | None, reference: Policy | None) -> list[Finding | None]:
    """Is the reference another model, frozen, in eval mode, with the policy's tokenizer?"""
    findings = []
    if policy is not None and reference is not None:
        findings += [reference_is_policy(policy, reference), different_tokenizer(policy, reference)]
    if reference is not None:
        findings += [reference_trainable(reference), reference_dropout(reference)]
        if reference.tokenizer.pad_token_id == reference.tokenizer.eos_token_id:
            text = f"pad and EOS are both {reference.tokenizer.eos_token!r}."
            findings.append(found("pad_is_eos", "note", text, stage="setup"))
    return findings


def reference_is_policy(policy: Policy, reference: Policy) -> Finding | None:
    """Shared weights: one object, or two that hold the same memory."""
    ours = {parameter.data_ptr() for parameter in policy.model.parameters()}
    shared = sum(parameter.data_ptr() in ours for parameter in reference.model.parameters())
    if not shared:
        return None
    total = sum(1 for _ in reference.model.parameters())
    text = f"{shared} of the reference's {total} parameter tensors are the policy's own."
    return found("reference_is_policy", "error", text, numbers={"shared": shared}, stage="setup")


def reference_trainable(reference: Policy) -> Finding | None:
    """Parameters of the reference that ask for gradients."""
    asking = sum(parameter.requires_grad for parameter in reference.model.parameters())
    if not asking:
        return None
    text = f"{asking} parameter tensors of the reference have requires_grad=True."
    return found("reference_trainable", "error", text, numbers={"trainable": asking}, stage="setup")


def reference_dropout(reference: Policy) -> Finding | None:
    """A reference that draws random numbers when it is called."""
    rate = dropout_rate(reference.model)
    if not (reference.model.training and rate):
        return None
    text = f"the reference is in training mode with dropout {rate}."
    return found("reference_dropout", "error", text, numbers={"dropout": rate}, stage="setup")


def dropout_rate(model: torch.nn.Module) -> float:
    """The largest dropout rate in a model: of its modules, and of attention, which keeps it as a number."""
    modules = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    numbers = [getattr(module, "attention_dropout", 0.0) for module in model.modules()]
    return max(chain([0.0], modules, (rate for rate in numbers if isinstance(rate, float))))


def different_tokenizer(policy: Policy, reference: Policy) -> Finding | None:
    """The trainer's own check, as a finding."""
    try:
        check_same_tokenizer(policy, reference)
    except ValueError as error:
        return found("different_tokenizer", "error", f"{error}.", stage="setup")
    return None


def check_texts(rows: Sequence[Mapping[str, Any]]) -> list[Finding | None]:
    """Empty, identical, repeated, contradicting, nearly identical pairs."""
    texts = [(text_of(row["chosen"]), text_of(row["rejected"])) for row in rows]
    empty = [i for i, pair in enumerate(texts) if not all(text.strip() for text in pair)]
    same = [i for i, (chosen, rejected) in enumerate(texts) if chosen == rejected and i not in set(empty)]
    copies = [row for group in find_duplicates(rows) for row in group[1:]]
    contradicting = sorted(set(chain.from_iterable(find_contradictions(rows))))
    near = [i for i, pair in enumerate(texts[:PAIRS_COMPARED]) if similarity(*pair) >= NEARLY_ONE]
    return [
        of_rows("empty_completion", "error", empty, len(rows)),
        of_rows("identical_pair", "error", same, len(rows)),
        of_rows("contradictory_pairs", "warning", contradicting, len(rows), above=MOST_CONTRADICTIONS),
        of_rows("duplicate_pairs", "warning", copies, len(rows), above=MOST_DUPLICATES),
        of_rows("near_identical_pairs", "warning", near, len(texts[:PAIRS_COMPARED]), above=MOST_NEARLY_ONE),
    ]


def similarity(first: str, second: str) -> float:
    """Share of words that two texts have in common, in order: 1 for equal texts."""
    return SequenceMatcher(None, first.split(), second.split(), autojunk=False).ratio()


def of_rows(name: str, severity: str, rows: list[int], total: int, above: float = 0.0) -> Finding | None:
    """A finding about these rows, if they are more than a share `above` of all."""
    share = len(rows) / total if total else 0.0
    if share <= above:
        return None
    text = f"{len(rows)} of {total} pairs ({share:.1%}), first row {rows[0]}."
    return found(name, severity, text, numbers={"share": share, "first_row": rows[0]}, stage="setup")


def check_tokens(
    policy: Policy, rows: Sequence[Mapping[str, Any]], max_length: int | None
) -> list[Finding | None]:
    """EOS inside a completion; prompts and completions that the length limit cuts."""
    tokenizer = policy.tokenizer
    limit = min(max_length or tokenizer.model_max_length, tokenizer.model_max_length)
    inside, cut, shortened = [], [], []
    for i, row in enumerate(rows):
        prompt = len(encode_prompt(tokenizer, row["prompt"]))
        for side in ("chosen", "rejected"):
            ids = tokenizer(render_completion(tokenizer, row["prompt"], row[side]), add_special_tokens=False)
            answer = without_final_eos(ids.input_ids, tokenizer.eos_token_id)
            inside += [i] * (tokenizer.eos_token_id in answer)
            cut += [i] * (len(answer) + 2 > limit)  # its EOS and one token of the prompt must fit as well
            shortened += [i] * (prompt + len(answer) + 1 > limit)
    unique = {name: sorted(set(found_rows)) for name, found_rows in (("inside", inside), ("cut", cut))}
    shortened = sorted(set(shortened) - set(cut))
    return [
        of_rows("completion_truncated", "error", unique["cut"], len(rows)),
        of_rows("eos_inside_completion", "warning", unique["inside"], len(rows)),
        of_rows("prompt_truncated", "note", shortened, len(rows)),
    ]


def without_final_eos(ids: Sequence[int], eos_token_id: int) -> list[int]:
    """The ids without the EOS at their end."""
    answer = list(ids)
    while answer and answer[-1] == eos_token_id:
        answer.pop()
    return answer


def check_reference(reference: Policy, rows: Sequence[Mapping[str, Any]]) -> list[Finding | None]:
    """Does the reference know this kind of text, and how does it rank the pairs?"""
    some = some_rows(rows, PAIRS_SCORED)
    chosen, rejected = encode_pairs(reference.tokenizer, some, reference.tokenizer.model_max_length)
    chosen_logps, rejected_logps = pair_logprobs(reference, chosen, rejected)
    lengths = [sum(row.completion_mask) for row in (*chosen, *rejected)]
    a_token = -(chosen_logps.sum() + rejected_logps.sum()).item() / sum(lengths)
    uniform = math.log(reference.model.get_input_embeddings().num_embeddings)
    if a_token > UNTRAINED_SHARE * uniform:
        text = f"{a_token:.2f} nats a token on the pairs; a uniform guess has ln V = {uniform:.2f}."
        numbers = {"nats_a_token": a_token, "uniform": uniform}
        return [found("reference_untrained", "error", text, numbers=numbers, stage="setup")]
    gap = sum(lengths[: len(chosen)]) / len(chosen) - sum(lengths[len(chosen) :]) / len(chosen)
    return [labels_look_swapped((chosen_logps > rejected_logps).double().mean().item(), len(some), gap)]


def labels_look_swapped(accuracy: float, pairs: int, length_gap: float) -> Finding | None:
    """A note if the reference ranks far fewer than half of the pairs as labelled. It can be no more than a note.

    What the reference finds likely is not what people prefer, and a longer text is less likely for its length alone.
    Whether labels are exchanged can be known only by reading them, or from a true reward.
    """
    if (accuracy - 0.5) * math.sqrt(pairs) / 0.5 > -STRIKING_Z:
        return None
    text = (
        f"the reference ranks {accuracy:.0%} of {pairs} pairs as labelled; "
        f"chosen is {abs(length_gap):.1f} tokens {'longer' if length_gap > 0 else 'shorter'}."
    )
    numbers = {"ranking_accuracy": accuracy, "length_gap": length_gap}
    return found("labels_look_swapped", "note", text, numbers=numbers, stage="setup")


def reference_not_start(
    policy: Policy, reference: Policy, rows: Sequence[Mapping[str, Any]] | None
) -> Finding | None:
    """Before training: do policy and reference give the pairs the same log-probs?"""
    if not rows:
        return None
    encoded = encode_pairs(policy.tokenizer, some_rows(rows, PAIRS_SCORED), policy.tokenizer.model_max_length)
    ours, theirs = (torch.cat(pair_logprobs(model, *encoded)) for model in (policy, reference))
    gap = (ours - theirs).abs().mean().item()
    if gap < 1e-2:  # float32 gives 1e-5; 16-bit weights of one checkpoint stay under this
        return None
    text = (
        f"policy and reference differ by {gap:.2f} nats a completion, {mean(ours.tolist()):.1f} on average."
    )
    return found("reference_not_start", "error", text, numbers={"gap": gap}, stage="setup")


def some_rows(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most so many rows, spread evenly over all."""
    stride = max(1, len(rows) // most)
    return [rows[i] for i in range(0, len(rows), stride)][:most]
