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
# # 06 · What β does
#
# **Does a higher β keep the policy closer to its reference, or drive it further away? You will find both on the web. How would you find out?**
#
# After this lesson you can
#
# * say where a policy of a given β ends, in closed form, and check it against training;
# * explain why people who watched short runs came to believe the opposite, with a formula for each case;
# * say what β cannot do: hold the policy when labels are certain or data are few;
# * run a sweep over settings and seeds, and report it with its spread and against honest baselines.
#
# {{lesson_facts}}
#
# You need the optimal policy of lesson 02 and the loss of lesson 04. Lesson 05's training loop is used, not changed.

# %%
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from tqdm.auto import tqdm

from dpo_lab.beta import best_of_n_kl_bound
from dpo_lab.bradley_terry import optimal_policy
from dpo_lab.checks import check_positive, check_same_shape
from dpo_lab.course import check
from dpo_lab.experiments.adaptive_beta import adaptive_run
from dpo_lab.experiments.exact_beta import exact_run
from dpo_lab.experiments.exact_drift import drift_run
from dpo_lab.experiments.language import dpo_run, measure_policy
from dpo_lab.experiments.language_beta import best_of_n_run, beta_run, sft_run
from dpo_lab.lab import Lab
from dpo_lab.plots import (
    plot_beta_metrics,
    plot_beta_regimes,
    plot_controller,
    plot_converged,
    plot_finite,
    plot_reward_against_kl,
    plot_runaway,
    show,
)
from dpo_lab.presets import by_preset
from dpo_lab.sweeps import grid, sweep
from dpo_lab.widgets import frontier_explorer
from dpo_lab.worlds.exact import ExactWorld

pd.set_option("display.max_colwidth", 110)
lab = Lab.auto()
seeds = range(by_preset(3, 1))

# %% [markdown]
# ## 1 · Write it down first
#
# Here are two claims, each of them easy to find.
#
# * **A.** Higher β: the policy diverges more aggressively from the reference, up to mode collapse (one answer, whatever is drawn); β → ∞ ignores the reference. Lower β: it stays closer; β → 0 copies the reference.
# * **B.** Higher β: the policy stays closer to the reference; β → ∞ copies it. Lower β: it drifts further, up to mode collapse.
#
# The distance is the Kullback-Leibler divergence $\text{KL}(\pi_\theta\,\|\,\pi_\text{ref})$, in nats a completion.
#
# **Predict.** We shall train with several β, all else equal, in four ways, and measure that distance. Before you read on, write down for each way what the distance does as β grows: `"rises"` (from each β to the next), `"falls"` or `"neither"`. Section 6 puts the measured words beside yours.

# %%
my_prediction = {
    "12 steps of SGD": "?",
    "12 steps of Adam": "?",
    "64 steps of Adam": "?",
    "exact world, to the end": "?",
}

# %% [markdown]
# ## 2 · The frontier
#
# DPO is derived from one objective: find the policy with the highest
#
# $$ \mathbb{E}_{y\sim\pi}\,[\,r(y)\,] \;-\; \beta\,\text{KL}(\pi\,\|\,\pi_\text{ref}) , $$
#
# where $r(y)$ is the reward of completion $y$ and $\beta > 0$ is the price of a nat of distance (one prompt, so we leave $x$ out). Its solution is $\pi^*(y) = \pi_\text{ref}(y)\,e^{r(y)/\beta}/Z$, with $Z$ the sum that makes it a distribution (lesson 02; Rafailov et al. 2023, eq. 4). A higher price buys less distance. Move β from ∞ to 0 and the pair (KL, expected reward) of $\pi^*$ draws a curve, the **frontier**: no policy earns more at the same KL.
#
# In the exact world of lesson 02 there are 1,296 completions, so all of it is a sum:
#
# $$ \text{KL} = \sum_y \pi^*(y)\,\bigl(\log\pi^*(y) - \log\pi_\text{ref}(y)\bigr), \qquad \mathbb{E}[r] = \sum_y \pi^*(y)\,r(y) . $$
#
# **Write it**: the point of one β, first the KL, then the reward, as two floats. `optimal_policy(ref_logps, rewards, beta)` from lesson 02 returns $\log\pi^*$ and is imported. At β = 0.001 the numbers $e^{r/\beta}$ overflow, so stay in log space as long as you can. Shapes and β are checked by `optimal_policy`; you need no check.

# %% exercise="frontier_point" points=3 minutes=8 difficulty=2 importance=4
...

# %%
frontier_point = check(frontier_point)

# %% [markdown] hints="frontier_point"
# <details><summary>Hint 1: from log-probs to a mean</summary>
#
# The mean of any quantity under $\pi^*$ is `(logps.exp() * quantity).sum()`, where `logps` are the optimum's log-probs. `.item()` turns the result into a float.
#
# </details>
# <details><summary>Hint 2: which quantity for the KL</summary>
#
# `logps - ref_logps`: the optimum's log-probs minus the reference's, averaged under the *optimum*.
#
# </details>

# %% [markdown]
# ### Both ends
#
# **Predict.** What are KL and reward at β = 1000? At β = 0.001? Which of the two claims does each end support?

# %%
world = ExactWorld()
ref_reward = world.expected_reward(world.ref_logps)
variance = (world.ref_logps.exp() * (world.rewards - ref_reward) ** 2).sum().item()
best = world.rewards.argmax()

rows = []
for beta in (0.001, 0.1, 1.0, 10.0, 1000.0):
    kl, reward = frontier_point(world.ref_logps, world.rewards, beta)
    rows.append({"β": beta, "KL": kl, "Var/(2β²)": variance / (2 * beta**2), "E[r]": reward})
table = pd.DataFrame(rows).set_index("β")
table["E_ref[r] + Var/β"] = [ref_reward + variance / beta for beta in table.index]
print(f"reference: E[r] = {ref_reward:.4f}, variance of the reward {variance:.4f}")
print(f"best word: r = {world.rewards[best]:.4f}, −log π_ref = {-world.ref_logps[best]:.4f} nats")
table.map("{:.4g}".format)

# %% [markdown]
# Claim B, at both ends.
#
# * **β → ∞**: the optimum *is* the reference. How it gets there can be read off, too: for large β the KL is the variance of the reward under the reference over $2\beta^2$, and the reward gained is the variance over β. The first hundredths of a nat are cheap: the reward grows with $1/\beta$, the KL only with its square.
# * **β → 0**: all probability goes to the single best completion, however rare it was. Its distance is $-\log\pi_\text{ref}$ of that word, the most that any β asks (there are rarer words, but none that it would pay for). That is mode collapse, at *low* β.
#
# What about β = 0 itself? Then the loss is $-\log\sigma(0\cdot\delta) = \ln 2$ whatever the policy does, and nothing trains. So "β = 0 copies the reference" holds for a trainer that is handed the number 0 (this course's refuses it), and the limit β → 0 of the *optimum* is the exact opposite. The two are not the same question.
#
# ### Does training go there?
#
# DPO never sees the reward, only pairs. With infinite data (every pair of completions, weighted by how often the reference draws it and how often each side wins) its loss is a sum in this world, and a good optimiser runs it to its minimum. We try five β with a **sweep**: `sweep(function, settings)` calls `function(**setting)` for each setting, on all cores, and returns a table with a row for each. It keeps every finished run on disk, so that an interrupted sweep goes on where it stopped and a second one costs nothing. A kept run counts only as long as the code that it used is what it was.

# %%
settings = grid(beta=by_preset([0.1, 0.3, 1.0, 3.0, 10.0], [0.3, 1.0, 3.0]))
converged = sweep(exact_run, settings, progress="infinite data")
again = time.perf_counter()
sweep(exact_run, settings, progress=None)
print(f"the same sweep again: {time.perf_counter() - again:.2f} s")
converged["KL error"] = (converged["kl"] - converged["limit_kl"]).abs()
converged["E[r] error"] = (converged["reward"] - converged["limit_reward"]).abs()
print(
    "largest error against the closed form: KL",
    f"{converged['KL error'].max():.1e}, E[r] {converged['E[r] error'].max():.1e}",
)
converged.round(4)

# %%
show(
    plot_converged(world, converged),
    "Expected reward against distance in the exact world. The line is the closed form; the rings "
    "are DPO, trained to its minimum on infinite data. Higher β lies to the left: closer to the "
    "reference.",
    alt="A rising concave curve from the reference to the right, with rings on it; beta falls from "
    "left to right.",
)

# %% [markdown]
# Every ring lies on the line, with an error far below 0.01 in both directions (printed above the table). DPO without a reward model and without sampling finds the optimum of the objective with the reward. That much is theorem, and it holds. It assumed infinite data and labels that are as uncertain as Bradley-Terry says.
#
# ## 3 · What β cannot do
#
# Take one pair whose label calls the first completion chosen with probability $p$ (over many annotators, say). The only thing in the loss is the log-ratio gap $\delta$ (lesson 04), and the expected loss is
#
# $$ -p\,\log\sigma(\beta\delta) - (1 - p)\,\log\sigma(-\beta\delta) . $$
#
# The **margin** is βδ, the difference of the implicit rewards. The slope in δ is $\beta\,(\sigma(\beta\delta) - p)$, so it is least where $\sigma(\beta\delta) = p$: at $\delta^* = \operatorname{logit}(p)/\beta$, with $\operatorname{logit}(p) = \log\frac{p}{1-p}$.
#
# **IPO** (Azar et al. 2023) replaces the logarithm by a square. Its loss of one labelled pair is $\bigl(\delta - \frac{1}{2\tau}\bigr)^2$: a label pulls the gap *to* a number, not to infinity. With probability $1 - p$ the label is the other way round and pulls towards $-\frac{1}{2\tau}$. IPO's τ plays the part of β, and the course passes it under that name. Two habits to watch: the formula in some notes is $(\log\frac{\pi(y_w)}{\pi(y_l)} - \tau)^2$, which has lost the reference and has τ upside down; and IPO in TRL (Hugging Face's library for such training) averages log-probs over tokens where the paper sums. Here we sum.
#
# **Write the best gap of both losses.** DPO's is infinite at $p = 1$ and minus infinite at $p = 0$; return that. A loss with another name gets a `ValueError`. β needs no check (the finished version has one).

# %% exercise="optimal_gap" points=3 minutes=10 difficulty=2 importance=4
...

# %%
optimal_gap = check(optimal_gap)

# %% [markdown] hints="optimal_gap"
# <details><summary>Hint 1: DPO</summary>
#
# `torch.logit(p)` is $\log\frac{p}{1-p}$, and infinite at 0 and 1 unless you give it an `eps`.
#
# </details>
# <details><summary>Hint 2: IPO</summary>
#
# $p\,(\delta - t)^2 + (1 - p)\,(\delta + t)^2$ with $t = 1/(2\tau)$. Set the derivative in δ to zero: the best δ is the mean of the two targets, weighted by $p$ and $1 - p$.
#
# </details>

# %%
win = torch.tensor([0.6, 0.8, 0.95, 0.999, 1.0])
gaps = {
    f"{name}, β = {beta:g}": optimal_gap(win, beta, loss).tolist()
    for name, loss in (("DPO", "sigmoid"), ("IPO", "ipo"))
    for beta in (0.05, 0.1, 0.5)
}
pd.DataFrame(gaps, index=[f"p = {p:g}" for p in win.tolist()]).round(2)

# %% [markdown]
# In each row a ten times larger β wants a ten times smaller gap: claim B once more, pair by pair. Now read the last row. A label that *never* changes asks DPO for an infinite gap at **every** β. IPO's stays finite.
#
# Is that row far-fetched? It is the usual case: each pair of a real dataset is labelled once, and on the data as they are its winner has won in all of its comparisons.
#
# **Predict.** We draw 500, 2,000 or 20,000 pairs from the reference, and train to the end. *Hard* labels say who won; *soft* labels give the loss $P(\text{chosen wins})$ instead. In which of the four cases (DPO or IPO, hard or soft) does the result depend on β? Which lie on the frontier?

# %%
sizes = by_preset([500, 2000, 20000], [500])
finite = pd.concat(
    sweep(
        exact_run,
        grid(beta=betas, seed=seeds, pairs=sizes, soft=[False, True], loss=[loss]),
        progress=f"finite data, {loss}",
    )
    for loss, betas in (
        ("sigmoid", by_preset([0.3, 1.0, 3.0], [1.0])),
        ("ipo", by_preset([0.1, 0.3, 1.0], [0.3])),
    )
)
by_setting = finite.groupby(["loss", "soft", "beta", "pairs"])
table = by_setting["kl"].mean().unstack("pairs")
table["infinite"] = by_setting["limit_kl"].first().groupby(level=[0, 1, 2]).first()
spread = by_setting["kl"].std().groupby(level=[0, 1, 2]).max()
table["largest spread over seeds"] = spread
table.round(3)

# %%
show(
    plot_finite(world, finite),
    "Where training ends on finite data; one mark a run. Soft labels (circles) close in on DPO's "
    "frontier or on IPO's own optimum as pairs grow. DPO with hard labels (green crosses) ends far "
    "to the right and below, at every β; hard-label DPO: where L-BFGS stopped.",
    alt="Panels for 500, 2,000 and 20,000 pairs with the frontier; hard-label DPO crosses sit at "
    "large KL and low reward, the other marks near the curve.",
)

# %% [markdown]
# The table gives the mean KL over seeds.
#
# * **DPO, soft labels**: β decides, and with more pairs the KL comes to the closed form's. With few pairs the points lie below the line, because most completions have never been seen.
# * **DPO, hard labels**: there is no minimum; the marks are where L-BFGS stopped. In the mean over seeds that is more than eleven nats away, and the β differ by less than the seeds do. Which of the unbeaten words it ends on, and so the exact KL, depends on the optimiser: Adam and plain gradient descent share the mass among several and end nearer. What does not depend on it: all mass goes to words that never lost. The column "infinite" is the optimum on *all* pairs with labels that disagree as Bradley-Terry says; to come near it with hard labels, 1,296 words would need far more than 20,000 pairs.
# * **IPO** ends at a finite distance that τ decides, with either kind of label. It is not free of overfitting (with hard labels and few pairs its KL is several times what infinite data give), but the excess shrinks as pairs grow. Its *optimum* lies just below DPO's frontier: IPO maximises how often it beats the reference, which is another objective than the reward.
#
# Why does the policy give everything to a few words? Count the words that won at least once and never lost.

# %%
rows = []
for drawn in [world.sample_pairs(size) for size in sizes]:
    unbeaten = torch.zeros(len(world), dtype=torch.bool)
    unbeaten[drawn.chosen] = True
    unbeaten[drawn.rejected] = False
    rows.append(
        {
            "pairs": len(drawn.chosen),
            "words never beaten": int(unbeaten.sum()),
            "their probability, reference": world.ref_logps.exp()[unbeaten].sum().item(),
            "their probability, DPO with β = 3": world.fit(3.0, drawn).exp()[unbeaten].sum().item(),
        }
    )
pd.DataFrame(rows).set_index("pairs").map("{:.4g}".format)

# %% [markdown]
# A word that never lost can always lower the loss by growing, at any β, and so training hands it everything. Mostly these are words so rare that they were drawn a few times and happened to win. More pairs hardly change their number; they only make them rarer, as the second column shows. One is enough for L-BFGS.
#
# So claim B needs its condition: β bounds the drift when labels are as uncertain as they should be, or when something else ends the run. The next plot shows the drift as it happens.

# %%
looks = by_preset([10, 30, 100, 300, 1000, 3000], [10, 30])
cases = {
    "DPO, β = 0.3, hard": {"beta": 0.3},
    "DPO, β = 1, hard": {"beta": 1.0},
    "DPO, β = 3, hard": {"beta": 3.0},
    "DPO, β = 1, soft": {"beta": 1.0, "soft": True},
    "IPO, τ = 0.3, hard": {"beta": 0.3, "loss": "ipo"},
}
tables = [
    sweep(drift_run, [{**case, "looks": looks, "seed": seed} for seed in seeds], progress=name)
    for name, case in cases.items()
]
drift = pd.concat([runs.assign(name=name) for runs, name in zip(tables, cases, strict=True)])
drift = drift.explode(["step", "kl"]).astype({"step": int, "kl": float})
show(
    plot_runaway(drift),
    "Five hundred pairs, KL against the steps of Adam on all logits, each step over all pairs; lines "
    "are means over seeds. With hard labels the KL keeps growing at every β, more slowly for a larger "
    "one. Soft labels and IPO come to rest.",
    alt="Three curves that keep rising and two that level off.",
)
drift.groupby(["step", "name"])["kl"].agg(["mean", "std"]).unstack()["mean"].round(2)[list(cases)]

# %% [markdown]
# With hard labels a larger β buys time, not a bound: at any given step it is closer, and it still goes on. That is worth having, because real runs are short; but then it is the *end of training* that limits the distance: learning rate, steps and β together. None of the three curves has a minimum to arrive at. Adam spreads the mass over several unbeaten words where L-BFGS chose one, so the KL in the table of 500, 2,000 and 20,000 pairs is not where these curves end.
#
# One caution before you carry this to language models. Here each of the 1,296 completions has a parameter of its own, so nothing is learned about a word that was not drawn. A language model shares its weights: two similar completions with contradicting labels pull on the same parameters, which acts like a soft label. How far that goes is an empirical question, and the rest of the lesson measures it.
#
# **Explore** first, in a world of 64 completions. Find (1) a setting in which training ends within a hair of the frontier, (2) one in which the policy puts nearly everything on one word although β is large, with this optimiser, (3) what happens to that one when only the loss changes, when only the labels change, and when only the number of pairs changes.

# %%
frontier_explorer()

# %% [markdown]
# <details><summary>What you may have found</summary>
#
# (1) DPO, soft labels, 500 pairs or more; or infinitely many pairs. (2) DPO, hard labels, 500 pairs, β = 3: 96 % on one word, 4.9 nats away, where the frontier's β = 3 lies at 0.07. (3) From there: IPO ends at 0.003 nats, soft labels at 0.07, and so do 5,000 hard pairs. Sixty-four words are few enough that every one of them has then lost at least once.
#
# </details>

# %% [markdown]
# ## 4 · The sweep
#
# Now a language model. On a CPU that is the tiny policy of lesson 05 in its review world, and the numbers in the text are its. Five β, three seeds each, 64 steps of Adam with 16 pairs a step; a seed fixes the order of the pairs *and* the random numbers of the samples that are measured. After each run 128 completions for held-out prompts are drawn and scored, and the held-out pairs are scored as well.
#
# The **true reward** is a sum of word values and has no upper bound, so in this world writing more can pay.
#
# **Predict.** Which of these rise with β, which fall: KL, true reward, length, variety (*distinct-2*: the share of different ones among all pairs of neighbouring words), held-out accuracy?

# %%
betas = by_preset([0.03, 0.1, 0.3, 1.0, 3.0], [0.1, 3.0])
size = {"batch_size": [min(16, lab.config.batch_size)], "lr": [lab.config.lr]}
long_run = grid(beta=betas, seed=seeds, steps=[by_preset(64, 6)], **size)
runs = sweep(beta_run, long_run, progress="five β, three seeds")
print(f"{len(runs)} runs, tier {lab.tier}")
runs.drop(columns=["steps", "batch_size", "lr", "grad_norm", "text"]).head(6).round(3)

# %% [markdown]
# One row a run. To compare settings we need one row a *setting*, and with it how far the seeds lie apart; a difference smaller than that is no finding.
#
# **Write the summary.** `runs` is a list of dicts, one a run, all with the same names. Return a list with one dict for each value of the setting `by`, in the order in which the values first occur. The dict holds
#
# * `by` itself and `"runs"`, the number of runs;
# * for each other name except `over` (the seed): the mean under that name, and under `"name ±"` the sample standard deviation, $\sqrt{\sum_i (x_i - \bar x)^2 / (n - 1)}$, or `math.nan` where there is one run only.
#
# The runs of one setting need not stand next to each other. A run that diverged has NaN among its numbers: then mean and deviation of that name must come out NaN, not be computed from the others. (`statistics.stdev` fails on NaN, and pandas skips it unless told not to; the formula does what you need.) Arguments need no check.

# %% exercise="summarise_runs" points=3 minutes=12 difficulty=2 importance=3
...

# %%
summarise_runs = check(summarise_runs)

# %% [markdown] hints="summarise_runs"
# <details><summary>Hint 1: the values, each once, in order</summary>
#
# `dict.fromkeys(run[by] for run in runs)` holds each value once, in the order of first occurrence.
#
# </details>
# <details><summary>Hint 2: the names to summarise</summary>
#
# The keys of any run but `by` and `over`. For each: collect the numbers of the group in a list, then mean and deviation.
#
# </details>

# %%
measured = [
    "kl",
    "reward",
    "length",
    "distinct_2",
    "logps/chosen",
    "logps/rejected",
    "rewards/accuracies",
]
summary = summarise_runs(runs[["beta", "seed", *measured]].to_dict("records"), by="beta")
table = pd.DataFrame(summary).set_index("beta")
falling = bool((table["kl"].diff().dropna() < 0).all())
print("mean KL falls from each β to the next:", falling)
before = measure_policy(lab, lab.reference, beta=1.0, samples=by_preset(128, 16), seed=0)
columns = table.round(3).T.astype(object)
columns["reference"] = [round(before[name], 3) if name in before else "" for name in columns.index]
again = tqdm(range(by_preset(8, 2)), desc="untrained reference")
untrained = [lab.measure(lab.reference, 128, seed=seed).reward.mean for seed in again]
print(
    "reward of the untrained reference, measured again and again on 128 samples:",
    f"standard deviation {pd.Series(untrained).std():.2f}",
)
columns

# %%
show(
    plot_beta_metrics(runs),
    "Only distance and the held-out log-probs follow β all the way; the other four have no such order. "
    "Dots are runs with different seeds, lines their means.",
    alt="Six panels against beta. Distance falls; held-out log-probs of chosen and rejected rise and "
    "close up; reward, length and variety have wide spreads.",
)

# %% [markdown]
# Part of every spread is sampling alone: the reward of the *untrained* reference, measured eight times on 128 samples, spreads by 0.09. At β = 1 and 3 the spread over seeds is about that, too. (Section 5's *best of 1* is the reference as well, measured three times on 64 samples, and spreads by 0.26: a spread from three numbers is itself rough.)
#
# * **Distance** falls from each β to the next in the mean of the seeds. Look at the dots as well: at β = 0.03 the seeds lie far apart, and a single run of it could have ended below a run at β = 0.3.
# * **Reward** does not follow. It is clearly lowest at β = 3. Among the four smaller ones the differences are about as large as the spread over seeds, so this table does not tell which of them is best; what the smallest buy with their extra distance is not reward.
# * **The held-out pairs** show where the distance goes. At β = 3 both log-probs stay within a nat of where they began; at β = 0.03 the rejected one has lost more than nine nats and the chosen one more than four: the policy moves away from both (lesson 07 takes this up). **Accuracy** is lower at the two smallest β: further apart is not more often right.
# * **Length**: from β = 0.3 up all runs write longer than the reference (more words, more reward); below, the seeds disagree. **Variety**: distinct-2 is below the reference's everywhere and has no steady trend. (Longer texts repeat more, so read the two together.) Mode collapse needs longer runs at low β: lesson 07 makes one.
#
# The reference's accuracy is 0 because all its implicit rewards are: every pair ties.
#
# Numbers hide what a policy writes. Below is the first completion for the first held-out prompt at each β, seed 0: one sample, chosen by nobody, and no evidence for anything by itself. All are drawn with the same random numbers, so they begin alike and part where the policies differ.

# %%
first = runs[runs["seed"] == 0].set_index("beta")[["text"]]
first.loc["reference"] = lab.measure(lab.reference, 2, seed=0).texts[0]
first.index = [f"β = {beta:g}" for beta in betas] + ["reference"]
first.style.set_properties(**{"text-align": "left", "white-space": "normal"})

# %% [markdown]
# ### From the command line
#
# The same runner, for any setting of a DPO run:
#
# ```
# dpo-lab sweep beta=0.03,0.3,3 seed=0,1,2 steps=64 batch_size=16 --out sweep.csv
# ```
#
# prints mean and spread over seeds and writes one row a run. Finished runs are kept, so adding a β later costs that β only.
#
# ## 5 · Against what?
#
# A curve of reward against KL means little alone. Two baselines cost almost nothing:
#
# * **SFT** (supervised fine-tuning) **on the chosen completions**: imitate the winners, ignore the losers, same steps and rate.
# * **Best of $n$**: train nothing; draw $n$ completions from the reference and keep the one with the highest reward.
#
# Best-of-$n$ is a policy too, so it has a place in the plot. Let $A(y)$ be the probability that a draw from the reference has a reward *at or below* that of $y$, and $B(y)$ that it lies *strictly below*. All $n$ draws are at or below with probability $A^n$, all strictly below with $B^n$, so the best of them has exactly $y$'s reward with probability $A^n - B^n$. Completions with the same reward share that in proportion to $\pi_\text{ref}$ (among equals the first draw is kept), and together they have $A - B$:
#
# $$ \pi_n(y) = \pi_\text{ref}(y)\,\frac{A(y)^n - B(y)^n}{A(y) - B(y)} = \pi_\text{ref}(y)\,\sum_{k=0}^{n-1} A(y)^{\,n-1-k}\,B(y)^{\,k} . $$
#
# **Write its log-probs**, a tensor of $N$ numbers. Use the sum, not the fraction: for a completion of probability $10^{-26}$ the fraction is 0/0 in floating point. The check for $n \ge 1$ may be left out.

# %% exercise="best_of_n_logps" points=4 minutes=15 difficulty=3 importance=3
...

# %%
best_of_n_logps = check(best_of_n_logps)

# %% [markdown] hints="best_of_n_logps"
# <details><summary>Hint 1: A and B for all completions at once</summary>
#
# `rewards[None, :] <= rewards[:, None]` is an $N \times N$ table: row $y$ says which completions are at or below $y$. Turn it into numbers of the probabilities' dtype, `.to(probabilities)`, and multiply it by the probabilities with `@`.
#
# </details>
# <details><summary>Hint 2: the sum over k</summary>
#
# A loop over `k` in `range(n)` is fine. With $n = 1$ the sum is 1 and the result the reference.
#
# </details>

# %% [markdown]
# **Predict.** You may have read that the KL of best-of-$n$ is $\log n - \frac{n-1}{n}$. In the exact world we can compute the KL itself. Will the formula be right, too high or too low? And how far below the frontier is best-of-$n$?


# %%
def reward_on_frontier(kl):
    """Reward of the closed-form optimum at a given KL, by bisection over log β."""
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        too_far = frontier_point(world.ref_logps, world.rewards, math.exp(middle))[0] > kl
        low, high = (middle, high) if too_far else (low, middle)
    return frontier_point(world.ref_logps, world.rewards, math.exp(low))[1]


rows = []
for n in (1, 2, 4, 16, 64, 1024):
    logps = best_of_n_logps(world.ref_logps, world.rewards, n)
    kl, bound = world.kl(logps), best_of_n_kl_bound(n)
    rows.append({"n": n, "KL": kl, "log n − (n − 1)/n": bound, "E[r]": world.expected_reward(logps)})
    at_zero = kl < 1e-6
    rows[-1]["frontier at that KL"] = ref_reward if at_zero else reward_on_frontier(kl)
    likeliest = logps.argmax()
    rows[-1]["its likeliest word: n π_ref"] = n * world.ref_logps[likeliest].exp().item()
    rows[-1]["its probability"] = logps[likeliest].exp().item()
pd.DataFrame(rows).set_index("n").round(3)

# %% [markdown]
# The formula is an **upper bound** (Beirami et al. 2024). It is exact in the limit where no completion that can win is drawn twice: $n\,\pi_\text{ref}(y)$ far below 1. At $n$ = 1,024 that fails: one word, with $n\,\pi_\text{ref} \approx 1.8$, wins three times in four (last two columns). Up to 16 draws the difference does not show in three decimals; at 1,024 the true KL is a tenth of a nat below the formula. And best-of-$n$ lies just below the frontier: a strong baseline, without a step of training. What it costs is $n$ completions for every answer, and a judge when it is used.
#
# For the language model the KL of best-of-$n$ cannot be summed, so the plot shows the bound: the true points lie at that height, at the mark or to the left of it. Mind also who judges. Best-of-$n$ picks by the *true* reward here, which DPO has never seen.

# %%
sft = sweep(sft_run, grid(seed=seeds, steps=[by_preset(64, 6)], **size), progress="SFT on chosen")
best = sweep(
    best_of_n_run, grid(seed=seeds, sizes=[by_preset([1, 2, 4, 8, 16], [1, 2])]), progress="best of n"
)
best = best.explode(["n", "reward", "kl"]).astype({"n": int, "reward": float, "kl": float})
reference_reward = best[best["n"] == 1]["reward"].mean()
show(
    plot_reward_against_kl(runs, best[best["n"] > 1], sft, reference_reward),
    "True reward against distance on the language model; means and one standard deviation over seeds. "
    "Best-of-n judges by the true reward and is drawn at an upper bound of its KL.",
    alt="DPO's points from beta 3 at small KL to beta 0.03 at large KL, best of n above them at small "
    "KL, SFT on chosen, and the reference at 0.",
)
rows = {"SFT on chosen": sft[["kl", "reward"]].agg(["mean", "std"]).stack()}
rows |= {f"best of {n}": of_n[["kl", "reward"]].agg(["mean", "std"]).stack() for n, of_n in best.groupby("n")}
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# * **Best-of-$n$ lies above DPO's curve at every KL both reach**, even though its marks are at the upper bound. It has the true reward as its judge, so take it as a line that training on noisy pairs could hope for.
# * **SFT on the chosen** moves a tenth of a nat and takes its share of reward for it. On unlimited pairs it ends at best-of-2 as a noisy judge picks it, so at or below the mark $n = 2$; here it lies between the reference and that. (Many epochs on few pairs take it further away, by memorising.) What DPO adds is the contrast with the rejected ones, which knows no such end.
# * **Down the curve of DPO**, the first nat buys most of the reward, as in the exact world; after that the curve turns flat, and its error bars are wide. Here β = 0.3 and β = 1 are good choices, and nothing speaks for going lower. That is a statement about this policy, these pairs and these 64 steps.
#
# ## 6 · The paradox, settled
#
# If claim B is what the mathematics says, why is claim A so widespread? Because it describes something that people have seen. Look at the first step instead of the last.
#
# At the start policy and reference are equal, every gap is 0, and the slope of the loss in the gap is $-\beta\,\sigma(0) = -\beta/2$. So the gradient in the weights is
#
# $$ \nabla_\theta \mathcal{L} = -\frac{\beta}{2}\;\mathbb{E}\bigl[\nabla_\theta\,(\log\pi_\theta(y_w) - \log\pi_\theta(y_l))\bigr] , $$
#
# the same direction for every β, with a length proportional to β. What becomes of it depends on the optimiser. With learning rate $\eta$:
#
# | | the first step moves the weights by | distance afterwards |
# |---|---|---|
# | plain SGD | $\eta\,\frac{\beta}{2}\,\lVert\mathbb{E}[\nabla_\theta\,\dots]\rVert$ | KL grows with $\beta^2$: **rises** |
# | Adam | $\eta\,g/\sqrt{g^2} = \eta\,\operatorname{sign}(g)$ for each weight | β cancels: **the same** |
# | run to its minimum | – | KL of $\pi_\text{ref}\,e^{r/\beta}/Z$: **falls** |
#
# Clipping to a fixed norm does to SGD what Adam does to each weight: once all gradients are clipped, β is gone. Here are the three rows in an exact world of 27 completions.

# %%
small = ExactWorld(seed=0, alphabet="abc", length=3)


def one_step(optimizer_class, beta, lr):
    logits = small.ref_logps.clone().requires_grad_()
    optimizer = optimizer_class([logits], lr=lr)
    small.dpo_limit_loss(logits, beta).backward()
    optimizer.step()
    return small.kl(logits.detach().log_softmax(dim=-1))


rows = {}
for beta in (0.1, 0.3, 1.0, 3.0, 10.0):
    sgd, adam = one_step(torch.optim.SGD, beta, lr=0.1), one_step(torch.optim.Adam, beta, lr=0.1)
    closed_form = frontier_point(small.ref_logps, small.rewards, beta)[0]
    rows[beta] = {
        "one step of SGD": sgd,
        "… over β²": sgd / beta**2,
        "one step of Adam": adam,
        "minimum": closed_form,
    }
pd.DataFrame(rows).T.rename_axis("β").map("{:.3g}".format)

# %% [markdown]
# Three answers, and each formula holds: SGD's KL over $\beta^2$ is the same number up to a few percent, Adam's KL is constant, the minimum's falls.
#
# Now the language model. Short runs of 12 steps at a constant rate, without warm-up: SGD at rate 0.005 without clipping, Adam at the rate of section 4. Then section 4's 64 steps.

# %%
short = {"steps": [by_preset(12, 3)], "samples": [by_preset(64, 16)], "batch_size": size["batch_size"]}
short |= {"schedule": ["constant_with_warmup"], "warmup_ratio": [0.0], "beta": betas, "seed": seeds}
sgd_short = sweep(
    dpo_run,
    grid(optimizer=["sgd"], lr=[0.005 if lab.tier == "tiny" else 1e-4], max_grad_norm=[1e9], **short),
    progress="short, SGD",
)
adam_short = sweep(dpo_run, grid(lr=size["lr"], **short), progress="short, Adam")
regimes = {"12 steps of SGD": sgd_short, "12 steps of Adam": adam_short, "64 steps of Adam": runs}
show(
    plot_beta_regimes(regimes),
    "KL against β on the language model, in three ways of training; dots are seeds, lines their "
    "means. Each panel has its own scale, the left one logarithmic above 0.01. The same loss, the "
    "same data: left β pushes away, right it holds back.",
    alt="Three panels: KL rises with beta after 12 steps of SGD, differs little after 12 steps of Adam, "
    "falls after 64 steps of Adam.",
)


# %%
def trend(values):
    """What a row of numbers does from each to the next."""
    changes = pd.Series(list(values)).diff().dropna()
    return "rises" if (changes > 0).all() else "falls" if (changes < 0).all() else "neither"


means = {name: table.groupby("beta")["kl"].mean() for name, table in regimes.items()}
means["exact world, to the end"] = converged.set_index("beta")["kl"]
verdict = pd.DataFrame({"you wrote": my_prediction, "measured": {k: trend(v) for k, v in means.items()}})
table = pd.DataFrame(
    {name: table.groupby("beta")["kl"].agg(["mean", "std"]).stack() for name, table in regimes.items()}
)
print(table.unstack().round(3).to_string())
verdict["KL at highest β / at lowest"] = [f"{of.iloc[-1] / of.iloc[0]:.2g}" for of in means.values()]
verdict

# %% [markdown]
# The word hangs on single steps from one β to the next, some of them smaller than the spread; the ratio does not. For a factor of 100 in β: SGD about 700 times further, 12 steps of Adam hardly different, 64 steps five times nearer.
#
# * **12 steps of SGD**: the KL rises with every β. Whoever stops here and looks will write claim A. Twelve steps are more than one, so it does not follow $\beta^2$: at large β the gradient has changed before the run is over, and at small β the KL is as small as its own sampling error (so take the 700 for an order of magnitude).
# * **12 steps of Adam**: between β = 0.03 and 0.3, a factor of ten, the means lie within the spread over seeds. At β = 3 the pairs are already being satisfied, and the policy has slowed down. "Falls" is no wrong prediction either: the mean at the highest β is below that at the lowest.
# * **64 steps of Adam**: the KL falls with β. So it does in the exact world, where "to the end" can be taken literally.
#
# And the proof of $-\beta/2$ on the language model: the norm of the first gradient, as section 4's runs logged it before clipping, over β.

# %%
gradient = runs.groupby("beta")["grad_norm"].mean().to_frame("first gradient norm")
gradient["… over β"] = gradient["first gradient norm"] / gradient.index
gradient["clipped"] = gradient["first gradient norm"] > lab.config.max_grad_norm
gradient.round(3)

# %% [markdown]
# The same number for every β, as the formula says. From β = 0.3 on the first gradient is longer than the limit of section 4's runs and is cut to it; their Adam would have taken β out in any case.
#
# So both claims have been seen by honest people. A describes how hard the loss *pulls at first*; B describes *where it wants to go*, and that is what β is for. The explanation that often comes with claim A, "low temperature makes decisions deterministic", is true of $e^{r/\beta}$ with β as the temperature, and it says B.
#
# The same goes for the advice that comes with A: "if learning is weak, raise β". Under SGD that raises the step, as a larger learning rate would. Under Adam it only asks for less.
#
# ## 7 · A β that follows the KL
#
# PPO, the reinforcement learning that DPO replaces, maximises reward minus β times a measured KL. Many implementations of it do not fix β. They fix a distance that they can accept, measure the KL as they go, and let β follow (Ziegler et al. 2019, section 2.2):
#
# $$ e = \operatorname{clip}\Bigl(\frac{\text{KL} - \text{KL}_\text{target}}{\text{KL}_\text{target}},\, -0.2,\, 0.2\Bigr), \qquad \beta \leftarrow \beta\,(1 + K e) . $$
#
# $K$ is the gain, 0.1 in the paper.
#
# **Predict** the sign: when the policy is too far away, must β go up or down? Claims A and B give different controllers, and one of them runs off. **Write it.** Arguments need no check.

# %% exercise="adapt_beta" points=2 minutes=6 difficulty=1 importance=3
...

# %%
adapt_beta = check(adapt_beta)

# %% [markdown] hints="adapt_beta"
# <details><summary>Hint 1: clip</summary>
#
# `max(-0.2, min(0.2, error))`.
#
# </details>
# <details><summary>Hint 2: what is multiplied</summary>
#
# The old β, by one plus gain times the *clipped* error. A measured KL at the target leaves β as it is.
#
# </details>

# %% [markdown]
# `train_dpo(..., beta_schedule=f)` asks `f(history)` for the β of each step. The controller below measures the KL on 64 samples every four steps and aims at 1 nat. Its gain is 1 and not 0.1, so that β can change by a fifth at each look: the paper's runs were thousands of updates long, this one has a dozen.
#
# **Predict.** PPO's penalty pulls the policy back when β rises. In DPO, β is inside the log-sigmoid. Suppose the policy is already beyond the target and β doubles: does anything pull it back?

# %%
target = 1.0
starts = {
    "fixed, β = 0.03": {"beta": 0.03, "gain": 0.0},
    "adaptive, from β = 0.03": {"beta": 0.03, "gain": 1.0},
    "adaptive, from β = 3": {"beta": 3.0, "gain": 1.0},
}
shared = {"target_kl": [target], "steps": [by_preset(48, 8)], "every": [4], "seed": seeds, **size}
controlled = [
    sweep(adaptive_run, grid(**{k: [v] for k, v in start.items()}, **shared), progress=name)
    for name, start in starts.items()
]
controlled = pd.concat([runs.assign(name=name) for runs, name in zip(controlled, starts, strict=True)])
show(
    plot_controller(controlled, target),
    "Left: the measured KL, and the target. Right: the β in use. Thin lines are seeds, thick ones "
    "their means; the learning rate is constant.",
    alt="Left: KL against step for a fixed and two adaptive settings, with the target as a dotted line. "
    "Right: beta against step.",
)
ends = controlled.assign(
    KL=controlled["measured_kl"].str[-1],
    highest=controlled["measured_kl"].map(max),
    β=controlled["used_beta"].str[-1],
)
ends.groupby("name", sort=False)[["KL", "highest", "β"]].agg(["mean", "std"]).round(3)

# %% [markdown]
# Neither setting holds the target. Left alone at β = 0.03 and a constant rate, the policy runs away: 13.3 nats after these 48 steps, against 3.1 after section 4's 64 steps with a schedule. The controller that starts there first *lowers* β, since the policy is still too close, and raises it once the target is passed; the KL grows on, to a smaller end than without it, by about as much as the spread of the uncontrolled runs. From β = 3 the controller comes down until the policy moves, and is passed as well. They end at β = 0.06 and β = 1.05, so the controller does not even find one β.
#
# In PPO the penalty pulls whatever the data say. In DPO the pull comes from the labels: a pair's mean slope is $\beta\,(\sigma(\beta\delta) - p)$, so where labels disagree a larger β turns it around and pulls the gap back to $\operatorname{logit}(p)/\beta$. A pair that is labelled once has no such turn: the slope $-\beta\,\sigma(-\beta\delta)$ is never positive. While the margin βδ is under 0.88, doubling β even strengthens the push (under Adam the step size hides it). So on such data this controller is a brake at best, and a late one.
#
# The world of 27 words shows both. Start at the optimum of β = 0.3, go on training with β = 3, and let only the labels differ: as Bradley-Terry says, so that each pair has both; always for the better word; or drawn once for each pair, in six different draws.

# %%
either = torch.rand(6, 27, 27, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
first_wins = (either < small.win_probabilities).triu(1)
won_once = first_wins | (~first_wins).triu(1).mT
always = small.rewards[:, None] > small.rewards[None, :]
drawn_together = small.pair_weights + small.pair_weights.T  # in either order


def kl_with_higher_beta(weights, beta=3.0):
    """KL by step, from the optimum of β = 0.3 on; weights[i, j] is how often i is chosen over j."""
    logits = small.optimal_logps(0.3).clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.03)
    kls = {}
    for step in range(by_preset(1001, 101)):
        if step in (0, 30, 100, 300, 1000):
            kls[step] = small.kl(logits.detach().log_softmax(dim=-1))
        log_ratios = logits.log_softmax(dim=-1) - small.ref_logps
        margins = beta * (log_ratios[:, None] - log_ratios[None, :])
        optimizer.zero_grad()
        (-(weights * logsigmoid(margins)).sum()).backward()
        optimizer.step()
    return kls


labels = {"both labels": small.pair_weights, "the better word": drawn_together * always}
labels |= {f"drawn once, {i}": drawn_together * won for i, won in enumerate(won_once)}
moves = pd.DataFrame(
    {name: kl_with_higher_beta(weights) for name, weights in tqdm(labels.items(), desc="labels")}
)
table = moves.rename_axis("step").T.rename(columns="KL, step {}".format)
won, lost = (
    {(str(pair["prompt"]), str(pair[side])) for pair in lab.pairs} for side in ("chosen", "rejected")
)
print(f"language model: {len(won):,} different chosen completions, {len(won - lost):,} of them never beaten")
table["words never beaten"] = [int((weights.sum(dim=0) == 0).sum()) for weights in labels.values()]
table.round(3)

# %% [markdown]
# Where both labels occur, β = 3 turns the policy around, from 4.1 nats to where its own optimum lies. Where the better word always wins, it dips on its way and is further away in the end. And labels drawn once? *Here* they come back as well, less far: each word meets 26 others, and when the draws contradict each other round a circle (a over b, b over c, c over a), no word can win everything, which acts like disagreement. What counts is whether some word, or group of words, was never beaten by the rest (last column). The pairs of the language model are of the other kind: four in five of its chosen completions were never beaten (printed above the table), and nothing contradicts those but what the model shares between texts.
#
# "Start low and raise β" is the wrong order for the same reason: the low-β steps are not undone on once-labelled pairs that nothing contradicts. And low β is no exploration: the pairs are fixed. If you need a given distance, stop the run there.
#
# ## 8 · What others use
#
# "Typically 0.1 to 0.5", you will read. Here is what published recipes say.

# %%
recipes = [
    ("DPO paper, default (dialogue)", 0.1, "Rafailov et al. 2023, appendix B"),
    ("DPO paper, TL;DR summaries", 0.5, "Rafailov et al. 2023, appendix B"),
    ("zephyr-7b-beta", 0.01, "alignment-handbook, recipes/zephyr-7b-beta/dpo/config_full.yaml"),
    ("zephyr-7b-gemma", 0.05, "alignment-handbook, recipes/zephyr-7b-gemma/dpo/config_full.yaml"),
    ("starchat2-15b", 0.05, "alignment-handbook, recipes/starchat2-15b/dpo/config_v0.1.yaml"),
    ("SmolLM2-1.7B", 0.5, "alignment-handbook, recipes/smollm2/dpo/config.yaml"),
]
pd.DataFrame(recipes, columns=["run", "β", "source"]).sort_values("β").style.format({"β": "{:g}"}).hide()

# %% [markdown]
# They span a factor of fifty. A β says little by itself: the distance that it leads to depends on how far apart the rewards are, how certain the labels, how long the completions (KL is a sum over tokens), the learning rate and the steps. Copying the β of another model without its learning rate and data copies nothing. What carries over is the procedure: choose a distance that you can accept, sweep β over a factor of a hundred in steps of three, and look at reward, KL and samples.
#
# ## Recap
#
# * β is the price of distance. The optimum is $\pi_\text{ref}\,e^{r/\beta}/Z$: higher β stays closer, β → ∞ is the reference, β → 0 the single best completion. On infinite data DPO ends there.
# * The opposite is true of the *first* steps of plain SGD, because the gradient at margin 0 is $-\beta/2$. Adam and clipping take β out of the first step.
# * A pair wants the gap $\operatorname{logit}(p)/\beta$. For a label that never changes that is infinite at every β: on hard labels β delays the drift and does not bound it. IPO's gap, $(2p - 1)/(2\tau)$, is finite.
# * A setting is summarised by a mean *and* a spread over seeds. Runs that diverged count.
# * Compare at equal KL, and against best-of-$n$ and SFT. $\log n - \frac{n-1}{n}$ is an upper bound of best-of-$n$'s KL.
# * On once-labelled pairs a controller for β brakes at best, because no label pulls the other way; here it did not hold its target.
#
# ## Two interview questions
#
# <details><summary><b>1. What does β control in DPO, and what happens as it goes to 0 and to infinity?</b></summary>
#
# It is the weight of the KL term in the objective that DPO optimises. The optimum is the reference tilted by exp(r/β), so a larger β keeps the policy closer; in the limit it is the reference. As β goes to 0 the optimum collapses on the completion with the highest reward. (With β exactly 0 the loss is constant and nothing trains: the limit of the optimum is not the optimum at the limit.) The common answer, "higher β means more aggressive divergence and mode collapse", mistakes the first step for the last: the gradient starts at β/2, so a short run of plain SGD moves further at larger β. Add the caveat that with certain labels no β bounds the distance.
#
# </details>
# <details><summary><b>2. Your run has drifted too far from the reference. Which way do you turn β, and what else could you turn?</b></summary>
#
# Up, for a *new* run: a larger β needs a smaller gap for the same loss, so the gradient fades sooner. Raising it in mid-run does not bring once-labelled pairs back: no label pulls the other way. And on such pairs the loss wants an infinite gap at every β; so look at the number of steps and the learning rate as well, stop earlier, smooth the labels (train as if a share ε of them were wrong, which makes the target gap finite: logit(1 − ε)/β), or take a loss with a finite target such as IPO. And check that the run is long enough for β to act at all: under Adam the first steps are the same size at every β. Judge by the KL on the policy's own samples and by reward at equal KL, over several seeds.
#
# </details>
#
# **Next:** lesson 07 breaks DPO in ten ways, one at a time, and measures the cures.
