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
# # 04 · The DPO loss
#
# **What number does DPO minimise, and what does one step on it do to the model?**
#
# After this lesson you can
#
# * write the loss from memory, say what each of its four inputs does, and recognise the usual wrong versions by their numbers;
# * say why training starts at 0.6931, why it is `logsigmoid` and never `log(sigmoid)`, and what label smoothing changes;
# * derive the loss's gradient yourself, and read the metrics that every DPO run logs.
#
# {{lesson_facts}}
#
# You need lesson 02 (where the loss comes from) and lesson 03 (how a model scores a completion), or their two results, which open section 1.

# %%
import math

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.checks import check_batch, check_fraction, check_positive
from dpo_lab.course import check
from dpo_lab.plots import plot_history, plot_label_smoothing, plot_loss_and_gradient, show
from dpo_lab.policies import frozen_reference, load_policy
from dpo_lab.preferences import load_pairs
from dpo_lab.trainer import DPOConfig, encode_pairs, pair_logprobs, train_dpo
from dpo_lab.widgets import loss_explorer

pd.set_option("display.max_colwidth", None)  # show completions whole

# %% [markdown]
# ## 1 · Four numbers a pair
#
# A preference pair is a prompt $x$, a chosen completion $y_w$ ("winner") and a rejected one $y_l$ ("loser"). Two models score both:
#
# * the **policy** $\pi_\theta$, the model that we train, and
# * the **reference** $\pi_\text{ref}$, a frozen copy of it from before training.
#
# Scoring means $\log \pi(y\mid x)$: the sum of the log-probabilities of the completion's tokens, in nats (lesson 03). Two models times two completions make four numbers.
#
# Lesson 02 turned them into a probability. The *implicit reward* of a completion is how much more likely the policy makes it than the reference does, times a constant $\beta > 0$:
#
# $$ r(x, y) = \beta \,\log\frac{\pi_\theta(y\mid x)}{\pi_\text{ref}(y\mid x)} = \beta\,\bigl(\log \pi_\theta(y\mid x) - \log \pi_\text{ref}(y\mid x)\bigr) $$
#
# up to a term that depends on the prompt alone and cancels below. ($\beta$ is the price of moving away from the reference in the objective that DPO comes from: reward minus $\beta$ times the Kullback-Leibler divergence from the reference, its "KL term".) The model's probability that $y_w$ beats $y_l$ is
#
# $$ P(y_w \succ y_l \mid x) = \sigma(m), \qquad m = r(x, y_w) - r(x, y_l), \qquad \sigma(m) = \frac{1}{1 + e^{-m}} . $$
#
# $m$ is the **margin**. Divide it by $\beta$ and you have the **log-ratio gap** $\delta$, in nats: the chosen log-ratio minus the rejected one, so that $m = \beta\,\delta$.
#
# Here are the four numbers of three pairs from the course's review world, scored by its smallest policy. Nothing has been trained yet.

# %%
policy = load_policy("tiny", device="cpu")
reference = frozen_reference(policy)
pairs = load_pairs("review_train").select(range(256))

encoded = encode_pairs(policy.tokenizer, pairs)
policy_chosen_logps, policy_rejected_logps = pair_logprobs(policy, *encoded)
ref_chosen_logps, ref_rejected_logps = pair_logprobs(reference, *encoded)

pd.DataFrame(
    {
        "prompt": pairs["prompt"][:3],
        "chosen": pairs["chosen"][:3],
        "rejected": pairs["rejected"][:3],
        "policy chosen": policy_chosen_logps[:3].tolist(),
        "policy rejected": policy_rejected_logps[:3].tolist(),
        "reference chosen": ref_chosen_logps[:3].tolist(),
        "reference rejected": ref_rejected_logps[:3].tolist(),
    }
).round(2)

# %% [markdown]
# **Predict.** Policy and reference are still the same model. What is the margin $m$ of these pairs, and what probability does the model give to the label "chosen wins"? Does it matter how large $\beta$ is?

# %%
beta = 0.1
margins = beta * ((policy_chosen_logps - ref_chosen_logps) - (policy_rejected_logps - ref_rejected_logps))
print("largest |margin|:", margins.abs().max().item())
print("P(chosen wins) of the first three:", torch.sigmoid(margins[:3]).tolist())

# %% [markdown]
# The margin is 0 whatever $\beta$ is, so each label gets probability one half: a model that has not moved from its reference has no opinion. That is so although it finds some completions far more likely than others. Only *change* counts.
#
# ## 2 · A logarithm that does not break
#
# We will maximise the log-probability of the labels, $\log \sigma(m)$. It looks harmless.
#
# **Predict.** What does the obvious code, `torch.log(torch.sigmoid(m))`, return in float32 for $m = -50$? For $m = -200$? And what is its gradient there?

# %%
m = torch.tensor([2.0, 0.0, -50.0, -200.0], requires_grad=True)
obvious = torch.log(torch.sigmoid(m))
obvious.sum().backward()
pd.DataFrame({"m": m.tolist(), "log(sigmoid(m))": obvious.tolist(), "gradient": m.grad.tolist()})

# %% [markdown]
# At $m = -200$ the sigmoid is smaller than the smallest float32, so it becomes 0, its logarithm $-\infty$, and the gradient NaN. One such pair in a batch and every weight of the model is NaN after the next step. Pairs like that do occur: a log-ratio gap of 2,000 nats at $\beta = 0.1$ is a bad day, not an impossibility, and at larger $\beta$ it takes less.
#
# The cure is to stay in log space:
#
# $$ \log\sigma(m) = -\log\bigl(1 + e^{-m}\bigr) = \min(m, 0) - \log\bigl(1 + e^{-|m|}\bigr) . $$
#
# The last form only takes the exponential of numbers that are not positive, so nothing overflows. **Write it**, so that both its values and its gradient $\sigma(-m)$ are right; without `logsigmoid` (from then on you may use it). `torch.log1p(u)` is $\log(1 + u)$, exact for small $u$.

# %% exercise="stable_log_sigmoid" points=2 minutes=6 difficulty=2 importance=4
...

# %%
stable_log_sigmoid = check(stable_log_sigmoid)

# %% [markdown] hints="stable_log_sigmoid"
# <details><summary>Hint 1: which torch functions</summary>
#
# `torch.minimum(a, b)` takes the smaller of two tensors, entry by entry; `margins.abs()` is $|m|$.
#
# </details>
# <details><summary>Hint 2: why the two forms are equal</summary>
#
# For $m \ge 0$ the second form is the first. For $m < 0$ pull $e^{-m}$ out of the bracket: $1 + e^{-m} = e^{-m}(e^{m} + 1)$, so $-\log(1 + e^{-m}) = m - \log(1 + e^{m})$, and $m = -|m|$.
#
# </details>

# %%
m = torch.tensor([2.0, 0.0, -50.0, -200.0], requires_grad=True)
stable = stable_log_sigmoid(m)
stable.sum().backward()
pd.DataFrame(
    {
        "m": m.tolist(),
        "stable": stable.tolist(),
        "gradient": m.grad.tolist(),
        "logsigmoid": logsigmoid(m).tolist(),
    }
)

# %% [markdown]
# The same values as PyTorch's own `logsigmoid`, and a gradient of 1 exactly where the obvious code had NaN: on the pairs that are most wrong. At $m = 0$, where every run starts, the gradient is one half. (Write the minimum as `clamp(max=0)` and it is 1 there: right values, and a first step twice too large.) From here on we use PyTorch's.
#
# ## 3 · The loss
#
# DPO's loss is the negative log-probability of the labels (Rafailov et al. 2023, eq. 7):
#
# $$ \mathcal{L}_\text{DPO} = -\log\sigma(m), \qquad m = \beta\left[\log\frac{\pi_\theta(y_w\mid x)}{\pi_\text{ref}(y_w\mid x)} - \log\frac{\pi_\theta(y_l\mid x)}{\pi_\text{ref}(y_l\mid x)}\right] $$
#
# and training minimises its mean over the pairs. The bracket is the log-ratio gap $\delta$.
#
# Labels are sometimes wrong. If we believe that a share $\varepsilon$ of them is flipped, we can hedge and give the flipped label that much weight (label smoothing, "conservative DPO", Mitchell 2023):
#
# $$ \mathcal{L} = -(1 - \varepsilon)\,\log\sigma(m) - \varepsilon\,\log\sigma(-m) . $$
#
# **Write the whole function.** It returns three tensors, each with one entry a pair: the losses, and the implicit rewards of the chosen and of the rejected completions. The rewards are for looking at, so no gradient may flow through them (`.detach()`). Arguments need no checking here: the finished version calls `check_batch`, `check_positive` and `check_fraction` first, and you may leave them out.

# %% exercise="dpo_loss" points=5 minutes=15 difficulty=3 importance=5
...

# %%
dpo_loss = check(dpo_loss)

# %% [markdown] hints="dpo_loss"
# <details><summary>Hint 1: where to start</summary>
#
# Compute the two rewards first, each as $\beta$ times a difference of log-probs. The margin is their difference. Then the loss is one line.
#
# </details>
# <details><summary>Hint 2: the values are right but a check about gradients fails</summary>
#
# Detach what you *return* as rewards. The margin must be computed from rewards that still carry the gradient, or nothing reaches the policy.
#
# </details>
# <details><summary>Hint 3: label smoothing</summary>
#
# With `label_smoothing=0` the second term vanishes, so one formula serves both cases. No `if` is needed.
#
# </details>

# %% [markdown]
# Three made-up pairs with log-ratio gaps of 0, 10 and 20 nats make a good test vector. The next cell computes their losses with your function, and with six versions that people really ship.

# %%
policy_chosen, policy_rejected = torch.tensor([-0.5, -10.0, -1.0]), torch.tensor([-0.1, -30.0, -21.0])
ref_chosen, ref_rejected = torch.tensor([-0.5, -10.1, -0.1]), torch.tensor([-0.1, -20.1, -0.1])
four = (policy_chosen, policy_rejected, ref_chosen, ref_rejected)
gap = (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)
losses, chosen_rewards, rejected_rewards = dpo_loss(*four, beta=0.1)

versions = {
    "right": losses,
    "pair swapped": -logsigmoid(-0.1 * gap),
    "reference forgotten": -logsigmoid(0.1 * (policy_chosen - policy_rejected)),
    "reference added": -logsigmoid(0.1 * (policy_chosen - policy_rejected + ref_chosen - ref_rejected)),
    "β forgotten": -logsigmoid(gap),
    "β outside the log-sigmoid": -0.1 * logsigmoid(gap),
    "sign lost": logsigmoid(0.1 * gap),
}
pd.DataFrame(
    {name: values.tolist() for name, values in versions.items()}, index=["δ = 0", "δ = 10", "δ = 20"]
).T.round(6)

# %% [markdown]
# Each wrong version leaves its own trace:
#
# * *pair swapped* rises with the gap where it should fall;
# * *reference forgotten* does not give $\ln 2$ on the first pair, where policy and reference agree (on the third pair it is right by coincidence: there the reference likes both texts equally);
# * *reference added* misses $\ln 2$ on the first pair by about twice as much, and is right on the third by the same coincidence;
# * *β forgotten* is nearly zero after a few nats;
# * *β outside* starts at $\beta\ln 2$ instead of $\ln 2$;
# * *sign lost* is negative, which no negative log-probability can be.
#
# Now look at the implicit rewards of the third pair, the one with the lowest loss.

# %%
pd.DataFrame(
    {
        "gap δ": gap.tolist(),
        "loss": losses.tolist(),
        "chosen reward": chosen_rewards.tolist(),
        "rejected reward": rejected_rewards.tolist(),
    }
).round(4)

# %% [markdown]
# Its chosen reward is *negative*: the policy has made the chosen completion less likely than the reference did, and the loss is pleased all the same, because the rejected one fell further. The loss looks at the difference alone. Keep this row in mind; section 6 shows it on a whole model, and lesson 07 asks why.
#
# ## 4 · The shape of the loss
#
# **Predict.** Draw, on paper, the loss of a pair against its gap $\delta$, for $\beta = 0.03$ and for $\beta = 1$. Where do the curves meet? Which one is steeper at $\delta = 0$? Which one is steeper at $\delta = 20$?

# %%
show(
    plot_loss_and_gradient(betas=(0.03, 0.1, 0.3, 1.0)),
    "Left: the loss of one pair against its log-ratio gap; all curves cross at a gap of 0, at ln 2. "
    "Right: its slope; dots mark −β/2 at a gap of 0. The larger β, the steeper the start and the sooner it is over.",
    alt="Two panels, four values of beta. Loss curves cross at gap 0, height ln 2, and fall to the right; "
    "slope curves are negative sigmoids.",
)

# %%
slopes = {}
for beta in (0.03, 0.1, 0.3, 1.0):
    chosen = torch.tensor([0.0, 20.0], dtype=torch.float64, requires_grad=True)
    zeros = torch.zeros(2, dtype=torch.float64)
    dpo_loss(chosen, zeros, zeros, zeros, beta=beta)[0].sum().backward()
    slopes[f"β = {beta}"] = chosen.grad.tolist()
pd.DataFrame(slopes, index=["slope at δ = 0", "slope at δ = 20"]).T.map("{:.2e}".format)

# %% [markdown]
# Two things to take from the picture.
#
# * **Every run starts at $\ln 2$.** With policy = reference each gap is 0, and $-\log\sigma(0) = \ln 2$ for every $\beta$. If your first logged loss is something else, the policy is not the reference (dropout, another checkpoint, another precision). If your loss *stays* there, the margins stay near 0, for which there are several causes: interview question 1 goes through them.
# * **$\beta$ sets how far a pair has to be pushed before it is done.** The loss depends on $\beta\delta$ alone, so for the same loss a ten times smaller $\beta$ needs a ten times larger gap. That is why, of two policies that fit noisy preferences equally well, the one with the *larger* $\beta$ has stayed *closer* to the reference. You will also read the opposite, "higher β diverges more". The right-hand picture shows where that comes from: at a gap of 0 the slope is $-\beta/2$, so the *first* steps are larger for larger $\beta$. By 20 nats, as the table prints, $\beta = 1$ has next to no slope left, while the two smallest go on pulling. Lesson 06 measures both ends on real runs.

# %%
print("ln 2 =", round(math.log(2), 6))
for beta in (0.03, 0.1, 1.0):
    first_loss = dpo_loss(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=beta
    )[0]
    print(f"β = {beta:<4}  loss before training: {first_loss.mean().item():.6f}")

# %% [markdown]
# **Explore.** Move one pair by hand. The arrows on the right are a step of gradient descent on each log-prob. Find a setting in which the chosen log-ratio is negative and the loss is below 0.2. Then, at β = 0.1: how large must the gap be for the push to fall to a tenth of β?

# %%
loss_explorer()

# %% [markdown]
# ## 5 · What a step does
#
# **Predict**, then derive. How does the loss $-\log\sigma(m)$ of one pair change when the chosen log-prob rises a little? When the rejected one does? You need two facts: $\frac{d}{dm}\log\sigma(m) = \sigma(-m)$, and how $m$ depends on the two log-probs. Take a pencil: it is two lines.
#
# **Write what you found**, as plain formulas without autograd: one pair an entry, no label smoothing, right also for pairs with a margin of hundreds.

# %% exercise="dpo_gradient" points=3 minutes=8 difficulty=2 importance=4
...

# %%
dpo_gradient = check(dpo_gradient)

# %% [markdown] hints="dpo_gradient"
# <details><summary>Hint 1: the margin</summary>
#
# You have a function that returns both rewards. The margin is their difference.
#
# </details>
# <details><summary>Hint 2: the sign inside the sigmoid</summary>
#
# $\sigma(-m)$ is close to 1 when the pair is wrong ($m \ll 0$) and close to 0 when it is right. Then the chain rule: $m = \beta(\dots)$.
#
# </details>

# %% [markdown]
# The result:
#
# $$ \frac{\partial \mathcal{L}}{\partial \log\pi_\theta(y_w\mid x)} = -\beta\,\sigma(-m), \qquad \frac{\partial \mathcal{L}}{\partial \log\pi_\theta(y_l\mid x)} = +\beta\,\sigma(-m) . $$
#
# Read it aloud: push the chosen log-prob up and the rejected one down, *equally hard*, with a weight $\sigma(-m)$ that is the probability the model gives to the **wrong** answer. Now let your algebra and autograd meet.

# %%
chosen, rejected = policy_chosen.clone().requires_grad_(), policy_rejected.clone().requires_grad_()
dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.1)[0].sum().backward()
by_hand = dpo_gradient(*four, beta=0.1)

pd.DataFrame(
    {
        "gap δ": gap.tolist(),
        "chosen, by hand": by_hand[0].tolist(),
        "chosen, autograd": chosen.grad.tolist(),
        "rejected, by hand": by_hand[1].tolist(),
        "rejected, autograd": rejected.grad.tolist(),
    }
).round(6)

# %% [markdown]
# At a gap of 0 the gradient is $-\beta/2 = -0.05$; at 10 nats it is about half of that, at 20 a quarter. Pairs that are already right fade out by themselves.
#
# The pushes on the two *log-probs* are equal and opposite. But a model can't move two log-probs one by one: it moves weights, and both completions share them. If the two texts are much alike, the pushes nearly cancel in the weights and what is left can take the chosen one down as well. The gradient asks the chosen log-prob to rise, but nothing in the *loss* insists: only the difference counts, and the shared weights decide what really moves.
#
# ## 6 · What a run logs
#
# A trainer logs a handful of means over each batch. Their names are those of TRL, Hugging Face's library of trainers, and most dashboards have them:
#
# | name | what it is |
# |---|---|
# | `loss` | mean loss |
# | `rewards/chosen`, `rewards/rejected` | mean implicit rewards |
# | `rewards/margins` | mean of chosen minus rejected reward |
# | `rewards/accuracies` | share of pairs whose chosen reward is the higher one |
# | `logps/chosen`, `logps/rejected` | mean log-probs under the policy, no reference, no $\beta$ |
#
# Beside them stand `grad_norm`, the length of the gradient over all weights, and `learning_rate`.
#
# **Write them down as a function.** It returns a dict of plain floats. A tie does not count as right: before the first step *every* pair ties, and an accuracy of 1 would be a strange thing to log. Each of the two `logps/` entries appears only if its tensor is given.

# %% exercise="preference_metrics" points=3 minutes=10 difficulty=2 importance=4
...

# %%
preference_metrics = check(preference_metrics)

# %% [markdown] hints="preference_metrics"
# <details><summary>Hint 1: from a tensor to a float</summary>
#
# `tensor.mean().item()`. A boolean tensor has no mean: call `.float()` first.
#
# </details>
# <details><summary>Hint 2: the accuracy</summary>
#
# Compare pair by pair with `>`, then take the mean of the comparison. Comparing the two means answers another question.
#
# </details>

# %% [markdown]
# Now watch them move. The next cell trains a fresh copy of the tiny policy on the 256 pairs above, four times over: 16 steps of 64 pairs, a few seconds.
#
# **Predict.** Which of these rise: the chosen reward, the rejected reward, the margin, the chosen log-prob?

# %%
learner = load_policy("tiny", device="cpu")
history = train_dpo(learner, reference, pairs, DPOConfig(beta=0.1, lr=5e-4, epochs=4, batch_size=64, seed=0))
show(
    plot_history(history),
    "Sixteen steps of DPO on the tiny policy. The loss starts at ln 2; the margin is the distance between the two rewards. "
    "Two points lie at ln 2 because the first step of the warm-up has learning rate 0.",
    alt="Three panels: loss falling from ln 2, implicit rewards of chosen and rejected moving apart, log-probs of both.",
)

# %% [markdown]
# Each point is another batch, so the curves jump. To compare before with after, score *the same* pairs with both policies: your `preference_metrics` does the rest.


# %%
def on_all_pairs(scored):
    chosen_logps, rejected_logps = pair_logprobs(scored, *encoded)
    result = dpo_loss(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1)
    ranking = {"ranking accuracy": (chosen_logps > rejected_logps).float().mean().item()}
    return preference_metrics(*result, chosen_logps, rejected_logps) | ranking


rows = {"before": on_all_pairs(reference), "after, seed 0": on_all_pairs(learner)}
for seed in (1, 2):
    again = load_policy("tiny", device="cpu")
    train_dpo(again, reference, pairs, DPOConfig(beta=0.1, lr=5e-4, epochs=4, batch_size=64, seed=seed))
    rows[f"after, seed {seed}"] = on_all_pairs(again)
pd.DataFrame(rows).round(3)

# %% [markdown]
# Before training: loss $\ln 2$, margin 0, accuracy 0, because all pairs tie. After it the margin is positive and three in four of the pairs it was trained on are the right way round, with each of the three seeds. If you predicted that the chosen reward rises, look again: with each seed *both* rewards end below 0, the rejected one further, and `logps/chosen` is lower than before. The loss has what it wants.
#
# `logps/` depend on which texts are in the batch, even before training. `rewards/` have the reference subtracted, so they start at 0 on every batch; but once the policy moves, it moves each pair by another amount, and both kinds jump, as the figure shows. Compare on a fixed set, as here.
#
# The last row, which most trainers don't log, is the **ranking accuracy**: the share of pairs whose chosen completion the policy finds likelier than the rejected one, with no reference. It is often taken for `rewards/accuracies`, and its log-prob difference for the margin. It starts near one half, not at 0, and ends near 0.6. Reward accuracy asks which way the policy has *moved* a pair; ranking accuracy asks where it now *stands*, and a pair that stood far on the wrong side may move right and still stand wrong. Most preference-tuned models rank fewer than 60 % of the pairs of common data sets the right way round (Chen et al. 2024).
#
# ## 7 · When labels are noisy
#
# **Predict.** Without smoothing, how large would the loss like the gap of a pair to be? And with $\varepsilon = 0.1$?

# %%
show(
    plot_label_smoothing(smoothings=(0.0, 0.05, 0.1, 0.3), beta=0.1),
    "The loss of one pair for four values of ε. Without smoothing it falls for ever; with it there is a best gap, marked by a dot.",
    alt="Four loss curves against the gap; the ones with label smoothing turn up again after their minimum.",
)

# %%
grid = torch.linspace(0, 80, 80_001, dtype=torch.float64)
nothing = torch.zeros_like(grid)
for epsilon in (0.05, 0.1, 0.3):
    smoothed, *_ = dpo_loss(grid, nothing, nothing, nothing, beta=0.1, label_smoothing=epsilon)
    formula = math.log((1 - epsilon) / epsilon) / 0.1
    print(
        f"ε = {epsilon:<4}  lowest loss at δ = {grid[smoothed.argmin()].item():.3f}   log((1 − ε)/ε)/β = {formula:.3f}"
    )

# %% [markdown]
# Without smoothing the loss of a pair falls for ever: it asks for an infinite gap, at every $\beta$. If each pair carries one fixed label (a *hard* label) and is seen again and again, nothing in the loss stops the policy from moving further and further from its reference; $\beta$ alone does not (Azar et al. 2023). What does is that training ends, or that labels of similar pairs contradict each other. Lesson 06 measures how far it goes. With smoothing the best gap is finite: $\log\frac{1-\varepsilon}{\varepsilon}/\beta$, also written $\operatorname{logit}(1-\varepsilon)/\beta$. The search on the grid finds it where the formula says.
#
# ## Recap
#
# * DPO's loss is $-\log\sigma(m)$ with $m = \beta\,\delta$ and $\delta$ the gap between two log-ratios: four numbers a pair, one loss.
# * It is $\ln 2$ when the policy is the reference, for every $\beta$.
# * `logsigmoid`, never `log(sigmoid)`: the latter is $-\infty$ with a NaN gradient on exactly the pairs that matter most.
# * The gradient pushes the two log-probs equally hard in opposite directions, weighted by $\sigma(-m)$. It is about the gap: the chosen log-prob itself may fall.
# * `rewards/accuracies` says which way pairs moved, not which completion is now the likelier one.
# * At a gap of 0 the slope is $-\beta/2$: larger $\beta$, larger first steps. For the same loss, a larger $\beta$ needs a smaller gap: it stays closer to the reference.
# * Label smoothing makes the best gap finite.
#
# ## Two interview questions
#
# <details><summary><b>1. Your DPO loss sits at 0.6931 and does not move. What does this number tell you, and what do you look at?</b></summary>
#
# It is $\ln 2 = -\log\sigma(0)$, the loss at margin 0. At step 0 that is right: the policy is the reference. If it stays, look first at the size of the margins, pair by pair, and at `grad_norm`.
#
# * *Margins exactly 0, `grad_norm` 0.* No gradient arrives: parameters frozen, rewards detached before the loss, β = 0, or chosen and rejected are the same tokens. (All pairs tie, so `rewards/accuracies` is 0.)
# * *Margins exactly 0, `grad_norm` above 0.* A gradient arrives, but no step shows: the learning rate is 0 or still in warm-up, the optimiser holds other parameters, or "policy" and "reference" are one object and move together.
# * *Margins small but not 0.* The policy moves. Its steps are too small, or the labels contradict each other; then the accuracy hovers around one half.
#
# Large margins of both signs can't hide behind this number: the loss is convex, so margins that average to 0 give more than $\ln 2$.
#
# </details>
# <details><summary><b>2. Does DPO raise the probability of the chosen completion?</b></summary>
#
# Not necessarily. It raises the *margin*: the chosen log-ratio minus the rejected one. The gradient pushes chosen up and rejected down with equal weight, but both run through shared weights, and any pair of changes with the right difference lowers the loss. In many published runs the chosen log-prob falls together with the rejected one, most of all when the two texts are similar; this is called *likelihood displacement* (Pal et al. 2024; Ren & Sutherland 2024; Razin et al. 2024). Watch `logps/chosen` on a fixed set of pairs. If it matters, add the negative log-likelihood of the chosen completion to the loss, or a term that punishes a chosen log-prob below the reference's (DPOP), or leave out pairs that are nearly the same. Lesson 07 tries all three.
#
# </details>
#
# **Next:** lesson 05 puts this loss into a training loop.
