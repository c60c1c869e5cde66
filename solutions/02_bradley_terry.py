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
# # 02 · From comparisons to the DPO loss
#
# **How does "this answer is better than that one" become a number that a language model can be trained on?**
#
# After this lesson you can
#
# * turn rewards into preference probabilities and back, and say when the way back does not exist;
# * write down the optimum of the objective of RLHF (reinforcement learning from human feedback) and check it against rivals, in a world so small that all completions can be listed;
# * derive the loss of DPO (direct preference optimisation) on a whiteboard, say what cancels and what does not, and say what its constant $\beta$ does.
#
# {{lesson_facts}}
#
# You need logarithms, softmax and a little probability. Logarithms are natural, so their unit is the *nat*. Lesson 01 says where comparisons come from.

# %%
import math

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from tqdm.auto import tqdm

from dpo_lab.bradley_terry import check_wins, play_tournament
from dpo_lab.checks import check_batch, check_positive, check_same_shape
from dpo_lab.course import check
from dpo_lab.losses import dpo_loss
from dpo_lab.plots import (
    plot_fitted_rewards,
    plot_frontier,
    plot_implicit_rewards,
    plot_likelihood_slices,
    plot_loss_of_label,
    plot_optimal_policies,
    show,
)
from dpo_lab.widgets import optimum_explorer, preference_explorer
from dpo_lab.worlds.exact import ExactWorld

# %% [markdown]
# ## 1 · Two rewards make a probability
#
# Ask people which of two reviews is better and they will not always agree, not even with themselves. So we don't model *which one wins* but *how often it wins*. The model of Bradley and Terry (1952) gives each completion $y$ of a prompt $x$ a number $r(x, y)$, its **reward**. Call $e^{r}$ its strength. A completion wins as often as its share of the two strengths says:
#
# $$ P(y_w \succ y_l \mid x) = \frac{e^{r(x, y_w)}}{e^{r(x, y_w)} + e^{r(x, y_l)}} = \sigma\bigl(r(x, y_w) - r(x, y_l)\bigr), \qquad \sigma(d) = \frac{1}{1 + e^{-d}} $$
#
# Read $y_w \succ y_l$ as "$y_w$ is preferred to $y_l$"; $w$ stands for winner (chosen) and $l$ for loser (rejected). The second form follows when you divide numerator and denominator by $e^{r(x, y_w)}$.
#
# **Write it** for a batch of $B$ pairs. It must also work for rewards in the hundreds. Arguments need no checking in this lesson's exercises, except where the text asks for it; the finished versions check theirs, and you may leave that out.

# %% exercise="preference_probability" points=2 minutes=5 difficulty=1 importance=5
...

# %%
preference_probability = check(preference_probability)

# %% [markdown] hints="preference_probability"
# <details><summary>Hint 1: which form?</summary>
#
# Both forms are the same number on paper. On a computer $e^{200}$ is infinite in float32, and infinity over infinity is NaN. Use the form that has only the difference.
#
# </details>
# <details><summary>Hint 2: the function you need</summary>
#
# `torch.sigmoid` works entry by entry.
#
# </details>

# %% [markdown]
# **Predict.** Five pairs: rewards 2 and 1, 12 and 11, 0 and −1, 1 and 2, 0 and 0. Which of them have the same probability? How does the fourth relate to the first?

# %%
chosen_rewards, rejected_rewards = (
    torch.tensor([2.0, 12.0, 0.0, 1.0, 0.0]),
    torch.tensor([1.0, 11.0, -1.0, 2.0, 0.0]),
)
probabilities = preference_probability(chosen_rewards, rejected_rewards)
pd.DataFrame(
    {"r_w": chosen_rewards.tolist(), "r_l": rejected_rewards.tolist(), "P": probabilities.tolist()}
).round(4)

# %% [markdown]
# The first three are equal: **only differences count**. Add any constant to all rewards and no preference changes, so preferences can never tell us where zero is. Keep this in mind: sections 8 and 9 live off it.
#
# Swapping a pair turns $P$ into $1 - P$, and equal rewards are a fair coin.
#
# ## 2 · A label makes a loss
#
# Now the other way round: the comparisons are given and the rewards are not. Good rewards make the observed labels probable. The probability of all labels together is a product; its negative logarithm is a sum, with one term a pair. Short: $d = r(x, y_w) - r(x, y_l)$.
#
# $$ \ell(y_w, y_l) = -\log P(y_w \succ y_l \mid x) = -\log\sigma(d) $$
#
# **Write it**, one loss a pair, in nats. It must stay finite when a pair is badly wrong: PyTorch's `logsigmoid(d)` computes $\log\sigma(d)$ without ever forming $\sigma(d)$.

# %% exercise="bradley_terry_loss" points=2 minutes=5 difficulty=1 importance=5
...

# %%
bradley_terry_loss = check(bradley_terry_loss)

# %% [markdown] hints="bradley_terry_loss"
# <details><summary>Hint 1: what goes into the logarithm</summary>
#
# The probability that you have just written, of the completion that *did* win.
#
# </details>
# <details><summary>Hint 2: finite for badly wrong pairs</summary>
#
# `torch.log(torch.sigmoid(d))` is −inf at $d = -200$. `logsigmoid(d)` is −200. Mind the sign in front.
#
# </details>

# %% [markdown]
# **Predict.** What does a coin toss cost ($d = 0$)? And how does the loss grow when a pair is wrong by 1, 2, 3, … : faster and faster, evenly, or slower and slower?

# %%
show(
    plot_loss_of_label(),
    "Left: the probability that the label gets. Right: its negative logarithm. A coin toss costs ln 2 "
    "(the dot); far to the left the loss follows the slanted dotted line, one nat per unit of reward.",
    alt="Left a sigmoid through one half. Right a curve that falls from a straight line of slope −1 "
    "through ln 2 to zero.",
)

# %%
wrong_by = torch.tensor([0.0, 1.0, 3.0, 6.0, 200.0])
losses = bradley_terry_loss(torch.zeros(5), wrong_by)
pd.DataFrame(
    {"wrong by": wrong_by.tolist(), "loss": losses.tolist(), "P of the label": losses.neg().exp().tolist()}
).round(4)

# %% [markdown]
# A badly wrong pair costs as many nats as it is wrong by, so each further unit costs the same and the pull on the rewards is steady. A right pair costs next to nothing and stops pulling.
#
# This is the loss of a **reward model**: stage 2 of classical RLHF trains a network $r_\phi(x, y)$ on the mean of $\ell$ over a set of preference pairs.
#
# **Explore.** Move the third slider first: it adds the same number to both rewards. Then find the difference at which the loss is 0.1.
#
# <details><summary>Which is it?</summary>
#
# Solve $\log(1 + e^{-d}) = 0.1$: $d = -\log(e^{0.1} - 1) \approx 2.25$.
#
# </details>

# %%
preference_explorer()

# %% [markdown]
# ## 3 · Rewards from a table of wins
#
# Six reviews of the same restaurant meet in pairs, 20 games each. Each game is one reader who says which of the two helped more. Here we know the true rewards, because the readers are simulated: Bradley-Terry decides each game.

# %%
reviews = {
    "A": "Order the lamb. The soup is thin, the staff are kind, dinner for two was 60.",
    "B": "Good lamb, slow service, fair price.",
    "C": "We liked it and will come again.",
    "D": "Nice place!",
    "E": "It is a restaurant. They have food.",
    "F": "My cousin once lived in this street.",
}
names = list(reviews)
true_rewards = torch.tensor([1.4, 0.7, 0.3, -0.2, -0.8, -1.4], dtype=torch.float64)  # their mean is 0
wins = play_tournament(true_rewards, games=20, seed=0)
pd.DataFrame(wins.int().numpy(), index=[f"{name} beat" for name in names], columns=names)

# %% [markdown]
# Entry $w_{ij}$, row $i$ and column $j$, is how often $i$ beat $j$. We look for the rewards that make this table most probable. Its log-likelihood is the sum over all games (constants that don't depend on the rewards left out):
#
# $$ \log L(r) = \sum_{i \ne j} w_{ij} \log\sigma(r_i - r_j) $$
#
# **Predict.** Which of these has the highest log-likelihood: all rewards equal, the true rewards, the true rewards plus 3?


# %%
def log_likelihood(rewards: Tensor, wins: Tensor) -> Tensor:
    """Sum over all games of log P(what happened), in nats."""
    winner, loser = torch.nonzero(wins, as_tuple=True)
    return -(wins[winner, loser] * bradley_terry_loss(rewards[winner], rewards[loser])).sum()


for name, rewards in {
    "all equal": 0 * true_rewards,
    "true": true_rewards,
    "true + 3": true_rewards + 3,
}.items():
    print(f"{name:<10} {log_likelihood(rewards, wins).item():.4f}")

# %% [markdown]
# The true rewards explain the games far better than equal ones, and a shift of all rewards changes nothing. To find the *best* rewards we need the gradient, which is zero there. The derivative of $\log\sigma(d)$ is $\sigma(-d) = 1 - \sigma(d)$. For player $i$ this gives
#
# $$ \frac{\partial \log L}{\partial r_i} = \sum_{j} w_{ij} - \sum_{j \ne i} n_{ij}\,\sigma(r_i - r_j), \qquad n_{ij} = w_{ij} + w_{ji} . $$
#
# $n_{ij}$ is the number of games between the two. So the gradient is **wins minus expected wins**. Don't take it on trust: here it is at all rewards equal, against autograd.

# %%
games = wins + wins.T
rewards = torch.zeros(6, dtype=torch.float64, requires_grad=True)
log_likelihood(rewards, wins).backward()
expected_wins = (games * torch.sigmoid(rewards[:, None] - rewards[None, :])).sum(dim=1).detach()
columns = {
    "wins": wins.sum(dim=1),
    "expected wins": expected_wins,
    "difference": wins.sum(dim=1) - expected_wins,
    "autograd": rewards.grad,
}
pd.DataFrame({name: column.tolist() for name, column in columns.items()}, index=names).round(4)

# %% [markdown]
# Set it to zero and write it in strengths $s_i = e^{r_i}$. Since $\sigma(r_i - r_j) = s_i / (s_i + s_j)$, the condition is $\sum_j w_{ij} = s_i \sum_{j \ne i} n_{ij} / (s_i + s_j)$, or
#
# $$ s_i = \frac{\sum_j w_{ij}}{\sum_{j \ne i} \dfrac{n_{ij}}{s_i + s_j}} . $$
#
# $s_i$ stands on both sides, so this is no solution yet. But it is a recipe: put the present strengths in on the right, get new ones on the left, repeat. It is known to climb the likelihood in each sweep (Zermelo 1929; Hunter 2004). The first step for review A, by hand, from strengths of 1:

# %%
strengths = [1.0] * 6
denominator = sum(games[0, j].item() / (strengths[0] + strengths[j]) for j in range(1, 6))
new_strength = wins[0].sum().item() / denominator
print(f"A: {wins[0].sum().item():.0f} wins / {denominator:.1f} = new strength {new_strength:.4f}")
print(f"   reward, before the mean is subtracted: {math.log(new_strength):.4f}")

# %% [markdown]
# **Write the fit.** It is optional: nothing later needs you to have written it, and if you skip the cell, `check` hands you the finished version. If you do write it, in this order:
#
# 1. `wins = check_wins(wins)` gives you a float64 copy with a diagonal of 0, and raises `ValueError` if the table has no best rewards. (It is imported above. Below we see why it is needed.)
# 2. Start with all rewards 0, in float64.
# 3. Sweep: compute all new strengths from the old ones by the formula, turn them into rewards with a logarithm, and subtract their mean. The mean is ours to choose, because only differences count.
# 4. If every reward, its mean subtracted, now differs from the one before the sweep by less than `tolerance`, return the new rewards.
# 5. If `iterations` sweeps have gone by without that, raise `RuntimeError`.

# %% exercise="fit_bradley_terry" points=5 minutes=20 difficulty=4 importance=2
...

# %%
fit_bradley_terry = check(fit_bradley_terry)

# %% [markdown] hints="fit_bradley_terry"
# <details><summary>Hint 1: one sweep without a loop over players</summary>
#
# A player's wins are a row sum of the table. The table of games is `wins + wins.T`. The table of all $s_i + s_j$ is `strengths[:, None] + strengths[None, :]`. Divide one table by the other, sum its rows: that is the denominator for all players at once.
#
# </details>
# <details><summary>Hint 2: the diagonal</summary>
#
# `check_wins` has set it to 0, so the term $j = i$ of your row sum is 0 / (2 s_i) = 0. Nothing to leave out by hand.
#
# </details>
# <details><summary>Hint 3: the shape of the loop</summary>
#
# `for _ in range(iterations):` compute `updated`; if `(updated - rewards).abs().max() < tolerance`, return; else `rewards = updated`. After the loop, not in it, stands the `raise`.
#
# </details>

# %% [markdown]
# **Predict.** Is the likelihood of the fitted rewards higher or lower than that of the *true* ones?

# %%
fitted = fit_bradley_terry(wins)
expected_wins = (games * torch.sigmoid(fitted[:, None] - fitted[None, :])).sum(dim=1)
columns = {
    "true reward": true_rewards,
    "fitted": fitted,
    "wins": wins.sum(dim=1),
    "expected wins at the fit": expected_wins,
}
print(
    f"log-likelihood: true {log_likelihood(true_rewards, wins).item():.4f}, fitted {log_likelihood(fitted, wins).item():.4f}"
)
pd.DataFrame({name: column.tolist() for name, column in columns.items()}, index=names).round(3)

# %% [markdown]
# Higher: the fit explains the games that were played, luck included. At the fit each review's expected wins are its wins, as the gradient demands. How far the fit is from the truth is a question of how many games there were:

# %%
fits = {
    count: fit_bradley_terry(play_tournament(true_rewards, count, seed=0))
    for count in (5, 20, 100, 500, 5000)
}
show(
    plot_fitted_rewards(true_rewards, fits, names),
    "Fitted rewards for tournaments of growing length; dashed: the true rewards. With 5 games a pair "
    "the fit is rough, with 5,000 it sits on the dashed lines.",
    alt="Six lines, one a review, that start apart from their dashed true values and run into them as games "
    "increase.",
)

# %% [markdown]
# ### A table without a best fit
#
# Suppose that review A had won *all* of its games.
#
# **Predict.** Which reward does the likelihood want to give it?

# %%
unbeaten = wins.clone()
unbeaten[0] = games[0]
unbeaten[:, 0] = 0
try:
    fit_bradley_terry(unbeaten)
except ValueError as error:
    print("ValueError:", error)

show(
    plot_likelihood_slices({"A won 83 of 100": wins, "A won all 100": unbeaten}, fitted),
    "Log-likelihood against A's reward, the other rewards held at the fit. With some losses there is a "
    "best value (dot). Without any, each further step to the right is better still.",
    alt="Two curves. One has a peak near 1.5 and falls again, the other rises towards a plateau and "
    "never turns.",
)

# %% [markdown]
# It wants infinity. (The error counts from 0: player 0 is A, player 1 is B.) One lost game would be enough to stop it; so would a *prior*, an opinion held before any game was played, such as half a game won and half a game lost against everyone.
#
# This is no curiosity of tournaments. In a preference data set most completions occur once, in one pair, with one label: almost everyone is unbeaten or winless. Nothing in the likelihood keeps their rewards finite. Section 10 shows what DPO makes of such data.
#
# ### What Bradley-Terry cannot say
#
# One number a completion puts them in a line. A cycle, in which A beats B, B beats C, and C beats A, has no line:

# %%
cycle = torch.tensor([[0.0, 9.0, 1.0], [1.0, 0.0, 9.0], [9.0, 1.0, 0.0]])
rewards = fit_bradley_terry(cycle)
print("rewards:", [round(reward, 6) + 0.0 for reward in rewards.tolist()])
print("P(A beats B): fitted", preference_probability(rewards[:1], rewards[1:2]).item(), " observed", 9 / 10)

# %% [markdown]
# The best fit calls it a draw between three equals. Nor can it say that *annotators differ*: if half of the readers always prefer A to B and the other half always B to A, the table shows as many wins each way as for two reviews that everybody finds equally good. Bradley-Terry is an assumption about people, and everything below inherits it.
#
# ## 4 · What RLHF asks for
#
# Take a reward as given. A **policy** $\pi(y \mid x)$ is a distribution over completions: a language model. The **reference** $\pi_\text{ref}$ is the model that we start from, usually after supervised fine-tuning (SFT). For each prompt $x$, RLHF looks for the policy with
#
# $$ \max_\pi \;\; \underbrace{\sum_y \pi(y \mid x)\, r(x, y)}_{E_\pi[r]} \;-\; \beta\, \underbrace{\sum_y \pi(y\mid x) \log\frac{\pi(y\mid x)}{\pi_\text{ref}(y\mid x)}}_{\text{KL}(\pi \,\|\, \pi_\text{ref})} $$
#
# (Rafailov et al. 2023, eq. 3, which averages this over prompts). The KL divergence, in nats, says how far the policy has moved from the reference; it is 0 if it has not moved. Mind its direction: *from* $\pi$ *to* $\pi_\text{ref}$, with completions drawn from the policy. $\beta > 0$ is its price.
#
# For a real model both sums run over far too many texts to list, and one samples. We use a world that is small enough to list: six letters, four letters a word, 1,296 completions of a single prompt. Its reference writes letter by letter; the reward is a sum of values for letters and for neighbours.

# %%
world = ExactWorld(seed=0)
best = world.rewards.argmax()
order = torch.cat([world.ref_logps.topk(3).indices, world.rewards.topk(3).indices])
print(
    f"{len(world):,} completions; the reference's probabilities sum to {world.ref_logps.exp().sum().item():.6f}"
)
pd.DataFrame(
    {
        "completion": [world.completions[i] for i in order],
        "log π_ref": world.ref_logps[order].tolist(),
        "reward": world.rewards[order].tolist(),
    },
    index=["likeliest", "", "", "best", "", ""],
).round(3)

# %% [markdown]
# The best words are ones that the reference hardly ever writes: look at their log-probs, in nats. Four candidates for the optimum at $\beta = 1$:
#
# * the reference itself;
# * *greedy*: the best word with probability 1;
# * *filtered*: the reference, restricted to words with a positive reward;
# * *tilted*: each reference probability times $e^{r}$, made to sum to 1.
#
# **Predict.** Order them by $E[r] - \beta\,\text{KL}$.

# %%
greedy = torch.full_like(world.ref_logps, -torch.inf)
greedy[best] = 0.0
filtered = world.ref_logps.masked_fill(world.rewards <= 0, -torch.inf).log_softmax(dim=-1)
candidates = {
    "reference": world.ref_logps,
    "greedy": greedy,
    "filtered": filtered,
    "tilted": (world.ref_logps + world.rewards).log_softmax(dim=-1),
}
pd.DataFrame(
    {
        name: [world.expected_reward(p), world.kl(p), world.objective(p, beta=1.0)]
        for name, p in candidates.items()
    },
    index=["E[r]", "KL", "E[r] − 1·KL"],
).T.round(4)

# %% [markdown]
# Greedy has the most reward, but its KL is $-\log\pi_\text{ref}$ of the best word: at this price it is the worst of the four. Tilting does best. The next two sections show that nothing does better.
#
# ## 5 · The partition function
#
# Tilting multiplies each probability by $e^{r/\beta}$. The results no longer sum to 1; what they do sum to is the **partition function**
#
# $$ Z(x) = \sum_y \pi_\text{ref}(y \mid x)\, e^{r(x, y) / \beta} . $$
#
# One number a prompt. With 1,296 terms a loop will do:

# %%
Z = 0.0
for ref_logp, reward in zip(world.ref_logps.tolist(), world.rewards.tolist(), strict=True):
    Z += math.exp(ref_logp) * math.exp(reward / 1.0)
print(f"Z = {Z:.6f}   log Z = {math.log(Z):.6f}")

# %% [markdown]
# **Write $\log Z$** for tensors whose last axis lists all $N$ completions; whatever axes come before are prompts. At $\beta = 0.001$ a reward of 2.7 makes $e^{2700}$, which no float holds: stay in log space, where $\pi_\text{ref}\, e^{r/\beta}$ is $\log\pi_\text{ref} + r/\beta$ and `torch.logsumexp` takes the logarithm of a sum of exponentials without overflow.

# %% exercise="log_partition" points=3 minutes=8 difficulty=2 importance=4
...

# %%
log_partition = check(log_partition)

# %% [markdown] hints="log_partition"
# <details><summary>Hint 1: a sum of products in log space</summary>
#
# Write each term of the sum as $e^{\text{something}}$. The logarithm of the sum is `torch.logsumexp` of the somethings.
#
# </details>
# <details><summary>Hint 2: which axis?</summary>
#
# The last: `dim=-1`. Inputs of shape `(N,)` give a tensor of shape `()`, inputs of shape `(B, N)` one number a row.
#
# </details>

# %% [markdown]
# **Predict.** $\beta \log Z$ is in units of reward. Towards which number does it go for $\beta \to 0$? For $\beta \to \infty$?

# %%
betas = (0.001, 0.1, 0.3, 1.0, 3.0, 10.0, 1000.0)
log_Z = [log_partition(world.ref_logps, world.rewards, beta).item() for beta in betas]
print(
    f"highest reward {world.rewards.max().item():.4f}, mean reward of the reference {world.expected_reward(world.ref_logps):.4f}"
)
pd.DataFrame(
    {"β": betas, "log Z": log_Z, "β log Z": [beta * value for beta, value in zip(betas, log_Z, strict=True)]}
).round(4)

# %% [markdown]
# At $\beta = 1$ it is the loop's number. $\beta \log Z$ is a soft maximum of the reward: near the hard one if moving is cheap, near the reference's mean if it is dear.
#
# And for a language model? How many completions of 60 tokens are there, with SmolLM2's vocabulary of 49,152?

# %%
print(f"a number with {int(60 * math.log10(49_152)) + 1} digits")

# %% [markdown]
# Nobody sums that, and so the closed form of the next section can't be computed exactly for a language model. It will help us all the same.
#
# ## 6 · The optimum, in closed form
#
# Name the tilted policy $\pi^*$:
#
# $$ \pi^*(y\mid x) = \frac{\pi_\text{ref}(y\mid x)\, e^{r(x,y)/\beta}}{Z(x)}, \qquad \log \pi^*(y\mid x) = \log\pi_\text{ref}(y\mid x) + \frac{r(x,y)}{\beta} - \log Z(x) . $$
#
# Solve the right-hand formula for $r$ and put it into the objective. For *any* policy $\pi$ (short: leave out $x$ and $y$)
#
# $$ E_\pi[r] - \beta\,\text{KL}(\pi\|\pi_\text{ref}) = E_\pi\Bigl[\beta\log\frac{\pi^*}{\pi_\text{ref}} + \beta\log Z\Bigr] - \beta\,E_\pi\Bigl[\log\frac{\pi}{\pi_\text{ref}}\Bigr] = \beta \log Z - \beta\,\text{KL}(\pi\|\pi^*) . $$
#
# $\beta\log Z$ does not depend on $\pi$, and a KL divergence is never negative and 0 only if both are equal. So $\pi^*$ is the one and only optimum, and $\beta\log Z$ is the optimum's value.
#
# **Write it**, as log-probs, for any number of prompts at once.

# %% exercise="optimal_policy" points=3 minutes=8 difficulty=2 importance=5
...

# %%
optimal_policy = check(optimal_policy)

# %% [markdown] hints="optimal_policy"
# <details><summary>Hint 1: you have all the parts</summary>
#
# The right-hand formula has three terms, and the last one is the function you wrote before.
#
# </details>
# <details><summary>Hint 2: shapes</summary>
#
# `log_partition` drops the last axis. Put it back with `[..., None]` before you subtract, or with as many prompts as completions PyTorch subtracts along the wrong axis without a word.
#
# </details>

# %% [markdown]
# **Check the identity** on policies near the optimum and far from it, side against side:

# %%
beta = 1.0
optimum = optimal_policy(world.ref_logps, world.rewards, beta)
generator = torch.Generator().manual_seed(0)
noise = torch.randn(2, len(world), generator=generator, dtype=torch.float64)
policies = candidates | {
    "random": noise[0].log_softmax(dim=-1),
    "optimum + noise": (optimum + 0.1 * noise[1]).log_softmax(dim=-1),
}
value = beta * log_partition(world.ref_logps, world.rewards, beta).item()
rows = []
for name, logps in policies.items():
    to_optimum = torch.where(logps.exp() > 0, logps.exp() * (logps - optimum), 0.0).sum().item()
    rows.append(
        {
            "policy": name,
            "E[r] − β KL(π‖π_ref)": world.objective(logps, beta),
            "β log Z − β KL(π‖π*)": value - beta * to_optimum,
        }
    )
pd.DataFrame(rows).round(6)

# %% [markdown]
# Both columns agree for every row. And by brute force: 2,000 rivals, half of them close to the optimum, half anywhere.

# %%
rivals = torch.randn(2000, len(world), generator=generator, dtype=torch.float64)
rivals[:1000] = optimum + 0.02 * rivals[:1000]
objectives = [world.objective(rival.log_softmax(dim=-1), beta) for rival in rivals]
print(f"the optimum {world.objective(optimum, beta):.6f} = β log Z {value:.6f}")
print(f"best rival  {max(objectives):.6f};  rivals above the optimum: {sum(o > value for o in objectives)}")

# %% [markdown]
# What does the optimum look like? For a picture, a smaller world: two letters, three letters a word, eight completions.
#
# **Predict.** The three panels are for $\beta = 0.3$, 1 and 3. In which one do the two kinds of bars differ most?

# %%
small = ExactWorld(seed=2, alphabet="ab", length=3)
show(
    plot_optimal_policies(small, betas=(0.3, 1.0, 3.0)),
    "Reference (hatched) and optimal policy (full) over eight words, ordered by reward. At β = 3 the "
    "optimum is close to the reference; at β = 0.3 most of it sits on the best word.",
    alt="Three bar charts. As beta falls from 3 to 0.3 the optimal policy's mass moves from the "
    "reference's shape to the word with the highest reward.",
)

# %% [markdown]
# **Explore.** Drag $\beta$. Where on the frontier does the optimum sit at large $\beta$? And towards what does it go at small $\beta$?

# %%
optimum_explorer()

# %% [markdown]
# The reference has a second job here that is easy to miss. $\pi^*$ *multiplies* $\pi_\text{ref}$: what the reference never writes, the optimum never writes either, whatever its reward. "Never" means probability 0, which a softmax gives to nothing: a word that is merely rare, but the best of all, gets nearly all of the probability once $\beta$ is small enough (section 10 shows it). But pairs drawn from the reference hardly contain it, so hardly any label speaks about it. RLHF and DPO shift weight among things that the model already says. That is one reason why SFT comes first.
#
# ## 7 · Inverting it
#
# The closed form leads from a reward to its best policy. Read it backwards, and a policy leads to the reward for which *it* is the best:
#
# $$ r(x, y) = \beta \log\frac{\pi^*(y\mid x)}{\pi_\text{ref}(y\mid x)} + \beta\log Z(x) . $$
#
# This may look circular, since $Z$ itself contains $r$. But $\beta\log Z(x)$ is one number a prompt, and adding a number to all rewards of a prompt does not change which policy is best. So a policy names its reward only *up to a shift of each prompt*, and we may choose the shift for which $\log Z$ is 0. The part that is left can be computed for any language model, from two log-probs. It is the **implicit reward**
#
# $$ \hat r(x, y) = \beta\,\bigl(\log\pi(y\mid x) - \log\pi_\text{ref}(y\mid x)\bigr) . $$
#
# **Write it.** DPO will train the policy through this function, so the gradient in `policy_logps` must pass.

# %% exercise="implicit_rewards" points=2 minutes=4 difficulty=1 importance=5
...

# %%
implicit_rewards = check(implicit_rewards)

# %% [markdown] hints="implicit_rewards"
# <details><summary>Hint 1: the ratio</summary>
#
# You are given logarithms. The logarithm of a ratio is a difference of logarithms.
#
# </details>
# <details><summary>Hint 2: what about β log Z?</summary>
#
# It is not part of the implicit reward: nobody can compute it exactly for a real model. The next section shows when one does not need it.
#
# </details>

# %% [markdown]
# **Predict.** By how much does $\hat r$ at the optimum differ from the true reward? By the same amount for every completion?

# %%
implicit = implicit_rewards(optimum, world.ref_logps, beta)
difference = world.rewards - implicit
shown = torch.tensor([0, 300, 600, 900, 1200])
own_value = beta * log_partition(world.ref_logps, implicit, beta).item()
print(f"β log Z of the true reward {value:.6f},  of r̂ itself {abs(own_value):.6f}")
print(
    f"r − r̂ over all {len(world):,} completions: "
    f"from {difference.min().item():.6f} to {difference.max().item():.6f}"
)
pd.DataFrame(
    {
        "completion": [world.completions[i] for i in shown],
        "true r": world.rewards[shown].tolist(),
        "implicit r̂": implicit[shown].tolist(),
        "r − r̂": difference[shown].tolist(),
    }
).round(4)

# %% [markdown]
# By $\beta\log Z$, everywhere the same; and $\hat r$'s own $\beta\log Z$ is 0, as chosen. So the often-quoted "reward $= \beta\log\frac{\pi}{\pi_\text{ref}}$" is right **up to a term that depends on the prompt alone**. Whether that matters depends on what you do with the reward.
#
# ## 8 · What cancels, and what does not
#
# Compare two completions of the *same* prompt. Both carry the same $\beta\log Z(x)$, Bradley-Terry takes a difference, and it is gone. Between completions of *different* prompts it is not. A second prompt, with its own reference and rewards, makes this visible.
#
# **Predict.** Plot implicit against true rewards for both prompts. What shape has each cloud, and how do the two lie to each other?

# %%
other = ExactWorld(seed=2)
show(
    plot_implicit_rewards({"prompt 1": world, "prompt 2": other}, beta=1.0),
    "Each completion at the optimum for β = 1. Within a prompt the points lie on a line of slope 1: all"
    " differences are right. The lines of the two prompts are shifted by different amounts from the "
    "dotted diagonal.",
    alt="Two parallel straight lines of points with slope one, at different heights below the diagonal.",
)


# %%
def share_misordered(true_a: Tensor, implicit_a: Tensor, true_b: Tensor, implicit_b: Tensor) -> float:
    """Share of all comparisons of a completion from a with one from b that the implicit rewards decide the wrong way."""
    # rounded, so that a completion against itself is a tie and not the sign of a rounding error
    true_gap, implicit_gap = true_a[:, None] - true_b[None, :], implicit_a[:, None] - implicit_b[None, :]
    return (
        (true_gap.round(decimals=9).sign() * implicit_gap.round(decimals=9).sign() < 0).double().mean().item()
    )


print(f"misordered within prompt 1: {share_misordered(world.rewards, implicit, world.rewards, implicit):.4f}")
rows = []
for seed in range(1, 9):  # eight other prompts, that of the figure (seed 2) among them
    second = ExactWorld(seed=seed)
    its_optimum = optimal_policy(second.ref_logps, second.rewards, beta)
    its_implicit = implicit_rewards(its_optimum, second.ref_logps, beta)
    shift = beta * log_partition(second.ref_logps, second.rewards, beta).item() - value
    share = share_misordered(world.rewards, implicit, second.rewards, its_implicit)
    rows.append({"other prompt, seed": seed, "its β log Z − prompt 1's": shift, "misordered across": share})
pd.DataFrame(rows).set_index("other prompt, seed").sort_values("misordered across").round(4)

# %% [markdown]
# Within a prompt no comparison is decided the wrong way. Across prompts it may be less than one in a hundred or almost a quarter, depending mostly on how far apart their $\beta\log Z$ lie. So: rank the completions of one prompt by implicit rewards as you like; don't use them to say which *prompt* was answered better, and don't filter a data set by one threshold on the reward of single completions. (A threshold on a pair's *margin*, $\hat r(x, y_w) - \hat r(x, y_l)$, is fine: there $Z$ cancels.)
#
# ## 9 · The DPO loss falls out
#
# Now put the pieces together. Each step is a line of algebra, and a cell that checks it on five pairs drawn from the reference and judged by Bradley-Terry.
#
# **Step 1.** The preference probability, with the true reward:
#
# $$ P = \sigma\bigl(r(x, y_w) - r(x, y_l)\bigr) . $$

# %%
won, lost, _ = world.sample_pairs(5, seed=0)
step_1 = preference_probability(world.rewards[won], world.rewards[lost])
print([round(p, 6) for p in step_1.tolist()])

# %% [markdown]
# **Step 2.** Substitute the inverted closed form for both rewards:
#
# $$ P = \sigma\Bigl(\bigl[\beta\log\frac{\pi^*(y_w\mid x)}{\pi_\text{ref}(y_w\mid x)} + \beta\log Z(x)\bigr] - \bigl[\beta\log\frac{\pi^*(y_l\mid x)}{\pi_\text{ref}(y_l\mid x)} + \beta\log Z(x)\bigr]\Bigr) . $$

# %%
chosen_implicit = implicit_rewards(optimum[won], world.ref_logps[won], beta)
rejected_implicit = implicit_rewards(optimum[lost], world.ref_logps[lost], beta)
step_2 = preference_probability(chosen_implicit + value, rejected_implicit + value)
print([round(p, 6) for p in step_2.tolist()])

# %% [markdown]
# **Step 3.** $\beta\log Z(x)$ stands on both sides of the minus and cancels:
#
# $$ P = \sigma\Bigl(\beta\log\frac{\pi^*(y_w\mid x)}{\pi_\text{ref}(y_w\mid x)} - \beta\log\frac{\pi^*(y_l\mid x)}{\pi_\text{ref}(y_l\mid x)}\Bigr) . $$
#
# The sum that nobody can compute exactly has left the formula.

# %%
step_3 = preference_probability(chosen_implicit, rejected_implicit)
print([round(p, 6) for p in step_3.tolist()])

# %% [markdown]
# **Step 4.** Take the negative logarithm: the Bradley-Terry loss of the implicit rewards. This is the course's `dpo_loss`, which you will write yourself in lesson 04; it takes the four log-probs of a pair.

# %%
losses, *_ = dpo_loss(optimum[won], optimum[lost], world.ref_logps[won], world.ref_logps[lost], beta=beta)
pd.DataFrame(
    {
        "with the true reward": bradley_terry_loss(world.rewards[won], world.rewards[lost]).tolist(),
        "with the implicit reward": bradley_terry_loss(chosen_implicit, rejected_implicit).tolist(),
        "dpo_loss": losses.tolist(),
    }
).round(6)

# %% [markdown]
# Up to here we knew $\pi^*$. **Step 5** is the idea of DPO: we don't know it, so let it be the unknown. Put the policy that we train, $\pi_\theta$, in its place and minimise over its weights $\theta$:
#
# $$ \mathcal{L}_\text{DPO}(\theta) = -E_{(x, y_w, y_l)}\left[\log\sigma\left(\beta\log\frac{\pi_\theta(y_w\mid x)}{\pi_\text{ref}(y_w\mid x)} - \beta\log\frac{\pi_\theta(y_l\mid x)}{\pi_\text{ref}(y_l\mid x)}\right)\right] $$
#
# Why is $\pi^*$ the minimiser? Each pair of completions is judged again and again, and the mean of its loss is a cross-entropy between how often $y_w$ truly wins and $\sigma(\dots)$, least where the two agree. That fixes $\hat r(x, y_w) - \hat r(x, y_l)$ to the true difference of rewards for every pair that occurs, hence $\pi_\theta/\pi_\text{ref}$ up to one factor a prompt; and as probabilities sum to 1, the factor is fixed, too.
#
# The loss *is* the reward-model loss of section 2, with the reward written as a policy. Fitting the reward and finding its optimal policy have become one step, with no reward network, no sampling from the policy and no $Z$. Hence the paper's title: your language model is secretly a reward model.
#
# (PPO, proximal policy optimisation, is the usual reinforcement-learning algorithm of stage 3.)
#
# | stage | RLHF with PPO | DPO |
# |---|---|---|
# | 1 | SFT on demonstrations gives $\pi_\text{ref}$ | the same |
# | 2 | train a reward model with the loss of section 2 | the two stages become one: |
# | 3 | maximise section 4's objective by reinforcement learning | minimise $\mathcal{L}_\text{DPO}$ on the pairs |
#
# In the exact world this expectation is a sum over all pairs, the limit of infinite data: *both completions are drawn from the reference*, and Bradley-Terry says how often each of them wins. In full:

# %%
everyone = torch.arange(len(world))
first, second = torch.cartesian_prod(everyone, everyone).T
drawn = (world.ref_logps[first] + world.ref_logps[second]).exp()
first_wins = preference_probability(world.rewards[first], world.rewards[second])


def limit_loss(logps: Tensor, beta: float) -> Tensor:
    """DPO's loss on infinite data; logps: (N,) log-probs of the policy."""
    r_hat = implicit_rewards(logps, world.ref_logps, beta)
    first_won = bradley_terry_loss(r_hat[first], r_hat[second])
    second_won = bradley_terry_loss(r_hat[second], r_hat[first])
    return (drawn * (first_wins * first_won + (1 - first_wins) * second_won)).sum()


# %% [markdown]
# **Predict.** Of the reference and the closed-form optima for $\beta = 0.3$, 1 and 3, which one has the lowest loss at $\beta = 1$? And what is the reference's loss?

# %%
limit = {"reference": limit_loss(world.ref_logps, beta=1.0).item()}
for b in (0.3, 1.0, 3.0):
    limit[f"closed form, β = {b:g}"] = limit_loss(
        optimal_policy(world.ref_logps, world.rewards, b), 1.0
    ).item()
entropy = -first_wins * first_wins.log() - (1 - first_wins) * (1 - first_wins).log()
limit["floor: entropy of the labels"] = (drawn * entropy).sum().item()
pd.DataFrame({"DPO loss at β = 1": limit}).round(6)

# %% [markdown]
# The reference has $\ln 2$, a coin toss for each pair. The lowest loss is that of the optimum for the *same* $\beta$; the one for $\beta = 0.3$ is so sure of itself that it does worse than tossing coins. The lowest loss is not zero: readers who follow Bradley-Terry disagree, and their disagreement, the entropy of the labels, is a floor that no policy goes under. The optimum stands on it.
#
# ## 10 · Does DPO find the optimum?
#
# Three things stand between the derivation and a trained model: enough data, a policy that is flexible enough, and an optimiser that gets there. In the exact world we can have all three: every pair of completions, weighted as above; one logit a completion; and the optimiser L-BFGS, which starts at the reference. `world.fit(β)` is just that: L-BFGS on 1,296 logits and `world.dpo_limit_loss`, which is your `limit_loss` (the first cell compares them). DPO is told how often each completion of a pair wins, never a reward and never $Z$.

# %%
apart = [
    abs(limit_loss(p, 0.3) - world.dpo_limit_loss(p, 0.3)).item()
    for p in policies.values()
    if p.isfinite().all()
]
print(f"limit_loss against world.dpo_limit_loss on {len(apart)} policies: apart by at most {max(apart):.1e}")
trained = {b: world.fit(b) for b in tqdm((0.3, 1.0, 3.0), desc="DPO on infinite data")}

# %%
rows = []
for b, logps in trained.items():
    closed = optimal_policy(world.ref_logps, world.rewards, b)
    rows.append(
        {
            "β": b,
            "E[r], trained": world.expected_reward(logps),
            "E[r], closed form": world.expected_reward(closed),
            "KL, trained": world.kl(logps),
            "KL, closed form": world.kl(closed),
            "largest |Δ log π|": (logps - closed).abs().max().item(),
        }
    )
pd.DataFrame(rows).round(4)

# %% [markdown]
# Trained and closed form agree in every printed digit of $E[r]$ and KL, and no single completion's log-prob is off by more than the last column says.
#
# ### What β does
#
# You will read, in posts and even in interview guides: *"Higher β means more aggressive divergence from the reference; lower β stays closer."*
#
# **Predict.** Look at the objective once more: $\beta$ is the price of KL. Sketch $E[r]$ against KL for the optima from $\beta = 10$ down to $\beta = 0.1$. Where is $\beta = 10$? Can a policy lie above your curve?

# %%
mix = torch.rand(300, 2, generator=generator, dtype=torch.float64) * torch.tensor([4.0, 1.5])
noise = torch.randn(300, len(world), generator=generator, dtype=torch.float64)
others = [
    (world.ref_logps + a * world.rewards + s * z).log_softmax(dim=-1)
    for (a, s), z in zip(mix, noise, strict=True)
]
show(
    plot_frontier(world, (0.1, 0.3, 1.0, 3.0, 10.0), trained, others),
    "Each point is a policy. The line is the closed form, from β = 100 near the reference to β = 0.1 at"
    " the upper right; the rings are trained with DPO on preferences alone; grey: 300 other policies. "
    "All of them lie on or below the line.",
    alt="Expected reward against KL: a concave rising line with labelled betas, 10 at the lower left "
    "and 0.1 at the upper right, rings on 0.3, 1 and 3, grey points below.",
)

# %%
rows = []
for b in (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0):
    logps = optimal_policy(world.ref_logps, world.rewards, b)
    likeliest = logps.argmax()
    rows.append(
        {
            "β": b,
            "KL": world.kl(logps),
            "E[r]": world.expected_reward(logps),
            "likeliest word": world.completions[likeliest],
            "its probability": logps[likeliest].exp().item(),
        }
    )
above = sum(world.objective(p, row["β"]) > row["E[r]"] - row["β"] * row["KL"] for p in others for row in rows)
print(f"cases in which one of the 300 grey policies beats an optimum at its own β: {above}")
pd.DataFrame(rows).round(4)

# %% [markdown]
# It is the other way round, from one end of the table to the other: **higher β stays closer to the reference, lower β moves further and in the end collapses onto a single word**. At $\beta = 100$ the optimum is the reference for all practical purposes.
#
# The mistaken sentence has an excuse. At the start the slope of the loss in the log-ratio gap is $-\beta/2$ (lesson 04), larger for larger $\beta$, so plain gradient descent that is stopped early can have moved further. Where training converges, the table above is what it converges to; lesson 06 measures both.
#
# A second cause: at *exactly* $\beta = 0$ the loss is $\ln 2$ whatever the policy is, so nothing is learned and the policy stays at the reference. That is not the limit $\beta \to 0$, which the first row of the table is on its way to.
#
# ### Finitely many hard labels
#
# Two caveats before you carry the picture to a real model. It holds for a policy that can set each completion's probability by itself; a network can't. And it holds for *infinite* data. With finitely many **hard labels** (one winner a pair, nothing in between) each completion is judged a few times, and some never lose: section 3 said what the likelihood wants for them.
#
# **Predict.** 500 pairs, drawn from the reference and judged once each. What KL does DPO reach at $\beta = 0.3$, and at 3? And if each pair carries its true win probability instead, a **soft label**?

# %%
rows = []
for b in (0.3, 3.0):
    for soft in (False, True):
        pairs = world.sample_pairs(500, seed=0, soft=soft)
        logps = world.fit(b, pairs)
        likeliest = logps.argmax()
        rows.append(
            {
                "β": b,
                "labels": "soft" if soft else "hard",
                "KL": world.kl(logps),
                "KL, closed form": world.kl(optimal_policy(world.ref_logps, world.rewards, b)),
                "likeliest word": world.completions[likeliest],
                "its probability": logps[likeliest].exp().item(),
                "won": (pairs.chosen == likeliest).sum().item(),
                "lost": (pairs.rejected == likeliest).sum().item(),
            }
        )
pd.DataFrame(rows).round(3)

# %% [markdown]
# With hard labels $\beta$ is powerless: both runs put everything on one word, which won its only game. (Their KL is where L-BFGS stopped, at 200 steps or when the slope got too small to follow; there is no optimum to arrive at.) With soft labels the same 500 pairs end near the closed form. So $\beta$ alone does not bound the drift: the labels must contradict each other, or say how sure they are (Azar et al. 2023).
#
# ## Recap
#
# * Bradley-Terry: $P(y_w \succ y_l) = \sigma(r_w - r_l)$. Only differences of rewards count.
# * Fitting rewards means: wins equal expected wins. There is no best fit if someone is unbeaten.
# * RLHF maximises $E[r] - \beta\,\text{KL}$. The optimum is $\pi_\text{ref}\,e^{r/\beta}/Z$, its value is $\beta\log Z$.
# * Inverted: $r = \beta\log\frac{\pi^*}{\pi_\text{ref}} + \beta\log Z$. The last term cancels within a prompt, not between prompts.
# * Put that into the Bradley-Terry loss and you have the DPO loss: the reward model is the policy.
# * $\beta$ is the price of KL: higher β, closer to the reference. Completions that never lost run away at any β.
#
# ## Two interview questions
#
# <details><summary><b>1. Derive the DPO loss from the RLHF objective. Which two steps make it possible to train without a reward model, and what do they assume?</b></summary>
#
# Maximising $E[r] - \beta\,\text{KL}(\pi\|\pi_\text{ref})$ has the closed-form solution $\pi^* = \pi_\text{ref}\,e^{r/\beta}/Z(x)$. Solve it for the reward: $r = \beta\log(\pi^*/\pi_\text{ref}) + \beta\log Z(x)$. Put this into Bradley-Terry's $\sigma(r_w - r_l)$. $Z(x)$ depends on the prompt alone, both completions share the prompt, so it cancels. What is left contains two log-ratios. Replace $\pi^*$ by the trainable $\pi_\theta$ and take the negative log-likelihood of the labels. The two key steps are the inversion, which writes the reward as a policy, and the cancellation, because $Z$ cannot be computed exactly. The derivation assumes that preferences follow Bradley-Terry (so no cycles, and only differences within a prompt matter), that the policy class contains the optimum, and that the data cover the completions that matter.
#
# </details>
# <details><summary><b>2. A colleague says: "Our model drifts too far from the SFT model, let us lower β." What do you answer?</b></summary>
#
# Raise it. $\beta$ is the weight of the KL term: the optimum is $\pi_\text{ref}\,e^{r/\beta}/Z$, and a larger β makes the exponent flatter, so the policy stays closer. Lower β drifts more and in the limit puts everything on the completion with the highest reward. Two things to add. First, a short run may suggest the opposite, because the first steps are larger at larger β; ask how long it ran. Second, with finitely many hard labels no β bounds the drift, since a completion that never lost has no finite best reward (section 10): look at the data, too. Soft labels bound it.
#
# </details>
#
# **Next:** the whole derivation took $\log\pi(y\mid x)$ for granted. Lesson 03 computes it for a language model, token by token.
