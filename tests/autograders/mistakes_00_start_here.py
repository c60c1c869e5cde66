"""How good people get the warm-up wrong."""

from __future__ import annotations

from dpo_lab.course import Mistake


def ties_as_losses(policy_rewards, reference_rewards):
    return (policy_rewards > reference_rewards).double().mean().item()


def ties_as_wins(policy_rewards, reference_rewards):
    return (policy_rewards >= reference_rewards).double().mean().item()


def ties_left_out(policy_rewards, reference_rewards):
    decided = policy_rewards != reference_rewards
    return (policy_rewards > reference_rewards)[decided].double().mean().item()


def compares_means(policy_rewards, reference_rewards):
    return float(policy_rewards.mean() > reference_rewards.mean())


def the_other_side(policy_rewards, reference_rewards):
    wins, ties = reference_rewards > policy_rewards, reference_rewards == policy_rewards
    return (wins.double() + 0.5 * ties.double()).mean().item()


def in_percent(policy_rewards, reference_rewards):
    wins, ties = policy_rewards > reference_rewards, policy_rewards == reference_rewards
    return 100 * (wins.double() + 0.5 * ties.double()).mean().item()


def sum_of_wins(policy_rewards, reference_rewards):
    wins, ties = policy_rewards > reference_rewards, policy_rewards == reference_rewards
    return (wins.double() + 0.5 * ties.double()).sum().item()


def sorts_first(policy_rewards, reference_rewards):
    ours, theirs = policy_rewards.sort().values, reference_rewards.sort().values
    return ((ours > theirs).double() + 0.5 * (ours == theirs).double()).mean().item()


def all_with_all(policy_rewards, reference_rewards):
    ours, theirs = policy_rewards[:, None], reference_rewards[None, :]
    return ((ours > theirs).double() + 0.5 * (ours == theirs).double()).mean().item()


MISTAKES = {
    "win_rate": [
        Mistake(
            "ties count as losses",
            "A tie is half a win. Without it a policy that copies the reference would score 0, not one half.",
            ties_as_losses,
        ),
        Mistake(
            "ties count as wins",
            "A tie is half a win, not a whole one: compare with >, then add the ties.",
            ties_as_wins,
        ),
        Mistake(
            "ties left out",
            "Ties stay in the count of prompts; each adds one half. Leaving them out makes few wins look like many.",
            ties_left_out,
        ),
        Mistake(
            "means compared",
            "You compared the two means, which gives one yes or no. Compare prompt by prompt, then take the mean.",
            compares_means,
        ),
        Mistake("sides swapped", "This is the reference's win rate against the policy.", the_other_side),
        Mistake(
            "sorted before comparing",
            "Entry i of both tensors belongs to prompt i. Sorting tears the two apart: compare them as they come.",
            sorts_first,
        ),
        Mistake(
            "each compared with all",
            "Compare the two completions of the same prompt only, not each with those of every prompt.",
            all_with_all,
        ),
        Mistake("in percent", "Return a fraction from 0 to 1, not a percentage.", in_percent),
        Mistake("wins counted, not their share", "Divide by the number of prompts.", sum_of_wins),
    ]
}
