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
# # 05 · Training
#
# **You have a loss. What else does it take until a model writes what people prefer, and how do you see that it does?**
#
# After this lesson you can
#
# * write a DPO training loop from its parts: frozen reference, cached log-probs, step, clipping, schedule;
# * say which models run when, and how many forward passes a step really costs;
# * watch a run by more than its loss, stop it in time, and take it up again after a power cut with the same numbers.
#
# {{lesson_facts}}
#
# You need the loss of lesson 04. The rest is PyTorch.

# %%
import copy
import math
import tempfile
import time
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

pd.set_option("display.max_colwidth", 120)

# %%
from dpo_lab.checks import check_batch
from dpo_lab.course import check
from dpo_lab.encoding import collate
from dpo_lab.evaluation import bootstrap_interval, pair_accuracies, score_completions
from dpo_lab.history import History
from dpo_lab.lab import Lab
from dpo_lab.logprobs import completion_logprobs
from dpo_lab.loop import epoch_batches
from dpo_lab.losses import dpo_loss, preference_metrics
from dpo_lab.plots import (
    draw_stages,
    plot_before_after,
    plot_early_stopping,
    plot_schedules,
    plot_watch,
    show,
)
from dpo_lab.policies import Policy
from dpo_lab.sampling import sample
from dpo_lab.tiny_recipe import SFT, untrained_policy
from dpo_lab.trainer import encode_pairs, pair_logprobs, to_device, train_dpo, train_sft
from dpo_lab.widgets import schedule_explorer
from dpo_lab.worlds.review import sample_reviews

# %% [markdown]
# `Lab.auto()` hands us all that an experiment needs, in the size that suits this machine: a policy, its frozen reference, preference pairs, held-out prompts, and the *true* reward that made the pairs. The true reward is for judging only. No training step ever sees it; real projects do not have it.
#
# On a CPU this is the tiny policy and its review world: the reward of a review is the sum of the values of its words. The numbers in the text below are the tiny policy's.

# %%
lab = Lab.auto()
heldout_pairs = lab.heldout_pairs.select(range(min(96, len(lab.heldout_pairs))))
pairs = lab.pairs.select(range(min(256, len(lab.pairs))))
batch_size = min(32, lab.config.batch_size)
config = replace(lab.config, epochs=2, batch_size=batch_size, precision="fp32", progress=False)

print(f"tier {lab.tier} on {lab.policy.device}")
print(f"{len(pairs)} training pairs, {len(heldout_pairs)} held-out pairs")
pd.DataFrame(pairs[:2]).style.set_properties(**{"text-align": "left"})

# %% [markdown]
# ## 1 · Two recipes
#
# Reinforcement learning from human feedback (RLHF) runs three stages. **Supervised fine-tuning** (SFT) teaches a base model to answer at all, by imitating demonstrations. A **reward model** is trained on preference pairs. Then **PPO**, a reinforcement learner, lets the policy write, has the reward model score what it wrote, and updates, again and again.
#
# **Predict.** Which of these models does DPO still need *while it trains*: policy, reference, reward model, value model?

# %%
show(
    draw_stages(),
    "What each recipe runs, from left to right, and which models it holds in memory meanwhile "
    "(last line of each box). DPO keeps stage 1 and replaces the other two by one loss; "
    "its reference runs once.",
    alt="Two rows of three boxes. RLHF: SFT, reward model, PPO with policy, value, reward and "
    "reference models. DPO: SFT, reference log-probs once, DPO with the policy alone.",
)

# %% [markdown]
# PPO holds four models, and one of its loops is generation. DPO has the policy and the reference, and the reference can be done with before the first step (section 4 counts it). What DPO gives up is the loop: it learns from pairs that were written beforehand, and never sees what the policy writes today.
#
# "Replaces" is about the objective: if preferences follow Bradley-Terry and the model can represent the optimum, then with the same reference, the same β and enough data the optimum is the same (lesson 02). It is no promise that two finite runs end alike.
#
# ## 2 · Why SFT comes first
#
# DPO moves probability between completions that the policy can already write. Its pairs say which of two reviews is better. They never say what a review is.
#
# **Predict.** Suppose we skip SFT and run DPO on a model with random weights. Will its reward accuracy on held-out pairs rise above one half? Will its true reward rise? Will it write reviews?
#
# The next cells run DPO on the tiny architecture from three starts: random weights, 10 steps of SFT, and the shipped checkpoint (the same SFT, run to its end). Two rows without DPO set the scale. The column "±" is half of the 95 % interval of the true reward (section 10 says how it is found); "words" is the mean length; "surprise" is how surprising the shipped checkpoint finds the texts, in nats a token.

# %%
tiny = Lab.auto(tier="tiny", device="cpu")


def surprise(lab, found):
    """Nats a token of what was sampled, under the lab's reference; empty texts are left out."""
    said = [i for i, text in enumerate(found.texts) if text.strip()]
    prompts, texts = [found.prompts[i] for i in said], [found.texts[i] for i in said]
    tokens = sum(len(lab.reference.tokenizer(text).input_ids) + 1 for text in texts)
    return -score_completions(lab.reference, prompts, texts).sum().item() / tokens


def describe(lab, found):
    return {
        "true reward": found.reward.mean,
        "±": (found.reward.high - found.reward.low) / 2,
        "words": np.mean([len(text.split()) for text in found.texts]),
        "surprise": surprise(lab, found),
        "a sample": found.texts[0][:100],
    }


def comparison(rows):
    """Rows of numbers with a sample, which stands to the left."""
    style = pd.DataFrame.from_dict(rows, orient="index").style.format(precision=3, na_rep="–")
    return style.set_properties(subset=["a sample"], **{"text-align": "left"})


# %%
def dpo_from(policy):
    policy.model.eval()
    start = Policy(copy.deepcopy(policy.model), policy.tokenizer, "start")
    settings = replace(tiny.config, epochs=1, batch_size=16)
    train_dpo(policy, start, tiny.pairs.select(range(128)), settings)
    metrics = pair_accuracies(policy, start, tiny.heldout_pairs.select(range(96)))
    found = tiny.measure(policy, 64)
    return {"held-out accuracy": metrics["rewards/accuracies"], **describe(tiny, found)}


barely = untrained_policy()
train_sft(barely, sample_reviews(10 * SFT.batch_size), SFT)
rows = {
    "no SFT, DPO": dpo_from(untrained_policy()),
    "10 steps of SFT, DPO": dpo_from(barely),
    "shipped, DPO": dpo_from(tiny.fresh_policy()),
    "no SFT, no DPO": describe(tiny, tiny.measure(untrained_policy(), 64)),
    "shipped, no DPO": describe(tiny, tiny.measure(tiny.reference, 64)),
}
comparison(rows)

# %% [markdown]
# By the numbers that one would log, the untrained start looks best after DPO: a held-out accuracy no lower than the others' (96 pairs can hardly rank them, see section 6), and by far the highest true reward. DPO earned that reward: without it the same model stands near 0. Now read its sample. With random weights all words are about equally likely, so it is easy to make the kind ones likelier, and the true reward of this world adds up words in whatever order. Besides, this model writes three to four times as many words as one that has learnt when to stop, so it has three to four times as many to be kind in. The surprise tells text from heap: above ten nats a token without SFT, below one for a model that writes reviews.
#
# DPO did what its pairs asked. They say "this one rather than that one", and a heap of kind words is more like the chosen side than the rejected one. Only SFT says what a review looks like. So: start DPO from a model that already writes the kind of text you want to choose among, and never judge a run by one number.
#
# One more look at "±": 64 samples leave about ±0.4 on the shipped checkpoint's mean, so this table cannot say whether the short run helped *it*. Section 10 trains longer and takes 256 samples; the mean of the untouched checkpoint will be another one there, within this ±.
#
# ## 3 · A reference that holds still
#
# The reference $\pi_\text{ref}$ is the policy as it was when DPO began. Three things make it a reference:
#
# * it is a **copy**: training the policy must not move it;
# * it is in **eval mode**: with dropout on, it would give the same text another log-prob each time;
# * **no gradient** reaches it: none of its parameters asks for one.
#
# And making it must leave the policy as it is: still trainable, still in the mode it was in.
#
# **Write it.** Return a `Policy`; it has three fields, `Policy(model, tokenizer, name)`. The model is a PyTorch module; the tokenizer may be shared; the name is free.

# %% exercise="frozen_reference" points=3 minutes=8 difficulty=2 importance=5
...

# %%
frozen_reference = check(frozen_reference)

# %% [markdown] hints="frozen_reference"
# <details><summary>Hint 1: what copies a module with its weights</summary>
#
# `copy.deepcopy(policy.model)`. Neither `reference = policy.model` nor `copy.copy` copies the weights.
#
# </details>
# <details><summary>Hint 2: two switches, not one</summary>
#
# `module.eval()` turns dropout off. `module.requires_grad_(False)` turns gradients off. Neither does the other's work, both act in place and return the module: call them on the copy. `torch.no_grad()` around the copying is neither of them: it concerns what is computed inside it, not what the copy's parameters ask for later.
#
# </details>

# %% [markdown]
# What goes wrong without a copy? Here are six steps on one batch of pairs, three times: with a proper reference, with "the reference is the policy, run under `no_grad`", and with "the reference is the policy, run as it is".
#
# **Predict.** What is the loss after six steps in each case? In which cases do the weights move?

# %%
policy = lab.fresh_policy()
reference = frozen_reference(policy)
encoded = encode_pairs(policy.tokenizer, pairs.select(range(12)))
batch = to_device(collate(*encoded, policy.tokenizer.pad_token_id), policy.model)
with torch.no_grad():
    start = completion_logprobs(reference.model, batch).chunk(2)


# %%
def six_steps(choose_reference):
    policy = lab.fresh_policy()
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=config.lr, weight_decay=0.0)
    losses, norms = [], []
    for _ in range(6):
        now = completion_logprobs(policy.model, batch).chunk(2)
        loss = dpo_loss(*now, *choose_reference(now))[0].mean()
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        chosen, rejected = completion_logprobs(policy.model, batch).chunk(2)
    both = zip(policy.model.parameters(), lab.reference.model.parameters(), strict=True)
    changes = [(ours - theirs).abs().max().item() for ours, theirs in both]
    return {
        "first loss": losses[0],
        "last loss": losses[-1],
        "first gradient norm": norms[0],
        "largest weight change": max(changes),
        "true log-ratio gap": ((chosen - start[0]) - (rejected - start[1])).mean().item(),
    }


# %%
cases = {
    "a frozen copy": lambda now: start,
    "the policy itself, no_grad": lambda now: [logps.detach() for logps in now],
    "the policy itself": lambda now: now,
}
pd.DataFrame({name: six_steps(choose) for name, choose in cases.items()}).T.round(6)

# %% [markdown]
# Both wrong versions log 0.693147 for ever, and they are two different faults. Under `no_grad` the reference's *value* follows the policy, but the gradient is still $-\beta/2$ on every gap: the policy moves (last two columns), nothing holds it, and the log says that nothing happens. And since the loss never falls, that push never fades. Without `no_grad` the two gradients cancel, and nothing happens. So when a loss is stuck at $\ln 2$, look at the gradient norm and at how far the policy has moved: these two numbers tell you which cause it is.
#
# A trainer that caches the reference's log-probs before the first step, as the next section does, cannot fall into this trap while it trains; whoever then measures the KL to "the reference" would still read 0.
#
# ## 4 · The reference runs once
#
# The reference never changes and the pairs never change, so $\log\pi_\text{ref}(y_w\mid x)$ and $\log\pi_\text{ref}(y_l\mid x)$ never change. Compute them once, keep two floats a pair, and let the reference go.
#
# You will read that DPO needs "a single forward pass". **Predict.** A pair is two texts, and there are two models. How many texts are scored for one pair in one step? The next cell hangs a counter on both models' bodies and trains for two epochs on 64 pairs in batches of 16.

# %%
calls = Counter()


def count(name):
    return lambda *_: calls.update([name])


policy = lab.fresh_policy()
hooks = [
    model.base_model.register_forward_hook(count(name))
    for name, model in (("policy", policy.model), ("reference", lab.reference.model))
]
history = train_dpo(policy, lab.reference, pairs.select(range(64)), replace(config, batch_size=16))
for hook in hooks:
    hook.remove()
table = pd.DataFrame({"forward passes": calls})
table["texts scored"] = table["forward passes"] * 16 * 2  # 16 pairs a pass, both completions of each
table["texts a pair and epoch"] = table["texts scored"] / (64 * config.epochs)
print(f"{len(history)} optimiser steps")
table

# %% [markdown]
# Four texts a pair have to be scored, not one: the policy on both completions, in every epoch and with a gradient; the reference on both, without one. What saves work is that chosen and rejected share one pass (one policy pass a step; the library's trainer even runs the prompt they share once, and `dpo_lab/packing.py` says how), and that the reference runs once for the whole run: two texts a pair, however many epochs there are. Spread over the two epochs of this run that is one text a pair and epoch (last column).
#
# What does it save in time? The reference only runs forward, so a pass of it costs less than a training step.

# %%
timed = pairs.select(range(96))
encoded = encode_pairs(lab.policy.tokenizer, timed)
begin = time.perf_counter()
pair_logprobs(lab.reference, *encoded)
reference_seconds = time.perf_counter() - begin

begin = time.perf_counter()
train_dpo(lab.fresh_policy(), lab.reference, timed, replace(config, epochs=1))
cached_seconds = time.perf_counter() - begin - reference_seconds

epochs = np.array([1, 2, 3])
pd.DataFrame(
    {
        "epochs": epochs,
        "seconds, reference in every epoch": epochs * (cached_seconds + reference_seconds),
        "seconds, reference once": epochs * cached_seconds + reference_seconds,
    }
).round(2)

# %% [markdown]
# Measured are one pass of the reference and one epoch of training; the table multiplies and adds them, it times no longer run. In one epoch there is nothing to save in time; from the second on, each saves one pass of the reference. The larger saving is memory: after the pass over the data the reference can leave the device. The price: the cache holds for exactly these texts. If you change the tokenizer, the template or the truncation, compute it anew.
#
# ## 5 · One step
#
# A step has two halves. The first ends in a number to call `backward` on: collated batch in, loss and metrics out.
#
# `collate` puts the $B$ chosen rows first and the $B$ rejected rows after them, in the same order, so one call of `completion_logprobs(model, batch)` returns all $2B$ log-probs. The checks count: the model runs **once** a call, and stays in the mode in which it came. `dpo_loss` and `preference_metrics` from lesson 04 are imported.

# %% exercise="dpo_step_loss" points=5 minutes=12 difficulty=3 importance=5
...

# %%
dpo_step_loss = check(dpo_step_loss)

# %% [markdown] hints="dpo_step_loss"
# <details><summary>Hint 1: from 2B rows to two tensors</summary>
#
# `tensor.chunk(2)` cuts a tensor into its first and second half.
#
# </details>
# <details><summary>Hint 2: what goes where</summary>
#
# `dpo_loss(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, label_smoothing)` returns per-pair losses and both rewards. `preference_metrics` takes these three and, in the same order as above, the policy's two log-probs.
#
# </details>
# <details><summary>Hint 3: what to return</summary>
#
# The mean of the losses, still a tensor with its gradient, and the dict of metrics.
#
# </details>

# %% [markdown]
# The second half uses the gradients, in this order:
#
# 1. **clip**: if the norm of all gradients together is larger than `max_grad_norm`, shrink them all by one factor. One odd batch can then not throw the policy far;
# 2. **move the weights**: `optimizer.step()`;
# 3. **move the rate**: `schedule.step()` (section 6);
# 4. **clear**: `backward` *adds* to what is in `.grad`, so the next step must start from nothing.
#
# It returns the norm from *before* the clipping, which is what you want in a log. Should that norm be infinite or NaN, raise a `FloatingPointError` before any weight moves; the words of the message are yours. You may use `torch.nn.utils.clip_grad_norm_(parameters, max_norm)`, which clips in place and returns the norm before.

# %% exercise="apply_gradients" points=4 minutes=12 difficulty=3 importance=5
...

# %%
apply_gradients = check(apply_gradients)

# %% [markdown] hints="apply_gradients"
# <details><summary>Hint 1: where the parameters are</summary>
#
# The function is not given the model. `optimizer.param_groups` is a list of dicts; each has its parameters under `"params"`.
#
# </details>
# <details><summary>Hint 2: the number to return</summary>
#
# `clip_grad_norm_` returns a tensor: `.item()` makes it a float, `math.isfinite` tests it.
#
# </details>

# %% [markdown]
# **Does clipping matter under Adam?** Adam divides by a running size of the gradient, so a factor common to *all* steps changes nothing. Clipping makes one outlier count like its neighbours in those running sizes. It does not make a learning rate that is too large harmless, as section 6 shows.
#
# ### When the batch does not fit
#
# Gradients add up. If 24 pairs are too many at once, take 10, 10 and 4, call `backward` on each part, and step once.
#
# **Predict.** Each part's loss is a mean. Which factor must each part get, so that the sum is the gradient of the mean over all 24? What if every part got one third?

# %%
policy = lab.fresh_policy()
chosen, rejected = encode_pairs(policy.tokenizer, pairs.select(range(24)))
cached = pair_logprobs(lab.reference, chosen, rejected)
ref_chosen, ref_rejected = (logps.to(policy.device) for logps in cached)


def accumulated(parts, factors):
    """Gradient of the whole model, after `backward` on each part's mean loss times its factor."""
    policy.model.zero_grad()
    for part, factor in zip(parts, factors, strict=True):
        rows = collate(chosen[part], rejected[part], policy.tokenizer.pad_token_id)
        rows = to_device(rows, policy.model)
        loss, _ = dpo_step_loss(policy.model, rows, ref_chosen[part], ref_rejected[part])
        (loss * factor).backward()
    return torch.cat([p.grad.flatten() for p in policy.model.parameters()])


parts = [slice(0, 10), slice(10, 20), slice(20, 24)]
whole = accumulated([slice(0, 24)], [1.0])
weightings = {"10/24, 10/24, 4/24": [10 / 24, 10 / 24, 4 / 24], "1/3 each": [1 / 3] * 3}
for name, factors in weightings.items():
    error = (accumulated(parts, factors) - whole).norm() / whole.norm()
    print(f"{name:>20}: relative error of the accumulated gradient {error.item():.1e}")

# %% [markdown]
# Weighted by their share of the pairs, the parts give the whole batch's gradient up to rounding. A mean of means does not, because the small part counts too much. `DPOConfig(micro_batch_size=…)` does the former.
#
# ## 6 · The learning rate
#
# The rate of a run rises from zero while Adam's running sizes are still guesses (**warm-up**), then falls, so that the last steps settle. As a share of the peak rate, with $s$ steps done, $w$ steps of warm-up and $S$ steps in all:
#
# $$ f(s) = \begin{cases} s / w & s < w \\[2pt] \tfrac12\bigl(1 + \cos(\pi u)\bigr), \quad u = \dfrac{s - w}{S - w} & s \ge w \end{cases} $$

# %% exercise="warmup_cosine" points=3 minutes=8 difficulty=2 importance=3
...

# %%
warmup_cosine = check(warmup_cosine)

# %% [markdown] hints="warmup_cosine"
# <details><summary>Hint 1: two cases</summary>
#
# `if step < warmup_steps` return the straight line. With `warmup_steps = 0` that branch is never taken, so nothing is divided by zero.
#
# </details>
# <details><summary>Hint 2: three points to try</summary>
#
# At `step = warmup_steps` the share is 1. Halfway between there and the end it is 0.5. At `step = total_steps`, when the last step is done, it is 0.
#
# </details>

# %%
total_steps = math.ceil(len(pairs) / config.batch_size) * config.epochs
warmup_steps = math.ceil(config.warmup_ratio * total_steps)
shares = [warmup_cosine(step, warmup_steps, total_steps) for step in range(4)]
schedules = ["cosine", "linear", "constant_with_warmup"]
print("first four rates:", [f"{config.lr * share:.1e}" for share in shares])
show(
    plot_schedules(schedules, config.lr, warmup_steps, total_steps),
    "Three schedules with the same warm-up. The first step is taken at rate 0: it moves nothing, "
    "which is why the second logged loss of a run is still ln 2. The dots mark the end of the run: "
    "no step is taken there, and the cosine has reached 0.",
    alt="Learning rate against step: all rise together, then one stays, one falls straight, "
    "one falls along half a cosine to 0.",
)

# %% [markdown]
# **Explore.** How many optimiser steps does a run of 2,048 pairs make? Set the batch size to 128 and one epoch: how many of its steps are warm-up? Few steps are the usual reason why a small run "does not learn".

# %%
schedule_explorer()

# %% [markdown]
# <details><summary>Answers</summary>
#
# With batches of 64 and two epochs, 2,048 pairs make $2 \cdot 2048 / 64 = 64$ steps. With batches of 128 and one epoch they make 16; a tenth of that, rounded up, is 2 steps of warm-up, and the first of them is taken at rate 0.
#
# </details>
#
# ### Which peak?
#
# Advice on the web reads: rate 1e-6 to 5e-6, batches of 32 to 128, 1 to 3 epochs. It comes from full fine-tuning of models with billions of parameters, and there it fits: Rafailov et al. (2023, appendix B) use 1e-6 with RMSprop and batches of 64; zephyr-7b-beta's card says 5e-7 with batches of 32. It is a range for *those* models, not a property of DPO. Ours is far smaller and takes a handful of steps.
#
# **Predict.** One epoch in batches of 16 on the same pairs, at a hundredth of our rate (inside the advised range, for the tiny policy), at our rate, and at thirty times our rate. Which one has the lowest training loss at the end? Which one would you ship?

# %%
rows = {}
for factor in (0.01, 1, 30):
    policy = lab.fresh_policy()
    changes = {"lr": factor * lab.config.lr, "epochs": 1, "batch_size": min(16, config.batch_size)}
    settings = replace(config, progress=True, **changes)
    history = train_dpo(policy, lab.reference, pairs.select(range(160)), settings)
    found, metrics = lab.measure(policy, 64), pair_accuracies(policy, lab.reference, heldout_pairs)
    rows[f"lr {settings.lr:.0e}"] = {
        "loss, mean of the last 4": np.mean(history["loss"][-4:]),
        "held-out accuracy": metrics["rewards/accuracies"],
        "KL": lab.kl(policy, found),
        **describe(lab, found),
    }
comparison(rows)

# %% [markdown]
# A hundredth of our rate changes next to nothing in so few steps: the loss is still $\ln 2$ to three digits. It is no bad rate; it is one for other models or for many more steps. And yet it has the highest held-out accuracy of the three. An accuracy counts the sign of each margin, however tiny the margin is, and on 96 pairs its 95 % interval is about ±0.10 ($1.96\sqrt{0.6\cdot 0.4/96}$). Accuracies cannot rank these runs.
#
# Our rate has the lowest training loss at the end, the reward rises, the policy stays near the reference, and the text is text. That one you would ship.
#
# Thirty times our rate ends with a loss nearer to $\ln 2$ and with the highest true reward of the three. Look at the words before you rejoice: about four times as many, and this reward adds up over words. The rest of the row: a KL of about two hundred nats, a surprise of several nats a token, word salad. Gradient clipping at norm 1 was on all the time; it does not save a run from its learning rate.
#
# So sweep the rate on your own model, and look at KL and texts beside the loss.
#
# ## 7 · The loop
#
# All parts are there. The loop below is made of your functions and of `epoch_batches`, which shuffles the row numbers of each epoch by a seed of its own.


# %%
def my_optimizer(policy, config, steps):
    """AdamW on float32 weights, and the schedule that sets its rate."""
    optimizer = torch.optim.AdamW(
        policy.model.float().parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    warmup_steps = math.ceil(config.warmup_ratio * steps)
    share = partial(warmup_cosine, warmup_steps=warmup_steps, total_steps=steps)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)


# %%
def my_training(policy, reference, pairs, config):
    chosen, rejected = encode_pairs(policy.tokenizer, pairs)
    cached = pair_logprobs(reference, chosen, rejected)
    ref_chosen, ref_rejected = (logps.to(policy.device) for logps in cached)
    epochs = [epoch_batches(len(chosen), epoch, config) for epoch in range(config.epochs)]
    batches = [rows for epoch in epochs for rows in epoch]
    optimizer, schedule = my_optimizer(policy, config, len(batches))
    history, pad = History(), policy.tokenizer.pad_token_id
    policy.model.train()
    for step, rows in enumerate(tqdm(batches, desc="my DPO", unit="step"), start=1):
        batch = collate([chosen[i] for i in rows], [rejected[i] for i in rows], pad)
        batch = to_device(batch, policy.model)
        references = ref_chosen[rows], ref_rejected[rows]
        loss, metrics = dpo_step_loss(policy.model, batch, *references, beta=config.beta)
        loss.backward()
        rate = schedule.get_last_lr()[0]
        grad_norm = apply_gradients(optimizer, schedule, config.max_grad_norm)
        history.log(step, **metrics, grad_norm=grad_norm, learning_rate=rate)
    policy.model.eval()
    return history


# %%
few = pairs.select(range(64))
settings = replace(config, epochs=2, batch_size=16)
mine = my_training(lab.fresh_policy(), lab.reference, few, settings)
theirs = train_dpo(lab.fresh_policy(), lab.reference, few, settings)
largest = np.abs(np.subtract(mine["loss"], theirs["loss"])).max()
print(f"{len(mine)} steps; largest difference in loss: {largest:.1e}")
columns = ["step", "loss", "rewards/margins", "grad_norm", "learning_rate"]
pd.DataFrame(mine.records)[columns].head(4).round(5)

# %% [markdown]
# Your loop and the library's `train_dpo` give the same losses. Steps 1 and 2 show the rate-0 step: another batch, the same $\ln 2$. That the next two losses lie above it is no fault: they are new batches of a few noisy pairs, and both loops see the same. What `train_dpo` adds is around the loop: held-out evaluation, early stopping, checkpoints, bf16, a clean end on Ctrl-C.
#
# ## 8 · Precision
#
# bfloat16 has float32's range and 8 significant bits. That is enough for activations and too little for weights that move by small steps.
#
# **Predict.** What is 1 + 0.001 in bfloat16? A step of Adam moves a weight by about the learning rate. What share of a model's weights changes at all, if weights are bfloat16 and the rate is 1e-5?

# %%
one = torch.tensor(1.0, dtype=torch.bfloat16)
print("1 + 0.001 in bfloat16 =", (one + 0.001).item())
print("next number above 1:   ", 1 + torch.finfo(torch.bfloat16).eps)

weights = torch.cat([p.detach().flatten() for p in lab.policy.model.parameters()]).cpu()


def share_changed(dtype, rate):
    return (weights.to(dtype) - rate != weights.to(dtype)).float().mean().item()


rows = {
    f"{rate:.0e}": {
        "float32": share_changed(torch.float32, rate),
        "bfloat16": share_changed(torch.bfloat16, rate),
    }
    for rate in (5e-6, 1e-5, 3e-4)
}
print("share of the weights that a step of this size changes:")
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# At 1e-5 about one weight in ten changes; all others round back to where they were, step after step, without an error or a warning. So the weights (and Adam's running sizes) stay in float32, and only the forward pass runs in bfloat16: `DPOConfig(precision="bf16")` does so by autocast, and `train_dpo` casts the weights of a model that was loaded in bfloat16. Log-probs and loss are float32 in any case (lesson 03).
#
# ## 9 · What to watch
#
# The loss says whether the implicit rewards tell chosen from rejected. It does not say how far the policy went for it. That is what the KL divergence to the reference says:
#
# $$ \mathrm{KL}(\pi_\theta \,\|\, \pi_\text{ref}) = \mathbb{E}_{y \sim \pi_\theta(\cdot\mid x)}\left[\log \frac{\pi_\theta(y\mid x)}{\pi_\text{ref}(y\mid x)}\right] \approx \frac1N \sum_{i=1}^{N} \bigl(\log \pi_\theta(y_i\mid x_i) - \log \pi_\text{ref}(y_i\mid x_i)\bigr) $$
#
# The samples $y_i$ come **from the policy**. **Write the estimate.** It gets the two log-probs of each sample and returns a scalar tensor. No argument checks are asked for: the finished version's `check_batch` may be left out.

# %% exercise="kl_estimate" points=2 minutes=5 difficulty=1 importance=5
...

# %%
kl_estimate = check(kl_estimate)

# %% [markdown] hints="kl_estimate"
# <details><summary>Hint 1: an expectation under π</summary>
#
# The samples were drawn from π, so they are already weighted by π: a plain mean estimates the expectation.
#
# </details>
# <details><summary>Hint 2: a negative estimate</summary>
#
# The KL is never negative, the mean of a few log-ratios may be. Return it as it is: cutting it off would bias the estimate.
#
# </details>

# %% [markdown]
# Now a real run, watched: two epochs on all our pairs, three times with three seeds (batch order). A callback looks at the first run after every second step, with 128 samples that are drawn from the same random numbers each time.
#
# **Predict.** At the end, will the chosen reward be above or below zero? Will the KL still be growing?


# %%
def mean_log_ratio(policy, prompts, texts):
    """Mean of log π − log π_ref and half of its 95 % interval; empty texts are left out."""
    said = [i for i, text in enumerate(texts) if text.strip()]
    scored = [prompts[i] for i in said], [texts[i] for i in said]
    ours, theirs = score_completions(policy, *scored), score_completions(lab.reference, *scored)
    half = 1.96 * (ours - theirs).std().item() / len(said) ** 0.5
    return {"mean": kl_estimate(ours, theirs).item(), "±": half}


def look(history, policy):
    """Log KL to the reference and mean true reward, on 128 samples, at every second step."""
    if len(history) % 2 == 0:
        found = lab.measure(policy, 128)
        kl = mean_log_ratio(policy, found.prompts, found.texts)["mean"]
        history.log(len(history), kl=kl, true_reward=found.reward.mean)


# %%
policies, histories = {}, {}
for seed in (0, 1, 2):
    policy = policies[seed] = lab.fresh_policy()
    settings = replace(config, seed=seed, eval_every=total_steps, progress=True)
    callback = partial(look, policy=policy) if seed == 0 else None
    histories[seed] = train_dpo(
        policy, lab.reference, pairs, settings, eval_pairs=heldout_pairs, callback=callback
    )

# %%
show(
    plot_watch(histories[0]),
    "Seed 0. The loss of each batch falls by a few hundredths. Of the implicit rewards, the "
    "rejected one falls and the chosen one wavers about 0. KL and true reward, of 128 samples on held-out "
    "prompts, rise and then level off.",
    alt="Four panels over the steps: loss, chosen and rejected rewards, KL, true reward.",
)

# %%
watched = histories[0]
at = watched.steps("kl")
rates = [watched.records[step - 1]["learning_rate"] / config.lr for step in at]
shown = {"KL (nats)": watched["kl"], "rate of that step / peak": rates}
pd.DataFrame(shown, index=pd.Index(at, name="step")).T.round(2)

# %% [markdown]
# Is the KL still growing? No: it grows up to step 12 and then stands still. That is no sign that the policy has arrived. The second row shows why: the rate has gone down to nearly 0. Whether it would go on at a rate that stays up, this run cannot say.
#
# Now the three seeds, on the held-out pairs:

# %%
names = ["loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies"]
last = {
    f"seed {seed}": {f"eval_{name}": history[f"eval_{name}"][-1] for name in names}
    for seed, history in histories.items()
}
pd.DataFrame(last).T.round(3)

# %% [markdown]
# On held-out pairs the chosen reward ends a little *below* zero with all three seeds: the policy has made the chosen texts slightly less likely as well. The margin is positive because the rejected ones fell further. Lesson 04 saw it in one pair; lesson 07 asks where the probability goes.
#
# A held-out loss of 0.67 against $\ln 2 = 0.693$ looks like nothing learnt, and yet KL and true reward have moved. The labels are noisy, so even a perfect policy would not bring this loss to zero. All points of the two right-hand panels come from the same random numbers, so they can be compared with each other more closely than with another sampling. The next table shows how much another one may differ.
#
# **A common slip.** `rewards/chosen` divided by $\beta$ is also a mean log-ratio. It is no KL: its texts come from the data, not from the policy.

# %%
trained = policies[0]
ours, theirs = lab.measure(trained, 128, seed=9), lab.measure(lab.reference, 128, seed=9)
asked, chosen, rejected = (list(heldout_pairs[side]) for side in ("prompt", "chosen", "rejected"))
texts = {
    "texts of the policy (this is the KL)": (ours.prompts, ours.texts),
    "texts of the reference": (theirs.prompts, theirs.texts),
    "held-out chosen texts": (asked, chosen),
    "held-out rejected texts": (asked, rejected),
    "held-out texts, both columns": (asked * 2, chosen + rejected),
}
rows = {name: mean_log_ratio(trained, *scored) for name, scored in texts.items()}
pd.DataFrame(rows).T.rename(columns={"mean": "mean log π − log π_ref (nats)"}).round(2)

# %% [markdown]
# The same two models, five sets of texts, five numbers, and only the first is $\mathrm{KL}(\pi_\theta\,\|\,\pi_\text{ref})$. On the reference's own texts the mean is negative: its opposite estimates the KL in the *other* direction, $\mathrm{KL}(\pi_\text{ref}\,\|\,\pi_\theta)$. The pairs were written by the reference too, so the mean over both columns (last row) estimates the same and must be negative but for noise. A judge has sorted them into columns, and one column alone is no sample of either model: its mean is no divergence. That of the chosen texts might as well be positive.
#
# And "±" is the noise of the estimate, half of a 95 % interval. The same policy had a KL of 0.86 at the end of the watched run, by other samples, and will have another one in section 10. Two estimates that differ by less than their "±" say the same.
#
# ## 10 · Before and after
#
# The question that counts: does the policy write better reviews, of things it has no pairs about? We sample 256 reviews from the reference and from each of the three policies, on the same held-out prompts, and ask the true reward.
#
# A **bootstrap interval** says how far the mean could be off: draw 256 of the 256 rewards with replacement, take the mean, repeat ten thousand times, and keep the middle 95 %.

# %%
before = lab.measure(lab.reference, 256)
after = {f"policy, seed {seed}": lab.measure(policy, 256) for seed, policy in policies.items()}
show(
    plot_before_after(before, after),
    "Left: mean true reward on held-out prompts with its 95 % bootstrap interval; those of the "
    "three policies lie to the right of the reference's. Right: single samples, reference against "
    "the policy of seed 0. The hump of bad reviews has shrunk, that of good ones has grown.",
    alt="Intervals of three trained policies to the right of the reference's; "
    "a histogram that has shifted to the right.",
)


# %%
def compare(policy, found):
    gain = bootstrap_interval(np.subtract(found.rewards, before.rewards))
    return {
        "true reward": str(found.reward),
        "gain over the reference": str(gain),
        "KL (nats)": round(lab.kl(policy, found), 2),
        "mean words": round(np.mean([len(text.split()) for text in found.texts]), 1),
    }


rows = {"reference": compare(lab.reference, before)}
for (name, found), policy in zip(after.items(), policies.values(), strict=True):
    rows[name] = compare(policy, found)
pd.DataFrame.from_dict(rows, orient="index")

# %% [markdown]
# The gain's interval excludes zero for each seed. Know what it covers: the luck of sampling on these prompts. The luck of the batch order is what the three seeds show. The luck of these pairs and of these held-out items is in neither. The mean length has hardly changed, so the gain is not bought with longer reviews, although this reward would pay for them.
#
# Five of the 256 prompts, drawn at random and not picked:

# %%
drawn = np.random.default_rng(5).choice(256, size=5, replace=False)
found = after["policy, seed 0"]
columns = {
    "before": [before.texts[i] for i in drawn],
    "reward": [before.rewards[i] for i in drawn],
    "after": [found.texts[i] for i in drawn],
    "reward ": [found.rewards[i] for i in drawn],
}
left = {"text-align": "left", "white-space": "normal"}
pd.DataFrame(columns).style.format(precision=2).set_properties(subset=["before", "after"], **left)

# %% [markdown]
# ## 11 · When to stop
#
# With few pairs and many epochs the policy learns its pairs by heart. **Early stopping** looks at the held-out loss now and then, ends the run when it has not improved for a while, and goes back to the best weights.
#
# **Write the rule.** `eval_losses` holds the held-out losses so far; `patience` says how many evaluations in a row without a new lowest loss are borne. An equal loss is not a lower one. You need no check of `patience`: the finished version raises for values below 1.

# %% exercise="out_of_patience" points=3 minutes=8 difficulty=2 importance=3
...

# %%
out_of_patience = check(out_of_patience)

# %% [markdown] hints="out_of_patience"
# <details><summary>Hint 1: where is the best one?</summary>
#
# `eval_losses.index(min(eval_losses))` is the position of the *first* lowest loss. How many evaluations came after it?
#
# </details>
# <details><summary>Hint 2: the empty list</summary>
#
# `min([])` raises. Before the first evaluation nothing speaks for stopping.
#
# </details>

# %% [markdown]
# **Predict.** The next cell trains on 48 pairs only, for twelve epochs, at three times our rate. Where will the training loss go, where the held-out loss? Can the latter end above $\ln 2$, the loss of a model that knows nothing?

# %%
few = pairs.select(range(48))
changes = {"lr": 3 * lab.config.lr, "epochs": 12, "batch_size": 24, "eval_every": 3}
settings = replace(config, schedule="constant_with_warmup", progress=True, **changes)
to_the_end, stopped = lab.fresh_policy(), lab.fresh_policy()


def keep_the_best(history):
    """Copy the weights to `stopped` after an evaluation with the lowest held-out loss so far."""
    if "eval_loss" in history.records[-1] and history["eval_loss"][-1] == min(history["eval_loss"]):
        stopped.model.load_state_dict(to_the_end.model.state_dict())


history = train_dpo(to_the_end, lab.reference, few, settings, heldout_pairs, keep_the_best)

# %%
steps, losses = history.steps("eval_loss"), history["eval_loss"]
stops = [step for i, step in enumerate(steps, start=1) if out_of_patience(losses[:i], 3)]
show(
    plot_early_stopping(history, stops[0] if stops else None),
    "Forty-eight pairs, twelve epochs. The ring marks the weights that early stopping returns, "
    "the dashed line the step at which patience 3 would have ended the run.",
    alt="Training loss falls; held-out loss falls, turns and rises.",
)

# %% [markdown]
# **Predict.** Which of the two policies has the higher *true* reward: the one that was stopped, or the one that was trained to the end?

# %%
rows = {}
for name, policy in {"stopped": stopped, "to the end": to_the_end}.items():
    found, metrics = lab.measure(policy, 64), pair_accuracies(policy, lab.reference, heldout_pairs)
    numbers = {"held-out accuracy": metrics["rewards/accuracies"], "KL": lab.kl(policy, found)}
    rows[name] = numbers | describe(lab, found)
comparison(rows)

# %% [markdown]
# The held-out loss has its minimum after a few steps and then stays *above* $\ln 2$: on unseen pairs the policy is confident and often wrong, which costs more than having no opinion. Early stopping returns the ring's weights; `DPOConfig(patience=3)` does what the cell above did by hand, and ends the run at the dashed line.
#
# And yet the policy that went on to the end has the higher true reward. Part of that gain is length: its reviews are more than twice as long, and this reward adds up over words. It paid with a KL several times as large and with texts that surprise the reference more. The two held-out accuracies are within each other's noise. So the held-out loss punishes misplaced confidence; it does not measure the quality of what is written. Stop by it when you have nothing better. If you can judge samples, choose the checkpoint by them, at a length and a KL that you can accept. (This is one seed.)
#
# ## 12 · When the power fails
#
# A checkpoint that holds the weights alone is not enough to go on as if nothing had happened. Adam has its running sizes, the schedule its step, dropout its random state, early stopping its best weights. The shuffle needs nothing: it follows from seed and epoch.
#
# The next cells run twelve steps in one go, then the same run with the plug pulled after step 7 (a checkpoint is written every three steps), then resume.
#
# **Predict.** From which step does the resumed run go on, and will its losses equal the unbroken run's exactly, or nearly?


# %%
class PowerCut(Exception):
    pass


def pull_the_plug(history):
    if len(history) == 7:
        raise PowerCut


few = pairs.select(range(48))
unbroken, policy = lab.fresh_policy(), lab.fresh_policy()
whole = train_dpo(unbroken, lab.reference, few, replace(config, batch_size=8))

# %%
with tempfile.TemporaryDirectory() as folder:
    settings = replace(config, batch_size=8, save_every=3, output_dir=f"{folder}/run")
    try:
        train_dpo(lab.fresh_policy(), lab.reference, few, settings, callback=pull_the_plug)
    except PowerCut:
        saved = torch.load(f"{folder}/run/checkpoint/training.pt")["records"]
        print("power cut; on disk:", len(saved), "steps")
    resumed = train_dpo(policy, lab.reference, few, replace(settings, resume=True))

both = zip(policy.model.parameters(), unbroken.model.parameters(), strict=True)
same = all(torch.equal(a, b) for a, b in both)
print(f"{len(resumed)} steps; same history: {resumed == whole}; same weights, bit by bit: {same}")

# %% [markdown]
# The last checkpoint was written after step 6, so step 7 is lost and done again. From there on nothing differs: same losses, same weights, bit by bit (on the same machine and versions; another number of threads may change last digits). A resume that is only *nearly* equal on the same machine hides a state that was not saved.
#
# ## Recap
#
# * RLHF: SFT, reward model, PPO. DPO: SFT, then one loss on the pairs. SFT stays, because pairs rank texts and do not teach the language.
# * The reference is a copy in eval mode without gradients. If it is the policy itself, the loss stays at $\ln 2$ whether or not the weights move.
# * Each pair needs four scored texts: two by the policy in every epoch, in one concatenated pass; two by the reference, once for the whole run.
# * A step: loss, `backward`, clip by the common norm, optimiser, schedule, clear. Accumulated parts are weighted by their share of the pairs.
# * Learning rates belong to a model, not to DPO. Keep weights in float32; bfloat16 loses small steps.
# * Watch both rewards, the KL (on the *policy's* samples), held-out pairs and texts; the loss alone tells you little.
# * A checkpoint holds weights, optimiser, schedule, random states and history.
#
# ## Two interview questions
#
# <details><summary><b>1. How many forward passes does DPO need for a pair, and which of them can you save?</b></summary>
#
# Four texts are scored: chosen and rejected, under the policy and under the reference. "A single forward pass" is wrong. The two policy scores share one concatenated batch, so it is one call, on twice as many rows, with a gradient, in every epoch. The two reference scores need no gradient and never change, so they are computed once before training and cached as two floats a pair; after that the reference need not be in memory. With several epochs this saves time as well. The cache is void once texts, template, truncation or tokenizer change. With LoRA the reference needs no second model either: switch the adapters off.
#
# </details>
# <details><summary><b>2. Your DPO loss goes down nicely. What else do you look at before you ship?</b></summary>
#
# Held-out pairs: loss and reward accuracy, since on few pairs the training loss goes to zero by heart. Both implicit rewards, not only their margin: if the chosen one falls too, probability goes to texts that are in neither column. KL to the reference, estimated on samples of the policy; on dataset texts it is another number. Then samples on held-out prompts, drawn at random: their quality by whatever judge you trust, with an interval, their length, their diversity, and a few read by eye. All of it over more than one seed before you claim a gain.
#
# </details>
#
# **Next:** lesson 06 asks what β does, in a world where the optimum is known.
