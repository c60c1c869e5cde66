"""How good people get lesson 02 wrong: each function is a real slip, each hint what a colleague would say."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from dpo_lab.bradley_terry import check_wins
from dpo_lab.course import Mistake


def probability_of_the_other(chosen, rejected):
    return torch.sigmoid(rejected - chosen)


def sigmoid_of_one_reward(chosen, rejected):
    return torch.sigmoid(chosen)


def ratio_of_rewards(chosen, rejected):
    return chosen / (chosen + rejected)


def exponentials_overflow(chosen, rejected):
    return chosen.exp() / (chosen.exp() + rejected.exp())


def ratio_of_exponentials(chosen, rejected):
    return chosen.exp() / rejected.exp()


def hard_decision(chosen, rejected):
    return (chosen > rejected).to(chosen.dtype)


def softmax_over_the_batch(chosen, rejected):
    return torch.softmax(chosen - rejected, dim=0)


def log_probability(chosen, rejected):
    return logsigmoid(chosen - rejected)


def loss_of_the_other(chosen, rejected):
    return -logsigmoid(rejected - chosen)


def loss_sign_lost(chosen, rejected):
    return logsigmoid(chosen - rejected)


def loss_averaged(chosen, rejected):
    return -logsigmoid(chosen - rejected).mean()


def log_of_sigmoid(chosen, rejected):
    return -torch.log(torch.sigmoid(chosen - rejected))


def log_of_float64_sigmoid(chosen, rejected):
    return -torch.log(torch.sigmoid(chosen.double() - rejected.double()))


def difference_clamped(chosen, rejected):
    return -logsigmoid((chosen - rejected).clamp(-100, 100))


def log_probability_of_the_other(chosen, rejected):
    return logsigmoid(rejected - chosen)


def clamped_probability(chosen, rejected):
    return -torch.log(torch.sigmoid(chosen - rejected).clamp(min=1e-8))


def one_minus_probability(chosen, rejected):
    return 1 - torch.sigmoid(chosen - rejected)


def both_rewards_alone(chosen, rejected):
    return -logsigmoid(chosen) - logsigmoid(-rejected)


def largest_move(moves):
    return moves.abs().max()


def sweeps(table, wins_of_each, games, iterations, tolerance, moved=largest_move, dtype=torch.float64):
    """The right iteration: what most of the slips below have in common."""
    rewards = torch.zeros(len(table), dtype=dtype)
    for _ in range(iterations):
        strengths = rewards.exp()
        updated = (wins_of_each / (games / (strengths[:, None] + strengths)).sum(dim=1)).log()
        updated = updated - updated.mean()
        if moved(updated - rewards) < tolerance:
            return updated
        rewards = updated
    raise RuntimeError("no convergence")


def sweeps_by(update, wins, iterations, tolerance, centre=torch.mean):
    """The loop of the right answer around an `update(table, games, rewards)` of the slip's own."""
    table = check_wins(wins)
    rewards = torch.zeros(len(table), dtype=torch.float64)
    for _ in range(iterations):
        updated = update(table, table + table.T, rewards)
        updated = updated - centre(updated)
        if (updated - rewards).abs().max() < tolerance:
            return updated
        rewards = updated
    raise RuntimeError("no convergence")


def fitted(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    return sweeps(table, table.sum(dim=1), table + table.T, iterations, tolerance)


def table_transposed(wins, iterations=10_000, tolerance=1e-10):
    return fitted(wins.T, iterations, tolerance)


def win_rates(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    rewards = (table.sum(dim=1) / table.sum(dim=0)).log()
    return rewards - rewards.mean()


def one_sweep(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    return sweeps(table, table.sum(dim=1), table + table.T, 1, float("inf"))


def rewards_never_moved(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    rewards = torch.zeros(len(table), dtype=torch.float64)
    for _ in range(iterations):
        strengths = rewards.exp()
        updated = (table.sum(dim=1) / ((table + table.T) / (strengths[:, None] + strengths)).sum(dim=1)).log()
        updated = updated - updated.mean()
        if (updated - rewards).abs().max() > tolerance:
            return rewards
        rewards = updated
    raise RuntimeError("no convergence")


def same_sweep_again(wins, iterations=10_000, tolerance=1e-10):
    one_sweep_later = one_sweep(wins)
    if one_sweep_later.abs().max() < tolerance:
        return one_sweep_later
    raise RuntimeError("no convergence")


def logarithm_forgotten(wins, iterations=10_000, tolerance=1e-10):
    def update(table, games, rewards):
        strengths = rewards.exp()
        return table.sum(dim=1) / (games / (strengths[:, None] + strengths)).sum(dim=1)

    return sweeps_by(update, wins, iterations, tolerance)


def exponential_forgotten(wins, iterations=10_000, tolerance=1e-10):
    def update(table, games, rewards):
        return (table.sum(dim=1) / (games / (rewards[:, None] + rewards)).sum(dim=1)).log()

    return sweeps_by(update, wins, iterations, tolerance)


def mean_not_subtracted(wins, iterations=10_000, tolerance=1e-10):
    def update(table, games, rewards):
        strengths = rewards.exp()
        return (table.sum(dim=1) / (games / (strengths[:, None] + strengths)).sum(dim=1)).log()

    return sweeps_by(update, wins, iterations, tolerance, centre=torch.zeros_like)


def fitted_in_float32(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins).float()
    return sweeps(table, table.sum(dim=1), table + table.T, iterations, tolerance, dtype=torch.float32)


def tolerance_of_its_own(wins, iterations=10_000, tolerance=1e-10):
    return fitted(wins, iterations, 1e-10)


def smallest_move_stops(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    games = table + table.T
    return sweeps(table, table.sum(dim=1), games, iterations, tolerance, moved=lambda m: m.abs().min())


def only_rises_stop(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    games = table + table.T
    return sweeps(table, table.sum(dim=1), games, iterations, tolerance, moved=torch.max)


def first_player_at_zero(wins, iterations=10_000, tolerance=1e-10):
    rewards = fitted(wins, iterations, tolerance)
    return rewards - rewards[0]


def strengths_returned(wins, iterations=10_000, tolerance=1e-10):
    return fitted(wins, iterations, tolerance).exp()


def strengths_centred(wins, iterations=10_000, tolerance=1e-10):
    strengths = fitted(wins, iterations, tolerance).exp()
    return (strengths / strengths.mean()).log()


def sweeps_of_strengths(wins, iterations, tolerance, scale=torch.ones_like):
    """The iteration on strengths in place of rewards, each divided by `scale(strengths)`."""
    table = check_wins(wins)
    games = table + table.T
    strengths = torch.ones(len(table), dtype=torch.float64)
    for _ in range(iterations):
        updated = table.sum(dim=1) / (games / (strengths[:, None] + strengths)).sum(dim=1)
        updated = updated / scale(updated)
        if (updated - strengths).abs().max() < tolerance:
            return updated
        strengths = updated
    raise RuntimeError("no convergence")


def strengths_unscaled(wins, iterations=10_000, tolerance=1e-10):
    return sweeps_of_strengths(wins, iterations, tolerance)


def strengths_of_mean_one(wins, iterations=10_000, tolerance=1e-10):
    return sweeps_of_strengths(wins, iterations, tolerance, scale=torch.mean)


def strengths_less_their_mean(wins, iterations=10_000, tolerance=1e-10):
    strengths = sweeps_of_strengths(wins, iterations, tolerance)
    return strengths - strengths.mean()


def exponentials_less_their_mean(wins, iterations=10_000, tolerance=1e-10):
    strengths = fitted(wins, iterations, tolerance).exp()
    return strengths - strengths.mean()


def games_are_only_the_wins(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    return sweeps(table, table.sum(dim=1), table, iterations, tolerance)


def diagonal_counted(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    return sweeps(table, wins.double().sum(dim=1), table + table.T, iterations, tolerance)


def table_not_checked(wins, iterations=10_000, tolerance=1e-10):
    table = wins.double().clone().fill_diagonal_(0)
    return sweeps(table, table.sum(dim=1), table + table.T, iterations, tolerance)


def end_reached_in_silence(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    rewards = torch.zeros(len(table), dtype=torch.float64)
    for _ in range(iterations):
        strengths = rewards.exp()
        updated = (table.sum(dim=1) / ((table + table.T) / (strengths[:, None] + strengths)).sum(dim=1)).log()
        updated = updated - updated.mean()
        moved = (updated - rewards).abs().max()
        rewards = updated
        if moved < tolerance:
            break
    return rewards


def losses_in_the_denominator(wins, iterations=10_000, tolerance=1e-10):
    table = check_wins(wins)
    rewards = torch.zeros(len(table), dtype=torch.float64)
    for _ in range(iterations):
        strengths = rewards.exp()
        pooled = strengths[:, None] + strengths
        updated = ((table * strengths / pooled).sum(dim=1) / (table.T / pooled).sum(dim=1)).log()
        updated = updated - updated.mean()
        if (updated - rewards).abs().max() < tolerance:
            return updated
        rewards = updated
    raise RuntimeError("no convergence")


def partition_beta_multiplies(ref_logps, rewards, beta):
    return torch.logsumexp(ref_logps + beta * rewards, dim=-1)


def partition_without_reference(ref_logps, rewards, beta):
    return torch.logsumexp(rewards / beta, dim=-1)


def partition_uniform(ref_logps, rewards, beta):
    return torch.logsumexp(rewards / beta, dim=-1) - torch.tensor(float(rewards.shape[-1])).log()


def partition_without_log(ref_logps, rewards, beta):
    return torch.logsumexp(ref_logps + rewards / beta, dim=-1).exp()


def partition_overflows(ref_logps, rewards, beta):
    return (ref_logps.exp() * (rewards / beta).exp()).sum(dim=-1).log()


def partition_over_all_prompts(ref_logps, rewards, beta):
    return torch.logsumexp((ref_logps + rewards / beta).flatten(), dim=0)


def partition_over_the_first_axis(ref_logps, rewards, beta):
    return torch.logsumexp(ref_logps + rewards / beta, dim=0)


def partition_times_beta(ref_logps, rewards, beta):
    return beta * torch.logsumexp(ref_logps + rewards / beta, dim=-1)


def partition_beta_divides_both(ref_logps, rewards, beta):
    return torch.logsumexp((ref_logps + rewards) / beta, dim=-1)


def partition_largest_term(ref_logps, rewards, beta):
    return (ref_logps + rewards / beta).amax(dim=-1)


def partition_log_inside(ref_logps, rewards, beta):
    return (ref_logps.exp() * rewards / beta).sum(dim=-1)


def partition_reference_not_exponentiated(ref_logps, rewards, beta):
    return torch.logsumexp(ref_logps.exp() + rewards / beta, dim=-1)


def policy_beta_multiplies(ref_logps, rewards, beta):
    return (ref_logps + beta * rewards).log_softmax(dim=-1)


def policy_not_normalised(ref_logps, rewards, beta):
    return ref_logps + rewards / beta


def policy_without_reference(ref_logps, rewards, beta):
    return (rewards / beta).log_softmax(dim=-1)


def policy_as_probabilities(ref_logps, rewards, beta):
    return (ref_logps + rewards / beta).softmax(dim=-1)


def policy_minimises(ref_logps, rewards, beta):
    return (ref_logps - rewards / beta).log_softmax(dim=-1)


def policy_overflows(ref_logps, rewards, beta):
    weights = ref_logps.exp() * (rewards / beta).exp()
    return (weights / weights.sum(dim=-1, keepdim=True)).log()


def policy_log_of_softmax(ref_logps, rewards, beta):
    return (ref_logps + rewards / beta).softmax(dim=-1).log()


def policy_over_the_first_axis(ref_logps, rewards, beta):
    return (ref_logps + rewards / beta).log_softmax(dim=0)


def policy_beta_divides_both(ref_logps, rewards, beta):
    return ((ref_logps + rewards) / beta).log_softmax(dim=-1)


def policy_partition_of_another_prompt(ref_logps, rewards, beta):
    return ref_logps + rewards / beta - torch.logsumexp(ref_logps + rewards / beta, dim=-1)


def policy_one_partition_for_all(ref_logps, rewards, beta):
    tilted = ref_logps + rewards / beta
    return tilted - torch.logsumexp(tilted.flatten(), dim=0)


def policy_log_partition_added(ref_logps, rewards, beta):
    tilted = ref_logps + rewards / beta
    return tilted + torch.logsumexp(tilted, dim=-1, keepdim=True)


def implicit_without_beta(policy_logps, ref_logps, beta):
    return policy_logps - ref_logps


def implicit_divided(policy_logps, ref_logps, beta):
    return (policy_logps - ref_logps) / beta


def implicit_reversed(policy_logps, ref_logps, beta):
    return beta * (ref_logps - policy_logps)


def implicit_without_reference(policy_logps, ref_logps, beta):
    return beta * policy_logps


def implicit_ratio_of_logs(policy_logps, ref_logps, beta):
    return beta * policy_logps / ref_logps


def implicit_log_of_ratio_of_logs(policy_logps, ref_logps, beta):
    return beta * torch.log(policy_logps / ref_logps)


def implicit_beta_on_the_policy(policy_logps, ref_logps, beta):
    return beta * policy_logps - ref_logps


def implicit_by_probabilities(policy_logps, ref_logps, beta):
    return beta * torch.log(policy_logps.exp() / ref_logps.exp())


def implicit_of_probabilities(policy_logps, ref_logps, beta):
    return beta * (policy_logps.exp() - ref_logps.exp())


def implicit_ratio_without_log(policy_logps, ref_logps, beta):
    return beta * (policy_logps - ref_logps).exp()


def implicit_centred(policy_logps, ref_logps, beta):
    rewards = beta * (policy_logps - ref_logps)
    return rewards - rewards.mean(dim=-1, keepdim=True)


def implicit_detached(policy_logps, ref_logps, beta):
    return (beta * (policy_logps - ref_logps)).detach()


MISTAKES = {
    "preference_probability": [
        Mistake(
            "other side's probability",
            "This is the probability that the second completion wins. The difference is chosen minus rejected.",
            probability_of_the_other,
        ),
        Mistake(
            "one reward only",
            "You took the sigmoid of the chosen reward. A reward by itself means nothing; its distance to the other does.",
            sigmoid_of_one_reward,
        ),
        Mistake(
            "ratio of rewards",
            "Rewards may be negative, so their own ratio is no probability. Exponentiate first: strengths are exp(r).",
            ratio_of_rewards,
        ),
        Mistake(
            "exponentials overflow",
            "Right for small rewards, but exp(r) overflows for large ones and inf/inf is NaN. Only the difference of the "
            "rewards matters: write the formula as a function of it.",
            exponentials_overflow,
        ),
        Mistake(
            "odds for probability",
            "exp(r_w)/exp(r_l) is the odds, which runs from 0 to infinity. The probability divides by the sum of both.",
            ratio_of_exponentials,
        ),
        Mistake(
            "hard decision",
            "You let the higher reward win always. Bradley-Terry lets it win more often: the answer lies between 0 and 1.",
            hard_decision,
        ),
        Mistake(
            "softmax over the batch",
            "Your probabilities sum to 1 over the pairs. Each pair has a probability of its own: normalise over its two "
            "completions.",
            softmax_over_the_batch,
        ),
        Mistake("log-probability", "This is log P. Return the probability itself.", log_probability),
    ],
    "bradley_terry_loss": [
        Mistake(
            "pair swapped",
            "This is the loss of the opposite label, that the rejected completion won.",
            loss_of_the_other,
        ),
        Mistake(
            "sign lost",
            "This is the log-likelihood, which is negative. A loss is minimised: put a minus in front.",
            loss_sign_lost,
        ),
        Mistake(
            "mean taken", "Return one loss a pair, shape (B,). Whoever trains takes the mean.", loss_averaged
        ),
        Mistake(
            "infinite for a badly wrong pair",
            "For a badly wrong pair σ(d) rounds to 0 and 1 + exp(−d) overflows, so the logarithm of either is infinite. "
            "logsigmoid forms neither of them.",
            log_of_sigmoid,
        ),
        Mistake(
            "logarithm of a float64 sigmoid",
            "float64 only moves the point at which the sigmoid underflows, to a difference near −745. logsigmoid has no "
            "such point, in any dtype.",
            log_of_float64_sigmoid,
        ),
        Mistake(
            "difference clamped",
            "The clamp caps the loss, and beyond it no gradient reaches the rewards, just where the pair is most wrong. "
            "logsigmoid needs no clamp.",
            difference_clamped,
        ),
        Mistake(
            "pair swapped and sign lost",
            "This is log P of the opposite label. Two turns are missing: the minus in front, and chosen minus rejected "
            "inside.",
            log_probability_of_the_other,
        ),
        Mistake(
            "clamped probability",
            "The clamp hides the infinity, but the loss of a badly wrong pair must go on growing with the difference. "
            "Use logsigmoid.",
            clamped_probability,
        ),
        Mistake(
            "probability for its logarithm",
            "1 − P is the probability of the wrong label, not a negative log-likelihood. Take −log P.",
            one_minus_probability,
        ),
        Mistake(
            "two separate classifiers",
            "You judge each reward against 0. Bradley-Terry judges their difference: adding 5 to both must change nothing.",
            both_rewards_alone,
        ),
    ],
    "fit_bradley_terry": [
        Mistake(
            "table transposed",
            "These rewards have the opposite sign: wins[i, j] counts how often i beat j, so a player's wins are its row.",
            table_transposed,
        ),
        Mistake(
            "win rates",
            "This is the logarithm of wins over losses. It forgets whom they were won against: beating a strong player "
            "counts for more. Iterate the update.",
            win_rates,
        ),
        Mistake(
            "rewards never moved",
            "You returned the start, all rewards 0, while they still moved: the stop test is turned (> for <), and it "
            "returns the old rewards in place of the updated ones.",
            rewards_never_moved,
        ),
        Mistake(
            "one sweep",
            "You stopped after one sweep. The new strengths change the right-hand side: repeat until no reward moves. "
            "If you do repeat, look at the stop test: > for <, or moves up and down that cancel for want of .abs()?",
            one_sweep,
        ),
        Mistake(
            "same sweep again",
            "Every sweep starts from the same rewards, so the first one is repeated for ever. Carry the result over: "
            "`rewards = updated`, and the strengths are their exponentials.",
            same_sweep_again,
        ),
        Mistake(
            "logarithm forgotten",
            "The formula gives new strengths. Take their logarithm before you subtract the mean: rewards are log s.",
            logarithm_forgotten,
        ),
        Mistake(
            "exponential forgotten",
            "You put rewards where the formula has strengths, s = exp(r). At the start r = 0 makes 0 in the denominator.",
            exponential_forgotten,
        ),
        Mistake(
            "mean not subtracted",
            "The differences are right, but the rewards' mean is not 0. Subtract it after the logarithm, in every sweep.",
            mean_not_subtracted,
        ),
        Mistake(
            "float32",
            "The rewards are float32, whose rounding is coarser than the tolerance: whether a fit stops is then luck. "
            "Start with torch.zeros(..., dtype=torch.float64), and keep the table as check_wins returns it.",
            fitted_in_float32,
        ),
        Mistake(
            "tolerance ignored",
            "With a huge `tolerance` the first sweep is good enough. Yours swept on: compare with the argument, not with a "
            "number of your own.",
            tolerance_of_its_own,
        ),
        Mistake(
            "smallest move decides",
            "You stopped although some rewards still moved by more than the tolerance. Every reward must have settled: "
            "compare the largest move, .abs().max().",
            smallest_move_stops,
        ),
        Mistake(
            "only rises stop the sweeps",
            "You stopped although one reward still fell by more than the tolerance: the largest move up was small, the one "
            "down was not. Take .abs() before .max().",
            only_rises_stop,
        ),
        Mistake(
            "first player at zero",
            "The differences are right. Subtract the mean of all rewards, not the first one.",
            first_player_at_zero,
        ),
        Mistake(
            "strengths returned",
            "You returned the strengths s = exp(r). Rewards are their logarithms.",
            strengths_returned,
        ),
        Mistake(
            "strengths centred",
            "You normalised the strengths to mean 1. It is the rewards that shall have mean 0: take the logarithm first.",
            strengths_centred,
        ),
        Mistake(
            "strengths returned, unscaled",
            "The sweeps are right, but what they move are strengths. Return rewards: log s, less its mean.",
            strengths_unscaled,
        ),
        Mistake(
            "strengths with mean 1",
            "These are strengths, scaled to mean 1. Rewards are their logarithms, and it is those that have mean 0.",
            strengths_of_mean_one,
        ),
        Mistake(
            "strengths less their mean",
            "The logarithm is missing: you subtracted the mean from the strengths s. Take log s first, then its mean away.",
            strengths_less_their_mean,
        ),
        Mistake(
            "exponentials less their mean",
            "You fitted rewards, then took exp and subtracted the mean again. The rewards were the answer.",
            exponentials_less_their_mean,
        ),
        Mistake(
            "all rewards stay 0",
            "Either the start is what you return, or the denominator counts only the wins, which then cancel: it counts "
            "every game between i and j, whoever won, w_ij + w_ji, that is wins + wins.T.",
            games_are_only_the_wins,
        ),
        Mistake(
            "diagonal counted",
            "The diagonal found its way into a player's wins. Work with what check_wins returns, which has none.",
            diagonal_counted,
        ),
        Mistake(
            "table not checked",
            "This table has no best rewards, and your function must say so with a ValueError: call check_wins first.",
            table_not_checked,
        ),
        Mistake(
            "end reached in silence",
            "When the sweeps are used up and the rewards still move, raise RuntimeError. Unfinished numbers look like "
            "finished ones.",
            end_reached_in_silence,
        ),
        Mistake(
            "Newman's update in parallel",
            "This update (wins weighted by s_j over losses) is right when players are updated one after the other. All at "
            "once it swings to and fro for ever on tables like this one. Use the update of the docstring.",
            losses_in_the_denominator,
        ),
    ],
    "log_partition": [
        Mistake("beta multiplies", "The reward is divided by β: exp(r/β).", partition_beta_multiplies),
        Mistake(
            "beta log Z",
            "This is β log Z, the optimum's value. Return log Z alone; the β in front belongs to a later formula.",
            partition_times_beta,
        ),
        Mistake(
            "log-prob divided by beta",
            "Only the reward is divided by β. The log-prob enters as it is: ref_logps + rewards / beta.",
            partition_beta_divides_both,
        ),
        Mistake(
            "largest term only",
            "This is the largest term. logsumexp starts from it and adds what all the others contribute.",
            partition_largest_term,
        ),
        Mistake(
            "reference forgotten",
            "Each term is weighted with the reference's probability. In log space: add ref_logps before the logsumexp.",
            partition_without_reference,
        ),
        Mistake(
            "uniform reference",
            "You averaged over the completions with equal weights. The weights are the reference's probabilities.",
            partition_uniform,
        ),
        Mistake(
            "Z for log Z", "This is Z. Return its logarithm, which does not overflow.", partition_without_log
        ),
        Mistake(
            "exponential overflows",
            "At small β, exp(r/β) is larger than any float. Add the logarithms and let torch.logsumexp do the sum.",
            partition_overflows,
        ),
        Mistake(
            "summed over all prompts",
            "You summed over every axis. Each prompt has its own Z: sum over the last axis only.",
            partition_over_all_prompts,
        ),
        Mistake(
            "summed over the first axis",
            "The completions lie along the last axis: dim=-1.",
            partition_over_the_first_axis,
        ),
        Mistake(
            "logarithm inside the sum",
            "This is E[r]/β under the reference: the mean of the logarithms. log Z is the logarithm of the mean of exp(r/β).",
            partition_log_inside,
        ),
        Mistake(
            "reference not in log space",
            "The terms are π_ref · exp(r/β). Under the exponential the reference must enter as its log-prob, not as its "
            "probability.",
            partition_reference_not_exponentiated,
        ),
    ],
    "optimal_policy": [
        Mistake(
            "beta multiplies",
            "The reward is divided by β: a large β flattens its effect.",
            policy_beta_multiplies,
        ),
        Mistake(
            "log-prob divided by beta",
            "Only the reward is divided by β: your reference is sharpened, too. At r = 0 the optimum is the reference.",
            policy_beta_divides_both,
        ),
        Mistake(
            "logarithm of a softmax",
            "At small β the softmax of all but the best completions is 0, and its logarithm −inf. Subtract log Z, which "
            "never leaves log space.",
            policy_log_of_softmax,
        ),
        Mistake(
            "normalised over the prompts",
            "The first axis lists prompts. Completions lie along the last: dim=-1.",
            policy_over_the_first_axis,
        ),
        Mistake("not normalised", "The probabilities must sum to 1: subtract log Z.", policy_not_normalised),
        Mistake(
            "reference forgotten",
            "This optimum knows no reference: it is what maximises E[r] + β · entropy. Start from ref_logps.",
            policy_without_reference,
        ),
        Mistake("probabilities returned", "Return log-probabilities.", policy_as_probabilities),
        Mistake(
            "reward minimised",
            "You made low rewards likely. The reward enters with a plus.",
            policy_minimises,
        ),
        Mistake(
            "exponential overflows",
            "At small β, exp(r/β) is larger than any float, and inf/inf is NaN. Stay in log space.",
            policy_overflows,
        ),
        Mistake(
            "log Z along the wrong axis",
            "log Z has one number a prompt, shape (...). To subtract it from (..., N) give it a last axis: [..., None]. "
            "With as many prompts as completions the wrong broadcast goes unnoticed.",
            policy_partition_of_another_prompt,
        ),
        Mistake(
            "one Z for all prompts",
            "Each prompt's probabilities sum to 1, so each prompt has a Z of its own.",
            policy_one_partition_for_all,
        ),
        Mistake("log Z added", "Dividing by Z means subtracting log Z.", policy_log_partition_added),
    ],
    "implicit_rewards": [
        Mistake(
            "beta forgotten",
            "This is the log-ratio. The implicit reward is β times it.",
            implicit_without_beta,
        ),
        Mistake(
            "divided by beta",
            "You divided by β. From log π = log π_ref + r/β − log Z follows r = β(log π − log π_ref) + β log Z.",
            implicit_divided,
        ),
        Mistake(
            "reference minus policy",
            "The sign is turned: a completion that the policy made more likely has a positive reward.",
            implicit_reversed,
        ),
        Mistake(
            "reference forgotten",
            "This is β log π. What counts is the change from the reference: log π − log π_ref.",
            implicit_without_reference,
        ),
        Mistake(
            "ratio of log-probs",
            "log(π/π_ref) is the difference of the log-probs, not their ratio.",
            implicit_ratio_of_logs,
        ),
        Mistake(
            "logarithm of a ratio of log-probs",
            "The inputs are logarithms already. log(π/π_ref) is log π − log π_ref, without another division or logarithm.",
            implicit_log_of_ratio_of_logs,
        ),
        Mistake(
            "beta on the policy only",
            "β multiplies the whole difference: β(log π − log π_ref). A bracket is missing.",
            implicit_beta_on_the_policy,
        ),
        Mistake(
            "by way of the probabilities",
            "Right for short completions, but a probability e^−150 is 0 in float32, and 0/0 is NaN. Stay in log space: "
            "subtract.",
            implicit_by_probabilities,
        ),
        Mistake(
            "difference of probabilities",
            "You exponentiated first. The reward is a difference of logarithms.",
            implicit_of_probabilities,
        ),
        Mistake(
            "logarithm forgotten",
            "This is β π/π_ref. The formula has a logarithm.",
            implicit_ratio_without_log,
        ),
        Mistake(
            "centred",
            "Don't subtract the mean: what is missing is β log Z, and this function doesn't know it.",
            implicit_centred,
        ),
        Mistake(
            "gradient cut",
            "The values are right, but no gradient reaches the policy. DPO trains through this function: don't detach.",
            implicit_detached,
        ),
    ],
}
