"""A success scorecard: criteria fixed beforehand, what was measured, and whether that decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpo_lab.evaluation.intervals import Interval
from dpo_lab.evaluation.measuring import Evaluation

PASS, FAIL, UNDECIDED, NOT_MEASURED = "pass", "fail", "undecided", "not measured"


@dataclass(frozen=True)
class Targets:
    """What counts as success; rules of thumb that every project sets for itself, before it measures.

    Attributes:
        accuracy: reward accuracy on held-out pairs, more than this.
        win_rate: against the reference, more than this.
        kl: nats a completion, less than this. A sum over tokens: longer completions have more.
        gain: true reward over the reference's, more than this.
        retention: perplexity on remembered text over the reference's, less than this.
        distinct: distinct-2 over the reference's, more than this.
        overconfidence: mean forecast minus share of favourites that won, on held-out pairs, less than this.
    """

    accuracy: float = 0.65
    win_rate: float = 0.60
    kl: float = 3.0
    gain: float = 0.0
    retention: float = 1.02
    distinct: float = 0.90
    overconfidence: float = 0.10


@dataclass(frozen=True)
class Row:
    """One line of a scorecard.

    Attributes:
        criterion: what is asked.
        target: as text, such as "> 65 %".
        measured: as text, with its interval where there is one.
        verdict: "pass", "fail", "undecided" (the interval holds the target) or "not measured".
        note: what one must know to read the number.
    """

    criterion: str
    target: str
    measured: str
    verdict: str
    note: str = ""


def scorecard(
    found: Evaluation, targets: Targets | None = None, alarms: Sequence[str] | None = None
) -> list[Row]:
    """Hold an evaluation against its targets.

    A criterion with an interval is passed only if the whole interval is on the right side of the target, and failed
    only if the whole of it is on the wrong side.

    Args:
        found: what `evaluate_policy` measured.
        targets: None takes the defaults.
        alarms: names of what the run doctor found in the training log; None where there is no log.
    """
    targets = targets or Targets()
    return [
        accuracy_row(found, targets),
        win_rate_row(found, targets),
        gain_row(found, targets),
        Row(
            "stays near the reference",
            f"KL < {targets.kl:g} nats",
            f"{found.kl.mean:.2f} [{found.kl.low:.2f}, {found.kl.high:.2f}]",
            decide(found.kl, targets.kl, above=False),
            f"{found.kl.mean / found.tokens:.3f} nats a token over {found.tokens:.1f} tokens; k3 gives {found.k3:.2f}",
        ),
        retention_row(found, targets),
        variety_row(found, targets),
        calibration_row(found, targets),
        alarm_row(alarms),
    ]


def decide(interval: Interval, target: float, above: bool) -> str:
    """Pass or fail if the whole interval says so, else undecided."""
    if interval.low > target:
        return PASS if above else FAIL
    if interval.high < target:
        return FAIL if above else PASS
    return UNDECIDED


def percent(interval: Interval) -> str:
    """Such as `71.9 % [66.1, 77.0]`."""
    return f"{share(interval.mean)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def share(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def accuracy_row(found: Evaluation, targets: Targets) -> Row:
    """Reward accuracy on held-out pairs."""
    ceiling = "" if found.ceiling is None else f"the true reward itself gets {share(found.ceiling.mean)}; "
    return Row(
        "agrees with held-out labels",
        f"accuracy > {100 * targets.accuracy:g} %",
        percent(found.accuracy),
        decide(found.accuracy, targets.accuracy, above=True),
        f"{ceiling}ranking accuracy {share(found.ranking_accuracy.mean)}",
    )


def win_rate_row(found: Evaluation, targets: Targets) -> Row:
    """Win rate against the reference, as the judge sees it."""
    target = f"win rate > {100 * targets.win_rate:g} %"
    if found.win_rate is None:
        return Row(
            "writes better than the reference",
            target,
            "–",
            NOT_MEASURED,
            "no judge: name a tier, or pass one",
        )
    won = found.win_rate
    p_value = f"p = {won.p_value:.3f}" if won.p_value >= 0.001 else "p < 0.001"
    note = (
        f"{won.wins} won, {won.ties} tied, {won.losses} lost; sign test against 50 %: {p_value}; "
        f"at equal length {share(found.length_controlled)}; first place won {share(found.first)}"
    )
    return Row(
        "writes better than the reference",
        target,
        percent(won.rate),
        decide(won.rate, targets.win_rate, above=True),
        note,
    )


def gain_row(found: Evaluation, targets: Targets) -> Row:
    """True reward above the reference's on the same prompts."""
    name, target = "earns more true reward", f"gain > {targets.gain:g}"
    if found.gain is None:
        return Row(name, target, "–", NOT_MEASURED, "no true reward is known for these prompts")
    ours, theirs = found.lengths
    return Row(
        name,
        target,
        f"{found.gain.mean:+.2f} [{found.gain.low:+.2f}, {found.gain.high:+.2f}]",
        decide(found.gain, targets.gain, above=True),
        f"words a completion: {ours:.1f}, reference {theirs:.1f}",
    )


def retention_row(found: Evaluation, targets: Targets) -> Row:
    """Perplexity on text that must not be forgotten."""
    name, target = "has not forgotten", f"perplexity < {targets.retention:g} × reference"
    if found.retention is None:
        return Row(name, target, "–", NOT_MEASURED, "no text to remember: pass some with --memory")
    verdict = PASS if found.retention < targets.retention else FAIL
    note = "held-out text of the kind that the reference was fine-tuned on, without an interval"
    return Row(name, target, f"{found.retention:.3f} ×", verdict, note)


def variety_row(found: Evaluation, targets: Targets) -> Row:
    """Different word pairs in what it writes."""
    ours, theirs = found.distinct
    return Row(
        "still varied",
        f"distinct-2 > {targets.distinct:g} × reference",
        f"{ours / theirs:.2f} ×",
        PASS if ours > targets.distinct * theirs else FAIL,
        f"{ours:.3f}, reference {theirs:.3f}; it falls with length, and is given without an interval",
    )


def calibration_row(found: Evaluation, targets: Targets) -> Row:
    """How much surer the implicit rewards are than they are right."""
    too_sure = found.overconfidence
    return Row(
        "not too sure of itself",
        f"forecast − outcome < {100 * targets.overconfidence:g} points",
        f"{100 * too_sure.mean:+.1f} [{100 * too_sure.low:+.1f}, {100 * too_sure.high:+.1f}]",
        decide(too_sure, targets.overconfidence, above=False),
        f"of the win probabilities on held-out pairs; expected calibration error {found.calibration_error:.3f}",
    )


def alarm_row(alarms: Sequence[str] | None) -> Row:
    """What the run doctor says of the training log."""
    name, target = "no alarm in training", "run doctor silent"
    if alarms is None:
        return Row(name, target, "–", NOT_MEASURED, "no training log")
    return Row(name, target, ", ".join(alarms) or "none", FAIL if alarms else PASS, "from the log alone")
