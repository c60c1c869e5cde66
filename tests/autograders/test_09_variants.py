"""Lesson 09: losses of the family, and pairs that are collected on the way. Oracles are float64 loops and counts."""

from __future__ import annotations

import math

import torch
from mistakes_09_variants import MISTAKES

from dpo_lab.course import exercise, raises
from dpo_lab.policies import Policy

TRIPLE = ("losses", "chosen_rewards", "rejected_rewards")


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def columns(rows):
    """A list of tuples as one float32 tensor a place."""
    return tuple(torch.tensor(column) for column in zip(*rows, strict=True))


def doubles(*tensors):
    return zip(*[tensor.double().tolist() for tensor in tensors], strict=True)


def flags_of_gradient(function, *inputs, **kwargs):
    """Which results carry a gradient when the first two inputs do."""
    policy = [tensor.clone().requires_grad_() for tensor in inputs[:2]]
    results = function(*policy, *inputs[2:], **kwargs)
    return {f"{name}.requires_grad": bool(r.requires_grad) for name, r in zip(TRIPLE, results, strict=False)}


def gradients(function, *inputs, wrt, **kwargs):
    """Gradient of the summed loss in each of the inputs `wrt`; zeros where none arrives."""
    inputs = [t.clone().requires_grad_(i in wrt) for i, t in enumerate(inputs)]
    found = torch.autograd.grad(
        function(*inputs, **kwargs)[0].sum(), [inputs[i] for i in wrt], allow_unused=True
    )
    return {
        f"gradient in input {i}": torch.zeros_like(inputs[i]) if slope is None else slope
        for i, slope in zip(wrt, found, strict=True)
    }


@exercise("ipo_loss", points=3)
def test_ipo_loss_matches_a_float64_loop(submission, fresh):
    four, tau = fresh.logps(7), fresh.uniform(0.05, 0.4)
    rows = []
    for pc, pr, rc, rr in doubles(*four):
        rows.append((((pc - rc) - (pr - rr) - 1 / (2 * tau)) ** 2, tau * (pc - rc), tau * (pr - rr)))
    submission.compare(
        "ipo_loss", four, columns(rows), mistakes=MISTAKES, kwargs={"beta": tau}, parts=TRIPLE, rtol=1e-4
    )


@exercise("ipo_loss")
def test_ipo_loss_pulls_back_what_went_too_far(submission, fresh):
    """Below the target the chosen log-prob is pushed up, above it down; the slope is 2 (δ − 1/(2τ))."""
    ref = -20 - 10 * torch.rand(2, 5, generator=fresh.torch)
    gaps = torch.tensor([-8.0, 0.0, 4.0, 6.0, 30.0])
    expected = {"gradient in input 0": 2 * (gaps - 5.0), "gradient in input 1": -2 * (gaps - 5.0)}
    four = (ref[0] + gaps, ref[1], ref[0], ref[1])
    kwargs = {"wrt": (0, 1), "beta": 0.1}
    submission.compare(
        "ipo_loss", four, expected, mistakes=MISTAKES, via=gradients, kwargs=kwargs, rtol=1e-4, atol=1e-4
    )


@exercise("ipo_loss")
def test_ipo_loss_detaches_the_rewards(submission, fresh):
    expected = {f"{name}.requires_grad": name == "losses" for name in TRIPLE}
    submission.compare("ipo_loss", fresh.logps(3), expected, mistakes=MISTAKES, via=flags_of_gradient)


def kto_rows(policy, ref, up, mismatched, beta, up_weight=1.0, down_weight=1.0):
    """Loss and reward of each completion, one at a time, and the slope of the loss in its log-prob."""
    drift = mismatched.double().tolist()
    zero = max(0.0, sum(drift) / len(drift))
    rows, slopes = [], []
    for (p, r), liked in zip(doubles(policy, ref), up.tolist(), strict=True):
        weight, side = (up_weight, 1) if liked else (down_weight, -1)
        value = sigmoid(side * beta * (p - r - zero))
        rows.append((weight * (1 - value), beta * (p - r)))
        slopes.append(-weight * side * beta * value * (1 - value))
    return columns(rows), torch.tensor(slopes)


def kto_inputs(fresh, drift):
    policy, _, ref, _ = fresh.logps(9)
    policy += 5 - (policy - ref).mean()  # so that a zero point taken from the rows is neither 0 nor the drift
    up = torch.rand(9, generator=fresh.torch) < 0.6
    up[0], up[1] = True, False
    mismatched = drift + fresh.normal(6, scale=2.0)
    mismatched -= mismatched.mean() - drift  # its mean is the drift, and some entries lie on either side of 0
    mismatched[0], mismatched[1] = mismatched[0] + 8, mismatched[1] - 8
    return policy, ref, up, mismatched


@exercise("kto_loss", points=4)
def test_kto_loss_matches_a_float64_loop(submission, fresh):
    inputs = kto_inputs(fresh, drift=fresh.uniform(2.0, 3.0))
    settings = {"beta": fresh.uniform(0.1, 0.4), "up_weight": 1.4, "down_weight": 0.7}
    expected, _ = kto_rows(*inputs, **settings)
    submission.compare("kto_loss", inputs, expected, mistakes=MISTAKES, kwargs=settings, parts=TRIPLE[:2])


@exercise("kto_loss")
def test_kto_loss_has_a_zero_point_that_is_never_negative(submission, fresh):
    inputs = kto_inputs(fresh, drift=-fresh.uniform(2.0, 3.0))
    expected, _ = kto_rows(*inputs, beta=0.3)
    submission.compare(
        "kto_loss", inputs, expected, mistakes=MISTAKES, kwargs={"beta": 0.3}, parts=TRIPLE[:2]
    )


@exercise("kto_loss")
def test_kto_loss_sends_its_gradient_to_the_policy_alone(submission, fresh):
    """The slope in each completion's own log-prob, and none through the zero point."""
    policy, ref, up, mismatched = kto_inputs(fresh, drift=2.0)
    _, slopes = kto_rows(policy, ref, up, mismatched, beta=0.2)
    expected = {"gradient in input 0": slopes, "gradient in input 3": torch.zeros_like(mismatched)}
    submission.compare(
        "kto_loss", (policy, ref, up, mismatched), expected, mistakes=MISTAKES, via=gradients,
        kwargs={"wrt": (0, 3), "beta": 0.2},
    )  # fmt: skip
    flags = {"losses.requires_grad": True, "chosen_rewards.requires_grad": False}
    inputs = (policy, ref, up, mismatched)
    submission.compare("kto_loss", inputs, flags, mistakes=MISTAKES, via=flags_of_gradient)


@exercise("kto_loss")
def test_kto_loss_of_one_kind_of_thumb(submission, fresh):
    """Thumbs need not come in equal numbers: all of them up, then all of them down."""
    policy, ref, _, mismatched = kto_inputs(fresh, drift=1.0)
    for up in (torch.ones(9, dtype=torch.bool), torch.zeros(9, dtype=torch.bool)):
        expected, _ = kto_rows(policy, ref, up, mismatched, beta=0.2)
        submission.compare(
            "kto_loss", (policy, ref, up, mismatched), expected, mistakes=MISTAKES, kwargs={"beta": 0.2}
        )


def token_means(fresh, batch=7):
    """log π(y|x)/|y| of chosen and rejected completions, nats a token, all below 0."""
    return tuple(-0.2 - 3 * torch.rand(2, batch, generator=fresh.torch))


@exercise("simpo_loss", points=2)
def test_simpo_loss_matches_a_float64_loop(submission, fresh):
    pair = token_means(fresh)
    settings = {"beta": fresh.uniform(1.5, 4.0), "gamma": fresh.uniform(0.6, 1.5)}
    beta, gamma = settings["beta"], settings["gamma"]
    rows = [(math.log1p(math.exp(gamma - beta * (c - r))), beta * c, beta * r) for c, r in doubles(*pair)]
    submission.compare("simpo_loss", pair, columns(rows), mistakes=MISTAKES, kwargs=settings, parts=TRIPLE)


@exercise("simpo_loss")
def test_simpo_loss_does_not_read_the_reference(submission, fresh):
    """Four tensors, as the trainer passes them: the last two change nothing."""
    pair = token_means(fresh)
    rows = [(math.log1p(math.exp(1.0 - 2 * (c - r))), 2 * c, 2 * r) for c, r in doubles(*pair)]
    four = (*pair, *token_means(fresh))
    submission.compare("simpo_loss", four, columns(rows), mistakes=MISTAKES, parts=TRIPLE)


@exercise("simpo_loss")
def test_simpo_loss_is_finite_at_extreme_margins(submission, fresh):
    far = 200 + 50 * fresh.rng.random()
    pair = (torch.tensor([-far, -0.1, -1.0]), torch.tensor([-0.1, -far, -1.0]))
    margins = [2 * (c - r) - 1 for c, r in doubles(*pair)]
    losses = [max(-m, 0) + math.log1p(math.exp(-abs(m))) for m in margins]
    expected = (torch.tensor(losses), 2 * pair[0], 2 * pair[1])
    submission.compare("simpo_loss", pair, expected, mistakes=MISTAKES, parts=TRIPLE)


@exercise("simpo_loss")
def test_simpo_loss_detaches_the_rewards(submission, fresh):
    expected = {f"{name}.requires_grad": name == "losses" for name in TRIPLE}
    submission.compare(
        "simpo_loss", token_means(fresh, 3), expected, mistakes=MISTAKES, via=flags_of_gradient
    )


def orpo_row(chosen, rejected, beta):
    """Loss of one pair, by odds of probabilities, and its slope in the chosen mean log-prob."""
    odds = [math.exp(logp) / (1 - math.exp(logp)) for logp in (chosen, rejected)]
    share = odds[0] / (odds[0] + odds[1])  # σ of the log of the odds' ratio
    slope = -1 - beta * (1 - share) / (1 - math.exp(chosen))  # d log odds / d log p = 1/(1 − p)
    return -chosen - beta * math.log(share), slope


@exercise("orpo_loss", points=2)
def test_orpo_loss_matches_a_float64_loop(submission, fresh):
    pair, beta = token_means(fresh), fresh.uniform(0.3, 0.9)
    rows = [(orpo_row(c, r, beta)[0], beta * c, beta * r) for c, r in doubles(*pair)]
    submission.compare(
        "orpo_loss", pair, columns(rows), mistakes=MISTAKES, kwargs={"beta": beta}, parts=TRIPLE
    )


@exercise("orpo_loss")
def test_orpo_loss_pulls_the_chosen_completion_up_in_two_ways(submission, fresh):
    """The slope in the chosen log-prob has the SFT term's −1 in it."""
    pair = token_means(fresh)
    slopes = torch.tensor([orpo_row(c, r, 0.5)[1] for c, r in doubles(*pair)])
    expected = {"gradient in input 0": slopes}
    submission.compare(
        "orpo_loss", pair, expected, mistakes=MISTAKES, via=gradients, kwargs={"wrt": (0,), "beta": 0.5}
    )


@exercise("orpo_loss")
def test_orpo_loss_detaches_the_rewards(submission, fresh):
    expected = {f"{name}.requires_grad": name == "losses" for name in TRIPLE}
    submission.compare("orpo_loss", token_means(fresh, 3), expected, mistakes=MISTAKES, via=flags_of_gradient)


def texts_with_values(fresh, n):
    """n different texts and what each is worth; no two are worth the same."""
    values = fresh.rng.permutation(100)[:n].tolist()
    return [f"text {number}" for number in range(n)], values


def with_a_count(function, texts, values):
    """Best, worst, and how often the judge was asked; it never errs."""
    asked = []

    def beats(first, second):
        asked.append((first, second))
        return values[texts.index(first)] > values[texts.index(second)]

    best, worst = function(list(texts), beats)
    return best, worst, len(asked)


def comparisons_needed(values):
    """How often the procedure of the lesson asks: by its description, on numbers."""
    top, bottom, asked = max(values[:2]), min(values[:2]), 1
    for value in values[2:]:
        asked += 1 if value > top else 2
        top, bottom = max(top, value), min(bottom, value)
    return asked


@exercise("best_and_worst", points=3)
def test_best_and_worst_asks_as_little_as_it_may(submission, fresh):
    """Best and worst of n texts, and the number of comparisons that were paid for."""
    for order in ([3, 1, 7, 5, 0, 9, 4], [2, 8, 5, 9, 6, 1, 7], [9, 0, 5, 4, 8, 3, 1]):
        shift = fresh.integer(0, 50)
        values = [value + shift for value in order]
        texts = [f"text {number}" for number in range(len(values))]
        best, worst = texts[values.index(max(values))], texts[values.index(min(values))]
        expected = (best, worst, comparisons_needed(values))
        submission.compare("best_and_worst", (texts, values), expected, mistakes=MISTAKES, via=with_a_count)


@exercise("best_and_worst")
def test_best_and_worst_of_any_number(submission, fresh):
    """Two, three, or many completions in random order."""
    for n in (2, 3, 4, 9):
        texts, values = texts_with_values(fresh, n)
        best, worst = texts[values.index(max(values))], texts[values.index(min(values))]
        expected = (best, worst, comparisons_needed(values))
        submission.compare("best_and_worst", (texts, values), expected, mistakes=MISTAKES, via=with_a_count)


def with_a_fickle_judge(function, texts, answers):
    """Whether best and worst differ, for a judge whose answers contradict each other."""
    left = list(answers)
    best, worst = function(list(texts), lambda first, second: left.pop(0) if left else True)
    return best != worst, best in texts, worst in texts


@exercise("best_and_worst")
def test_best_and_worst_differ_whatever_the_judge_says(submission, fresh):
    """A judge that contradicts itself still gives a pair of two different texts."""
    texts = ["a", "b", "c", "d"]
    for answers in ([False] * 8, [True] * 8, [bool(b) for b in fresh.rng.integers(0, 2, 8)]):
        submission.compare(
            "best_and_worst",
            (texts, answers),
            (True, True, True),
            mistakes=MISTAKES,
            via=with_a_fickle_judge,
        )


def one_round(function, policy_weights, reference_weights, number, refresh):
    """What a round starts with, on policies of a few weights: numbers and facts, no objects."""
    made = []
    for weights in (policy_weights, reference_weights):
        model = torch.nn.Linear(len(weights), 1, bias=False)
        model.weight.data = weights.clone()[None]
        made.append(Policy(model, None, "toy"))
    policy, first = made
    seen = []

    def collect(writer, measured_against):
        seen.append((writer.model.weight.detach().clone(), measured_against.model.weight.detach().clone()))
        return [{"prompt": "x", "chosen": "a", "rejected": "b"}]

    reference, pairs = function(policy, first, number, refresh, collect)
    at_start = reference.model.weight.detach().clone()
    with torch.no_grad():
        policy.model.weight += 1.0  # the round's training moves the policy: must the reference follow?
    return {
        "pairs": len(pairs),
        "collected": len(seen),
        "writer": seen[0][0][0].tolist(),
        "measured against": seen[0][1][0].tolist(),
        "reference": at_start[0].tolist(),
        "reference after training": reference.model.weight.detach()[0].tolist(),
        "the reference that was given": reference is first,
        "the policy itself": reference is policy,
        "reference trains": bool(reference.model.weight.requires_grad) and reference is not first,
        "policy trains": bool(policy.model.weight.requires_grad),
    }


def round_by_hand(policy, reference, number, refresh):
    kept = not (refresh and number > 0)
    start = (reference if kept else policy).tolist()
    return {
        "pairs": 1,
        "collected": 1,
        "writer": policy.tolist(),
        "measured against": start,
        "reference": start,
        "reference after training": start,
        "the reference that was given": kept,
        "the policy itself": False,
        "reference trains": False,
        "policy trains": True,
    }


@exercise("begin_round", points=2)
def test_begin_round_refreshes_by_a_frozen_copy(submission, fresh):
    """From round 1 on the reference is a frozen copy of the policy; the policy writes the pairs."""
    policy, reference = fresh.normal(3), fresh.normal(3)
    for number in (1, fresh.integer(2, 6)):
        submission.compare(
            "begin_round",
            (policy, reference, number, True),
            round_by_hand(policy, reference, number, True),
            mistakes=MISTAKES,
            via=one_round,
        )


@exercise("begin_round")
def test_begin_round_keeps_the_reference_of_round_0_and_of_online_dpo(submission, fresh):
    """Round 0 starts with the reference that was given; without a refresh every round does."""
    policy, reference = fresh.normal(3), fresh.normal(3)
    for number, refresh in ((0, True), (0, False), (2, False)):
        submission.compare(
            "begin_round",
            (policy, reference, number, refresh),
            round_by_hand(policy, reference, number, refresh),
            mistakes=MISTAKES,
            via=one_round,
        )


def margin_loss_by_loop(logps, other, weight, beta):
    """Losses and rewards pair by pair, over Python numbers."""
    losses, chosen, rejected = [], [], []
    for pc, pr, rc, rr, d in zip(*(t.tolist() for t in logps), other.tolist(), strict=True):
        chosen.append(beta * (pc - rc))
        rejected.append(beta * (pr - rr))
        margin = (chosen[-1] - rejected[-1] - (1 - weight) * d) / weight
        losses.append(math.log1p(math.exp(-margin)) if margin > -30 else -margin)
    return losses, chosen, rejected


PARTS = ("losses", "chosen_rewards", "rejected_rewards")


@exercise("weighted_margin_loss", points=3)
def test_weighted_margin_loss_matches_a_loop(submission, fresh):
    """Losses and implicit rewards, pair by pair."""
    logps, other = fresh.logps(6), fresh.normal(6, scale=1.5)
    weight, beta = fresh.uniform(0.55, 0.8), fresh.uniform(0.1, 0.3)
    submission.compare(
        "weighted_margin_loss",
        (*logps, other, weight),
        margin_loss_by_loop(logps, other, weight, beta),
        mistakes=MISTAKES,
        kwargs={"beta": beta},
        parts=PARTS,
    )


@exercise("weighted_margin_loss")
def test_weighted_margin_loss_with_weight_1_is_dpo(submission, fresh):
    """With w = 1 the other objective counts for nothing, and β is 0.1 unless told otherwise."""
    logps, other = fresh.logps(4), fresh.normal(4)
    expected = margin_loss_by_loop(logps, torch.zeros(4), 1.0, 0.1)
    submission.compare("weighted_margin_loss", (*logps, other, 1.0), expected, mistakes=MISTAKES, parts=PARTS)


@exercise("weighted_margin_loss")
def test_weighted_margin_loss_gradient(submission, fresh):
    """The losses' slope in the chosen log-prob, −(β/w) σ(−margin)."""
    logps, other = fresh.logps(5), fresh.normal(5)
    weight, beta = fresh.uniform(0.3, 0.6), fresh.uniform(0.1, 0.3)
    slopes = []
    for pc, pr, rc, rr, d in zip(*(t.tolist() for t in logps), other.tolist(), strict=True):
        margin = (beta * ((pc - rc) - (pr - rr)) - (1 - weight) * d) / weight
        slopes.append(-beta / weight / (1 + math.exp(margin)))
    submission.compare(
        "weighted_margin_loss",
        (*logps, other, weight),
        slopes,
        mistakes=MISTAKES,
        via="grad",
        kwargs={"beta": beta},
        kwargs_via={"wrt": 0, "pick": 0},
    )
    flags = {f"{name}.requires_grad": name == "losses" for name in TRIPLE}
    inputs = (*logps, other, weight)
    submission.compare("weighted_margin_loss", inputs, flags, mistakes=MISTAKES, via=flags_of_gradient)


def front_by_loop(rows):
    """Row numbers that no other row dominates."""
    kept = []
    for j, row in enumerate(rows):
        beaten = any(
            all(a >= b for a, b in zip(other, row, strict=True)) and list(other) != list(row)
            for other in rows
        )
        if not beaten:
            kept.append(j)
    return kept


@exercise("pareto_front", points=3)
def test_pareto_front_of_a_dent_and_of_equals(submission, fresh):
    """A dent in the front, two equal points, and a point that is beaten in one objective only."""
    shift = fresh.uniform(-2, 2)
    rows = [[3, 0], [1.2, 1.2], [0, 3], [3, -1], [1.2, 1.2], [1, 1], [-1, 2]]
    points = torch.tensor(rows) + shift
    submission.compare("pareto_front", (points,), front_by_loop(points.tolist()), mistakes=MISTAKES)


@exercise("pareto_front")
def test_pareto_front_matches_a_loop(submission, fresh):
    """Random points on a grid, in two and in three objectives, so that ties are common."""
    for objectives in (2, 3):
        points = torch.tensor(fresh.rng.integers(0, 6, (25, objectives)), dtype=torch.float32)
        submission.compare("pareto_front", (points,), front_by_loop(points.tolist()), mistakes=MISTAKES)


@exercise("pareto_front")
def test_pareto_front_of_one_policy_and_of_one_objective(submission, fresh):
    """One policy is its own front; with one objective the front is the maximum, ties included."""
    submission.compare("pareto_front", (fresh.normal(1, 2),), [0], mistakes=MISTAKES)
    points = torch.tensor([[1.0], [4.0], [2.0], [4.0]])
    submission.compare("pareto_front", (points,), [1, 3], mistakes=MISTAKES)


@exercise("pareto_front")
def test_pareto_front_refuses_what_has_no_order(submission, fresh):
    """A reward that is NaN can't be compared: ValueError."""
    points = fresh.normal(4, 2)
    points[2, 1] = float("nan")
    submission.compare("pareto_front", (points,), raises(ValueError), mistakes=MISTAKES)
