"""Detectors that read a run's curves. Each knows one failure by its mark and says where it saw it."""

from __future__ import annotations

import math
from statistics import median

from dpo_lab.diagnostics.catalogue import found
from dpo_lab.diagnostics.findings import Finding
from dpo_lab.diagnostics.reading import Curves, Settings, mean, slope, spread

LN_2 = math.log(2)
LOGPS = ("logps/chosen", "logps/rejected")
# 16-bit autocast moves a completion's log-prob by some hundredths of a nat: times β ≤ 1 in a batch mean below this.
ROUNDING = 2e-2
# Any run that learns has moved its mean rewards by more than this at its end: 16 steps at lr 1e-4 reach 0.005.
UNMOVED = 1e-3
# A mean over steps that is so many standard errors off is no accident of the batches.
SURE = 3.0
# So many steps at least, for a standard error of fewer is itself a guess.
ENOUGH = 8


def curve_findings(curves: Curves, settings: Settings) -> list[Finding]:
    """All that the curves tell, causes before symptoms."""
    broken = not_finite(curves)
    if broken:
        return [broken]
    start = first_rewards(curves, settings) or first_loss(curves, settings)
    stuck = nothing_moves(curves, settings)
    if stuck:
        return [finding for finding in (stuck, start) if finding]
    checks = (
        too_much,
        exploding,
        rounded,
        averaged,
        constant,
        displacement,
        saturated,
        overfitting,
        no_signal,
    )
    findings = [start, wrong_way(curves), *(check(curves) for check in checks)]
    return [finding for finding in findings if finding]


# logsigmoid and its gradient are finite at any finite margin. log(sigmoid(m)) is −inf below m = −88 in float32, which
# single pairs reach where mean rewards are a third of that; rewards of thousands would mean that weights exploded.
UNDERFLOWS = (20.0, 1000.0)


def not_finite(curves: Curves) -> Finding | None:
    """NaN or infinity; if the rewards before it were large and finite, log(sigmoid) is the likely culprit."""
    for name in ("loss", "grad_norm", *LOGPS, "rewards/margins"):
        hit = curves.first(name, lambda value: not math.isfinite(value))
        if hit is None:
            continue
        step, value = hit
        rewards = [
            abs(reward)
            for side in ("rewards/chosen", "rewards/rejected")
            for at, reward in curves.points(side)
            if at <= step and math.isfinite(reward)
        ]
        largest = max(rewards, default=0.0)
        low, high = UNDERFLOWS
        kind = "log_of_sigmoid" if name == "loss" and low < largest < high else "not_finite"
        text = f"{name} is {value} at step {step}; until then mean rewards reached {largest:.3g} in size."
        return found(kind, "error", text, numbers={"largest_reward": largest}, step=step)
    return None


def first_rewards(curves: Curves, settings: Settings) -> Finding | None:
    """Rewards that are not 0 before anything was learned: an exchange on one side, dropout, another reference."""
    if curves.first_step != 1 or not curves.has("rewards/chosen", "rewards/rejected"):
        return None
    chosen, rejected = curves.start("rewards/chosen"), curves.start("rewards/rejected")
    # where the policy has dropout, no rounding is needed to explain small rewards
    if max(abs(chosen), abs(rejected)) < (UNMOVED if settings.dropout else ROUNDING):
        return None
    name = "dropout_on" if settings.dropout else "reference_mismatch"
    if abs(chosen + rejected) < ROUNDING * abs(
        chosen
    ):  # β (w − l) and β (l − w): one model's pair is exchanged
        name = "pair_swapped"
    text = f"step 1 has rewards {chosen:.3f} (chosen) and {rejected:.3f} (rejected); both should be 0."
    numbers = {"rewards/chosen": chosen, "rewards/rejected": rejected}
    return found(name, "error", text, numbers=numbers, step=1)


def first_loss(curves: Curves, settings: Settings) -> Finding | None:
    """A first loss that is not the one which margin 0 gives."""
    if curves.first_step != 1:
        return None
    loss = curves.start("loss")
    expected = settings.first_loss()
    numbers = {"loss": loss}
    if expected is not None and abs(loss - expected) > ROUNDING * max(1.0, expected):
        text = f"the loss starts at {loss:.4f}; {settings.loss!r} with β = {settings.beta} starts at {expected:.4f}."
        return found("loss_ignored", "error", text, numbers=numbers, step=1)
    if expected is None and abs(loss - LN_2) > ROUNDING:
        text = f"the rewards start at 0 and the loss at {loss:.4f}, not at ln 2 = 0.6931."
        return found("other_loss_start", "note", text, numbers=numbers, step=1)
    return None


def nothing_moves(curves: Curves, settings: Settings) -> Finding | None:
    """Rewards that stay 0, and why."""
    rewards = [*curves.values("rewards/chosen"), *curves.values("rewards/rejected")]
    if not rewards or max(map(abs, rewards)) > UNMOVED or len(curves.values("loss")) < 3:
        return None
    norms, rates = curves.values("grad_norm"), curves.values("learning_rate")
    largest, exact = max(map(abs, rewards)), all(reward == 0 for reward in rewards)
    no_gradient = bool(norms) and max(norms) == 0
    if settings.beta == 0 or (exact and no_gradient):
        name = "beta_zero"
    elif no_gradient:
        name = "no_gradient"
    elif rates and max(rates) == 0:
        name = "learning_rate_zero"
    elif exact:
        name = "reference_moves"
    else:
        name = "learning_rate_too_low"
    text = (
        f"the loss is {curves.end('loss'):.4f} at the end (ln 2 = 0.6931), no mean reward exceeds {largest:.1e}, "
        f"the gradient's norm is {mean(norms):.3g}, the largest rate {max(rates, default=math.nan):.2g}."
    )
    return found(name, "error", text, numbers={"largest_reward": largest, "grad_norm": mean(norms)})


# A margin that no rounding makes, and the share of such steps that no averaging over steps makes (TRL logs means).
LEAST_MARGIN = 5e-3
IMPOSSIBLE = 0.2


def wrong_way(curves: Curves) -> Finding | None:
    """A loss that rewards negative margins, or margins that turn negative."""
    if not curves.has("rewards/margins"):
        return None
    margins, losses = curves.values("rewards/margins"), curves.values("loss")
    late = margins[len(margins) // 2 :]
    error = spread(late) / math.sqrt(len(late))
    backwards = len(late) >= ENOUGH and mean(late) < -SURE * error
    follows = slope(margins, losses)
    numbers = {"margin": mean(late), "slope": follows}
    # −log σ is convex: where the mean margin is below 0 the mean loss can't be below ln 2, whatever the batch
    impossible = sum(m < -LEAST_MARGIN and loss < LN_2 for m, loss in zip(margins, losses, strict=False))
    if impossible >= max(2, IMPOSSIBLE * len(margins)) and follows > 0.2:
        text = (
            f"{impossible} of {len(margins)} steps have a margin below 0 and a loss below ln 2, and the loss rises by "
            f"{follows:.2f} for each unit of margin; −log σ falls by 0.5 near 0."
        )
        return found("pair_swapped", "error", text, numbers=numbers)
    if backwards:
        accuracy = curves.end("rewards/accuracies") if curves.has("rewards/accuracies") else math.nan
        text = (
            f"the margin is {mean(late):.3f} ± {error:.3f} in the second half, the accuracy {accuracy:.2f}."
        )
        return found("accuracy_below_half", "warning", text, numbers=numbers)
    return None


# A policy whose chosen completions have lost twice their log-prob writes other text than before. Healthy runs of
# lr ≤ 1e-3 lose up to 1.2 times, a tenfold rate twice and a hundredfold three to eight times.
THROWN_AWAY = 2.0


def too_much(curves: Curves) -> Finding | None:
    """Steps so large that the policy forgets the text, soon and for good."""
    logps = curves.values("logps/chosen")
    if not logps or not curves.has("logps/rejected"):
        return None
    begin = mean([logps[0], curves.start("logps/rejected")])  # both sides: one batch alone is a noisy start
    smooth = [mean(logps[i : i + 3]) for i in range(max(1, len(logps) - 2))]
    worst = min(smooth)
    lost = (worst - begin) / begin
    losses = curves.values("loss")
    if lost > THROWN_AWAY and max(losses) > 1.1 * losses[0]:
        step = curves.history.steps("logps/chosen")[smooth.index(worst)]
        text = (
            f"logps/chosen falls from {begin:.1f} to {worst:.1f} nats around step {step}, the loss peaks at "
            f"{max(losses):.2f}."
        )
        return found("learning_rate_too_high", "error", text, numbers={"lost": lost}, step=step)
    return None


# A loss of 4 ln 2 is that of a margin of −2.7 on average. Sound short runs at β = 3 can end at twice ln 2.
DIVERGED = 4 * LN_2
# The largest norm over the median of the first quarter: at most 16 in 54 sound runs (IPO at β = 1 has the most).
EXPLODED = 200.0


def exploding(curves: Curves) -> Finding | None:
    """A loss that ends far above its start, or a gradient that has grown beyond all bounds."""
    if abs(curves.start("loss") - LN_2) < ROUNDING and curves.end("loss") > DIVERGED:
        text = f"the loss starts at {curves.start('loss'):.3f} and ends at {curves.end('loss'):.3f}."
        return found("diverging", "warning", text, numbers={"loss": curves.end("loss")})
    norms = curves.points("grad_norm")
    if len(norms) < ENOUGH:
        return None
    usual = median(norm for _, norm in norms[: len(norms) // 4])
    step, largest = max(norms, key=lambda point: point[1])
    if not largest > EXPLODED * usual > 0:
        return None
    text = f"the gradient's norm reaches {largest:.3g} at step {step}; it began at {usual:.3g}."
    return found("gradient_explodes", "warning", text, numbers={"grad_norm": largest}, step=step)


def rounded(curves: Curves) -> Finding | None:
    """Log-probs on a coarse grid: the trace of 16-bit numbers."""
    values = curves.values("logps/chosen") + curves.values("logps/rejected")
    # a bf16 number of 4 to 64 nats is a multiple of 2⁻⁶; a mean over up to 64 rows keeps to multiples of 2⁻¹²
    if len(values) < 6 or not all(math.isfinite(v) and (v * 2**12).is_integer() for v in values):
        return None
    text = f"all {len(values)} logged log-probs are multiples of 1/4096: the grid of 16-bit numbers."
    return found("low_precision", "warning", text, numbers={"values": len(values)})


# A text of more than a few tokens has a sum well below −3 nats; a mean a token is above that for any trained model.
LEAST_NATS = 3.0


def averaged(curves: Curves) -> Finding | None:
    """Log-probs too small in magnitude to be sums over a text."""
    values = curves.values("logps/chosen") + curves.values("logps/rejected")
    if not values or abs(mean(values[:4])) > LEAST_NATS:
        return None
    text = f"log-probs of {mean(values):.2f} nats: that is what one token has, not a text."
    return found("logps_averaged", "warning", text, numbers={"logps": mean(values)})


def constant(curves: Curves) -> Finding | None:
    """Log-probs that are the same for every batch: all of them lie beyond a clamp."""
    for name in LOGPS:
        values = curves.values(name)
        if len(values) >= 4 and max(values) - min(values) < 1e-6:
            text = f"{name} is {values[0]:.4f} at each of {len(values)} steps, whatever the batch."
            return found("logps_clamped", "error", text, numbers={"limit": values[0]})
    return None


def displacement(curves: Curves) -> Finding | None:
    """Margins that grow while both rewards fall."""
    if not curves.has("rewards/chosen", "rewards/margins"):
        return None
    chosen, margin = curves.end("rewards/chosen"), curves.end("rewards/margins")
    if not (margin > UNMOVED and chosen < -margin / 4):
        return None
    text = f"at the end the margin is {margin:.3f} and the chosen reward {chosen:.3f}: both log-probs fell."
    return found("displacement", "note", text, numbers={"margin": margin, "chosen": chosen})


def saturated(curves: Curves) -> Finding | None:
    """A loss with nothing left to gain."""
    if not curves.has("rewards/margins"):
        return None
    loss, margin = curves.end("loss"), curves.end("rewards/margins")
    if not (margin > 4 and loss < 0.05):
        return None
    text = f"the mean margin ends at {margin:.1f}, the loss at {loss:.3f}."
    return found("saturated", "warning", text, numbers={"margin": margin, "loss": loss})


# Held-out losses of a healthy run wander by 1 % between evaluations on 64 pairs.
TURNED = 1.04


def overfitting(curves: Curves) -> Finding | None:
    """A held-out loss past its lowest point while the training loss falls."""
    held_out = curves.values("eval_loss")
    if len(held_out) < 3:
        return None
    best = min(held_out)
    if held_out[-1] < TURNED * best or curves.end("loss") > mean(curves.values("loss")):
        return None
    step = curves.history.steps("eval_loss")[held_out.index(best)]
    text = (
        f"eval_loss was lowest at step {step} ({best:.3f}) and ends at {held_out[-1]:.3f}; "
        f"the loss ends at {curves.end('loss'):.3f}."
    )
    return found("overfitting", "warning", text, numbers={"best": best, "last": held_out[-1]}, step=step)


# A run of so many steps at a rate that moves the rewards has had its time to learn.
LONG = 100


def no_signal(curves: Curves) -> Finding | None:
    """A long run that moved and did not learn to rank its pairs."""
    if len(curves.values("loss")) < LONG or not curves.has("rewards/accuracies", "rewards/margins"):
        return None
    accuracy, margin = curves.end("rewards/accuracies"), curves.end("rewards/margins")
    if accuracy > 0.55 or margin < 0:
        return None
    text = f"after {curves.history.steps('loss')[-1]} steps the accuracy is {accuracy:.2f}, the margin {margin:.3f}."
    return found("no_signal", "warning", text, numbers={"accuracy": accuracy, "margin": margin})
