"""How good people get lesson 10 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import torch

from dpo_lab.course import Mistake


def in_last_column(values, completion_mask):
    return values[:, -1]


def first_token(values, completion_mask):
    return values.gather(1, completion_mask.int().argmax(dim=-1)[:, None]).squeeze(1)


def mean_of_the_completion(values, completion_mask):
    return values.masked_fill(~completion_mask, 0.0).sum(dim=-1) / completion_mask.sum(dim=-1)


def sum_of_the_completion(values, completion_mask):
    return values.masked_fill(~completion_mask, 0.0).sum(dim=-1)


def counted_from_the_row(values, completion_mask):
    last = completion_mask.sum(dim=-1) - 1
    return values.gather(1, last[:, None]).squeeze(1)


def last_position(completion_mask):
    return (torch.arange(completion_mask.shape[1]) * completion_mask).argmax(dim=-1)


def one_before(values, completion_mask):
    last = (last_position(completion_mask) - 1).clamp(min=0)
    return values.gather(1, last[:, None]).squeeze(1)


def largest_of_the_completion(values, completion_mask):
    return values.masked_fill(~completion_mask, -float("inf")).max(dim=-1).values


def whole_table(values, completion_mask):
    return values[:, last_position(completion_mask)]


def shaped(scores, logps, ref_logps, mask, beta, at=None):
    """The right answer with the score put elsewhere."""
    rewards = (-beta * (logps - ref_logps)).masked_fill(~mask, 0.0)
    last = mask.sum(dim=-1) - 1 if at is None else at
    return rewards.index_put((torch.arange(len(scores)), last), scores, accumulate=True)


def penalty_added(scores, logps, ref_logps, mask, beta):
    return shaped(scores, logps, ref_logps, mask, -beta)


def score_in_last_column(scores, logps, ref_logps, mask, beta):
    return shaped(
        scores, logps, ref_logps, mask, beta, at=torch.full_like(mask.sum(dim=-1), mask.shape[1] - 1)
    )


def score_at_every_token(scores, logps, ref_logps, mask, beta):
    return (scores[:, None] - beta * (logps - ref_logps)).masked_fill(~mask, 0.0)


def score_shared_out(scores, logps, ref_logps, mask, beta):
    share = (scores / mask.sum(dim=-1))[:, None]
    return (share - beta * (logps - ref_logps)).masked_fill(~mask, 0.0)


def all_at_the_end(scores, logps, ref_logps, mask, beta):
    total = scores - beta * (logps - ref_logps).masked_fill(~mask, 0.0).sum(dim=-1)
    zeros = torch.zeros_like(logps)
    return zeros.index_put((torch.arange(len(scores)), mask.sum(dim=-1) - 1), total)


def padding_pays_too(scores, logps, ref_logps, mask, beta):
    rewards = -beta * (logps - ref_logps)
    last = mask.sum(dim=-1) - 1
    return rewards.index_put((torch.arange(len(scores)), last), scores, accumulate=True)


def beta_left_out(scores, logps, ref_logps, mask, beta):
    return shaped(scores, logps, ref_logps, mask, 1.0)


def score_replaces_the_penalty(scores, logps, ref_logps, mask, beta):
    rewards = (-beta * (logps - ref_logps)).masked_fill(~mask, 0.0)
    return rewards.index_put((torch.arange(len(scores)), mask.sum(dim=-1) - 1), scores)


def beta_on_the_score(scores, logps, ref_logps, mask, beta):
    return shaped(beta * scores, logps, ref_logps, mask, beta)


def reference_left_out(scores, logps, ref_logps, mask, beta):
    return shaped(scores, logps, torch.zeros_like(logps), mask, beta)


def every_rows_column(scores, logps, ref_logps, mask, beta):
    rewards = (-beta * (logps - ref_logps)).masked_fill(~mask, 0.0)
    last = mask.sum(dim=-1) - 1
    rewards[:, last] += scores[:, None]
    return rewards


def every_rows_score(scores, logps, ref_logps, mask, beta):
    rewards = (-beta * (logps - ref_logps)).masked_fill(~mask, 0.0)
    rewards[:, mask.sum(dim=-1) - 1] += scores
    return rewards


def estimate(rewards, values, mask, gamma, carry, bootstrap=1.0):
    """GAE's backward loop with its two factors open."""
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    found = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + bootstrap * gamma * next_value - values[:, t]
        next_advantage = delta + carry * next_advantage
        next_value = values[:, t]
        found[:, t] = next_advantage
    return found


def lam_ignored(rewards, values, mask, gamma=1.0, lam=0.95):
    return estimate(rewards, values, mask, gamma, gamma)


def gamma_not_carried(rewards, values, mask, gamma=1.0, lam=0.95):
    return estimate(rewards, values, mask, gamma, lam)


def next_value_left_out(rewards, values, mask, gamma=1.0, lam=0.95):
    return estimate(rewards, values, mask, gamma, gamma * lam, bootstrap=0.0)


def next_value_not_discounted(rewards, values, mask, gamma=1.0, lam=0.95):
    return estimate(rewards, values, mask, gamma, gamma * lam, bootstrap=1 / gamma)


def one_step_only(rewards, values, mask, gamma=1.0, lam=0.95):
    return estimate(rewards, values, mask, gamma, 0.0)


def returns_for_advantages(rewards, values, mask, gamma=1.0, lam=0.95):
    return (estimate(rewards, values, mask, gamma, gamma * lam) + values).masked_fill(~mask, 0.0)


def padding_is_the_next_value(rewards, values, mask, gamma=1.0, lam=0.95):
    found = torch.zeros_like(rewards)
    next_advantage = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        next_value = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(next_advantage)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = torch.where(mask[:, t], delta + gamma * lam * next_advantage, 0.0)
        found[:, t] = next_advantage
    return found


def padding_carried(rewards, values, mask, gamma=1.0, lam=0.95):
    everywhere = estimate(rewards, values, torch.ones_like(mask), gamma, gamma * lam)
    return everywhere.masked_fill(~mask, 0.0)


def from_the_left(rewards, values, mask, gamma=1.0, lam=0.95):
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * following - values
    found, carried = torch.zeros_like(rewards), torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1]):
        carried = deltas[:, t] + gamma * lam * carried
        found[:, t] = carried
    return found.masked_fill(~mask, 0.0)


def sign_of_the_value(rewards, values, mask, gamma=1.0, lam=0.95):
    return estimate(rewards, -values, mask, gamma, gamma * lam)


def next_value_too_soon(rewards, values, mask, gamma=1.0, lam=0.95):
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    found = torch.zeros_like(rewards)
    next_advantage = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        next_value = values[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = delta + gamma * lam * next_advantage
        found[:, t] = next_advantage
    return found


def values_not_masked(rewards, values, mask, gamma=1.0, lam=0.95):
    everywhere = torch.ones_like(mask)
    return estimate(rewards.masked_fill(~mask, 0.0), values, everywhere, gamma, gamma * lam)


def gamma_and_lam_swapped(rewards, values, mask, gamma=1.0, lam=0.95):
    return estimate(rewards, values, mask, lam, gamma * lam)


def masked_by_multiplying(rewards, values, mask, gamma=1.0, lam=0.95):
    return estimate(rewards * mask, values * mask, torch.ones_like(mask), gamma, gamma * lam)


def terms(logps, old_logps, advantages, clip_range):
    ratios = (logps - old_logps).exp()
    return ratios * advantages, ratios.clamp(1 - clip_range, 1 + clip_range) * advantages


def share(plain, clipped, mask):
    return (clipped < plain)[mask].to(plain.dtype).mean()


def maximum_of_the_two(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return -torch.maximum(plain, clipped)[mask].mean(), share(plain, clipped, mask)


def sign_lost(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return torch.minimum(plain, clipped)[mask].mean(), share(plain, clipped, mask)


def never_clipped(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return -plain[mask].mean(), share(plain, clipped, mask)


def always_clipped(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return -clipped[mask].mean(), share(plain, clipped, mask)


def padding_in_the_mean(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    loss = -torch.minimum(plain, clipped).masked_fill(~mask, 0.0).mean()
    return loss, (clipped < plain).masked_fill(~mask, False).to(plain.dtype).mean()


def padding_not_masked(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return -torch.minimum(plain, clipped).mean(), (clipped < plain).to(plain.dtype).mean()


def mean_of_row_means(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    smaller = torch.minimum(plain, clipped).masked_fill(~mask, 0.0)
    return -(smaller.sum(dim=-1) / mask.sum(dim=-1)).mean(), share(plain, clipped, mask)


def sum_for_mean(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return -torch.minimum(plain, clipped)[mask].sum(), share(plain, clipped, mask)


def exp_forgotten(logps, old_logps, advantages, mask, clip_range=0.2):
    ratios = 1 + logps - old_logps
    plain, clipped = ratios * advantages, ratios.clamp(1 - clip_range, 1 + clip_range) * advantages
    return -torch.minimum(plain, clipped)[mask].mean(), share(plain, clipped, mask)


def ratio_upside_down(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(old_logps, logps, advantages, clip_range)
    return -torch.minimum(plain, clipped)[mask].mean(), share(plain, clipped, mask)


def clipped_from_above_only(logps, old_logps, advantages, mask, clip_range=0.2):
    ratios = (logps - old_logps).exp()
    plain, clipped = ratios * advantages, ratios.clamp(max=1 + clip_range) * advantages
    return -torch.minimum(plain, clipped)[mask].mean(), share(plain, clipped, mask)


def every_ratio_outside_counts(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    outside = ((logps - old_logps).exp() - 1).abs() > clip_range
    return -torch.minimum(plain, clipped)[mask].mean(), outside[mask].to(plain.dtype).mean()


def ties_counted(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return -torch.minimum(plain, clipped)[mask].mean(), (clipped <= plain)[mask].to(plain.dtype).mean()


def share_of_the_plain_term(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return -torch.minimum(plain, clipped)[mask].mean(), share(clipped, plain, mask)


def fraction_first(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return share(plain, clipped, mask), -torch.minimum(plain, clipped)[mask].mean()


def loss_alone(logps, old_logps, advantages, mask, clip_range=0.2):
    plain, clipped = terms(logps, old_logps, advantages, clip_range)
    return -torch.minimum(plain, clipped)[mask].mean()


def ratio_of_the_sequence(logps, old_logps, advantages, mask, clip_range=0.2):
    moved = (logps - old_logps).masked_fill(~mask, 0.0).sum(dim=-1, keepdim=True).expand_as(logps)
    plain, clipped = terms(moved, torch.zeros_like(moved), advantages, clip_range)
    return -torch.minimum(plain, clipped)[mask].mean(), share(plain, clipped, mask)


def near(values, old_values, clip_range):
    return old_values + (values - old_values).clamp(-clip_range, clip_range)


def smaller_error(values, old_values, returns, mask, clip_range=0.2):
    clipped = near(values, old_values, clip_range)
    return 0.5 * torch.minimum((values - returns) ** 2, (clipped - returns) ** 2)[mask].mean()


def half_forgotten(values, old_values, returns, mask, clip_range=0.2):
    clipped = near(values, old_values, clip_range)
    return torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)[mask].mean()


def plain_error(values, old_values, returns, mask, clip_range=0.2):
    return 0.5 * ((values - returns) ** 2)[mask].mean()


def clipped_error_only(values, old_values, returns, mask, clip_range=0.2):
    return 0.5 * ((near(values, old_values, clip_range) - returns) ** 2)[mask].mean()


def clipped_around_zero(values, old_values, returns, mask, clip_range=0.2):
    clipped = values.clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)[mask].mean()


def clipped_as_a_ratio(values, old_values, returns, mask, clip_range=0.2):
    clipped = old_values * (values / old_values).clamp(1 - clip_range, 1 + clip_range)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)[mask].mean()


def larger_of_the_means(values, old_values, returns, mask, clip_range=0.2):
    plain = ((values - returns) ** 2)[mask].mean()
    clipped = ((near(values, old_values, clip_range) - returns) ** 2)[mask].mean()
    return 0.5 * torch.maximum(plain, clipped)


def value_padding_in_the_mean(values, old_values, returns, mask, clip_range=0.2):
    clipped = near(values, old_values, clip_range)
    worse = torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    return 0.5 * worse.masked_fill(~mask, 0.0).mean()


def value_padding_not_masked(values, old_values, returns, mask, clip_range=0.2):
    clipped = near(values, old_values, clip_range)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean()


def each_once(tensors):
    return list({id(tensor): tensor for tensor in tensors}.values())


def size(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def parts_of(models, optimizers):
    """Parameters, gradients and optimiser tensors, each once."""
    parameters = each_once(p for model in models for p in model.parameters())
    states = each_once(
        value
        for optimizer in optimizers
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    return parameters, [p.grad for p in parameters if p.grad is not None], states


def table(parameters, gradients, optimizer):
    return {"parameters": parameters, "gradients": gradients, "optimizer": optimizer}


def numbers_for_bytes(models, optimizers):
    return table(*(sum(t.numel() for t in tensors) for tensors in parts_of(models, optimizers)))


def four_bytes_each(models, optimizers):
    return table(*(4 * sum(t.numel() for t in tensors) for tensors in parts_of(models, optimizers)))


def shared_counted_twice(models, optimizers):
    _, gradients, states = parts_of(models, optimizers)
    return table(size([p for model in models for p in model.parameters()]), size(gradients), size(states))


def gradients_of_shared_twice(models, optimizers):
    parameters, _, states = parts_of(models, optimizers)
    gradients = [p.grad for model in models for p in model.parameters() if p.grad is not None]
    return table(size(parameters), size(gradients), size(states))


def gradient_for_every_parameter(models, optimizers):
    parameters, _, states = parts_of(models, optimizers)
    return table(size(parameters), size(parameters), size(states))


def gradient_where_it_could_be(models, optimizers):
    parameters, _, states = parts_of(models, optimizers)
    return table(size(parameters), size([p for p in parameters if p.requires_grad]), size(states))


def frozen_models_left_out(models, optimizers):
    parameters, gradients, states = parts_of(models, optimizers)
    return table(size([p for p in parameters if p.requires_grad]), size(gradients), size(states))


def always_two_moments(models, optimizers):
    parameters, gradients, _ = parts_of(models, optimizers)
    return table(size(parameters), size(gradients), 2 * size(gradients))


def optimizer_counts_its_weights(models, optimizers):
    parameters, gradients, states = parts_of(models, optimizers)
    held = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    return table(size(parameters), size(gradients), size(states) + size(each_once(held)))


def first_optimizer_only(models, optimizers):
    parameters, gradients, states = parts_of(models, list(optimizers)[:1])
    return table(size(parameters), size(gradients), size(states))


MISTAKES = {
    "completion_scores": [
        Mistake(
            "last column",
            "values[:, -1] is padding in every row but the longest. Find each row's own last completion token.",
            in_last_column,
        ),
        Mistake(
            "first token",
            "argmax of the mask alone is the first true position. At the first token the model has not read the completion yet.",
            first_token,
        ),
        Mistake(
            "mean over the completion",
            "You averaged the numbers at all of the completion's tokens. The score is the one at the last.",
            mean_of_the_completion,
        ),
        Mistake(
            "sum over the completion",
            "You summed the numbers at all of the completion's tokens. The score is the one at the last.",
            sum_of_the_completion,
        ),
        Mistake(
            "counted from the row's start",
            "mask.sum() − 1 is the last position only where the completion starts in column 0. Here a prompt stands before it.",
            counted_from_the_row,
        ),
        Mistake(
            "one position too early",
            "You read one position before the last token. That one predicts the last token and has not seen it; a value model is read there, a reward model is not.",
            one_before,
        ),
        Mistake(
            "largest value",
            "You took the largest number of the completion. It is the last position that counts.",
            largest_of_the_completion,
        ),
        Mistake(
            "columns picked for all rows",
            "values[:, last] picks those columns in every row, an (R, R) table. gather, or values[rows, last], picks one a row.",
            whole_table,
        ),
    ],
    "kl_shaped_rewards": [
        Mistake(
            "penalty with the wrong sign",
            "A token that is likelier under the policy than under the reference costs: −β (logps − ref_logps).",
            penalty_added,
        ),
        Mistake(
            "score in the last column",
            "You put the score in the last column, which is padding in the shorter rows. It belongs to each row's own last token.",
            score_in_last_column,
        ),
        Mistake(
            "score at every token",
            "The score came with every token: a longer completion would be paid more often. It comes once, with the last token.",
            score_at_every_token,
        ),
        Mistake(
            "score shared out",
            "You shared the score among the tokens. It comes whole, with the last token.",
            score_shared_out,
        ),
        Mistake(
            "penalty at the end only",
            "The sums are right, but the whole penalty came with the last token. Each token pays for itself, so that it is known which one strayed.",
            all_at_the_end,
        ),
        Mistake(
            "padding pays",
            "Padding got a penalty. Where the mask is false the reward is 0.",
            padding_pays_too,
        ),
        Mistake("β left out", "The penalty lacks its weight beta.", beta_left_out),
        Mistake(
            "score instead of penalty",
            "At the last token you replaced the penalty by the score. Both count there: add.",
            score_replaces_the_penalty,
        ),
        Mistake(
            "β on the score",
            "You multiplied the score by beta. Only the penalty has that weight.",
            beta_on_the_score,
        ),
        Mistake(
            "reference forgotten",
            "You charged −β log π. The penalty is on the log-ratio, log π − log π_ref: without the reference it asks for entropy.",
            reference_left_out,
        ),
        Mistake(
            "columns picked for all rows",
            "rewards[:, last] picks those columns in every row, so each row got its score at every row's last column. rewards[rows, last], with rows = torch.arange(B), picks one entry a row.",
            every_rows_column,
        ),
        Mistake(
            "every row's score",
            "rewards[:, last] += scores adds all the scores to every row. Each row gets its own score, once: index with rewards[rows, last], rows = torch.arange(B).",
            every_rows_score,
        ),
    ],
    "gae": [
        Mistake("λ ignored", "The carried advantage is multiplied by γ alone. It is γ λ.", lam_ignored),
        Mistake(
            "γ not carried", "The carried advantage is multiplied by λ alone. It is γ λ.", gamma_not_carried
        ),
        Mistake(
            "next value left out",
            "δ_t lacks γ V_{t+1}: what is still to come after this token is part of what it led to.",
            next_value_left_out,
        ),
        Mistake(
            "next value not discounted",
            "In δ_t the next value has no γ: r_t + γ V_{t+1} − V_t.",
            next_value_not_discounted,
        ),
        Mistake(
            "δ only", "You returned δ_t. The advantage carries on: A_t = δ_t + γ λ A_{t+1}.", one_step_only
        ),
        Mistake(
            "returns",
            "You added the values: those are the returns that the value model learns. The advantages come before that.",
            returns_for_advantages,
        ),
        Mistake(
            "value of the padding",
            "At the last token you took the padding's value for V_{t+1}. The completion ends there: V is 0.",
            padding_is_the_next_value,
        ),
        Mistake(
            "padding carried in",
            "Rewards and values of the padding flowed into the last token. Set both to 0 where the mask is false, before the loop.",
            padding_carried,
        ),
        Mistake(
            "from the left",
            "You carried from the first token to the last. A token's advantage depends on what comes after it: run backwards.",
            from_the_left,
        ),
        Mistake(
            "sign of the value",
            "The values have the wrong sign: the expectation V_t is subtracted, γ V_{t+1} is added.",
            sign_of_the_value,
        ),
        Mistake(
            "next value updated before δ",
            "You set next_value to V_t before you used it, so δ_t holds V_t twice. Compute δ_t first, with V_{t+1}, and update after it.",
            next_value_too_soon,
        ),
        Mistake(
            "rewards masked, values not",
            "You set the padding's rewards to 0 but not its values: they are V_{t+1} of a row's last token, and leave advantages on padding.",
            values_not_masked,
        ),
        Mistake(
            "γ and λ swapped",
            "In δ_t the next value is multiplied by λ. There it is γ: λ comes only with the carried advantage, as γ λ.",
            gamma_and_lam_swapped,
        ),
        Mistake(
            "masked by multiplying",
            "Padding may hold NaN, and 0 · NaN is NaN. masked_fill or torch.where drops it.",
            masked_by_multiplying,
        ),
    ],
    "ppo_policy_loss": [
        Mistake(
            "maximum for minimum",
            "Of ρA and clip(ρ)A you took the larger. The smaller one makes the bound pessimistic.",
            maximum_of_the_two,
        ),
        Mistake(
            "sign lost",
            "The minimum is to be maximised, and an optimiser minimises: put a minus before it.",
            sign_lost,
        ),
        Mistake(
            "never clipped",
            "This is −ρA without the clipped term: nothing stops a ratio from running away.",
            never_clipped,
        ),
        Mistake(
            "always clipped",
            "You took the clipped term everywhere. With it alone a token that moved the wrong way out of the range gets no gradient to bring it back; the minimum keeps that one.",
            always_clipped,
        ),
        Mistake(
            "padding in the mean",
            "You divided by all positions. Divide by the real tokens only.",
            padding_in_the_mean,
        ),
        Mistake(
            "padding not masked",
            "The padding's terms are in the mean. Take only those where the mask is true.",
            padding_not_masked,
        ),
        Mistake(
            "mean of means",
            "You averaged each row and then the rows. All real tokens of the batch have one weight.",
            mean_of_row_means,
        ),
        Mistake("sum for mean", "You summed over the tokens. The loss is their mean.", sum_for_mean),
        Mistake(
            "no exponential",
            "The ratio of probabilities is exp(logps − old_logps); 1 + the difference is its first-order approximation.",
            exp_forgotten,
        ),
        Mistake("ratio upside down", "The ratio is new over old: exp(logps − old_logps).", ratio_upside_down),
        Mistake(
            "one side of the range",
            "You clipped from above only. With a negative advantage it is 1 − ε that stops the token.",
            clipped_from_above_only,
        ),
        Mistake(
            "every ratio outside counted",
            "clip_fraction counts the tokens whose clipped term is the smaller one. A ratio can be outside and the plain term the smaller.",
            every_ratio_outside_counts,
        ),
        Mistake(
            "ties counted",
            "Within the range both terms are equal, and you counted those tokens: <= for <. Count where the clipped term is strictly the smaller.",
            ties_counted,
        ),
        Mistake(
            "share of the plain term",
            "You counted the tokens whose plain term is the smaller. clip_fraction is the share where the clipped one is.",
            share_of_the_plain_term,
        ),
        Mistake(
            "pair swapped",
            "Both numbers are right, in the wrong order: the loss comes first, then the share.",
            fraction_first,
        ),
        Mistake(
            "loss alone",
            "The loss is right, but the share of clipped tokens is missing: return the pair (loss, clip_fraction).",
            loss_alone,
        ),
        Mistake(
            "one ratio for the sequence",
            "You took one ratio for the whole completion. Here each token has its own, and is clipped by itself.",
            ratio_of_the_sequence,
        ),
    ],
    "ppo_value_loss": [
        Mistake(
            "smaller error",
            "Of the two squared errors you took the smaller. It is the larger one at each token.",
            smaller_error,
        ),
        Mistake("half forgotten", "The factor ½ is missing.", half_forgotten),
        Mistake(
            "not clipped",
            "This is the plain squared error: the estimate may move as far as it likes. (Clipping around the returns comes to the same, as the maximum then never picks the clipped error; the range lies around old_values.)",
            plain_error,
        ),
        Mistake(
            "clipped error only",
            "You took the clipped error everywhere: a value that left the range gets no gradient any more, even if it should come back.",
            clipped_error_only,
        ),
        Mistake(
            "range around zero",
            "You clipped the value itself. It is the change since sampling, V − V_old, that is clipped.",
            clipped_around_zero,
        ),
        Mistake(
            "clipped as a ratio",
            "You clipped V / V_old as if it were a probability ratio. Values have a zero and a sign: the difference is clipped.",
            clipped_as_a_ratio,
        ),
        Mistake(
            "larger of the means",
            "You compared the two means. The larger error is taken at each token, then the mean.",
            larger_of_the_means,
        ),
        Mistake(
            "padding in the mean",
            "You divided by all positions. Divide by the real tokens only.",
            value_padding_in_the_mean,
        ),
        Mistake(
            "padding not masked",
            "The padding's errors are in the mean. Take only those where the mask is true.",
            value_padding_not_masked,
        ),
    ],
    "training_memory": [
        Mistake(
            "numbers, not bytes",
            "You counted numbers. A number takes tensor.element_size() bytes.",
            numbers_for_bytes,
        ),
        Mistake(
            "four bytes each",
            "Not every number takes four bytes: bfloat16 takes two, float64 eight. Ask tensor.element_size().",
            four_bytes_each,
        ),
        Mistake(
            "shared parameters counted twice",
            "Two models that share a trunk hold it once. Count each parameter object once, by id().",
            shared_counted_twice,
        ),
        Mistake(
            "shared gradients counted twice",
            "A shared parameter has one gradient. Count it once.",
            gradients_of_shared_twice,
        ),
        Mistake(
            "a gradient for every parameter",
            "You counted a gradient for every parameter. Frozen models have none: look at parameter.grad.",
            gradient_for_every_parameter,
        ),
        Mistake(
            "a gradient wherever it is allowed",
            "requires_grad says that a gradient may come, not that it is there. Count parameter.grad where it is not None.",
            gradient_where_it_could_be,
        ),
        Mistake(
            "frozen models left out",
            "Frozen parameters take memory too: a reference and a reward model have to be there.",
            frozen_models_left_out,
        ),
        Mistake(
            "two moments assumed",
            "You assumed two moments a parameter. SGD keeps none, with momentum one; look into optimizer.state.",
            always_two_moments,
        ),
        Mistake(
            "weights counted with the optimiser",
            "optimizer.param_groups holds the weights themselves, which you have counted already. What it remembers is in optimizer.state.",
            optimizer_counts_its_weights,
        ),
        Mistake(
            "first optimiser only",
            "You looked at the first optimiser only. PPO may have one for the policy and one for the value model.",
            first_optimizer_only,
        ),
    ],
}
