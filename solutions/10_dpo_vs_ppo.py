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
# # 10 · DPO against PPO
#
# **Every text on DPO says that it is simpler, lighter and more stable than PPO. Simpler and lighter by how much? Is it more stable? And what does PPO have that DPO lacks?**
#
# After this lesson you can
#
# * write the parts of PPO for language models: the reward model's score, the reward of each token, advantages, both clipped losses;
# * measure what each method holds in memory, runs through its models, and takes in seconds, instead of quoting a table;
# * say which differences are the algorithm's and which are the data's or the model class's;
# * see a learned reward being over-optimised, and place RLHF, RLAIF and Constitutional AI.
#
# {{lesson_facts}}
#
# You need Bradley-Terry (lesson 02), the trainer (05) and the frontier (06).

# %%
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dpo_lab.baselines import PPOConfig, TablePolicy, exact_ppo, train_reward_model
from dpo_lab.baselines.advantages import check_tokens, check_unit
from dpo_lab.baselines.reward_model import RewardModelConfig, check_completions
from dpo_lab.bradley_terry import bradley_terry_loss
from dpo_lab.checks import check_positive, check_same_shape
from dpo_lab.course import check
from dpo_lab.experiments.ppo_costs import dpo_step, ppo_step, reward_model_step
from dpo_lab.experiments.ppo_exact import (
    RANGES,
    frontier_share,
    over_optimised_run,
    pairs_run,
    search_run,
    true_reward_run,
)
from dpo_lab.experiments.ppo_language import METHODS, over_optimisation_run, rival_run
from dpo_lab.lab import Lab
from dpo_lab.plots import (
    plot_clipping,
    plot_exact_rivals,
    plot_over_optimisation,
    plot_rivals,
    plot_search,
    show,
)
from dpo_lab.presets import by_preset
from dpo_lab.sweeps import grid, sweep
from dpo_lab.trainer import DPOConfig, encode_pairs
from dpo_lab.widgets import advantage_explorer
from dpo_lab.worlds.exact import ExactWorld

pd.set_option("display.max_colwidth", 120)
lab = Lab.auto("tiny")  # the runs of this lesson are of the tiny policy on every machine
world = ExactWorld()
seeds = range(by_preset(3, 1))

# %% [markdown]
# ## 1 · One objective, two roads
#
# Both methods maximise the same thing (Rafailov et al. 2023, eq. 3):
#
# $$ \max_\pi\; \mathbb{E}_{y\sim\pi}\,[\,r(x, y)\,] - \beta\,\text{KL}(\pi\,\|\,\pi_\text{ref}) , $$
#
# with prompt $x$, completion $y$, reward $r$, reference $\pi_\text{ref}$ and the price β of a nat of distance. Its solution is known: $\pi^*(y|x) = \pi_\text{ref}(y|x)\,e^{r(x,y)/\beta}/Z(x)$ (eq. 4, your `optimal_policy`).
#
# | stage | RLHF with PPO | DPO |
# |---|---|---|
# | 1 | supervised fine-tuning (SFT) | the same |
# | 2 | fit a **reward model** $r_\phi$ to preference pairs by Bradley-Terry | – |
# | 3 | **PPO**: sample from the policy, score with $r_\phi$, climb the objective | one loss on the same pairs |
#
# **PPO** (proximal policy optimisation) treats the objective as a reinforcement-learning problem and walks towards $\pi^*$ **online**, on completions that it has just written. **DPO** solves eq. 4 for $r$, puts that into Bradley-Terry, and gets a loss on pairs that somebody else wrote: **offline**. No reward model is needed, because the policy is one.
#
# Here is what common comparisons claim. **Write your guess** beside each: `"holds"`, `"fails"` or `"depends"`. Section 11 puts measurements there.

# %%
claims = {
    "PPO needs four models in memory, DPO two": "?",
    "DPO's step is a single forward pass": "?",
    "DPO reaches a given reward in less time": "?",
    "DPO is more robust to its settings": "?",
    "PPO ends at a better policy than DPO": "?",
    "PPO exploits errors of its reward model": "?",
    "an explicit reward lets PPO go further": "?",
}

# %% [markdown]
# ## 2 · The reward model
#
# A **reward model** is a language model whose vocabulary head is replaced by a linear map to one number a position. The completion's score is the number at its **last token** (its EOS), the only place where the model has read all of it. Trained on pairs it minimises $-\log\sigma(s_w - s_l)$, where $s_w$ and $s_l$ are the scores of chosen and rejected completion: your `bradley_terry_loss` of lesson 02.
#
# **Write the scores.** `values` is $(R, T)$, a number for each position of $R$ padded rows; `completion_mask` marks each row's completion tokens, which follow each other, with the prompt before them and padding on either side. Return $(R,)$ scores. Every row has a completion token; you need no check.

# %% exercise="completion_scores" points=2 minutes=6 difficulty=2 importance=4
...

# %%
completion_scores = check(completion_scores)

# %% [markdown] hints="completion_scores"
# <details><summary>Hint 1: the last true position</summary>
#
# `torch.arange(T) * completion_mask` holds each true position's own number and 0 elsewhere; its `argmax` over the row is the last true one.
#
# </details>
# <details><summary>Hint 2: one column a row</summary>
#
# `values.gather(dim=1, index=last[:, None]).squeeze(dim=1)` takes one entry of each row. `values[:, last]` would take all of those columns in every row.
#
# </details>

# %% [markdown]
# Now train one on a few of the review world's pairs. The labels are noisy: Bradley-Terry draws the winner.
#
# **Predict.** How often will it rank held-out pairs as the *label* does? How often does the true reward itself?

# %%
heldout = list(lab.heldout_pairs)
reward_model, history = train_reward_model(
    lab.reference,
    list(lab.pairs)[: by_preset(512, 32)],
    RewardModelConfig(batch_size=16, epochs=by_preset(2, 1)),
    eval_pairs=heldout,
)
truth = torch.tensor([[lab.true_reward(pair[side]) for pair in heldout] for side in ("chosen", "rejected")])
encoded = encode_pairs(reward_model.tokenizer, heldout)
learned = torch.stack([reward_model.score(rows) for rows in encoded])
rows = {
    name: {
        "accuracy on labels": ((s[0] > s[1]) + 0.5 * (s[0] == s[1])).mean().item(),
        "loss on labels": bradley_terry_loss(*s).mean().item(),
        "spread of the scores": s.std().item(),
    }
    for name, s in {"reward model": learned, "true reward": truth}.items()
}
correlation = torch.corrcoef(torch.stack([learned.flatten(), truth.flatten()]))[0, 1].item()
print(f"correlation of learned and true reward on held-out completions: {correlation:.2f}")
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# The second row is, on average, the best that anyone can do: a label goes against the true reward that often. The reward model comes within ten points of it, on items that it has not seen. Its scores spread less than the true reward does (third column). Keep that in mind when the same β appears in two methods: a reward of smaller scale buys less distance. Section 8 finds out what the scale lacks.
#
# ## 3 · A reward for every token
#
# PPO decides token by token, so it needs a reward for each. Let $y_t$ be token $t$ of a completion with $n$ tokens, $y_{<t}$ those before it. The usual choice (Ziegler et al. 2019, arXiv 1909.08593; Ouyang et al. 2022 took it over) is
#
# $$ r_t = -\beta\,\bigl(\log\pi(y_t|x, y_{<t}) - \log\pi_\text{ref}(y_t|x, y_{<t})\bigr) + [\,t = n\,]\;s(x, y) , $$
#
# where $s$ is the score. Added up over a completion that is $s - \beta\log\frac{\pi(y|x)}{\pi_\text{ref}(y|x)}$, and the mean of that over the policy's own samples is the objective of section 1.
#
# **Write it.** All tables are $(B, T)$: $B$ completions, tokens from column 0 on, `mask` true at real tokens. Rewards on padding are 0. `scores` is $(B,)$. Arguments need no checks, here and in the rest of the lesson.

# %% exercise="kl_shaped_rewards" points=3 minutes=8 difficulty=2 importance=4
...

# %%
kl_shaped_rewards = check(kl_shaped_rewards)

# %% [markdown] hints="kl_shaped_rewards"
# <details><summary>Hint 1: two parts</summary>
#
# Every real token pays for itself; only the last is paid the score, and it pays as well. So first make the table of payments, with nothing on padding, then add one number to one entry of each row. Which column is that, in a row of $n$ tokens?
#
# </details>
# <details><summary>Hint 2: the penalty</summary>
#
# `(-beta * (logps - ref_logps)).masked_fill(~mask, 0.0)`.
#
# </details>
# <details><summary>Hint 3: where the score goes</summary>
#
# The last token of row $b$ is in column `mask.sum(dim=-1) - 1`, since rows start in column 0. `rewards[torch.arange(B), last] += scores` adds one number a row.
#
# </details>

# %% [markdown]
# In the exact world the objective is a sum over all 1,296 words, so we can see whether the sampled rewards mean what they should. The policy here is a **table**: free logits for the next letter after each prefix, so that it can be any distribution over words.

# %%
policy, beta = TablePolicy(world), 0.7
with torch.no_grad():  # move it somewhere
    policy.logits += 0.5 * torch.randn(policy.logits.shape, generator=torch.Generator().manual_seed(0))
draw = policy.rollout(20_000, seed=0)
per_token = kl_shaped_rewards(draw.scores, draw.logps, draw.ref_logps, draw.mask, beta)
sums = per_token.sum(dim=1)
print(f"mean of the summed token rewards: {sums.mean():.4f} ± {sums.std() / len(sums) ** 0.5:.4f}")
print(f"E[r] − β KL, by summing over all words: {world.objective(policy.logps(), beta):.4f}")

# %% [markdown]
# The same number, within its sampling error. This is the whole of the derivation link: **PPO climbs by sampling what DPO's formula has at its top.**
#
# ## 4 · Advantages
#
# Which token was to thank for the reward? A second network, the **value model**, estimates $V_t$: the rewards still to come before token $t$ is chosen. A token's **advantage** is how much better things turned out than expected. One step ahead that is the surprise
#
# $$ \delta_t = r_t + \gamma\,V_{t+1} - V_t , $$
#
# and **generalised advantage estimation** (GAE; Schulman et al. 2016) adds up the later surprises, each discounted:
#
# $$ A_t = \delta_t + \gamma\lambda\,A_{t+1} , \qquad V_{n+1} = A_{n+1} = 0 . $$
#
# γ discounts delay and is 1 for text. λ says how far to look: λ = 0 trusts the value model for everything after the next reward, λ = 1 uses the rewards that really came, with all their noise. (A completion that was cut at the length limit is treated as if it had ended there: $V_{n+1} = 0$ for it too, nothing is estimated for what might have followed.)
#
# **Write it**: $(B, T)$ advantages, 0 on padding. Rewards and values on padding may be anything, NaN included.

# %% exercise="gae" points=4 minutes=12 difficulty=3 importance=5
...

# %%
gae = check(gae)

# %% [markdown] hints="gae"
# <details><summary>Hint 1: what a token needs to know</summary>
#
# Take a completion of three tokens on paper. $A_3$ needs only $r_3$ and $V_3$; $A_2$ needs $V_3$ and $A_3$. What do you know at the first token if you start there, and what if you start at the last?
#
# </details>
# <details><summary>Hint 2: which way round</summary>
#
# $A_t$ needs $A_{t+1}$: loop over `reversed(range(T))` and carry two $(B,)$ tensors, the next value and the next advantage, both 0 at first.
#
# </details>
# <details><summary>Hint 3: rows that end early</summary>
#
# Set rewards and values to 0 where the mask is false *before* the loop. Coming from the right, the carried tensors are then still 0 when a row's last token is reached.
#
# </details>

# %% [markdown]
# **Explore.** A review with one good word and one bad one; the dots are a value model's estimates. (1) At λ = 0 only words at which the estimate moves get an advantage. (2) Let the value model be wrong before `but`: which tokens get the blame at λ = 0, and which at λ = 1? (3) Change the score: who notices at λ = 0?

# %%
advantage_explorer()

# %% [markdown]
# <details><summary>What you may have found</summary>
#
# (2) At λ = 0 a wrong estimate is credited to the token before it and charged to the token after it, though neither did anything. At λ = 1 it touches only the one token whose own estimate is wrong. (3) At λ = 0 only the last token; at λ = 1 all of them, whether or not they had a part in it. That is the trade: the value model's errors (bias) against the luck of one completion (variance). λ = 0.95 is the usual compromise.
#
# </details>
#
# ## 5 · The clipped losses
#
# Sampling is dear, so PPO uses a batch for several optimiser steps. After the first one the policy is no longer the one that sampled; the **ratio** $\rho_t = \pi(y_t)/\pi_\text{old}(y_t)$ corrects for that, as long as it stays near 1. PPO drops the incentive to leave $[1-\varepsilon, 1+\varepsilon]$ (Schulman et al. 2017, eq. 7):
#
# $$ L = -\,\text{mean}_t\;\min\bigl(\rho_t A_t,\; \operatorname{clip}(\rho_t, 1-\varepsilon, 1+\varepsilon)\,A_t\bigr) . $$
#
# **Predict.** A token had a negative advantage, and its ratio has *risen* to 1.5. Does it still get a gradient?

# %%
show(
    plot_clipping(),
    "The objective of one token against its ratio; the dot is where every batch starts. The solid line "
    "is flat where the ratio has gone far enough in the direction that the advantage asks for, and "
    "only there.",
    alt="Two panels. For advantage +1 the line rises and is flat above 1.2. For −1 it is flat below 0.8 "
    "and falls beyond.",
)

# %% [markdown]
# It does (right panel, right end): it went the wrong way, and the minimum leaves the pull back in force. A clip without the minimum would lose that.
#
# **Write the policy loss**, and return with it the share of real tokens for which the clipped term is the (strictly) smaller one, PPO's most watched gauge. Both are scalar tensors; the mean goes over all real tokens of the batch together.

# %% exercise="ppo_policy_loss" points=4 minutes=12 difficulty=3 importance=5
...

# %%
ppo_policy_loss = check(ppo_policy_loss)

# %% [markdown] hints="ppo_policy_loss"
# <details><summary>Hint 1: the two terms</summary>
#
# `ratios = (logps - old_logps).exp()`; then `ratios * advantages` and `ratios.clamp(1 - clip_range, 1 + clip_range) * advantages`, and `torch.minimum` of the two.
#
# </details>
# <details><summary>Hint 2: a mean over real tokens</summary>
#
# `table[mask]` is a flat tensor of the entries where the mask is true: `.mean()` of it. For the share, compare the terms, pick `[mask]`, and turn the booleans into numbers with `.to(logps.dtype)`.
#
# </details>

# %% [markdown]
# The value model learns the **returns** $R_t = A_t + V_t^\text{old}$ (from the advantages as GAE gives them, before any whitening) by least squares, and OpenAI's implementation keeps its estimates near the old ones in the same spirit:
#
# $$ L_V = \tfrac12\,\text{mean}_t\,\max\bigl((V_t - R_t)^2,\,(V_t^\text{clip} - R_t)^2\bigr), \quad V_t^\text{clip} = V_t^\text{old} + \operatorname{clip}(V_t - V_t^\text{old}, -\varepsilon_V, \varepsilon_V) . $$
#
# The range $\varepsilon_V$ (`clip_range` in this function) is in units of reward and has nothing to do with the ε of the ratios. The maximum is taken at each token. **Write it.**

# %% exercise="ppo_value_loss" points=3 minutes=8 difficulty=2 importance=3
...

# %%
ppo_value_loss = check(ppo_value_loss)

# %% [markdown] hints="ppo_value_loss"
# <details><summary>Hint 1: the clipped estimate</summary>
#
# `old_values + (values - old_values).clamp(-clip_range, clip_range)`: the *change* is clipped.
#
# </details>
# <details><summary>Hint 2: where the maximum goes</summary>
#
# `torch.maximum` of the two tables of squared errors first, then `[mask]`, then the mean, then one half.
#
# </details>

# %% [markdown]
# With sampling, an optimiser and a loop around them, these are all the parts: `baselines/ppo.py` holds the loop. In order, with your functions:
#
# ```
# for each batch:
#     completions = sample(policy)                          # prompts repeat, completions are new
#     old_logps, ref_logps = policy and reference on them   # kept: this is the "old policy"
#     old_values = value model on them                      # V_t is read one position before token t
#     scores = completion_scores(reward model on them)      # read at the last token itself
#     rewards = kl_shaped_rewards(scores, old_logps, ref_logps, mask, beta)
#     advantages = gae(rewards, old_values, mask)
#     returns = advantages + old_values                     # fixed from here on
#     advantages = whiten(advantages)                       # mean 0, deviation 1, after the returns
#     for each epoch, for each minibatch:
#         logps, values = policy and value model again, now with gradients
#         loss = ppo_policy_loss(logps, old_logps, advantages, mask)[0]
#         loss += ppo_value_loss(values, old_values, returns, mask)
#         one optimiser step, its gradients clipped
# ```
#
# Everything above the inner loop carries no gradient and stays the same for all epochs of the batch.
#
# ## 6 · In the exact world
#
# First PPO on the true reward, which it may ask for any word that it writes. The judge is the frontier of lesson 06. *Share* is how much of the frontier's gain over the reference the policy has **at its own KL**: 1 is the best possible.
#
# **Predict.** Does PPO reach nine tenths?

# %%
betas = by_preset([0.3, 1.0, 3.0], [1.0])
steps = {"steps": [by_preset(150, 5)]}
online = sweep(true_reward_run, grid(beta=betas, seed=seeds, **steps), progress="PPO, true reward")
online.groupby("beta")[["kl", "reward", "share"]].agg(["mean", "std"]).round(3)

# %% [markdown]
# It does, at every β, with little spread: it misses less than a hundredth of the gain at the two lower β and a few hundredths at the highest, where the gain is smallest. So the PPO of this lesson is no straw man. Its gauges, in one run (`objective/scores` is a batch's mean score, `objective/kl` its mean log-ratio, `objective/rlhf_reward` is score − β KL, the objective as sampled):

# %%
logps, history = exact_ppo(
    world, PPOConfig(beta=1.0, steps=by_preset(60, 5), batch_size=256, lr=0.05, value_lr=0.1)
)
gauges = [
    "objective/scores",
    "objective/kl",
    "objective/rlhf_reward",
    "policy/clipfrac_avg",
    "loss/value_avg",
]
print(f"share of the frontier's gain: {frontier_share(world, logps):.3f}")
pd.DataFrame({name: history[name] for name in gauges}).iloc[:: by_preset(12, 2)].round(3)

# %% [markdown]
# Read them together: score and KL shoot past where they end and come back, while `objective/rlhf_reward` goes on rising; and the clip fraction is near 0 from the second row on, so the clip hardly acts in this run. What holds the policy is the KL price.
#
# Now from data: 2,000 pairs of words drawn from the reference, each labelled once. The reward may be one of two kinds:
#
# * **table**: one free number for each of the 1,296 words;
# * **features**: a sum of values of letters and of neighbours, 42 numbers. The true reward *is* such a sum.
#
# DPO gets a policy of the same kind: $\log\pi = \log\pi_\text{ref} + s - \log Z$ with $s$ a table or a sum of features. A fifth of the pairs is held out, and DPO and the reward model both stop where the held-out loss is lowest; PPO then climbs the reward model to the end.
#
# **Predict.** Four runs: DPO or PPO, table or features. Which of the two choices matters more?

# %%
pair_runs = sweep(
    pairs_run,
    grid(
        beta=by_preset([0.3, 1.0], [1.0]),
        seed=seeds,
        method=["DPO", "PPO"],
        rewards=["table", "features"],
        **by_preset({}, {"pairs": [200], "steps": [5]}),
    ),
    progress="from pairs",
)
show(
    plot_exact_rivals(world, online, pair_runs, betas),
    "Reward against distance in the exact world; a mark a run. Left: PPO with the true reward lies on "
    "the frontier. Right: from the same pairs, DPO (filled) and PPO on a reward model (rings) end near "
    "each other; the kind of reward decides where.",
    alt="Two panels with the frontier. Left, rings on it. Right, triangles of the table kind far below the "
    "curve and circles of the feature kind near it, DPO and PPO together in each.",
)
pair_runs.groupby(["beta", "rewards", "method"])[["kl", "reward", "share"]].agg(["mean", "std"]).round(3)

# %% [markdown]
# The kind of reward matters: between the kinds lies about a third of the frontier's gain. A table learns nothing about a word that it has not seen; forty-two numbers generalise. The algorithm hardly matters, and here that is **the theorem, not a race**: put $\log\pi = \log\pi_\text{ref} + s - \log Z$ into DPO's loss and $Z$ cancels, so it *is* the reward model's loss with $r = \beta s$, and the policy *is* that reward's $\pi^*$. At $r = \beta s$ the two are one policy. What can differ is when each fit stops and how well PPO climbs.
#
# It does differ a little. With features at β = 0.3 PPO's marks lie a few tenths of a nat further out than DPO's. Probably because the fits stop elsewhere: Adam's steps have a fixed size, and in DPO they act on $s = r/\beta$.
#
# Where PPO wins can be read off as well: **on the true reward** it kept nearly all of the frontier's gain, and its policy there is a table too. DPO's table from 2,000 pairs keeps two thirds. A reward that can be *asked* for any word (and it was asked for far more words than the pairs hold) needs no generalising; pairs do.
#
# You may read that "PPO generalises better, because reward models generalise to new completions". That is a statement about the *class* of the reward, and DPO's implicit reward can have the same class. In large models the two classes need not be equal (a reward may well be easier to represent than a policy that follows it), so there the claim is an empirical one.
#
# ## 7 · What each holds and runs
#
# Memory first. A common comparison table says "four models: policy, old policy, reward, value" for PPO. **Write a function that measures it**: bytes of the parameters of all models (trained or frozen), of their gradients as far as there are any, and of the tensors that the optimisers remember. A parameter that two models share counts once; data types differ, so ask each tensor. `optimizer.state` maps each parameter to a dict of tensors and perhaps plain numbers.

# %% exercise="training_memory" points=3 minutes=12 difficulty=2 importance=4
...

# %%
training_memory = check(training_memory)

# %% [markdown] hints="training_memory"
# <details><summary>Hint 1: each once</summary>
#
# `{id(p): p for model in models for p in model.parameters()}` keeps one entry for each parameter *object*, however many models hold it.
#
# </details>
# <details><summary>Hint 2: bytes and what counts</summary>
#
# `tensor.numel() * tensor.element_size()`. A gradient exists where `parameter.grad is not None`. Of `optimizer.state.values()` take the values that are `torch.Tensor`.
#
# </details>

# %% [markdown]
# Now one real step of each kind on the tiny policy: 16 pairs for DPO and for the reward model, a batch of 32 completions for PPO. Hooks on the models count the passes.

# %%
stages = {"DPO": dpo_step(lab), "reward model": reward_model_step(lab), "PPO": ppo_step(lab)}
rows = {}
for name, step in stages.items():
    held = training_memory(step.models.values(), step.optimizers)
    rows[name] = {"models": ", ".join(step.models)} | {part: held[part] / 2**20 for part in held}
    rows[name]["sum, MiB"] = sum(held.values()) / 2**20
memory = pd.DataFrame(rows).T
memory["… of DPO’s"] = memory["sum, MiB"] / memory.loc["DPO", "sum, MiB"]
print("MiB in memory after a step, without activations; everything float32")
memory.map(lambda value: value if isinstance(value, str) else f"{value:.2f}")

# %% [markdown]
# PPO holds twice as much as DPO here. Four models against two gives 2; so do two trained ones against one, and two frozen ones against one: **this table cannot tell these explanations apart**. Arithmetic can, on cases where they differ. A trained model costs four numbers a weight (parameter, gradient, two moments), a frozen one costs one. Put PPO's value head on the policy's trunk: $(4+1+1)/(4+1) = 1.2$ times DPO, with three models against two. Let DPO drop its reference after the one pass that it needs: $10/4 = 2.5$, with four against one. So count trained models first, then the frozen.
#
# The list above is off as well: the "old policy" is no model, only the log-probs that were kept when the batch was sampled; the frozen **reference** is the one that it leaves out. Either method can also train adapters instead of all weights (lesson 05).

# %%
passes = {(stage, model): count for stage, step in stages.items() for model, count in step.passes.items()}
table = pd.DataFrame(passes).T
completions = {"DPO": 32, "reward model": 32, "PPO": 32}
for kind in ("forward tokens", "backward tokens"):
    table[f"{kind} a completion"] = [table.loc[key, kind] / completions[key[0]] for key in table.index]
table.round(1)

# %% [markdown]
# * **"A single forward pass"** is not what DPO does either: the policy runs forward and back over chosen *and* rejected completions, packed into one call, and the reference forward over the same (once for the whole run, where a trainer keeps its log-probs).
# * **PPO's forward calls** of the policy are mostly sampling: one call for each token written, one after the other; they are short, but they cannot run side by side. **By tokens** sampling is the minority: of the policy's forward tokens, the optimiser steps take as many as the backward column shows, a scoring pass takes what the reference's row shows, and the rest, about a quarter, is sampling. Value model, reference and reward model come on top. (Our loops run rows of like length together, so a batch is several calls; the columns of tokens are what to compare.)
#
# ## 8 · The race
#
# The same 768 pairs for both, gone through twice. DPO trains on them at β = 0.3. PPO trains a reward model on them, then samples 16 batches of 32 completions, at β = 0.3 and, since equal β need not mean equal distance, once more at β = 0.05. A last run is PPO on the **true reward**, at β = 0.3: it has no pairs and no reward model, and an oracle instead. (PPO's settings were found by trying a few, and PPO also gets 512 fresh completions that the pairs do not hold.) Every so often the clock stops, and 64 completions for held-out prompts are sampled and scored.
#
# The timed runs (DPO and PPO at β = 0.3) alternate, one at a time. Their seconds are those of the machine that ran them, so read ratios.
#
# **Predict.** Which line climbs first? Which one ends highest? At the same KL, which is above?

# %%
size = {"steps": [by_preset(16, 2)]} | by_preset({}, {"pairs": [32], "looks": [1], "samples": [8]})
dpo, ppo, with_oracle = METHODS
low = f"{ppo}, low β"
timed = sweep(rival_run, grid(seed=seeds, method=[dpo, ppo], **size), jobs=1, progress="the race")
lower = sweep(rival_run, grid(seed=seeds, method=[ppo], beta=[0.05], **size), progress="β = 0.05")
oracle = sweep(rival_run, grid(seed=seeds, method=[with_oracle], **size), progress="with an oracle")
measured = ["step", "seconds", "reward", "kl", "length"]
runs = pd.concat([timed, lower.assign(method=low), oracle])
looks = runs[["method", "seed", *measured]].explode(measured).astype(dict.fromkeys(measured, float))
show(
    plot_rivals(looks, timed=[dpo, ppo]),
    "True reward on held-out prompts along training; a line a run. Left against seconds: PPO's lines "
    "start when its reward model is ready. Right against distance: DPO and the oracle go on, PPO "
    "on the reward model stops climbing.",
    alt="Two panels with three lines a method: true reward against seconds of training and against KL.",
)
last = looks.groupby(["method", "seed"], sort=False).last()
last.groupby("method", sort=False)[["reward", "kl", "length"]].agg(["mean", "std"]).round(2)


# %%
def first_at(run, target):
    """Seconds at which a run first reaches a reward, on the straight line between two looks; NaN if never."""
    reached = np.flatnonzero(run["reward"].to_numpy() >= target)
    if not len(reached):
        return float("nan")
    after, x, y = reached[0], run["seconds"].to_numpy(), run["reward"].to_numpy()
    if after == 0:
        return x[0]
    share = (target - y[after - 1]) / (y[after] - y[after - 1])
    return x[after - 1] + share * (x[after] - x[after - 1])


target = by_preset(1.25, 0.0)
times = pd.DataFrame(
    {
        method: [first_at(run, target) for _, run in looks[looks["method"] == method].groupby("seed")]
        for method in (dpo, ppo)
    }
)
times["of which the reward model"] = looks[(looks["method"] == ppo) & (looks["step"] == 0)][
    "seconds"
].tolist()
slower = times[ppo].median() / max(times[dpo].median(), 1e-9)
print(f"seconds to a true reward of {target} on the machine that ran this, a row a seed")
print(f"ratio of the medians, PPO to DPO: {slower:.1f}")
times.round(1)

# %% [markdown]
# (Numbers from here to section 11 are read off the full preset, as saved.)
#
# **Time.** PPO took several times as long to the same reward (the ratio stands above the table), and most of that went into the reward model, before PPO had sampled a word. Three cautions. The target lies just under what PPO reaches at all: lower it and the ratio changes, raise it above PPO's ceiling and it is infinite. Part of it is our code: the reward model trains on padded rows, DPO on packed ones. And the tiny policy writes short texts, so sampling is cheap; with a large model it is the dear part.
#
# **Distance.** DPO climbs first and ends highest, with the oracle next. At equal KL, though, DPO and PPO with the oracle overlap (right panel). Up to about one nat all four lie together. Then they part: DPO and the oracle go on, and PPO on the reward model comes to rest between 1 and 2, **at both β**, though the lower one lets it go further away. So it is not the price of distance that holds it. Is it PPO? The oracle's runs say no: the same optimiser with the true reward climbs past 3. What is left to suspect is the reward model. Ask it what a longer praise is worth.

# %%
clauses = [
    "the soup was delicious",
    "the staff was helpful",
    "the room was lovely",
    "the waiter was helpful",
    "the table was lovely",
    "the price was fair",
]
rows = {}
for count in range(1, len(clauses) + 1):
    text = " and ".join(clauses[:count]) + " ."
    ids = [
        *lab.reference.tokenizer(text, add_special_tokens=False).input_ids,
        lab.reference.tokenizer.eos_token_id,
    ]
    learned_score = reward_model.scorer()(["review of the soup :"], [ids]).item()
    rows[text] = {"true reward": lab.true_reward(text), "reward model": learned_score}
table = pd.DataFrame(rows).T
table["each clause adds, truly"] = table["true reward"].diff()
table["… says the model"] = table["reward model"].diff()
table.index = [f"{n} good clause" + "s" * (n > 1) for n in range(1, len(clauses) + 1)]
table.round(2)

# %% [markdown]
# The truth pays for every further clause; the reward model pays for the second one and then hardly at all. (This is the model of section 2, with fewer pairs than the race's.) Its score is *one* number read off one position. The last rows are far from its training data, too: completions there have about a dozen tokens, the texts of five and six clauses more than twice as many.
#
# DPO's implicit reward, $\beta\sum_t (\log\pi - \log\pi_\text{ref})$, is a sum over tokens. It *can* go on growing with every clause; we have not measured whether it does. The true reward of this world happens to be a sum over clauses as well. So the form of the two rewards is a likely reason for the gap, as in section 6, but this section does not show it. A reward model that *sums* its token scores, trained on the same pairs, would be the test.
#
# Do not carry the ranking home. Where longer is not better, a reward that may grow with length is how DPO exploits length (lesson 07), and one that saturates is a virtue. And mind the KL in the table under the race's figure: two of DPO's runs end about where the oracle's do, one of three went much further. Nothing in DPO's log would have told you: it holds no KL of the policy's own samples.
#
# ## 9 · Robustness
#
# "Fewer hyper-parameters, more stable." Let us draw settings at random instead of choosing them. Both methods train the same table of logits in the exact world at β = 1, on the same number of completions (40,000, counted each time one is trained on), and both get labels or rewards without noise, so that both have one and the same optimum $\pi^*$: DPO fresh pairs labelled with $P(\text{chosen wins})$, PPO the true reward. The learning rate and the batch size have the same ranges for both, and both methods draw them alike.

# %%
pd.DataFrame(
    {
        method: {name: f"{low:g} to {high:g}" for name, (low, high) in ranges.items()}
        for method, ranges in RANGES.items()
    }
).fillna("–")

# %%
draws = sweep(
    search_run,
    grid(method=["DPO", "PPO"], draw=range(by_preset(24, 3)), **by_preset({}, {"completions": [1500]})),
    progress="random search",
)
show(
    plot_search(draws),
    "Each dot is a draw. The score is the objective, 0 at the reference and 1 at the optimum; scores "
    "below −1 are drawn at −1.",
    alt="Left, the scores from best to worst for both methods. Right, scores against the learning rate.",
)
quantiles = draws.groupby("method")["score"].quantile([0.1, 0.25, 0.5, 0.75, 0.9]).unstack()
quantiles["best"] = draws.groupby("method")["score"].max()
quantiles["above 0.9"] = draws.assign(good=draws["score"] > 0.9).groupby("method")["good"].mean()
quantiles["below the reference"] = draws.assign(bad=draws["score"] < 0).groupby("method")["bad"].mean()
quantiles.round(2)

# %% [markdown]
# Neither is the sturdier one by this table. The best draws of both reach nearly all of the objective, and the medians are close. The shares above 0.9 are 15 and 18 of 24 draws: within chance. Where the dots differ is at the ends of the range of learning rates (right panel): at the low end DPO has not arrived, at the high end most of PPO's draws end lower, perhaps because its next batch comes from the policy that the last one spoilt. Not shown: what either would do outside this range. "More stable" is a statement about a range of settings *and* a budget, and texts that say it rarely name them.
#
# The budget favours PPO. A pair costs two completions, so PPO makes 40,000/batch updates (whatever its `epochs`), DPO half as many. DPO alone draws a warm-up, which takes from its few steps. Also in PPO's favour: its reward is the true one, and the world is small. In DPO's: its labels are soft, and it has fewer settings that anyone needs to draw. What the search does not show is PPO's other dependence, on the reward model.
#
# ## 10 · Over-optimisation (optional reading)
#
# Read on at section 11 if you like, but run the cells: a line of the verdicts quotes them.
#
# PPO maximises the score, not what the score stands for. First in the exact world, where every mean is an exact sum: a reward model of features fitted to few or to many pairs, without early stopping, and PPO pushing hard (β = 0.02).
#
# **Predict.** What do learned and true reward do as training goes on? How does that change with more pairs?

# %%
exact_push = sweep(
    over_optimised_run,
    grid(pairs=by_preset([60, 500, 5000], [60]), seed=seeds, steps=[by_preset(60, 5)]),
    progress="exact world",
)
for name in ("learned", "true", "kl"):
    exact_push[f"last {name}"] = exact_push[name].str[-1]
exact_push["highest true"] = exact_push["true"].map(max)
shown = ["last learned", "last true", "highest true", "last kl"]
print(f"the best word's reward: {world.rewards.max():.2f}")
exact_push.groupby("pairs")[shown].agg(["mean", "std"]).round(2)

# %% [markdown]
# A learned reward is fixed only up to a constant, so compare what each has *gained*. The learned one was shifted to 0 on the reference; with the fewest pairs it gains several times what even the best word could truly bring, and the truth gains far less: PPO finds the words that the reward model is wrong about. With more pairs the two close up.
#
# Does the truth come *down* again after a peak, as in Gao et al. (2022)? Highest minus last cannot be negative, so a positive mean says little. With 60 pairs, look at the curves in `exact_push["true"]` one by one: in one seed the truth peaks and then falls, in the other two it still creeps up at the end. With more pairs the highest and the last agree in the table.
#
# Nothing in this is special to PPO. $\pi^*$ of the learned reward is the same policy by any road; DPO on the same few pairs has the same reward inside it.
#
# The same on the language model: a reward model of 96 pairs, gone through eight times, and beside PPO the reference's best of $n$, picked by the same reward model.

# %%
pushed = sweep(
    over_optimisation_run,
    grid(seed=seeds, **by_preset({}, {"pairs": [32], "steps": [3], "samples": [8], "sizes": [[1, 2]]})),
    progress="pushing hard",
)
pushed["n"] = [by_preset([1, 2, 4, 8], [1, 2])] * len(pushed)
show(
    plot_over_optimisation(pushed),
    "Solid: what the reward model says; dashed: the truth. Left PPO, each point a mean of three "
    "batches; right best of n. A line a seed.",
    alt="Left, learned reward against the batch, and true reward dashed. Right, both against n.",
)
third = by_preset(8, 1)
parts = {"first third": slice(0, third), "second": slice(third, 2 * third), "last": slice(-third, None)}
gaps = pd.DataFrame(
    {
        (name, kind): [float(np.mean(run[part])) for run in pushed[kind]]
        for name, part in parts.items()
        for kind in ("learned", "true", "kl")
    }
)
gaps.index.name = "seed"
gaps.round(2)

# %% [markdown]
# Here the picture is another one. The two rewards have different zeros (a constant for each prompt is free), so read each line's changes, not which line is above. From the second third to the last the learned reward hardly moves, the truth gains a little in every seed, and the KL stands still. No third shows the truth falling. It looks as if PPO had *used this reward model up* rather than fooled it, but there is a rival cause: the learning rate falls linearly to a tenth over the run, and by then little would move anyway. Best of $n$ gains on both scales at every $n$; its KL to the reference is at most $\log 8 - 7/8 \approx 1.2$ nats at $n = 8$, so that is shown near the reference only.
#
# A reward model that is exploited and one that has nothing left to say need different cures. You tell them apart, and from healthy progress, only with some truth that was not trained on.
#
# ## 11 · Verdicts


# %%
by_class = pair_runs.groupby(["rewards", "method"])["share"].mean()
means = last.groupby("method")[["reward", "kl"]].mean()
good = quantiles["above 0.9"]
evidence = {
    "PPO needs four models in memory, DPO two": f"{memory['… of DPO’s']['PPO']:.1f} times the bytes, "
    "two of the four trained",
    "DPO's step is a single forward pass": "policy and reference forward over both completions, policy back",
    "DPO reaches a given reward in less time": f"PPO took {slower:.1f} times as long",
    "DPO is more robust to its settings": f"draws above 0.9: DPO {good['DPO']:.0%}, PPO {good['PPO']:.0%}",
    "PPO ends at a better policy than DPO": "exact world, features, share of the frontier: "
    f"DPO {by_class['features', 'DPO']:.2f}, PPO {by_class['features', 'PPO']:.2f}; language model, reward: "
    f"DPO {means['reward'][dpo]:.1f}, PPO {means['reward'][ppo]:.1f}",
    "PPO exploits errors of its reward model": "exact world, fewest pairs: learned "
    f"{exact_push['last learned'].iloc[0]:.1f}, true {exact_push['last true'].iloc[0]:.1f} (seed 0)",
    "an explicit reward lets PPO go further": f"reward of PPO with the oracle {means['reward'][with_oracle]:.1f}, "
    f"with the reward model {means['reward'][ppo]:.1f}",
}
verdicts = pd.DataFrame({"you wrote": claims, "measured here, in these worlds": evidence})
verdicts.style.set_properties(**{"text-align": "left", "white-space": "normal"})

# %% [markdown]
# * **Memory**: holds as a count, once the old policy is replaced by the reference. What weighs most is the number of *trained* models.
# * **"A single forward pass"**: fails.
# * **Time**: holds here. Most of PPO's time to this reward is its reward model; the ratio depends on the target, the model, the lengths and the code.
# * **Robustness**: depends on the range and the budget. The difference in the table is within chance.
# * **"PPO ends at a better policy"**: from the same pairs it fails in the exact world, by construction: with rewards of the same form both have one optimum. On the language model DPO went further, probably because of the form of the two rewards, which is not shown here; a reward model that sums its token scores would be the test. Published comparisons go both ways: Rafailov et al. (2023) find DPO at least level, Xu et al. (2024, arXiv 2404.10719) find well-tuned PPO ahead. Xu et al. argue that DPO's solutions include policies with mass on completions outside the data, and that PPO needed normalised advantages, large batches and a reference that follows the policy as a moving average. Our loop has only the first of the three.
# * **Exploiting the reward model**: holds in the exact world with few pairs. On the language model we saw no sign of it; both rewards levelled off.
# * **"An explicit reward lets PPO go further"**: holds against PPO's own reward model: the oracle climbed where the model stopped. Against DPO it shows in the exact world, where pairs taught a table too little (section 6). In the race it does not: at equal KL the oracle's PPO and DPO overlap.
#
# Three more rows that such tables have, in words.
#
# * **"KL penalty: manual in PPO, implicit in DPO"**: both have the same β. PPO *measures* the KL on its own samples at every batch and pays for it there. DPO's β only sets the gap that a pair asks for (lesson 06), and nothing holds the policy on completions that no pair contains (Xu et al. 2024). That is a weakness of the "implicit" one.
# * **"Scalar rewards against pairs"**: PPO's reward model is fitted to the same pairs. PPO can *also* use a reward that was never a pair: a unit test, a checker of sums. There it is at home, with relatives that need no value model.
# * **"Complexity"**: count the settings that the code has to be told.

# %%
own = {
    "DPO": ["beta", "lr", "epochs", "batch_size", "warmup_ratio"],
    "PPO": [
        *["beta", "lr", "value_lr", "steps", "batch_size", "epochs", "minibatches"],
        *["clip_range", "value_clip_range", "gamma", "lam", "max_new_tokens", "missing_eos_penalty"],
    ],
    "reward model": ["lr", "epochs", "batch_size", "warmup_ratio"],
}
for name, config in {"DPO": DPOConfig, "PPO": PPOConfig, "reward model": RewardModelConfig}.items():
    assert all(setting in config.__dataclass_fields__ for setting in own[name])
pd.DataFrame({"settings that one may have to tune": {k: len(v) for k, v in own.items()}})

# %% [markdown]
# ## 12 · RLHF, RLAIF, Constitutional AI
#
# Names like these say first of all *where the preferences come from*; DPO and PPO say *what is done with them*. They are not rivals.
#
# | name | who prefers | how it was trained | often told wrongly |
# |---|---|---|---|
# | **RLHF** (Christiano et al. 2017; Ouyang et al. 2022; Bai et al. 2022, arXiv 2204.05862) | humans compare completions | reward model, then RL: PPO in InstructGPT | "human reward labels": people gave comparisons, the numbers come from the model fitted to them |
# | **RLAIF** (Bai et al. 2022, arXiv 2212.08073; Lee et al. 2023) | a language model compares | as RLHF; DPO works on such pairs too | "AI feedback" is about labels, not about an algorithm |
# | **Constitutional AI** (Bai et al. 2022, arXiv 2212.08073) | for harmlessness a model, guided by written principles; for helpfulness people | first SFT on the model's own **revised** answers, then RL: a preference model of both kinds of labels, and PPO | "typically uses DPO": the paper came out before DPO and used RL |
# | **RLHF-V** (Yu et al. 2023, arXiv 2312.00849) | humans **correct** segments of a vision-language model's answers | a dense, segment-weighted DPO | "verifier-based": no verifier is involved; it is about vision-language models |
# | **DPO** (Rafailov et al. 2023) | anyone: it takes pairs | the loss of lesson 04 | "needs no reward": it has one, implicit in the policy |
#
# ## When which
#
# * You have pairs, and the policy that wrote them is close to the one you train: **DPO**. Cheaper in memory and in time, and here at least as good.
# * You can score any completion with a reward that you trust (tests, checkers, rules), or you can ask a judge again and again: sample **online**. PPO is one way; online DPO (lesson 09) is another, with DPO's step and PPO's data.
# * You have a learned reward and push against it: watch the truth (held-out judgements, people), and stop by it. That goes for PPO, for best-of-$n$, and for DPO.
#
# ## Recap
#
# * DPO and PPO have one objective and one optimum, $\pi_\text{ref}\,e^{r/\beta}/Z$. PPO walks there on its own samples, DPO fits it to pairs.
# * PPO's parts: a score at the last token; a KL price at every token; GAE; two clipped losses; four models, two of them trained.
# * Well tuned, PPO lies on the exact world's frontier. From the same pairs and the same class of rewards, so does DPO nearly: here the class decides, by construction, not the algorithm.
# * The costs differ by factors that you can measure: bytes, tokens through the models, seconds to a given reward.
# * A learned reward is a stand-in. It can be exploited (exact world, few pairs) or stop paying for what is still better (the clauses of section 8).
#
# ## Two interview questions
#
# <details><summary><b>1. How does DPO differ from RLHF with PPO?</b></summary>
#
# The objective is the same: expected reward minus β times the KL to the reference. RLHF with PPO fits a reward model to preference pairs, then samples from the policy, scores, and takes clipped policy-gradient steps with a value model as baseline. DPO uses that the objective's optimum is known in closed form: it writes the reward as β log π/π_ref (plus a term of the prompt alone, which cancels) and fits *that* to the same pairs with a classification loss. So: two stages instead of three, no sampling while training, two models (one trained) instead of four (two trained). What it gives up is online data: PPO sees and pays for what its own policy writes, DPO only ever sees the pairs. And the "old policy" of PPO is stored log-probs, not a fifth model.
#
# </details>
# <details><summary><b>2. When would you choose PPO, or online RL in general, over DPO?</b></summary>
#
# When there is a reward that can be asked for any completion and can be trusted: unit tests, a verifier, a simulator. Pairs drawn from the reference rarely contain what a much better policy would write; online samples do. Also when the policy has to move far from where the pairs were collected, and where a reward may be easier to represent than a policy that follows it. With a *learned* reward the advantage shrinks, because the policy then finds the reward model's errors, or the reward model runs out, as here; refresh the labels, or stop early. Before PPO I would try online or iterative DPO: the same data, with a simpler step. And I would not argue from "PPO is unstable" without a search over settings of equal budget for both.
#
# </details>
#
# **Next:** lesson 11 asks how you know that any of this made a policy better.
