"""How good people get lesson 04 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, logsigmoid

from dpo_lab.course import Mistake


def log_of_sigmoid(margins):
    return torch.log(torch.sigmoid(margins))


def sign_of_the_exponent(margins):
    return -torch.log1p(torch.exp(margins))


def clamped_sigmoid(margins):
    return torch.log(torch.sigmoid(margins).clamp(min=1e-7))


def absolute_value_lost(margins):
    return torch.minimum(margins, torch.zeros_like(margins)) - torch.log1p(torch.exp(-margins))


def where_of_two_branches(margins):
    right = -torch.log1p(torch.exp(-margins))
    return torch.where(margins < 0, margins - torch.log1p(torch.exp(margins)), right)


def relu_for_minimum(margins):
    return -torch.relu(-margins) - torch.log1p(torch.exp(-margins.abs()))


def clamp_for_minimum(margins):
    return margins.clamp(max=0) - torch.log1p(torch.exp(-margins.abs()))


def finish(losses, chosen, rejected):
    return losses, chosen.detach(), rejected.detach()


def dpo(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0, margin=None, scale=1.0):
    """The right answer with one part exchanged: what most of the slips below have in common."""
    margins = beta * ((pc - rc) - (pr - rr)) if margin is None else margin
    losses = -(1 - label_smoothing) * logsigmoid(margins) - label_smoothing * logsigmoid(-margins)
    return finish(scale * losses, beta * (pc - rc), beta * (pr - rr))


def pair_swapped(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta, label_smoothing, margin=beta * ((pr - rr) - (pc - rc)))


def reference_forgotten(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta, label_smoothing, margin=beta * (pc - pr))


def reference_added(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta, label_smoothing, margin=beta * ((pc - pr) + (rc - rr)))


def beta_forgotten(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta, label_smoothing, margin=(pc - rc) - (pr - rr))


def beta_outside(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta, label_smoothing, margin=(pc - rc) - (pr - rr), scale=beta)


def sign_lost(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta, label_smoothing, scale=-1.0)


def averaged(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, chosen, rejected = dpo(pc, pr, rc, rr, beta, label_smoothing)
    return losses.mean(), chosen, rejected


def rewards_without_beta(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, *_ = dpo(pc, pr, rc, rr, beta, label_smoothing)
    return finish(losses, pc - rc, pr - rr)


def rewards_not_detached(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, *_ = dpo(pc, pr, rc, rr, beta, label_smoothing)
    return losses, beta * (pc - rc), beta * (pr - rr)


def smoothing_ignored(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta)


def smoothing_added(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, chosen, rejected = dpo(pc, pr, rc, rr, beta)
    return losses - label_smoothing * logsigmoid(rejected - chosen), chosen, rejected


def smoothing_subtracted(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    _, chosen, rejected = dpo(pc, pr, rc, rr, beta)
    margins = chosen - rejected
    return (
        -(1 - label_smoothing) * logsigmoid(margins) + label_smoothing * logsigmoid(-margins),
        chosen,
        rejected,
    )


def beta_twice(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta, label_smoothing, margin=beta * beta * ((pc - rc) - (pr - rr)))


def beta_fixed(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, 0.1, label_smoothing)


def reference_second(pc, rc, pr, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr, rc, rr, beta, label_smoothing)


def smoothing_of_cross_entropy(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    chosen, rejected = beta * (pc - rc), beta * (pr - rr)
    logits, first = torch.stack([chosen, rejected], dim=1), torch.zeros(len(pc), dtype=torch.long)
    losses = cross_entropy(logits, first, reduction="none", label_smoothing=label_smoothing)
    return finish(losses, chosen, rejected)


def rewards_first(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, chosen, rejected = dpo(pc, pr, rc, rr, beta, label_smoothing)
    return chosen, rejected, losses


def rewards_exchanged(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    losses, chosen, rejected = dpo(pc, pr, rc, rr, beta, label_smoothing)
    return losses, rejected, chosen


def clamped_logps(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(*(logps.clamp(-100, 0) for logps in (pc, pr, rc, rr)), beta, label_smoothing)


def one_side_detached(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    return dpo(pc, pr.detach(), rc, rr, beta, label_smoothing)


def log_of_one_minus_sigmoid(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    margins = beta * ((pc - rc) - (pr - rr))
    flipped = torch.log(1 - torch.sigmoid(margins))
    return finish(
        -(1 - label_smoothing) * logsigmoid(margins) - label_smoothing * flipped,
        beta * (pc - rc),
        beta * (pr - rr),
    )


def unstable(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    margins = beta * ((pc - rc) - (pr - rr))
    losses = -(1 - label_smoothing) * torch.log(torch.sigmoid(margins))
    if label_smoothing:
        losses = losses - label_smoothing * torch.log(torch.sigmoid(-margins))
    return finish(losses, beta * (pc - rc), beta * (pr - rr))


def log_ratios_detached(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0):
    chosen, rejected = (beta * (pc - rc)).detach(), (beta * (pr - rr)).detach()
    return dpo(pc, pr, rc, rr, beta, label_smoothing, margin=chosen - rejected)


def gradient(pc, pr, rc, rr, beta, weight, factor=1.0):
    return -factor * beta * weight, factor * beta * weight


def wrong_side_weight(pc, pr, rc, rr, beta=0.1):
    return gradient(pc, pr, rc, rr, beta, torch.sigmoid(beta * ((pc - rc) - (pr - rr))))


def ascent_direction(pc, pr, rc, rr, beta=0.1):
    return gradient(pc, pr, rc, rr, beta, torch.sigmoid(-beta * ((pc - rc) - (pr - rr))), factor=-1.0)


def inner_derivative_forgotten(pc, pr, rc, rr, beta=0.1):
    return gradient(pc, pr, rc, rr, 1.0, torch.sigmoid(-beta * ((pc - rc) - (pr - rr))))


def same_sign_for_both(pc, pr, rc, rr, beta=0.1):
    weight = torch.sigmoid(-beta * ((pc - rc) - (pr - rr)))
    return -beta * weight, -beta * weight


def weight_without_reference(pc, pr, rc, rr, beta=0.1):
    return gradient(pc, pr, rc, rr, beta, torch.sigmoid(-beta * (pc - pr)))


def weight_without_beta(pc, pr, rc, rr, beta=0.1):
    return gradient(pc, pr, rc, rr, beta, torch.sigmoid(-((pc - rc) - (pr - rr))))


def weight_at_the_default_beta(pc, pr, rc, rr, beta=0.1):
    return gradient(pc, pr, rc, rr, beta, torch.sigmoid(-0.1 * ((pc - rc) - (pr - rr))))


def gradient_at_the_default_beta(pc, pr, rc, rr, beta=0.1):
    return weight_at_the_default_beta(pc, pr, rc, rr, 0.1)


def exponential_overflows(pc, pr, rc, rr, beta=0.1):
    odds = torch.exp(-beta * ((pc - rc) - (pr - rr)))
    return gradient(pc, pr, rc, rr, beta, odds / (1 + odds))


def gradient_of_the_sigmoid(pc, pr, rc, rr, beta=0.1):
    margins = beta * ((pc - rc) - (pr - rr))
    return gradient(pc, pr, rc, rr, beta, torch.sigmoid(margins) * torch.sigmoid(-margins))


def mean_over_the_batch(pc, pr, rc, rr, beta=0.1):
    return gradient(pc, pr, rc, rr, beta, torch.sigmoid(-beta * ((pc - rc) - (pr - rr))), factor=1 / len(pc))


def metrics(losses, chosen, rejected, pc=None, pr=None, **changed):
    values = {
        "loss": losses.mean(),
        "rewards/chosen": chosen.mean(),
        "rewards/rejected": rejected.mean(),
        "rewards/accuracies": (chosen > rejected).float().mean(),
        "rewards/margins": (chosen - rejected).mean(),
    }
    if pc is not None:
        values["logps/chosen"] = pc.mean()
    if pr is not None:
        values["logps/rejected"] = pr.mean()
    values.update(changed)
    return {name: float(value) for name, value in values.items()}


def tie_counts_as_right(
    losses, chosen_rewards, rejected_rewards, policy_chosen_logps=None, policy_rejected_logps=None
):
    right = (chosen_rewards >= rejected_rewards).float().mean()
    given = (losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps)
    return metrics(*given, **{"rewards/accuracies": right})


def accuracy_from_positive_rewards(
    losses, chosen_rewards, rejected_rewards, policy_chosen_logps=None, policy_rejected_logps=None
):
    right = (chosen_rewards > 0).float().mean()
    given = (losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps)
    return metrics(*given, **{"rewards/accuracies": right})


def margin_of_logps(
    losses, chosen_rewards, rejected_rewards, policy_chosen_logps=None, policy_rejected_logps=None
):
    given = (losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps)
    if policy_chosen_logps is None or policy_rejected_logps is None:
        return metrics(*given)
    return metrics(*given, **{"rewards/margins": (policy_chosen_logps - policy_rejected_logps).mean()})


def ranking_accuracy(
    losses, chosen_rewards, rejected_rewards, policy_chosen_logps=None, policy_rejected_logps=None
):
    given = (losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps)
    if policy_chosen_logps is None or policy_rejected_logps is None:
        return metrics(*given)
    right = (policy_chosen_logps > policy_rejected_logps).float().mean()
    return metrics(*given, **{"rewards/accuracies": right})


def accuracy_of_the_mean(
    losses, chosen_rewards, rejected_rewards, policy_chosen_logps=None, policy_rejected_logps=None
):
    right = (chosen_rewards.mean() > rejected_rewards.mean()).float()
    given = (losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps)
    return metrics(*given, **{"rewards/accuracies": right})


def absolute_margin(
    losses, chosen_rewards, rejected_rewards, policy_chosen_logps=None, policy_rejected_logps=None
):
    margin = (chosen_rewards - rejected_rewards).abs().mean()
    given = (losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps)
    return metrics(*given, **{"rewards/margins": margin})


def summed_loss(
    losses, chosen_rewards, rejected_rewards, policy_chosen_logps=None, policy_rejected_logps=None
):
    given = (losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps)
    return metrics(*given, loss=losses.sum())


MISTAKES = {
    "stable_log_sigmoid": [
        Mistake(
            "out of log space",
            "For a very negative margin the sigmoid underflows to 0 before the log sees it, or exp(−m) overflows before "
            "log1p does. Only ever take the exponential of −|m|.",
            log_of_sigmoid,
        ),
        Mistake(
            "sign in the exponent",
            "You computed log σ(−m). The exponent of σ(m) = 1 / (1 + exp(−m)) has a minus.",
            sign_of_the_exponent,
        ),
        Mistake(
            "clamped sigmoid",
            "A clamp under the log hides the inf, but the value stops at log(1e-7) and the gradient below it is 0: the "
            "pairs that are most wrong would stop learning.",
            clamped_sigmoid,
        ),
        Mistake(
            "absolute value lost",
            "You took min(m, 0) out, so what is left under the logarithm is exp(−|m|), for both signs of m.",
            absolute_value_lost,
        ),
        Mistake(
            "both branches of a where",
            "The values are right, the gradient is NaN: `torch.where` computes both branches, and the one that is thrown "
            "away overflowed; 0 times its infinite gradient is NaN. Use the form with min(m, 0) and |m|, which needs no branch.",
            where_of_two_branches,
        ),
        Mistake(
            "relu for minimum",
            "The values are right, the gradient at m = 0 is not: that of relu is 0 there, so a run that starts at m = 0 would "
            "never leave it. `torch.minimum(margins, torch.zeros_like(margins))` gives the ½ that is wanted.",
            relu_for_minimum,
        ),
        Mistake(
            "clamp for minimum",
            "The values are right, the gradient at m = 0 is not: `clamp(max=0)` passes it whole, so it is 1 where it "
            "should be ½, and every DPO run starts at m = 0. `torch.minimum(margins, torch.zeros_like(margins))` shares it.",
            clamp_for_minimum,
        ),
    ],
    "dpo_loss": [
        Mistake(
            "pair swapped",
            "This is the loss that makes the rejected completion win. The margin is chosen minus rejected, and 1 − ε stands "
            "before log σ(m), ε before log σ(−m).",
            pair_swapped,
        ),
        Mistake(
            "reference forgotten",
            "This is the loss without the reference model. Each reward is β(log π − log π_ref), for both completions.",
            reference_forgotten,
        ),
        Mistake(
            "reference added",
            "The reference's log-probs enter with the wrong sign: a reward is policy minus reference.",
            reference_added,
        ),
        Mistake(
            "beta forgotten",
            "The margin is β times the log-ratio gap; your β never enters the loss.",
            beta_forgotten,
        ),
        Mistake(
            "beta fixed",
            "You computed with β = 0.1 whatever was passed. 0.1 is only the default: use the argument `beta`.",
            beta_fixed,
        ),
        Mistake(
            "beta outside the log-sigmoid",
            "β multiplies the gap inside the log-sigmoid. Outside, it only rescales the loss and with it the learning rate.",
            beta_outside,
        ),
        Mistake(
            "sign lost",
            "A log-likelihood is maximised, a loss is minimised: there is a minus in front.",
            sign_lost,
        ),
        Mistake(
            "mean taken", "Return one loss per pair, shape (B,). Whoever trains takes the mean.", averaged
        ),
        Mistake(
            "rewards without beta",
            "The loss is right, the rewards are not: an implicit reward is β times the log-ratio.",
            rewards_without_beta,
        ),
        Mistake(
            "rewards carry a gradient",
            "The rewards are for looking at. Detach them, or a metric that is logged keeps the whole graph in memory.",
            rewards_not_detached,
        ),
        Mistake(
            "label smoothing ignored",
            "Right for ε = 0. With ε > 0 a part ε of the weight goes to the flipped pair, log σ(−m).",
            smoothing_ignored,
        ),
        Mistake(
            "label smoothing of cross_entropy",
            "PyTorch's `cross_entropy` spreads its label_smoothing over all classes, so the wrong one of two gets only ε/2. "
            "Here the flipped label gets ε itself.",
            smoothing_of_cross_entropy,
        ),
        Mistake(
            "label smoothing added",
            "The two weights must add up to 1: what the flipped label gets, ε, is taken from the given one, 1 − ε.",
            smoothing_added,
        ),
        Mistake(
            "label smoothing subtracted",
            "Both terms are negative log-likelihoods, so both have a minus in front.",
            smoothing_subtracted,
        ),
        Mistake(
            "beta twice",
            "β enters once: either in the rewards, or in the margin made from log-ratios.",
            beta_twice,
        ),
        Mistake(
            "rewards of the policy and of the reference",
            "The losses are right, as the four terms add up either way. The rewards are not: yours pair chosen with rejected "
            "in one model. A reward pairs policy with reference on one completion. The arguments' order is policy chosen, "
            "policy rejected, reference chosen, reference rejected.",
            reference_second,
        ),
        Mistake(
            "rewards returned first",
            "Return the losses first, then the chosen and the rejected rewards.",
            rewards_first,
        ),
        Mistake(
            "rewards exchanged", "The chosen rewards come second, the rejected ones third.", rewards_exchanged
        ),
        Mistake(
            "log-probs clamped",
            "Log-probs below −100 are no accident: a longer answer has them. Clamped, they lose their value and their gradient.",
            clamped_logps,
        ),
        Mistake(
            "one side detached",
            "No gradient reaches one of the policy's two log-probs. Both completions train; only the reference is fixed.",
            one_side_detached,
        ),
        Mistake(
            "log of one minus sigmoid",
            "1 − σ(m) is 0 in float32 once m passes 17, and its log −inf. log(1 − σ(m)) = log σ(−m): use logsigmoid(−m).",
            log_of_one_minus_sigmoid,
        ),
        Mistake(
            "log of sigmoid",
            "Right for small margins, inf for a pair that is badly wrong. Use logsigmoid.",
            unstable,
        ),
        Mistake(
            "gradient cut",
            "The value is right but no gradient reaches the policy. Detach what you return as rewards, not what the loss "
            "is computed from.",
            log_ratios_detached,
        ),
    ],
    "dpo_gradient": [
        Mistake(
            "weight on the wrong side",
            "Your weight grows as the pair gets more right. It is σ(−m): near 1 for a pair the rewards have the wrong way.",
            wrong_side_weight,
        ),
        Mistake(
            "ascent direction",
            "This is the direction of the step, −∂L. The gradient of the loss in the chosen log-prob is negative.",
            ascent_direction,
        ),
        Mistake(
            "inner derivative forgotten",
            "The chain rule has one more factor: ∂m/∂log π(y_w|x) = β.",
            inner_derivative_forgotten,
        ),
        Mistake(
            "same sign for both",
            "The margin falls when the rejected log-prob rises, so its gradient has the opposite sign.",
            same_sign_for_both,
        ),
        Mistake(
            "weight without the reference",
            "The weight depends on the implicit rewards, and those subtract the reference's log-probs.",
            weight_without_reference,
        ),
        Mistake(
            "weight without beta",
            "The β in front is there, but the margin inside σ(−m) needs it too: m = β(log-ratio gap).",
            weight_without_beta,
        ),
        Mistake(
            "exponential overflows",
            "Right for moderate margins, but exp(−m) overflows for a pair that is badly wrong, and inf/inf is NaN. "
            "`torch.sigmoid(-m)` does not.",
            exponential_overflows,
        ),
        Mistake(
            "derivative of the sigmoid",
            "This is β σ(m) σ(−m), the slope of the probability. The loss is its logarithm, whose derivative in m is σ(−m).",
            gradient_of_the_sigmoid,
        ),
        Mistake(
            "weight at the default beta",
            "The β in front is yours, the one inside σ(−m) is always 0.1: pass `beta` on to `dpo_loss`, or use it in m.",
            weight_at_the_default_beta,
        ),
        Mistake(
            "beta fixed",
            "You computed with β = 0.1 whatever was passed. Use the argument `beta`, in front and inside σ(−m).",
            gradient_at_the_default_beta,
        ),
        Mistake(
            "divided by the batch",
            "The gradient of each pair's own loss: no mean over the batch.",
            mean_over_the_batch,
        ),
    ],
    "preference_metrics": [
        Mistake(
            "tie counts as right",
            "A tie is no success: at the first step every pair ties and the accuracy is 0. Compare with >, not >=.",
            tie_counts_as_right,
        ),
        Mistake(
            "accuracy from positive rewards",
            "A pair is right when its chosen reward is above its rejected one, whatever their signs.",
            accuracy_from_positive_rewards,
        ),
        Mistake(
            "margin of log-probs",
            "The margin is between implicit rewards. The difference of the policy's log-probs forgets the reference and β.",
            margin_of_logps,
        ),
        Mistake(
            "ranking accuracy",
            "You compared the policy's log-probs. That is the ranking accuracy, which forgets the reference. Compare the "
            "rewards.",
            ranking_accuracy,
        ),
        Mistake(
            "accuracy of the mean",
            "Compare pair by pair, then take the mean: accuracy is a share of pairs.",
            accuracy_of_the_mean,
        ),
        Mistake(
            "absolute margin",
            "A margin has a sign: a pair that is the wrong way round counts below 0.",
            absolute_margin,
        ),
        Mistake("loss summed", "Every entry is a mean over the batch, the loss too.", summed_loss),
    ],
}
