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
# # 00 · Start here
#
# **What will you build in this course, and how will you know that you got it right?**
#
# After this lesson you can
#
# * say in two sentences what Direct Preference Optimization (DPO) does, and what it needs;
# * read the result of a real alignment run, and repeat it yourself;
# * solve an exercise, ask for hints, and have your answer checked.
#
# {{lesson_facts}}
#
# You need some Python and some PyTorch: tensors, `backward()`, what a language model's logits are. You need no GPU and, from here on, no network.

# %%
import pandas as pd
import torch
from torch import Tensor

from dpo_lab.checks import check_batch
from dpo_lab.course import check
from dpo_lab.demo import recorded_demo
from dpo_lab.lab import Lab
from dpo_lab.plots import plot_alignment, show
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.widgets import review_browser

# %% [markdown]
# ## 1 · What DPO does
#
# A language model that has learned to write does not yet know what people like. They can seldom say it in numbers, but they can say "this answer is better than that one". DPO trains the model on such pairs, directly: it makes the better answer of each pair more likely *compared with the worse one*, and a frozen copy of the model (the **reference**) keeps it from wandering off.
#
# That is all it needs: a model, pairs, and a copy of the model. No reward model is trained and no reinforcement learning is run. You will write every part of it.
#
# Here are three pairs of the smallest world in this course: reviews of a few words, written by a policy of about half a million parameters. A pair is a prompt, a **chosen** and a **rejected** completion.

# %%
lab = Lab.auto(tier="tiny")
pd.DataFrame([lab.pairs[i] for i in range(3)])

# %% [markdown]
# Whoever chose here likes kind words and makes mistakes now and then, as people do. In this world we know what they like, the **true reward**: each word has a value, and a review is worth the sum. The policy never sees it. It only sees who won.

# %%
for text in lab.pairs["chosen"][:3] + lab.pairs["rejected"][:3]:
    print(f"{lab.true_reward(text):+.2f}   {text}")

# %% [markdown]
# ## 2 · A real model, aligned
#
# The command `make demo` does the same with a real one: SmolLM2-135M-Instruct writes one-sentence reviews of everyday things. The true reward is VADER's sentiment score of a review, from −1 (hostile) to 1 (delighted). It is trained on pairs about *some* things and measured on *others*.
#
# **Predict.** The run sees a few dozen pairs and takes a handful of steps. By how much does the mean sentiment on unseen things rise: not measurably, by 0.1, by 0.3?

# %%
result, demo_history = recorded_demo()
pd.DataFrame(
    {
        "mean true reward [95 % interval]": [str(result.before.reward), str(result.after.reward)],
        "KL to the reference (nats)": [0.0, round(result.kl, 2)],
    },
    index=["before", "after"],
)

# %%
print(f"{result.pairs} pairs, {result.steps} steps, {result.seconds:.0f} seconds on 2 CPU cores")
print(
    f"gain, item by item: {result.gain}   (the interval {'excludes' if result.gain.excludes(0) else 'holds'} 0)"
)
print(f"accuracy on held-out pairs: {result.reward_accuracy:.3f}")

# %%
figure = plot_alignment(
    result.before.rewards, result.after.rewards, demo_history, "true reward (VADER, −1 to 1)", -1, 1
)
show(
    figure,
    "Left: true reward of reviews of things that the training pairs never mention, before and after. "
    "Right: the training loss. It starts at ln 2 = 0.693 and jumps, because each step is another batch of 8 noisy pairs.",
    alt="Histogram of rewards before and after training; after training the mass lies further right. A loss curve falling from 0.69.",
)

# %% [markdown]
# The reviews have become kinder, on things that no training pair mentions, and the interval says that this is not luck. The other two numbers are humbling, and that is normal: from the loss curve you could not have told, and on held-out *pairs* the model is no better than a coin (40 pairs with noisy labels: a standard error of 0.08). Judge a policy by what it writes.
#
# This is the record of one run, made by the command below. Run it yourself in a terminal when you have a few minutes:
#
#     make demo
#
# What does such a change look like in words? **Explore** the first 24 samples, not picked. Look for what the score cannot see: is a kinder review a better review?

# %%
review_browser(result.before, result.after, 24)

# %%
pd.DataFrame(
    {
        "before": [text.strip() for text in result.before.texts[:3]],
        "reward before": result.before.rewards[:3],
        "after": [text.strip() for text in result.after.texts[:3]],
        "reward after": result.after.rewards[:3],
    }
).style.set_properties(**{"white-space": "normal", "text-align": "left"}).format(precision=2)

# %% [markdown]
# ## 3 · How an exercise works
#
# An exercise is a cell with a function to write. Its docstring says what goes in and what comes out. The next cell **checks** it:
#
# * **right**: you get the points, and the notebook goes on with *your* function;
# * **wrong**: the check says what is off, and, when it recognises the mistake, which one you made;
# * **not written yet**: it says so.
#
# In the last two cases the notebook reads on with the finished version, so you can always run all cells and come back later. Inputs are drawn fresh at each check, so there is no point in hard-coding an answer. Stuck? There are folded hints below each check, and under them a solution. Looking at it costs nothing but the fun.
#
# Function signatures come from the library `dpo_lab`. Where its version checks its arguments first, you need not, unless the exercise says so.
#
# **Warm up.** A judge scored two policies' completions of the same $N$ prompts. How often does the first policy win? Write `win_rate`: each win counts 1, each tie counts one half, and the result is a fraction from 0 to 1.

# %% exercise="win_rate" points=1 minutes=5 difficulty=1 importance=3
...

# %%
win_rate = check(win_rate)

# %% [markdown] hints="win_rate"
# <details><summary>Hint 1: where to start</summary>
#
# `policy_rewards > reference_rewards` compares entry by entry and gives a boolean tensor.
#
# </details>
# <details><summary>Hint 2: a share of something</summary>
#
# The mean of a tensor of zeros and ones is the share of ones. A boolean tensor has no mean: `.float()` or `.double()` first.
#
# </details>

# %% [markdown]
# Try to get it wrong on purpose: count a tie as a win, run both cells, and read what the check says. Then put it right. Now use it on the demo.

# %%
rate = win_rate(torch.tensor(result.after.rewards), torch.tensor(result.before.rewards))
print(f"after beats before on {rate:.1%} of the held-out samples, ties counted half")

# %% [markdown]
# ## 4 · Align something yourself
#
# The small policy can be aligned while you watch: 512 pairs, twice over, 16 steps.
#
# **Predict.** The loss of a policy that is still equal to its reference is ln 2 ≈ 0.693 per pair. How far will it fall: to 0.6, to 0.3, to 0?

# %%
before = lab.measure(lab.policy, samples=128, progress="reviews before")
pairs = lab.pairs.select(range(512))
history = train_dpo(
    lab.policy, lab.reference, pairs, DPOConfig(beta=0.1, lr=5e-4, epochs=2, batch_size=64, seed=0)
)
after = lab.measure(lab.policy, samples=128, progress="reviews after")

# %%
show(
    plot_alignment(before.rewards, after.rewards, history, "true reward (sum of word values)", -5, 7),
    "The same picture for the tiny policy. The loss stays far above 0, although the reviews have changed a lot.",
    alt="Histogram of true rewards before and after; the second lies further right. A loss curve that starts at 0.69.",
)

# %%
print("mean true reward before:", before.reward)
print("mean true reward after: ", after.reward)
print("win rate:", round(win_rate(torch.tensor(after.rewards), torch.tensor(before.rewards)), 3))
for text in after.texts[:4]:
    print("   ", text)

# %% [markdown]
# The loss can't go to 0, nor should it: the labels are noisy, so even the true reward would lose some of these pairs. And the labels are all it is about. A low training loss is not the goal; a better policy on *new* prompts is. You will measure the difference many times in this course.
#
# ## 5 · Your machine
#
# The course has models of two sizes, and the notebooks run the same on both.

# %%
machine = Lab.auto()
parameters = sum(p.numel() for p in machine.policy.model.parameters())
print(f"device: {machine.policy.device}   tier: {machine.tier}   parameters: {parameters:,}")

# %% [markdown]
# | tier | what it is | used for |
# |---|---|---|
# | `tiny` | a Llama in miniature that writes reviews in a small grammar with a known reward | experiments in seconds, on any CPU |
# | `smollm2` | SmolLM2-135M-Instruct with its real tokenizer and chat template | the demo and the masking lesson; the default where there is a GPU |
#
# Set the environment variable `DPO_LAB_TIER` to choose one yourself. There is a third world without any neural network, small enough that everything can be computed exactly; you meet it in lesson 02.
#
# ## 6 · The way ahead
#
# | lesson | question |
# |---|---|
# | 01 preference data | Where do pairs come from, and when can you trust them? |
# | 02 Bradley-Terry | Why does DPO need no reward model? |
# | 03 log-probs | Which tokens count in $\log\pi(y\mid x)$? |
# | 04 the DPO loss | What number does DPO minimise, and what does a step on it do? |
# | 05 training | How does the loss become an aligned model? |
#
# Each lesson stands on its own. If you are in a hurry, 03, 04 and 05 are the core. From a terminal, `dpo-lab check` grades all your notebooks at once.
#
# ## Recap
#
# * DPO needs a policy, a frozen copy of it, and pairs of completions of which one is preferred.
# * Alignment is judged on held-out prompts, with an interval: a falling training loss proves little.
# * An exercise is a function, a check, hints; the notebook goes on with your version if it is right and with the finished one if not.
#
# ## Two interview questions
#
# <details><summary><b>1. In one sentence, what is DPO?</b></summary>
#
# DPO fine-tunes a language model directly on preference pairs, with a loss that raises the likelihood of the preferred completion *relative to* the rejected one, both measured against a frozen reference model, so that neither a separate reward model nor a reinforcement-learning loop is needed.
#
# </details>
# <details><summary><b>2. Why does DPO not need a reward model?</b></summary>
#
# Because the policy is one. The optimal policy of the usual objective (reward minus β times KL to the reference) can be solved for the reward: r = β log(π/π_ref), up to a term that depends on the prompt alone. Put into the Bradley-Terry model, where only differences between completions of the same prompt count, that term cancels, and the likelihood of the labels becomes a loss on the policy itself. Lesson 02 does this step by step. It does not mean that nothing is lost: a reward model can score completions that are in no pair, and DPO learns from the pairs it is given.
#
# </details>
#
# **Next:** lesson 01 looks at the pairs themselves. If you have them already, go on to lesson 02.
