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

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

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

pd.set_option("display.max_colwidth", 120)

# %% [markdown]
# `Lab.auto()` hands us all that an experiment needs, in the size that suits this machine: a policy, its frozen reference, preference pairs, held-out prompts, and the *true* reward that made the pairs. The true reward is for judging only. No training step ever sees it; real projects do not have it.
#
# On a CPU this is the tiny policy and its review world: the reward of a review is the sum of the values of its words. The numbers in the text below are the tiny policy's.

# %%
lab = Lab.auto()
heldout_pairs = lab.heldout_pairs.select(range(min(96, len(lab.heldout_pairs))))
pairs = lab.pairs.select(range(min(256, len(lab.pairs))))
config = replace(
    lab.config, epochs=2, batch_size=min(32, lab.config.batch_size), precision="fp32", progress=False
)

print(
    f"tier {lab.tier} on {lab.policy.device}: {len(pairs)} training pairs, {len(heldout_pairs)} held-out pairs"
)
pd.DataFrame(pairs[:2])

# %% [markdown]
# ## 1 · Two recipes
#
# Reinforcement learning from human feedback (RLHF) runs three stages. **Supervised fine-tuning** (SFT) teaches a base model to answer at all, by imitating demonstrations. A **reward model** is trained on preference pairs. Then **PPO**, a reinforcement learner, lets the policy write, has the reward model score what it wrote, and updates, again and again.
#
# **Predict.** Which of these models does DPO still need *while it trains*: policy, reference, reward model, value model?

# %%
show(
    draw_stages(),
    "What each recipe runs, from left to right, and which models it holds in memory meanwhile (last line of each box). DPO keeps stage 1 and replaces the other two by one loss; its reference runs once.",
    alt="Two rows of three boxes. RLHF: SFT, reward model, PPO with policy, value, reward and reference models. DPO: SFT, reference log-probs once, DPO with the policy alone.",
)

# %% [markdown]
# PPO holds four models, and one of its loops is generation. DPO has the policy and the reference, and the reference can be done with before the first step (section 4 counts it). What DPO gives up is the loop: it learns from pairs that were written beforehand, and never sees what the policy writes today.
#
# "Replaces" is about the objective: with the same reference, the same β and enough data, the optimum is the same (lesson 02). It is no promise that two finite runs end alike.
#
# ## 2 · Why SFT comes first
#
# DPO moves probability between completions that the policy can already write. Its pairs say which of two reviews is better. They never say what a review is.
#
# **Predict.** Suppose we skip SFT and run DPO on a model with random weights. Will its reward accuracy on held-out pairs rise above one half? Will its true reward rise? Will it write reviews?
#
# The next cell runs DPO on the tiny architecture from three starts: random weights, 10 steps of SFT, and the shipped checkpoint (the same SFT, run to its end). The last column of numbers asks the shipped checkpoint how surprising the texts are, in nats a token. Its own samples set the scale.

# %%
tiny = Lab.auto(tier="tiny", device="cpu")


def surprise(lab, found):
    """Nats a token of what was sampled, under the lab's reference; empty texts are left out."""
    said = [i for i, text in enumerate(found.texts) if text.strip()]
    prompts, texts = [found.prompts[i] for i in said], [found.texts[i] for i in said]
    tokens = sum(len(lab.reference.tokenizer(text).input_ids) + 1 for text in texts)
    return -score_completions(lab.reference, prompts, texts).sum().item() / tokens


def dpo_from(policy):
    policy.model.eval()
    start = Policy(copy.deepcopy(policy.model), policy.tokenizer, "start")
    train_dpo(policy, start, tiny.pairs.select(range(128)), replace(tiny.config, epochs=1, batch_size=16))
    found = tiny.measure(policy, 64)
    accuracy = pair_accuracies(policy, start, tiny.heldout_pairs.select(range(96)))["rewards/accuracies"]
    return {"held-out accuracy": accuracy, **describe(tiny, found)}


def describe(lab, found):
    return {
        "true reward": found.reward.mean,
        "surprise": surprise(lab, found),
        "a sample": found.texts[0][:100],
    }


# %%
starts = {"no SFT": untrained_policy(), "10 steps of SFT": untrained_policy(), "shipped": tiny.fresh_policy()}
train_sft(starts["10 steps of SFT"], sample_reviews(10 * SFT.batch_size), SFT)
rows = {name: dpo_from(policy) for name, policy in starts.items()}
rows["shipped, no DPO"] = describe(tiny, tiny.measure(tiny.reference, 64))
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# By the numbers that one would log, the untrained start looks best: the highest held-out accuracy of the three trained ones and the highest true reward of all. Now read its sample. With random weights all words are about equally likely, so it is easy to make the kind ones likelier, and the true reward of this world adds up words in whatever order. The surprise tells the two apart: above ten nats a token without SFT, below one for a model that writes reviews.
#
# DPO did what its pairs asked. They say "this one rather than that one", and a heap of kind words is more like the chosen side than the rejected one. Only SFT says what a review looks like. So: start DPO from a model that already writes the kind of text you want to choose among, and never judge a run by one number.
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
# **Write it.** A `Policy` has three fields, `Policy(model, tokenizer, name)`. The model is a PyTorch module; the tokenizer may be shared; the name is free.

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
# `module.eval()` turns dropout off. `module.requires_grad_(False)` turns gradients off. Neither does the other's work, both act in place and return the module: call them on the copy.
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
    moved = ((chosen - start[0]) - (rejected - start[1])).mean().item()
    return {
        "first loss": losses[0],
        "last loss": losses[-1],
        "first gradient norm": norms[0],
        "true log-ratio gap": moved,
    }


# %%
cases = {
    "a frozen copy": lambda now: start,
    "the policy itself, no_grad": lambda now: [logps.detach() for logps in now],
    "the policy itself": lambda now: now,
}
pd.DataFrame({name: six_steps(choose) for name, choose in cases.items()}).T.round(6)

# %% [markdown]
# Both wrong versions log 0.693147 for ever, and they are two different faults. Under `no_grad` the reference's *value* follows the policy, but the gradient is still $-\beta/2$ on every gap: the policy moves (last column), nothing holds it, and the log says that nothing happens. And since the loss never falls, that push never fades. Without `no_grad` the two gradients cancel, and nothing happens. So when a loss is stuck at $\ln 2$, look at the gradient norm and at how far the policy has moved before you look for a cause.
#
# A trainer that caches the reference's log-probs before the first step, as the next section does, cannot fall into this trap while it trains; whoever then measures the KL to "the reference" would still read 0.
#
# ## 4 · The reference runs once
#
# The reference never changes and the pairs never change, so $\log\pi_\text{ref}(y_w\mid x)$ and $\log\pi_\text{ref}(y_l\mid x)$ never change. Compute them once, keep two floats a pair, and let the reference go.
#
# You will read that DPO needs "a single forward pass". **Predict.** A pair is two texts, and there are two models. How many texts are scored for one pair in one step? The next cell hangs a counter on both models and trains for two epochs on 64 pairs in batches of 16.

# %%
calls, scored = Counter(), Counter()


def count(name):
    def hook(module, args, kwargs, output):
        calls[name] += 1
        scored[name] += len(kwargs["input_ids"])

    return hook


policy = lab.fresh_policy()
hooks = [
    model.register_forward_hook(count(name), with_kwargs=True)
    for name, model in (("policy", policy.model), ("reference", lab.reference.model))
]
history = train_dpo(policy, lab.reference, pairs.select(range(64)), replace(config, batch_size=16))
for hook in hooks:
    hook.remove()
table = pd.DataFrame({"forward passes": calls, "texts scored": scored})
table["texts a pair and epoch"] = table["texts scored"] / (64 * config.epochs)
print(f"{len(history)} optimiser steps")
table

# %% [markdown]
# Four texts a pair have to be scored, not one: the policy on both completions, in every epoch and with a gradient; the reference on both, without one. What saves work is that chosen and rejected share one *concatenated* pass (one policy pass a step), and that the reference runs once for the whole run: two texts a pair, however many epochs there are. Spread over the two epochs of this run that is one text a pair and epoch (last column).
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
        "reference every step": epochs * (cached_seconds + reference_seconds),
        "reference once": epochs * cached_seconds + reference_seconds,
    }
).round(2)

# %% [markdown]
# In one epoch there is nothing to save in time; from the second on, each saves one pass of the reference. The larger saving is memory: after the pass over the data the reference can leave the device. The price: the cache holds for exactly these texts. If you change the tokenizer, the template or the truncation, compute it anew.
#
# ## 5 · One step
#
# A step has two halves. The first ends in a number to call `backward` on: collated batch in, loss and metrics out.
#
# `collate` puts the $B$ chosen rows first and the $B$ rejected rows after them, in the same order, so one call of `completion_logprobs(model, batch)` returns all $2B$ log-probs. The checks count: the model runs **once** a call. `dpo_loss` and `preference_metrics` from lesson 04 are imported.

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
ref_chosen, ref_rejected = (
    logps.to(policy.device) for logps in pair_logprobs(lab.reference, chosen, rejected)
)


def accumulated(parts, factors):
    """Gradient of the whole model, after `backward` on each part's mean loss times its factor."""
    policy.model.zero_grad()
    for part, factor in zip(parts, factors, strict=True):
        rows = collate(chosen[part], rejected[part], policy.tokenizer.pad_token_id)
        loss, _ = dpo_step_loss(
            policy.model, to_device(rows, policy.model), ref_chosen[part], ref_rejected[part]
        )
        (loss * factor).backward()
    return torch.cat([p.grad.flatten() for p in policy.model.parameters()])


parts = [slice(0, 10), slice(10, 20), slice(20, 24)]
whole = accumulated([slice(0, 24)], [1.0])
for name, factors in {"10/24, 10/24, 4/24": [10 / 24, 10 / 24, 4 / 24], "1/3 each": [1 / 3] * 3}.items():
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
# At `step = warmup_steps` the share is 1. Halfway between there and the end it is 0.5. At `step = total_steps` it is 0.
#
# </details>

# %%
total_steps = math.ceil(len(pairs) / config.batch_size) * config.epochs
warmup_steps = math.ceil(config.warmup_ratio * total_steps)
print(
    "first four rates:",
    [f"{config.lr * warmup_cosine(step, warmup_steps, total_steps):.1e}" for step in range(4)],
)
show(
    plot_schedules(["cosine", "linear", "constant_with_warmup"], config.lr, warmup_steps, total_steps),
    "Three schedules with the same warm-up. The first step is taken at rate 0: it moves nothing, which is why the second logged loss of a run is still ln 2.",
    alt="Learning rate against step: all rise together, then one stays, one falls straight, one falls along half a cosine.",
)

# %% [markdown]
# **Explore.** How many optimiser steps does a run of 2,048 pairs make? Set the batch size to 128 and one epoch: how many of its steps are warm-up? Few steps are the usual reason why a small run "does not learn".

# %%
schedule_explorer()

# %% [markdown]
# ### Which peak?
#
# Advice on the web reads: rate 1e-6 to 5e-6, batches of 32 to 128, 1 to 3 epochs. It comes from full fine-tuning of models with billions of parameters, and there it fits: Rafailov et al. (2023, appendix B) use 1e-6 with RMSprop and batches of 64; zephyr-7b-beta's card says 5e-7 with batches of 32. It is a range for *those* models, not a property of DPO. Ours is far smaller and takes a handful of steps.
#
# **Predict.** One epoch in batches of 16 on the same pairs, at a hundredth of our rate (inside the advised range, for the tiny policy), at our rate, and at thirty times our rate. Which one has the lowest training loss at the end? Which one would you ship?

# %%
rows = {}
for factor in (0.01, 1, 30):
    policy = lab.fresh_policy()
    settings = replace(
        config, lr=factor * lab.config.lr, epochs=1, batch_size=min(16, config.batch_size), progress=True
    )
    history = train_dpo(policy, lab.reference, pairs.select(range(160)), settings)
    found = lab.measure(policy, 64)
    rows[f"lr {settings.lr:.0e}"] = {
        "loss, mean of the last 4": np.mean(history["loss"][-4:]),
        "held-out accuracy": pair_accuracies(policy, lab.reference, heldout_pairs)["rewards/accuracies"],
        "KL": lab.kl(policy, found),
        **describe(lab, found),
    }
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# A hundredth of our rate changes next to nothing in so few steps: the loss is still $\ln 2$ to three digits. It is no bad rate; it is one for other models or for many more steps. At our rate the reward rises, the policy stays near the reference, and the text is text.
#
# Thirty times our rate has the *highest true reward of all*, and you would not ship it: a KL of hundreds of nats, a surprise of several nats a token, word salad. Its held-out accuracy is the lowest of the three. Gradient clipping at norm 1 was on all the time; it does not save a run from its learning rate.
#
# So sweep the rate on your own model, and look at KL and texts beside the loss.
#
# ## 7 · The loop
#
# All parts are there. The loop below is made of your functions and of `epoch_batches`, which shuffles the row numbers of each epoch by a seed of its own.


# %%
def my_training(policy, reference, pairs, config):
    chosen, rejected = encode_pairs(policy.tokenizer, pairs)
    ref_chosen, ref_rejected = (
        logps.to(policy.device) for logps in pair_logprobs(reference, chosen, rejected)
    )
    batches = [rows for epoch in range(config.epochs) for rows in epoch_batches(len(chosen), epoch, config)]
    warmup_steps = math.ceil(config.warmup_ratio * len(batches))
    optimizer = torch.optim.AdamW(
        policy.model.float().parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, warmup_steps, len(batches))
    )
    history = History()
    policy.model.train()
    for step, rows in enumerate(tqdm(batches, desc="my DPO", unit="step"), start=1):
        batch = collate([chosen[i] for i in rows], [rejected[i] for i in rows], policy.tokenizer.pad_token_id)
        batch = to_device(batch, policy.model)
        loss, metrics = dpo_step_loss(
            policy.model, batch, ref_chosen[rows], ref_rejected[rows], beta=config.beta
        )
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
print(
    f"{len(mine)} steps; largest difference in loss: {np.abs(np.subtract(mine['loss'], theirs['loss'])).max():.1e}"
)
pd.DataFrame(mine.records)[["step", "loss", "rewards/margins", "grad_norm", "learning_rate"]].head(4).round(5)

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
print(
    "1 + 0.001 in bfloat16 =",
    (one + 0.001).item(),
    "  next number above 1:",
    1 + torch.finfo(torch.bfloat16).eps,
)

weights = torch.cat([p.detach().flatten() for p in lab.policy.model.parameters()]).cpu()
rows = {}
for rate in (5e-6, 1e-5, 3e-4):
    rows[f"{rate:.0e}"] = {
        str(dtype).removeprefix("torch."): (weights.to(dtype) - rate != weights.to(dtype))
        .float()
        .mean()
        .item()
        for dtype in (torch.float32, torch.bfloat16)
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
# Now a real run, watched: two epochs on all our pairs, three times with three seeds (batch order). A callback samples the first run now and then.
#
# **Predict.** At the end, will the chosen reward be above or below zero? Will the KL still be growing?


# %%
def mean_log_ratio(policy, prompts, texts):
    """Mean of log π − log π_ref; empty texts are left out."""
    said = [i for i, text in enumerate(texts) if text.strip()]
    scored = [prompts[i] for i in said], [texts[i] for i in said]
    return kl_estimate(score_completions(policy, *scored), score_completions(lab.reference, *scored)).item()


def look(policy, seed):
    """KL to the reference and mean true reward of 64 fresh samples."""
    found = lab.measure(policy, 64, seed=seed)
    return {"kl": mean_log_ratio(policy, found.prompts, found.texts), "true_reward": found.reward.mean}


def watched(policy):
    return lambda history: (
        len(history) % 4 == 0 and history.log(len(history), **look(policy, seed=len(history)))
    )


policies, histories = {}, {}
for seed in (0, 1, 2):
    policy = policies[seed] = lab.fresh_policy()
    callback = watched(policy) if seed == 0 else None
    settings = replace(config, seed=seed, eval_every=total_steps, progress=True)
    histories[seed] = train_dpo(
        policy, lab.reference, pairs, settings, eval_pairs=heldout_pairs, callback=callback
    )

# %%
show(
    plot_watch(histories[0]),
    "Seed 0. Loss of each batch, its implicit rewards, and what 64 fresh samples on held-out prompts say: KL to the reference and true reward.",
    alt="Four panels over the steps: loss, chosen and rejected rewards, KL, true reward.",
)

# %%
last = {
    f"seed {seed}": {
        name: history[name][-1]
        for name in ("eval_loss", "eval_rewards/chosen", "eval_rewards/rejected", "eval_rewards/accuracies")
    }
    for seed, history in histories.items()
}
pd.DataFrame(last).T.round(3)

# %% [markdown]
# On held-out pairs the chosen reward ends a little *below* zero with all three seeds: the policy has made the chosen texts slightly less likely as well. The margin is positive because the rejected ones fell further. Lesson 04 saw it in one pair; lesson 07 asks where the probability goes.
#
# A held-out loss of 0.67 against $\ln 2 = 0.693$ looks like nothing learnt, and yet KL and true reward have moved. The labels are noisy, so even a perfect policy would not bring this loss to zero. With 64 samples a point, the two right-hand panels carry noise: read their direction, not their wiggles.
#
# **A common slip.** `rewards/chosen` divided by $\beta$ is also a mean log-ratio. It is no KL: its texts come from the data, not from the policy.

# %%
trained, held = policies[0], heldout_pairs
ours, theirs = lab.measure(trained, 128, seed=9), lab.measure(lab.reference, 128, seed=9)
pd.DataFrame(
    {
        "mean log π − log π_ref (nats)": {
            "texts of the policy (this is the KL)": mean_log_ratio(trained, ours.prompts, ours.texts),
            "texts of the reference": mean_log_ratio(trained, theirs.prompts, theirs.texts),
            "held-out chosen texts": mean_log_ratio(trained, held["prompt"], held["chosen"]),
            "held-out rejected texts": mean_log_ratio(trained, held["prompt"], held["rejected"]),
        }
    }
).round(2)

# %% [markdown]
# The same two models, four sets of texts, four numbers, and only the first is $\mathrm{KL}(\pi_\theta\,\|\,\pi_\text{ref})$. On the reference's own texts the mean is negative: its opposite is the KL in the *other* direction. The pairs were written by the reference too and then sorted by a judge, so both of their means are negative, and neither is a divergence.
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
    "Left: mean true reward on held-out prompts with its 95 % bootstrap interval. Right: the rewards of the single samples, reference against the policy of seed 0.",
    alt="Intervals of three trained policies to the right of the reference's; a histogram that has shifted to the right.",
)

# %%
names = {"reference": lab.reference, **{f"policy, seed {seed}": policy for seed, policy in policies.items()}}
rows = {
    name: {
        "true reward": str(found.reward),
        "gain over the reference": str(bootstrap_interval(np.subtract(found.rewards, before.rewards))),
        "KL (nats)": round(lab.kl(names[name], found), 2),
        "mean words": round(np.mean([len(text.split()) for text in found.texts]), 1),
    }
    for name, found in {"reference": before, **after}.items()
}
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# The gain's interval excludes zero for each seed. Know what it covers: the luck of sampling on these prompts. The luck of the batch order is what the three seeds show. The luck of these pairs and of these held-out items is in neither. The mean length has hardly changed, so the gain is not bought with longer reviews, although this reward would pay for them.
#
# Five of the 256 prompts, drawn at random and not picked:

# %%
drawn = np.random.default_rng(5).choice(256, size=5, replace=False)
found = after["policy, seed 0"]
pd.DataFrame(
    {
        "before": [before.texts[i] for i in drawn],
        "reward": [before.rewards[i] for i in drawn],
        "after": [found.texts[i] for i in drawn],
        "reward ": [found.rewards[i] for i in drawn],
    }
)

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
settings = replace(
    config,
    lr=3 * lab.config.lr,
    epochs=12,
    batch_size=24,
    schedule="constant_with_warmup",
    eval_every=3,
    progress=True,
)
to_the_end, stopped = lab.fresh_policy(), lab.fresh_policy()


def keep_the_best(history):
    if history["eval_loss"][-1] == min(history["eval_loss"]) and "eval_loss" in history.records[-1]:
        stopped.model.load_state_dict(to_the_end.model.state_dict())


history = train_dpo(
    to_the_end,
    lab.reference,
    few,
    settings,
    heldout_pairs,
    lambda history: len(history) >= 3 and keep_the_best(history),
)

steps, losses = history.steps("eval_loss"), history["eval_loss"]
stops = [step for i, step in enumerate(steps, start=1) if out_of_patience(losses[:i], 3)]
stop = stops[0] if stops else None
show(
    plot_early_stopping(history, stop),
    "Forty-eight pairs, twelve epochs. The ring marks the weights that early stopping returns, the dashed line the step at which patience 3 would have ended the run.",
    alt="Training loss falls; held-out loss falls, turns and rises.",
)

# %% [markdown]
# **Predict.** Which of the two policies has the higher *true* reward: the one that was stopped, or the one that was trained to the end?

# %%
rows = {}
for name, policy in {"stopped": stopped, "to the end": to_the_end}.items():
    found = lab.measure(policy, 64)
    accuracy = pair_accuracies(policy, lab.reference, heldout_pairs)["rewards/accuracies"]
    rows[name] = {"held-out accuracy": accuracy, "KL": lab.kl(policy, found), **describe(lab, found)}
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# The held-out loss has its minimum after a few steps and then stays *above* $\ln 2$: on unseen pairs the policy is confident and often wrong, which costs more than having no opinion. Early stopping returns the ring's weights; `DPOConfig(patience=3)` does what the cell above did by hand, and ends the run at the dashed line.
#
# And yet the policy that went on to the end has the higher true reward, and its held-out accuracy is not lower (with 96 pairs, several hundredths are noise). It paid for that with a KL several times as large and with texts that surprise the reference more. The held-out loss punishes misplaced confidence; it does not measure the quality of what is written. Stop by it when you have nothing better. If you can judge samples, choose the checkpoint by them, at a KL that you can accept.
#
# ## 12 · When the power fails
#
# A checkpoint that holds the weights alone is not enough to go on as if nothing had happened. Adam has its running sizes, the schedule its step, the shuffle and dropout their random states, early stopping its best weights.
#
# The next cell runs twelve steps in one go, then the same run with the plug pulled after step 7 (a checkpoint is written every three steps), then resumes.
#
# **Predict.** From which step does the resumed run go on, and will its losses equal the unbroken run's exactly, or nearly?


# %%
class PowerCut(Exception):
    pass


def pull_the_plug(history):
    if len(history) == 7:
        raise PowerCut


few = pairs.select(range(48))
with tempfile.TemporaryDirectory() as folder:
    settings = replace(config, batch_size=8, save_every=3, output_dir=f"{folder}/run")
    unbroken = lab.fresh_policy()
    whole = train_dpo(unbroken, lab.reference, few, replace(settings, output_dir=None, save_every=0))
    try:
        train_dpo(lab.fresh_policy(), lab.reference, few, settings, callback=pull_the_plug)
    except PowerCut:
        print(
            "power cut; on disk:", len(torch.load(f"{folder}/run/checkpoint/training.pt")["records"]), "steps"
        )
    policy = lab.fresh_policy()
    resumed = train_dpo(policy, lab.reference, few, replace(settings, resume=True))

same = all(
    torch.equal(a, b) for a, b in zip(policy.model.parameters(), unbroken.model.parameters(), strict=True)
)
print(f"{len(resumed)} steps; same history: {resumed == whole}; same weights, bit by bit: {same}")

# %% [markdown]
# The last checkpoint was written after step 6, so step 7 is lost and done again. From there on nothing differs: same losses, same weights, bit by bit (on the same machine and versions; another number of threads may change last digits). A resume that is only *nearly* equal hides a state that was not saved.
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
