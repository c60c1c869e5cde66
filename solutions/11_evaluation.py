# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · Evaluation
#
# **Your policy looks better. Is it?**
#
# After this lesson you can
#
# * say what held-out accuracy does and does not tell, and measure a win rate that a leaning judge can't bend;
# * put an interval and a test on it, and know beforehand how many comparisons the question needs;
# * choose an estimator of the KL by its bias and spread, both measured;
# * notice that a policy has been optimised too far, and stop at a number that deserves it;
# * write a scorecard that is allowed to say "undecided".
#
# {{lesson_facts}}
#
# You need the accuracy of lesson 05, the KL of lesson 06, and the calibration error of lesson 07. All runs use the tiny policy in its review world, whatever your machine; they are kept in a cache, so a second run of this notebook takes seconds.

# %%
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dpo_lab.checks import check_batch
from dpo_lab.cli import main
from dpo_lab.course import check
from dpo_lab.evaluation import (
    Interval,
    NoisyJudge,
    Verdicts,
    accuracy_by_group,
    bootstrap_interval,
    comparisons_needed,
    judge_one_order,
    length_controlled_win_rate,
    reward_judge,
    summarise_scores,
)
from dpo_lab.evaluation.intervals import check_counts
from dpo_lab.evaluation.judging import Judge, check_comparisons, check_votes
from dpo_lab.evaluation.kl import KL_ESTIMATORS
from dpo_lab.evaluation.reliability import COLUMNS, check_forecasts
from dpo_lab.evaluation.significance import binomial_probability, check_probability, check_whole
from dpo_lab.experiments.evaluation import accuracy_run, optimisation_run, texts_run
from dpo_lab.experiments.evaluation_exact import estimator_run, proxy_run
from dpo_lab.lab import Lab
from dpo_lab.plots import (
    plot_accuracy_and_wins,
    plot_coverage,
    plot_estimators,
    plot_group_accuracy,
    plot_optimisation,
    plot_power,
    plot_proxies,
    plot_reliability,
    plot_win_rates,
    show,
)
from dpo_lab.preferences import load_pairs
from dpo_lab.presets import by_preset
from dpo_lab.sweeps import grid, sweep
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.widgets import power_explorer, rating_widget

seeds = range(by_preset(3, 1))
lab = Lab.auto("tiny", "cpu")


# %%
def over_seeds(table, by, columns):
    """Mean ± standard deviation over seeds, a row a setting; no spread where there is one seed."""
    grouped = table.groupby(by, sort=False)[columns]
    spread = grouped.std().map(lambda value: "" if math.isnan(value) else f" ± {value:.3f}")
    return grouped.mean().map("{:.3f}".format) + spread


# %% [markdown]
# ## 1 · Accuracy looks fine
#
# The usual first number is the **reward accuracy**: on how many held-out pairs is the implicit reward of the chosen completion, $\beta\,(\log\pi - \log\pi_\text{ref})$, higher than that of the rejected one? "Above 65 % is good" is a common rule.
#
# Below are runs of DPO with three learning rates, three seeds each, 24 steps of 16 pairs. Each policy then writes 200 reviews, and so does the reference, for the same prompts; the true reward says which of the two is better. A policy's **win rate** is the share of comparisons that it wins, a tie counting one half (lesson 00).
#
# **Predict.** At a learning rate of $10^{-6}$ the policy hardly moves. What is its accuracy: 50 %, 55 %, 70 %? What is its win rate?

# %%
short = by_preset({}, {"steps": [6], "samples": [24]})  # the tests' preset
rates = sweep(
    accuracy_run,
    grid(lr=by_preset([1e-6, 1e-5, 3e-4], [1e-6, 3e-4]), seed=seeds, **short),
    progress="accuracy and win rate",
)
show(
    plot_accuracy_and_wins(rates),
    "Accuracy hardly depends on the learning rate. The policy has moved at the largest one only, and "
    "there alone it wins. Dots are seeds, lines their means.",
    alt="Accuracy from 60 to 70 % at every rate; KL zero and then rising; win rate near 50 % and then rising.",
)
measured = ["rewards/accuracies", "ranking_accuracy", "kl", "win_rate"]
print(over_seeds(rates.assign(lr=rates["lr"].map("{:g}".format)), "lr", measured).to_string())
table = rates.assign(lr=rates["lr"].map("{:g}".format), p_value=rates["p_value"].map("{:.3g}".format))
table[["lr", "seed", "wins", "ties", "losses", "p_value"]]

# %% [markdown]
# At $10^{-6}$ and at $10^{-5}$ the measured KL is at most a few thousandths of a nat, not distinguishable from zero: these policies write what the reference writes, and their win rates are one half up to luck. Their accuracy is 63 % all the same. At $3\cdot10^{-4}$ the policy wins two comparisons in three, and its accuracy is 66 %: less above 63 % than the seeds differ from one another.
#
# The reason is in the definition. Accuracy asks for the *sign* of a margin. The first steps turn the signs, and a margin of a thousandth of a nat counts as much as one of ten. So **accuracy can have its final value before the policy has changed at all**. It tells that the implicit reward points the right way; how far the policy has followed is told by the KL, and what it is worth by the win rate. The third number, **ranking accuracy** (the policy's own log-probs, without the reference's), asks yet another question: it hardly leaves one half here (lesson 05).
#
# Keep one row of the last table in mind: learning rate $10^{-6}$, seed 0. A policy that has not moved won 108 comparisons and lost 81, with a p-value of 0.058. Section 3 comes back to it.
#
# ### By group
#
# One number over all pairs also hides *which* pairs. Group them, and give each group its interval (section 2 says how it is made). Here we group by how far apart the true rewards of the two completions are, and look at the best-trained policy of seed 0.
#
# **Predict.** In which group is the accuracy highest? What would you like it to be in the group "label against the reward"?

# %%
gaps = [lab.true_reward(row["chosen"]) - lab.true_reward(row["rejected"]) for row in lab.heldout_pairs]


def gap_group(gap):
    """Name of the group of a pair, from chosen minus rejected true reward."""
    if gap <= 0:
        return "equal rewards" if gap == 0 else "label against the reward"
    return "chosen better by up to 1" if gap <= 1 else "chosen better by more"


margins = torch.tensor(rates.iloc[len(rates) - len(seeds)]["margins"])
groups = [gap_group(gap) for gap in gaps]
overall = accuracy_by_group(margins, ["all"] * len(margins))["all"]
order = ("chosen better by more", "chosen better by up to 1", "equal rewards", "label against the reward")
found = accuracy_by_group(margins, groups)
by_group = {name: found[name] for name in order if name in found}
show(
    plot_group_accuracy(by_group, overall),
    "Reward accuracy by group, with 95 % intervals. Dashed: all pairs. Dotted: a coin.",
    alt="Four groups with intervals; high where the chosen completion is much better, "
    "low where the label is against the reward.",
)
ceiling = sum(gap > 0 for gap in gaps) / len(gaps)
print(f"the true reward itself, asked to predict these labels: {ceiling:.1%}")
pd.DataFrame(
    {name: {"pairs": groups.count(name), "accuracy": str(found)} for name, found in by_group.items()}
).T

# %% [markdown]
# Where the chosen completion is better by more than one unit of reward the policy agrees with the label in 83 %; where rewards are close, in 63 %. In the last group the annotator was *wrong*, as Bradley-Terry annotators sometimes are, and a good policy would disagree. The 40 % measured there leave it undecided: with 45 pairs the interval still holds 50 %. Even the true reward predicts only 75 % of these labels, if its ties (equal rewards) are counted as misses; with a tie as one half it would be a little more. So "above 65 %" means nothing before one knows what is possible on these pairs, and a mean over groups can be moved by choosing easy pairs.
#
# ## 2 · How sure is a share?
#
# An accuracy or a win rate is a share $\hat p = k/n$ of $n$ comparisons. Everyone knows $\hat p \pm 1.96\sqrt{\hat p\,(1 - \hat p)/n}$. It uses the *measured* share to say how far shares scatter, and so it has no width at all after ten wins in ten.
#
# **Wilson's interval** (1927) asks the other way round: for which true shares $p$ is the measured one no further than $z$ standard errors away, with the standard error of that $p$? Solving $|\hat p - p| = z\sqrt{p\,(1 - p)/n}$ for $p$ gives its two ends,
#
# $$ \frac{\hat p + \frac{z^2}{2n} \;\pm\; z\sqrt{\frac{\hat p\,(1 - \hat p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}} , $$
#
# where $z$ is the normal quantile that leaves $(1 - \text{level})/2$ above it: 1.96 for a level of 0.95.
#
# **Write it.** Return `Interval(mean, low, high)` with $\hat p$ as its mean. `NormalDist().inv_cdf(q)` from `statistics` (imported) is the quantile function. Here and in all exercises of this lesson arguments need no checking unless the text asks for it; the finished versions check them and raise what their docstrings say under "Raises"; our checks try only what the text asks for.

# %% exercise="wilson_interval" points=3 minutes=9 difficulty=2 importance=5
...

# %%
wilson_interval = check(wilson_interval)

# %% [markdown] hints="wilson_interval"
# <details><summary>Hint 1: which quantile</summary>
#
# A level of 0.95 leaves 0.025 on either side, so $z$ is the quantile of 0.975: `(1 + level) / 2`.
#
# </details>
# <details><summary>Hint 2: what is the mean</summary>
#
# `wins / comparisons`, what was measured. The middle of the two ends lies nearer to one half; it is not the mean.
#
# </details>

# %% [markdown]
# A 95 % interval should hold the true share in 95 % of all experiments: its **coverage**. For $n$ comparisons there are only $n + 1$ possible results, so coverage needs no simulation; add up the probabilities of those results whose interval holds the truth.
#
# **Predict.** Thirty comparisons. For which true win rates does the plain interval fail?


# %%
def plain_interval(wins, comparisons):
    share = wins / comparisons
    reach = 1.96 * math.sqrt(share * (1 - share) / comparisons)
    return Interval(share, share - reach, share + reach)


def coverage(interval_of, comparisons, share):
    """Probability of the results whose interval holds the true share."""
    return sum(
        binomial_probability(wins, comparisons, share)
        for wins in range(comparisons + 1)
        if not interval_of(wins, comparisons).excludes(share)
    )


shares = [i / 200 for i in range(100, 200)]
covered = pd.DataFrame(
    {
        name: [coverage(interval_of, 30, share) for share in shares]
        for name, interval_of in (("p̂ ± 1.96 standard errors", plain_interval), ("Wilson", wilson_interval))
    },
    index=shares,
)
show(
    plot_coverage(covered, 30),
    "Wilson's coverage stays near 95 %; the plain interval's falls as the share nears 100 %. "
    "Both go up and down because wins are whole numbers.",
    alt="Two saw-toothed lines against the true win rate; the plain one drops towards the right.",
)
covered.agg(["mean", "min"]).round(3)

# %% [markdown]
# At 97 % the plain interval already misses the truth more often than four times in ten, and at the far right it holds it in 14 % of the experiments (the column's minimum). Wilson's coverage goes up and down around 95 %, mostly between about 92 and 99 %, and falls lower only in the last half per cent: 95 % is its mean over true shares, not a promise for each. Win rates near one half are kind to both; accuracies on easy groups, refusal rates and error rates are not.
#
# A *mean* of numbers that are not 0 or 1, such as true rewards or scores with half points, gets a bootstrap interval (lesson 05). Does that one cover as it should? A simulation: draw $n$ scores from {0, ½, 1} with a known mean, build the interval, see if it holds the mean; 800 times.

# %%
rng = np.random.default_rng(0)
rows = []
for n in by_preset((5, 20, 200), (5, 20)):
    hits = 0
    for run in range(by_preset(800, 100)):
        scores = rng.choice([0, 0.5, 1], size=n, p=[0.3, 0.1, 0.6])
        hits += not bootstrap_interval(scores, resamples=600, seed=run).excludes(0.65)
    rows.append({"n": n, "bootstrap coverage": hits / by_preset(800, 100)})
pd.DataFrame(rows).set_index("n").round(3)

# %% [markdown]
# With 20 scores or more the bootstrap does what it says, up to the error of this simulation (about 0.8 points). With 5 it covers 83 %: five values say too little about what a sixth could be.
#
# ## 3 · Is it luck? Overlap is no test
#
# "The two intervals overlap, so there is no difference." Let us see how that rule does. Two policies with true win rates of 50 % and 60 % against the same reference, 200 comparisons each, independent of each other. For each of 4,000 repetitions we note whether the two 95 % intervals overlap, and whether the **difference** of the two shares is more than 1.96 of *its* standard errors from zero.
#
# **Predict.** Of the repetitions whose intervals overlap, how many have a significant difference: none, a few, many?

# %%
n, first, second = 200, 0.5, 0.6
wins = rng.binomial(n, [[first, second]] * 4000)
ends = {k: wilson_interval(int(k), n) for k in np.unique(wins)}
overlap = np.array([ends[b].low <= ends[a].high and ends[a].low <= ends[b].high for a, b in wins])
shares = wins / n
error = np.sqrt((shares * (1 - shares)).sum(axis=1) / n)
significant = np.abs(shares[:, 1] - shares[:, 0]) > 1.96 * error
pd.DataFrame(
    {
        "share of repetitions": {
            "intervals apart": 1 - overlap.mean(),
            "difference significant": significant.mean(),
            "of those with overlap: significant": significant[overlap].mean(),
            "of those apart: significant": significant[~overlap].mean(),
        }
    }
).round(3)

# %% [markdown]
# Of the repetitions whose intervals overlap, more than a third have a significant difference. "They overlap" is too strict, because it adds the two errors, while the error of a difference is the root of the sum of their squares. The other direction holds here: intervals apart, difference significant. So report an interval *of the difference*, or a test. And where both policies answered the same prompts, compare prompt by prompt (lesson 05), which removes what the prompts have in common.
#
# For wins and losses against one reference there is an exact test that needs no formula of errors. Suppose both sides are equally good. Then each decided comparison is the toss of a fair coin (ties decide nothing and are left out). The **p-value** is the chance of a result at least as lopsided as ours, in either direction:
#
# $$ p = \min\bigl(1,\; 2\,P(K \ge \max(w, l))\bigr), \qquad K \sim \text{Binomial}(w + l,\, \tfrac12) , $$
#
# with $w$ wins and $l$ losses. That is the **sign test**. It speaks about *these* prompts (here, four held-out items): for new prompts one would resample prompts. **Write it.** `binomial_probability(k, n, p)` (imported) is the chance of exactly $k$ successes in $n$ trials. Without any decided comparison the p-value is 1, and the formula gives that by itself.

# %% exercise="sign_test" points=3 minutes=8 difficulty=2 importance=5
...

# %%
sign_test = check(sign_test)

# %% [markdown] hints="sign_test"
# <details><summary>Hint 1: the tail</summary>
#
# The results from `max(wins, losses)` up to `wins + losses`, both included. `range` leaves out its end, so add 1.
#
# </details>
# <details><summary>Hint 2: the limit</summary>
#
# With 5 wins and 5 losses the tail is more than one half, and twice the tail more than 1: hence the minimum.
#
# </details>

# %% [markdown]
# ### What a p-value of 0.03 is worth
#
# Look back at the table of section 1. At the two small learning rates policy and reference are the same for all practical purposes, so each of these win rates is a coin's. Let us toss such coins: 200 comparisons between two equal policies, a tie in 8 % of them, many times over; and then let someone look at *five* policies, or five seeds, or five checkpoints, and report the best one.
#
# **Predict.** How often is the best of five "significant" at $p \le 0.05$?


# %%
def best_p_value(looks):
    """Smallest p-value among several comparisons of equals, with more wins than losses."""
    decided = rng.binomial(200, 0.92, size=looks)
    won = rng.binomial(decided, 0.5)
    return min(
        (sign_test(int(w), int(d - w)) if 2 * w > d else 1.0) for w, d in zip(won, decided, strict=True)
    )


repeats = by_preset(1000, 100)
pd.DataFrame(
    {
        f"best of {looks}": {
            "reported as better": np.mean([best_p_value(looks) <= 0.05 for _ in range(repeats)])
        }
        for looks in (1, 5, 20)
    }
).round(3)

# %% [markdown]
# One look keeps its promise: better *and* $p \le 0.05$ comes in 2 % (the two-sided 5 % halved, and a little less, since wins are whole numbers). The best of five is "significantly better" in 11 %, the best of twenty in more than a third of all cases, among policies that are all the same. Section 1's unmoved policy with its p-value of 0.058 was the most extreme of the six unmoved runs (they share prompts and seeds, so they are fewer than six independent looks). Decide beforehand which comparison counts; if several count, ask for α divided by their number.
#
# ## 4 · How many comparisons?
#
# The other error is to miss a difference that is there. A test's **power** is the chance that it notices: for a true win probability $p$, the chance that $n$ comparisons come out with a p-value of at most α,
#
# $$ \text{power} = \sum_{k = 0}^{n} P(K = k)\;\bigl[\text{the p-value of } k \text{ wins and } n - k \text{ losses is} \le \alpha\bigr], \qquad K \sim \text{Binomial}(n, p) . $$
#
# The bracket is 1 where the condition holds, else 0. **Write it**, with the two functions that you have.

# %% exercise="sign_test_power" points=3 minutes=8 difficulty=2 importance=4
...

# %%
sign_test_power = check(sign_test_power)

# %% [markdown] hints="sign_test_power"
# <details><summary>Hint 1: two ingredients</summary>
#
# For each number of wins from 0 to `comparisons`: is `sign_test(wins, comparisons - wins)` at most alpha? If so, add `binomial_probability(wins, comparisons, win_probability)`.
#
# </details>
# <details><summary>Hint 2: two-sided</summary>
#
# The test is two-sided already, so alpha needs no halving; and many losses are rejected as well as many wins.
#
# </details>

# %% [markdown]
# **Predict.** You have a hundred comparisons. What true win rate do they find four times out of five? How many do you need for 55 %?

# %%
sizes = list(range(10, by_preset(401, 121), 15))
levels = (0.5, 0.55, 0.6, 0.65, 0.7)
powers = pd.DataFrame({p: [sign_test_power(n, p) for n in sizes] for p in levels}, index=sizes)
show(
    plot_power(powers),
    "Power of the sign test. The upper dotted line is 80 %, the lower one 5 %: the most that false "
    "alarms (a true 50 %) may come to.",
    alt="Rising curves for true win rates of 55 to 70 %; the one for 50 % stays below 5 %.",
)
needed = {f"{p:.0%}": comparisons_needed(p) for p in (0.51, 0.52, 0.55, 0.6, 0.65, 0.7)}
print("power of 100 comparisons:", {f"{p:.0%}": round(sign_test_power(100, p), 2) for p in levels})
pd.DataFrame({"comparisons for a power of 80 %": needed}).T

# %%
power_explorer()

# %% [markdown]
# A hundred comparisons notice a true 65 % reliably and a true 60 % in less than half of the cases; a true 55 % they miss six times in seven (power 0.14). For 55 % it takes about 800, for 52 % about 5,000. An advantage half as large needs about four times as many. (The kinks in the curves are a saw-tooth: wins are whole numbers, and the curves are computed at every fifteenth $n$ only.) The numbers count *decided* comparisons: with ties in 8 %, 803 decided ones are about 873 asked. And to the first question: of the win rates tried, 65 % is the one that a hundred find four times out of five, with a power of 0.83. So decide first which advantage would matter to you, then the number. Adding comparisons until the p-value is small enough is the best-of-several-looks of section 3 again.
#
# ## 5 · Who is the judge?
#
# So far the true reward decided. Real judges are people, or language models, and they have weaknesses. Two are known best: they lean towards the answer that stands *first* (Wang et al. 2023; Zheng et al. 2023), and towards the *longer* one.
#
# Our judge `NoisyJudge` says "the first is better" with probability $\sigma(r_1 - r_2 + b + c\,(l_1 - l_2))$: rewards $r$ and lengths $l$ (in words) of the first and the second answer, a leaning $b$ to the first place, a price $c$ of a word. A judge is any function `judge(prompt, first, second)` that returns 1 if the first is better, 0 if the second is, ½ for a tie.
#
# The cure for the first weakness is to ask twice, with the answers exchanged. **Write it.** For each prompt ask about (ours, theirs) and about (theirs, ours). Our score is the mean of our two votes, where our vote of the second round is one minus what the judge returned. Return `Verdicts(scores, first)`: the scores as a tensor (float64 in the library; the check compares values), and as `first` the mean of all $2N$ votes as they were cast, a float: how often the first place won. Ask each question once only, so $2N$ calls in all. The order of the calls is not checked; a judge that draws random numbers answers differently in another order, and the numbers below hold for the library's: see its solution.

# %% exercise="judge_both_orders" points=3 minutes=10 difficulty=2 importance=5
...

# %%
judge_both_orders = check(judge_both_orders)

# %% [markdown] hints="judge_both_orders"
# <details><summary>Hint 1: both rounds</summary>
#
# Two lists of votes, from `judge(prompt, mine, other)` and `judge(prompt, other, mine)`. In the second list a 1 is a vote for the other side.
#
# </details>
# <details><summary>Hint 2: first place</summary>
#
# `first` does not ask whose answer it was: the mean over both lists, before anything is turned round.
#
# </details>

# %% [markdown]
# The best experiment on a judge is one whose result is known: let it compare the reference *with itself*. (Two sets of samples with different seeds; people call it an A/A test.)
#
# **Predict.** The judge leans to the first place by one unit of reward. "Ours" is always shown first. What win rate does the reference get against itself? What does asking twice change?

# %%
written = sweep(
    texts_run,
    grid(price=[0.0, 0.1], seed=seeds, **by_preset({}, {"steps": [6], "samples": [40]})),
    progress="samples",
)
fair = written.iloc[0]
prompts, theirs = fair["prompts"], fair["theirs"]
judges = {
    "fair judge": lambda: NoisyJudge(lab.true_reward),
    "leans to the first": lambda: NoisyJudge(lab.true_reward, position=1.0),
}
outcomes, firsts = {}, {}
for ours, side in ((fair["again"], "reference"), (fair["ours"], "policy")):
    for name, make in judges.items():
        once = judge_one_order(make(), prompts, ours, theirs)
        twice = judge_both_orders(make(), prompts, ours, theirs)
        outcomes[f"{side}, {name}, asked once"] = summarise_scores(once)
        outcomes[f"{side}, {name}, asked twice"] = summarise_scores(twice.scores)
        firsts[f"{side}, {name}"] = twice.first
show(
    plot_win_rates(outcomes),
    "A judge who leans to the first place finds the reference clearly better than itself, as long as "
    "ours is always shown first. Asked twice, most of those wins become ties.",
    alt="Bars of won, tied and lost comparisons, and win rates with intervals, for eight cases.",
)
table = pd.DataFrame(
    {name: {"win rate": str(won.rate), "p": won.p_value} for name, won in outcomes.items()}
).T
print("share of votes for the first place:", {name: round(share, 3) for name, share in firsts.items()})
table["p"] = table["p"].map("{:.2g}".format)
table

# %% [markdown]
# The judge who leans to the first place finds the reference better than itself, 64.5 % with a p-value of 5 in 100,000, when ours is shown first. A p-value can't tell you that: it rules out luck, not a bad experiment. Asked twice, the same judge gives 50.2 %, and the policy 69.8 % instead of 83.5 %, which is what the fair judge says (69.0 %) up to noise. The share of votes for the first place, 64 % against 49 %, shows the leaning by itself.
#
# Two limits. Drawing the sides at random would give the same mean on average, for half the price, but leaves the leaning in as noise. And where the sides are not equal, asking twice or drawing sides cancels the leaning only in part: in expectation it pulls the win rate a little towards one half, since a judge who always takes the first place has no opinion left to average. Here that pull is too small to see: 69.8 against 69.0 is noise.
#
# ### Length
#
# Exchanging places does nothing against a judge who likes long answers. The second set of policies above was trained on pairs of such an annotator, who pays 0.1 for a word; call them the *wordy* ones. Let three judges compare: the true reward, a fair noisy one, and one who pays 0.2 for a word.
#
# A common correction, in a simple form, fits $P(\text{win}) = \sigma(a + c\,\Delta l)$, with $\Delta l$ the difference in length, to the judge's scores, and reports $\sigma(a)$: the win rate at equal length (a simple form of Dubois et al. 2024).
#
# **Predict.** Which policy looks better to the third judge? Which one does the correction favour? In this world the true reward is a *sum* over words: is all length a trick?

# %%
rows = []
for run in written.to_dict("records"):
    answers = run["prompts"], run["ours"], run["theirs"]
    longer = [float(len(o.split()) - len(t.split())) for o, t in zip(run["ours"], run["theirs"], strict=True)]
    row = {"trained on": "fair labels" if run["price"] == 0 else "0.1 a word", "words more": np.mean(longer)}
    row["true reward"] = judge_both_orders(reward_judge(lab.true_reward), *answers).scores.mean().item()
    row["fair judge"] = judge_both_orders(NoisyJudge(lab.true_reward), *answers).scores.mean().item()
    scores = judge_both_orders(NoisyJudge(lab.true_reward, length=0.2), *answers).scores
    row["0.2 a word"] = scores.mean().item()
    row["0.2 a word, corrected"] = length_controlled_win_rate(scores, torch.tensor(longer).double())
    rows.append(row)
lengths = pd.DataFrame(rows)
over_seeds(lengths, "trained on", list(lengths.columns[1:]))

# %% [markdown]
# The third judge sees the wordy policies ten points ahead of the others, 76 % against 66 %. By the true reward they are ahead by five, 80 % against 75 %, more than the spread over seeds. The correction puts both at about 69 or 70 %, level. So here it takes out the judge's weakness *and* an advantage that is real, since in this world a word of praise more is worth more. It answers "who wins at equal length?"; whether longer answers are better is for you to say, and no fit can know it.
#
# ## 6 · How far away? Three estimators of the KL
#
# $\text{KL}(\pi\,\|\,\pi_\text{ref}) = \mathbb{E}_{y\sim\pi}[\log\pi(y) - \log\pi_\text{ref}(y)]$ is estimated from samples of the policy. Schulman (2020, "Approximating KL divergence") compares three estimators. With $r = \pi_\text{ref}(y)/\pi(y)$ for a sampled $y$ (here $r$ is a ratio, not a reward), each sample contributes
#
# $$ k_1 = -\log r, \qquad k_2 = \tfrac12(\log r)^2, \qquad k_3 = r - 1 - \log r . $$
#
# $k_1$ is the definition. $k_3$ adds $r - 1$, whose mean under π is $\sum_y \pi_\text{ref}(y) - 1 = 0$: a **control variate**, a term that changes no mean and is meant to cancel noise. Since $\log r \le r - 1$, no sample of $k_3$ is negative. $k_2$ is biased; its appeal is that it is about right where $\log r$ is small, and never negative.
#
# **Write all three**: one number for each sample. A name that is none of the three raises `ValueError`.

# %% exercise="kl_terms" points=3 minutes=8 difficulty=2 importance=4
...

# %%
kl_terms = check(kl_terms)

# %% [markdown] hints="kl_terms"
# <details><summary>Hint 1: log r</summary>
#
# `ref_logps - policy_logps`. A log-ratio is a difference of log-probs; $r$ itself is its exponential.
#
# </details>
# <details><summary>Hint 2: r − 1</summary>
#
# `torch.expm1(x)` is $e^x - 1$, exact also where $x$ is close to 0. `torch.exp(x) - 1` is accepted.
#
# </details>

# %% [markdown]
# In the exact world (lesson 06's, where all completions can be listed) the KL is a sum, and so are the bias and the standard deviation of an estimator. We take the optimal policies of seven β, estimate each KL from 64 samples, and repeat that 4,000 times.
#
# **Predict.** $k_3$ is advertised as unbiased with less noise. Is it so at every distance? What happens to $r$ when the policy gives a completion a millionth of what the reference gives it?

# %%
betas = by_preset([10.0, 3.0, 1.0, 0.5, 0.3, 0.2, 0.1], [3.0, 0.3])
estimates = sweep(estimator_run, grid(beta=betas, repeats=[by_preset(4000, 200)]), progress="estimators")
show(
    plot_estimators(estimates),
    "Left: the median estimate, over the exact KL. Right: the spread of one estimate from 64 samples. "
    "Near the reference k3 is best. Far away its true spread explodes, hardly any sample shows it, and "
    "the typical k3 is too low.",
    alt="Left: k1 near 1 throughout, k2 rising, k3 falling below 1. Right: k3's exact spread far above "
    "what was seen at large KL.",
)
columns = [
    "kl",
    *(f"{name}_{what}" for name in ("k1", "k2", "k3") for what in ("bias", "std", "median", "seen")),
]
estimates.set_index("beta")[columns].T.map("{:.3g}".format)

# %% [markdown]
# * **k1** is unbiased everywhere, and its spread grows slowly: 0.012 nats at a KL of 0.005, and never more than 0.2 for the mean of 64 samples (one sample's spread is the square root of 64 times as large).
# * **k3** is as unbiased (its exact bias is rounding error), and near the reference it is far better: its spread is a sixteenth of k1's at a KL of 0.005, and still below it at 0.48. From 1.5 nats on it is worse, and then its exact spread explodes: 8 nats, 318, 84 million.
# * You will *not see* that explosion. In 4,000 repetitions the estimates at a KL of 5.1 spread by 3.7, and the median says 4.2. The mean of k3 hangs on completions that the policy hardly ever draws and the reference likes: there $r$ is huge. As long as none of them is drawn, the sample mean of $r$ is near 0 instead of 1, and k3 is near k1 − 1: **too low by up to one nat, with a small error bar**.
# * **k2** is fine up to a few tenths of a nat, and then too large: by 18 % in the median at 0.48, threefold at 5.1.
#
# So k1 for reporting, at any distance, with enough samples; k3 where policies are close and samples few.
#
# All three estimate the *value* of $\text{KL}(\pi\,\|\,\pi_\text{ref})$. Differentiated through fixed samples they are three other things: k1's expected gradient is zero, k2's is that of $\text{KL}(\pi\,\|\,\pi_\text{ref})$, k3's that of $\text{KL}(\pi_\text{ref}\,\|\,\pi)$. A good estimate is not a good loss. (GRPO, a method of reinforcement learning, uses k3 as a loss, token by token.)
#
# **The language model.** Section 8 trains policies until they are far away (128 pairs, 24 epochs, five looks), and measures all three estimators on the same samples. Here is one of those runs.

# %%
optimised = sweep(
    optimisation_run,
    grid(seed=seeds, **by_preset({}, {"looks": [[4, 8]], "samples": [16]})),
    progress="many epochs on few pairs",
)
first = optimised.iloc[0]
far = pd.DataFrame({name: first[name] for name in ("step", "k1", "k1_std", "k2", "k3", "k3_std")})
far["k1 − k3"] = far["k1"] - far["k3"]
far.set_index("step").round(2)

# %% [markdown]
# The last column is the mean of $1 - r$, whose expectation is 0. It starts near 0 and goes to 1, as in the exact world: from step 48 on the samples do not hold the completions that would make it 0, and k3 reads almost one nat less than k1. Where the two differ by about one nat, believe k1.
#
# ## 7 · Do its forecasts come true?
#
# A margin $m$ (β times the log-ratio gap of two completions) is also a forecast: the implicit reward says that its favourite wins with probability $\sigma(|m|)$. Lesson 07 put one number on how right such forecasts are, the expected calibration error. A **reliability diagram** shows where they go wrong: sort the forecasts into bins, and draw how often each bin's came true against what was forecast.
#
# **Write the bins.** $K$ bins of equal width divide $[0, 1]$; bin $k$ holds the forecasts in $[k/K, (k+1)/K)$, and a forecast of exactly 1 is in the last one. Return a dict of five tensors (float64 in the library; the check compares values) with $K$ entries each: `count`, `predicted` (mean forecast), `measured` (share of outcomes that came true), `low` and `high` (the 95 % Wilson interval of `measured`). Where a bin is empty its `count` is 0 and the other four are NaN. (Forecasts within rounding of an edge are not tested, other than edges that floats hold exactly.)

# %% exercise="reliability_bins" points=3 minutes=12 difficulty=3 importance=4
...

# %%
reliability_bins = check(reliability_bins)

# %% [markdown] hints="reliability_bins"
# <details><summary>Hint 1: which bin</summary>
#
# `(predicted * bins).long()` rounds down, to 0 … K; only a forecast of exactly 1 gives K, and `.clamp(max=bins - 1)` puts it into the last bin.
#
# </details>
# <details><summary>Hint 2: the interval of a bin</summary>
#
# `wilson_interval(wins, count)` with the bin's own sum of outcomes and its own count. It divides by the count, so look for empty bins first.
#
# </details>

# %% [markdown]
# Now the forecasts of section 8's first run (128 pairs, 24 epochs), early and late, on the 256 held-out pairs.
#
# **Predict.** Training on few pairs goes on and on. Do the dots move below or above the diagonal?

# %%
tables, numbers = {}, {}
for number in by_preset((1, 3, 4), (0, 1)):
    late = torch.tensor(first["margins"][number], dtype=torch.float64)
    forecast, won = late.abs().sigmoid(), (late > 0).double()
    title = f"step {first['step'][number]}"
    tables[title] = reliability_bins(forecast, won)
    found = tables[title]
    gap = (found["measured"] - found["predicted"]).abs()
    numbers[title] = {
        "mean forecast": forecast.mean().item(),
        "came true": won.mean().item(),
        "forecasts above 90 %": found["count"][-1].item(),
        "of those came true": found["measured"][-1].item(),
        "calibration error": (found["count"] / len(won) * gap).nansum().item(),
        "held-out loss": first["held_out_loss"][number],
    }
show(
    plot_reliability(tables),
    "Reliability on held-out pairs. On the dotted line forecasts are right; below it they are too "
    "sure. Larger dots hold more pairs; bars are 95 % intervals.",
    alt="Three reliability diagrams; the late one has many confident forecasts below the diagonal.",
)
pd.DataFrame(numbers).T.round(3)

# %% [markdown]
# At step 24 the forecasts are timid, below 54 % on average, and a little better than they say. At step 96 the favourite is over-rated by about 4 points. The calibration errors, 0.055 and 0.052, can't tell the timid from the sure: they have no sign. At step 192 nearly all dots lie below the diagonal: a mean forecast of 77 % for a favourite that wins 65 %; of the 71 forecasts above 90 %, 85 % came true. Between these two looks the share that came true hardly changed. What became worse is the *confidence*, and the held-out loss, which looks at confidence, rose while accuracy could not tell.
#
# It matters wherever implicit rewards are used as numbers, for filtering pairs, say, or weighting them.
#
# ## 8 · Optimised too far
#
# **When a measure becomes a target.** Learn a reward from pairs, then optimise it. At first what one learned is right about the common completions, and the true reward rises too. Further out the optimum sits where the learned reward is wrong in one's favour (Gao et al. 2022).
#
# In the exact world all of this is a sum. A linear Bradley-Terry model learns a reward from 300 pairs. Either it sees what the true reward is made of (letters and pairs of neighbours), or letters alone. Then the reference is tilted towards the *learned* reward (its probabilities multiplied by $\exp(r/\beta)$ and rescaled to sum to 1) with ever smaller β.
#
# **Predict.** For each of the two: does the true reward turn down in the end? In all eight draws of pairs?

# %%
draws = range(by_preset(8, 2))
proxies = {
    title: sweep(proxy_run, grid(neighbours=[sees], seed=draws), progress=title)
    for title, sees in (("sees all that counts", True), ("sees letters alone", False))
}
show(
    plot_proxies(proxies),
    "Gain in the learned reward (dashed) and in the true one (solid) as the learned one is optimised "
    "harder; a line a draw of 300 pairs. Some true rewards turn down, others do not.",
    alt="Two panels of rising dashed curves and solid curves that flatten or turn down.",
)
rows = {}
for title, table in proxies.items():
    best = table["true"].map(max)
    rows[title] = {
        "draws": len(table),
        "true reward ends below its best": sum(
            row[-1] < top - 1e-9 for row, top in zip(table["true"], best, strict=True)
        ),
        "loses more than a tenth of its best": sum(
            row[-1] < 0.9 * top for row, top in zip(table["true"], best, strict=True)
        ),
        "learned gain at the end": table["proxy"].str[-1].mean(),
        "true gain at the end": table["true"].str[-1].mean(),
        "best true gain": best.mean(),
    }
pd.DataFrame(rows).round(2)

# %% [markdown]
# * **Sees all that counts.** The learned reward promises 4.0 in the end, the true one has gained 2.0. Its weights fit the noise of 300 labels, and the optimum goes where that noise is favourable. In four of eight draws the true reward ends below its own best, in three by more than a tenth; in the others it flattens.
# * **Sees letters alone.** In three draws the true reward turns, twice down to nothing, while the learned one goes on rising. In the other five it rises to the end, for some even more than promised: what this model doesn't see happened to point the right way.
#
# So over-optimisation is a risk and not a law, and the dashed lines rise in the bad draws as they do in the good ones. What tells them apart for certain is the true reward, or people who judge samples.
#
# **In DPO the learned reward is the policy's own.** The runs below train on 128 pairs only, for 24 epochs, at β = 0.05 and a constant rate, and are looked at five times. Six numbers could tell one when to stop.
#
# **Predict.** Which of the six turn, and in which order? Where would you stop?

# %%
show(
    plot_optimisation(optimised),
    "What training sees goes on rising. Held-out loss is lowest at the look at step 96, and there, within "
    "the spread over seeds, win rate and true reward are highest. Dots are seeds, lines their means.",
    alt="Six panels against the step: training margin, held-out loss, win rate, training accuracy, "
    "held-out accuracy, true reward.",
)
shown = ["held_out_loss", "held_out_accuracy", "win_rate", "reward", "words", "k1"]
looks = optimised.explode(["step", *shown])
looks[shown] = looks[shown].astype(float)
looks["reward per word"] = looks["reward"] / looks["words"]
over_seeds(looks, "step", [*shown, "reward per word"])

# %%
stops = {}
for rule, pick in {
    "lowest held-out loss": lambda run: min(range(len(run["step"])), key=run["held_out_loss"].__getitem__),
    "highest held-out accuracy": lambda run: max(
        range(len(run["step"])), key=run["held_out_accuracy"].__getitem__
    ),
    "highest win rate": lambda run: max(range(len(run["step"])), key=run["win_rate"].__getitem__),
    "the end": lambda run: len(run["step"]) - 1,
}.items():
    at = [(run, pick(run)) for run in optimised.to_dict("records")]
    stops[rule] = {"steps chosen": ", ".join(str(run["step"][i]) for run, i in at)}
    for name in ("win_rate", "reward", "k1"):
        stops[rule][name] = np.mean([run[name][i] for run, i in at])
pd.DataFrame(stops).T.map(lambda value: value if isinstance(value, str) else f"{value:.2f}")

# %% [markdown]
# * **Training margin** rises to the end, training accuracy too but for a dip. Neither ever says stop.
# * **Held-out loss** is lowest at the look at step 96, in every seed: its minimum lies somewhere between the looks at 48 and 192. **Held-out accuracy** moves by less than its spread and picks a different step in different seeds.
# * **Win rate** is best at step 96 in two seeds of three and about even in the third. (The row "highest win rate" of the table flatters: it was picked on the very samples it reports.) In the mean it falls from 0.90 to 0.84 at the end: less than the spread over seeds, but the direction is that of the loss.
# * Now look at *words* and *KL*. At the step that the held-out loss chooses the policy is on average 39 nats away (± 32 over seeds) and writes 27 words (± 11) where the reference writes 11. This true reward is a sum over words and pays for that. Reward *per word* is the same at step 48 and at step 96, and lower at the end: all that came after step 48 came by writing more. A reader who does not love length would have stopped there, at 6 nats (± 4), and no number that is computed from pairs would have told them.
#
# Early stopping on held-out loss protects from learning pairs by heart. It does not know what you want: that is what win rates with a judge of your own are for, and a limit for the KL that was fixed before.
#
# ## 9 · The scorecard
#
# The notes that this course began from end their answer on evaluation with a list of ticks: accuracy above 65 %, win rate above 60 %, KL below 3, benchmarks within 2 % of the reference, no new failure modes, users more satisfied. As a form that is right: criteria with numbers, *fixed before one looks*. Two things are missing in it. A number that is a mean or a share needs an interval, and "undecided" must be allowed: a criterion is passed if the whole interval lies on the right side of its target, and failed if the whole of it lies on the wrong side. And each threshold needs its unit and its ceiling: nats *a completion of how many tokens*, an accuracy *on labels of what noise*.
#
# `dpo-lab evaluate RUN` does this for a folder that the trainer wrote (`output_dir`). It samples policy and reference, judges each pair in both orders, and writes `report.html` beside the run: one file with figures inside, that needs no network.
#
# **Predict** the verdicts on a plain run: 32 steps of 16 pairs, β = 0.1.

# %%
run_folder = Path(tempfile.mkdtemp()) / "plain_run"
policy = lab.fresh_policy()
config = DPOConfig(beta=0.1, lr=3e-4, batch_size=by_preset(16, 8), output_dir=str(run_folder), progress=False)
pairs = list(lab.pairs)[: by_preset(512, 32)]
history = train_dpo(policy, lab.reference, pairs, config)
status = main(["evaluate", str(run_folder), "--samples", str(by_preset(256, 24))])
print(f"exit status {status}: {'no criterion failed' if status == 0 else 'a criterion failed'}")

# %% [markdown]
# Seven passes and an "undecided". The accuracy is 67.6 %, above the target, but its interval reaches down to 61.6 %: these 256 pairs can't tell. With the ceiling at 75.0 % (ties counted as misses), the target itself is ambitious. The rest is a healthy young run: a win rate whose interval starts at 65.6 %, as many words as the reference, 0.7 nats away by k1. (k3 says 1.0 this time: one sample with a large $r$ is enough.) The forecasts are 12 points *below* what came true: it has not been trained long enough to be too sure. "Has not forgotten" is measured on reviews without blame (lesson 07 says why).
#
# Two rows, perplexity and distinct-2, have no interval here: read their verdicts as those of one number. And "accuracy" is reward accuracy; a threshold for it read literally as "ranks the winner higher" would be one for ranking accuracy, which hardly leaves one half in this world.
#
# | often asked for | here | why |
# |---|---|---|
# | diversity | measured: distinct-2 | in the scorecard |
# | MMLU, HellaSwag, HumanEval, TruthfulQA | not | the tiny policy writes short reviews and knows nothing else |
# | hallucination rate | not | a review has no source to be checked against |
# | red teaming | not | needs people or prompts that attack; the review world has none |
#
# And what else is not on the card? It covers the luck of sampling, for one run on four held-out items. Other seeds, other prompts, refusals, biases and harm it has not looked at, and "users more satisfied" has no row because nobody asked a user. The next section asks one.
#
# ## 10 · You are the annotator
#
# The true reward was a luxury. Here are twenty of the wordy policy's reviews beside the reference's, without names; sides and order are drawn from a seed. Read them as a restaurant owner would: which review praises more? The buttons work with Tab and Enter or Space, and each click is on disk at once, so you may stop and go on later. The notebook is executed without a reader, so a *scripted annotator* clicks first, in a file of its own.

# %%
from dpo_lab.evaluation.rating import RatingSession

run = written[written["price"] > 0].iloc[0]
answers = run["prompts"][:20], run["ours"][:20], run["theirs"][:20]
ratings = run_folder.parent / "scripted.jsonl"
session = RatingSession(*answers, ratings, seed=7)
tired = NoisyJudge(lab.true_reward, position=0.5, length=0.05, seed=7)
while (shown := session.current()) is not None:
    same = lab.true_reward(shown.left) == lab.true_reward(shown.right)
    vote = tired(shown.prompt, shown.left, shown.right)
    session.choose("tie" if same else "left" if vote == 1 else "right")
scores = torch.tensor(session.scores(), dtype=torch.float64)
print("first line of the file:", ratings.read_text(encoding="utf-8").splitlines()[0][:150], "…")
print(f"{len(load_pairs(ratings))} pairs for training, {len(scores)} comparisons, ties apart")
print(
    "win rate:", summarise_scores(scores).rate, " sign test p =", round(summarise_scores(scores).p_value, 3)
)
print("agreement with the true reward:", session.agreement(lab.true_reward))

# %%
mine = rating_widget(
    *answers, Path(tempfile.gettempdir()) / "dpo_lab_ratings" / "mine.jsonl", seed=11, reward=lab.true_reward
)

# %% [markdown]
# The scripted annotator agrees with the true reward in 84 % of the decided comparisons, with an interval from 62 to 95 %; its win rate of 0.83 has one from 0.65 to 0.98. Twenty comparisons are few. Your own file is in the folder that the widget names, `load_pairs` reads it, and the next DPO run could train on it: that closes the circle to lesson 01. (The agreement is with a reward that counts words; where you differ from it on purpose, you may well be right.)
#
# ## Recap
#
# * Reward accuracy asks for the *sign* of a margin, whatever its size. It can be high when the policy writes exactly what it wrote before. Ranking accuracy and win rate are other questions.
# * A share gets a Wilson interval, a mean a bootstrap interval. With five values the bootstrap covers too seldom; Wilson's stays honest, but is wide. Overlap of two intervals is no test of their difference.
# * Fix the number of comparisons by the power that you need, before you look. The best of several looks is significant far more often than α says.
# * Ask a judge in both orders, and let it judge equals first. Exchanging places cures a leaning to the first place, not a liking for length.
# * $k_1$ is unbiased with honest noise. $k_3$ is better near the reference; far away its mean hangs on completions that are never sampled, and it reads too low.
# * A learned reward that is optimised hard parts from the true one. Stop at what the samples are worth; if you can't afford that, at the held-out loss, and know what it misses.
# * A scorecard is fixed beforehand, has intervals, and may say "undecided".
#
# ## Two interview questions
#
# <details><summary><b>1. Your DPO run has 70 % held-out preference accuracy. Was it a success?</b></summary>
#
# It can't be said yet. Accuracy is the share of pairs with a positive implicit-reward margin, and a margin of a thousandth of a nat counts as much as one of ten: a policy that has hardly moved can have its final accuracy already. The 70 % needs an interval too: on 250 pairs it is about ± 6 points. So ask for the distance from the reference (KL), and for a win rate of its samples against the reference's, judged in both orders, with an interval. Ask what accuracy is possible at all: with noisy labels even the true reward stays below 100 %. And look at groups of pairs, since the mean may come from the easy ones.
#
# </details>
# <details><summary><b>2. Policy A wins 56 of 100 comparisons with the reference, B wins 61. Which one do you ship?</b></summary>
#
# Neither on this evidence alone. The sign test gives 56 of 100 a p-value of about 0.27 and 61 of 100 one of about 0.035, and that B's is below 0.05 while A's is not does not make B better than A: the difference of five points is far within its own error, which is about seven. Compare A with B directly, on the same prompts; to notice a true 55 % four times out of five takes about 800 decided comparisons. Check the judge with an A/A test and in both orders, compare lengths, and mind how many candidates were looked at before these two were shown.
#
# </details>
#
# **Next:** your own data. Everything in this lesson works on any two policies and any judge: see `dpo-lab evaluate --help`.
