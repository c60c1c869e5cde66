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
from dpo_lab.demo import HELDOUT_PAIRS, recorded_demo
from dpo_lab.lab import Lab
from dpo_lab.plots import plot_alignment, show
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.widgets import review_browser

# %% [markdown]
# ## 1 · What DPO does
#
# A language model that has learned to write does not yet know what people like. They can seldom say it in numbers, but they can say "this answer is better than that one". DPO trains the model on such pairs, directly: it makes the better answer of each pair more likely *compared with the worse one*. Both are measured against a frozen copy of the model, the **reference**, which holds it back from wandering off.
#
# That is all it needs: a model (in this field: a **policy**), pairs, and a copy of the model. No reward model is trained and no reinforcement learning is run. You will write every part of it.
#
# Here are three pairs of the smallest world in this course: reviews of a few words, written by a policy of about 0.6 million parameters. A pair is a prompt, a **chosen** and a **rejected** completion.

# %%
lab = Lab.auto(tier="tiny")
three = pd.DataFrame([lab.pairs[i] for i in range(3)])
three.style.set_properties(**{"text-align": "left"}).set_table_styles(
    [{"selector": "th", "props": "text-align: left"}]
)

# %% [markdown]
# Whoever chose here likes kind words and makes mistakes now and then, as people do. In this world we know what they like, the **true reward**: each word has a value, and a review is worth the sum. The policy never sees it. It only sees who won.

# %%
for pair in lab.pairs.select(range(3)):
    print(f"chosen    {lab.true_reward(pair['chosen']):+.2f}   {pair['chosen']}")
    print(f"rejected  {lab.true_reward(pair['rejected']):+.2f}   {pair['rejected']}\n")

# %% [markdown]
# ## 2 · A real model, aligned
#
# The command `make demo` does the same with a real one: SmolLM2-135M-Instruct writes one-sentence reviews of everyday things. The true reward is VADER's sentiment score of a review, from −1 (hostile) to 1 (delighted). It is trained on pairs about *some* things and measured on *others*, the **held-out** ones. What one looks at after a run:
#
# * **mean true reward**, with a 95 % interval: the range that the mean would plausibly fall in, had other samples been drawn;
# * **KL to the reference**: how far the policy has moved from its copy, in nats a review; 0 is not at all;
# * **accuracy on held-out pairs**: in how many of them training has made the chosen review gain on the rejected one, compared with the reference; a coin gets 0.5;
# * **training loss**: what a step makes smaller. A policy equal to its reference gives each pair even odds, so it starts at −ln 0.5 = ln 2 ≈ 0.693 a pair.
#
# **Predict.** The run sees a few dozen pairs and takes a handful of steps. By how much does the mean sentiment on unseen things rise: by less than 0.1, by 0.1 to 0.3, by more?

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
verdict = "excludes" if result.gain.excludes(0) else "holds"
print(f"gain, each thing counted once: {result.gain}   (the interval {verdict} 0)")
error = (0.25 / HELDOUT_PAIRS) ** 0.5  # of a coin's share of heads
print(
    f"accuracy on {HELDOUT_PAIRS} held-out pairs: {result.reward_accuracy:.3f}   (a coin: 0.5 ± {error:.2f})"
)

# %%
rewards = result.before.rewards, result.after.rewards
show(
    plot_alignment(*rewards, demo_history, "true reward (VADER, −1 to 1)", -1, 1),
    "Left: reviews of held-out things. Hostile ones have become rare, delighted ones common. "
    "Right: the loss starts at ln 2 and jumps: each step sees 8 other pairs.",
    alt="Histogram of rewards before and after: the mass moves right. A loss curve that jumps about 0.69.",
)

# %% [markdown]
# The reviews have become kinder, on things that no training pair mentions, and the interval of the gain says that the choice of things and samples does not explain it. (It is one run: what another seed would do, it can't say.) Two other results are humbling, and that is normal. From the loss curve you could not have told. And on held-out *pairs* the model can't be told from a coin: it has moved little, and a few dozen pairs are few. Judge a policy by what it writes.
#
# This is the record of one run. Make your own in a terminal when you have a few minutes, with `make demo` (or `dpo-lab demo`, where there is no `make`).
#
# What does such a change look like in words? **Explore** the first 24 samples, not picked. Look for what the score cannot see: is a kinder review a better review?

# %%
review_browser(result.before, result.after, 24)

# %%
things = [prompt[0]["content"].split("review of this ")[1].rstrip(".") for prompt in result.before.prompts]
samples = pd.DataFrame({"review of": things})
for name, side in (("before", result.before), ("after", result.after)):
    samples[name], samples[f"reward {name}"] = [text.strip() for text in side.texts], side.rewards
samples.head(3).style.hide(axis="index").set_properties(
    **{"white-space": "normal", "text-align": "left"}
).set_table_styles([{"selector": "th", "props": "text-align: left"}]).format(precision=2)

# %%
for name, side in (("before", result.before), ("after", result.after)):
    named = sum(thing.lower() in text.lower() for thing, text in zip(things, side.texts, strict=True))
    longest = sum(len(ids) == 60 for ids in side.token_ids)
    print(
        f"{name:6}  names the thing: {named} of {len(things)}   fills all 60 tokens: {longest} of {len(things)}"
    )

# %% [markdown]
# Kinder they are; good they are not. More of them name the thing than before, but nearly half still don't; and more run on to the limit of 60 tokens, though one sentence was asked for. The pairs were chosen for sentiment, so sentiment is what rose.
#
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
# Function signatures come from the library `dpo_lab`. Where its version checks its arguments first (the docstring's "Raises"), you need not, unless the exercise says so.
#
# **Warm up.** A judge scored a policy's and its reference's completions of the same N prompts. How often does the policy win, prompt by prompt? Write `win_rate`: each win counts 1, each tie counts one half, and the result is a fraction from 0 to 1.

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
# <details><summary>Hint 3: the ties</summary>
#
# `policy_rewards == reference_rewards` marks them. Turn it into numbers as well, halve it, and add it to the wins before you take the mean.
#
# </details>

# %% [markdown]
# Try to get it wrong on purpose: count a tie as a win, run both cells (Shift+Enter), and read what the check says. Then put it right, and use it on the demo.

# %%
rate = win_rate(torch.tensor(result.after.rewards), torch.tensor(result.before.rewards))
print(f"after beats before on {rate:.1%} of the held-out samples, ties counted half")

# %% [markdown]
# ## 4 · Align something yourself
#
# The small policy can be aligned while you watch: 512 pairs, twice over, in 16 steps of 64 pairs. `lr` is the learning rate; `beta` says how strongly the reference holds the policy back (lessons 02 and 04).
#
# **Predict.** The loss starts at ln 2 ≈ 0.693 a pair. How far will it fall: to 0.6, to 0.3, to 0?

# %%
before = lab.measure(lab.policy, samples=128, progress="reviews before")
pairs = lab.pairs.select(range(512))
config = DPOConfig(beta=0.1, lr=5e-4, epochs=2, batch_size=64, seed=0)
history = train_dpo(lab.policy, lab.reference, pairs, config)
after = lab.measure(lab.policy, samples=128, progress="reviews after")

# %%
show(
    plot_alignment(before.rewards, after.rewards, history, "true reward (sum of word values)", -5, 7),
    "The same picture for the tiny policy: the reviews have changed a lot, while the loss stays far above 0.",
    alt="Histogram of true rewards before and after; the second lies further right. A loss curve that starts at 0.69.",
)

# %%
print("mean true reward before:", before.reward)
print("mean true reward after: ", after.reward)
print(f"win rate: {win_rate(torch.tensor(after.rewards), torch.tensor(before.rewards)):.3f}")
print(f"mean loss of the last 4 steps: {sum(history['loss'][-4:]) / 4:.2f}")
wrong = sum(lab.true_reward(pair["chosen"]) < lab.true_reward(pair["rejected"]) for pair in pairs)
print(f"pairs whose chosen review is worth less: {wrong} of {len(pairs)}")
for text in after.texts[:4]:
    print("   ", text)

# %% [markdown]
# Should the loss go to 0? With enough steps it could come close, but only by learning by heart also those pairs in which whoever chose made a mistake. A low training loss is not the goal; a better policy on *new* prompts is. (Here these are a handful of dishes, sampled many times: the intervals speak of these dishes only.) You will measure the difference many times in this course.
#
# ## 5 · Your machine
#
# The course has models of two sizes. A lesson that needs one of them names it, as this one did; where the choice is free, `Lab.auto()` takes what suits your machine.

# %%
machine = Lab.auto()
parameters = sum(p.numel() for p in machine.policy.model.parameters())
print(f"device: {machine.policy.device}   tier: {machine.tier}   parameters: {parameters:,}")

# %% [markdown]
# | tier | what it is | used for |
# |---|---|---|
# | `tiny` | a Llama in miniature that writes reviews in a small grammar with a known reward | experiments in seconds, on any CPU |
# | `smollm2` | SmolLM2-135M-Instruct with its real tokenizer and chat template | the demo and lesson 03; the default where there is a GPU |
#
# Set the environment variable `DPO_LAB_TIER` to choose one yourself. There is a third world without any neural network, small enough that everything can be computed exactly; you meet it in lesson 02.
#
# ## 6 · The way ahead
#
# | lesson | question |
# |---|---|
# | 01 preference data | Where do pairs come from, and when can you trust them? |
# | 02 Bradley-Terry | Why does DPO need no reward model? |
# | 03 log-probs | How likely does a model find an answer, and which tokens count? |
# | 04 the DPO loss | What number does DPO minimise, and what does a step on it do? |
# | 05 training | How does the loss become an aligned model? |
#
# Each lesson stands on its own. If you are in a hurry, 03, 04 and 05 are the core. From a terminal, `dpo-lab check` grades all your notebooks at once.
#
# ## Recap
#
# * DPO needs a policy, a frozen copy of it, and pairs of completions of which one is preferred.
# * Alignment is judged on held-out prompts, with an interval: the training loss tells little about it.
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
# In brief (lesson 02 has the words and the steps; come back to this then): because the policy is one. The optimal policy of the usual objective (reward minus β times KL to the reference) can be solved for the reward: r = β log(π/π_ref), up to a term that depends on the prompt alone. Put into the Bradley-Terry model, where only differences between completions of the same prompt count, that term cancels, and the likelihood of the labels becomes a loss on the policy itself. It does not mean that nothing is lost: with a separate reward model one can go on sampling from the policy and train on what it scores, while DPO learns from the pairs it is given.
#
# </details>
#
# **Next:** lesson 01 looks at the pairs themselves. If you trust yours already, go on to lesson 02.
