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
# # 09 · Variants
#
# **There are some twenty losses that call themselves better than DPO. What do they change, what does each assume of your data, and does it pay?**
#
# After this lesson you can
#
# * sort any preference loss into one of four families, and say from its curve whom it pushes and when it stops;
# * write IPO, KTO, SimPO and ORPO, and say what each needs: pairs or thumbs, a reference or none, sums or means;
# * run a race between losses that does not depend on how well you happened to tune one of them;
# * collect new pairs while you train, spend a label budget in five ways, and train for two rewards at once.
#
# {{lesson_facts}}
#
# You need the DPO loss (lesson 04), the trainer (05) and the frontier (06).

# %%
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.bradley_terry import optimal_policy
from dpo_lab.checks import check_batch, check_positive, check_same_shape
from dpo_lab.course import check
from dpo_lab.experiments.exact_race import exact_race_run
from dpo_lab.experiments.multi_objective import (
    conflicting_rewards,
    earned,
    exact_tradeoff_run,
    tradeoff_run,
    twice_judged,
)
from dpo_lab.experiments.online import rounds_run
from dpo_lab.experiments.online_exact import where_run
from dpo_lab.experiments.race import race_run, thumbs_rows
from dpo_lab.lab import Lab
from dpo_lab.losses import LOSSES, dpo_loss, log_odds, log_ratios
from dpo_lab.multi_objective import Loss, check_weight, true_front
from dpo_lab.plots import (
    plot_best_gaps,
    plot_equal_labels,
    plot_exact_race,
    plot_loss_family,
    plot_race,
    plot_tradeoffs,
    plot_true_front,
    show,
)
from dpo_lab.plots.loss_family import FAMILY_OF
from dpo_lab.policies import Policy, frozen_reference
from dpo_lab.presets import by_preset
from dpo_lab.sweeps import grid, sweep
from dpo_lab.trainer import DPOConfig, completion_lengths, encode_pairs, pair_logprobs, train_dpo
from dpo_lab.widgets import loss_picker
from dpo_lab.worlds.exact import ExactWorld
from dpo_lab.worlds.two_rewards import helpfulness, safety

pd.set_option("display.max_colwidth", 110)
lab = Lab.auto()
seeds = range(by_preset(3, 1))

# %% [markdown]
# ## 1 · Four families
#
# DPO's loss is a function of one number a pair, the **margin**
#
# $$ m = r_w - r_l, \qquad r = \beta\,\rho, \qquad \rho = \log\pi_\theta(y|x) - \log\pi_\text{ref}(y|x) , $$
#
# with $r_w$ and $r_l$ the implicit rewards of the chosen and the rejected completion, and ρ the **log-ratio**. Almost every variant changes one of four things:
#
# * **the margin alone**: another curve over the same $m$;
# * **the margin and a term more**: DPO, and something that holds up the chosen completion (lesson 07 used both);
# * **each completion alone**: $r_w$ and $r_l$ enter separately, each against a fixed place;
# * **no reference**: $\log\pi_\theta$ itself takes the place of ρ.
#
# `dpo_lab.losses.LOSSES` holds them all under the names that TRL (Hugging Face's training library) gives them. Each is a function of the same four `(batch,)` tensors, and each entry says what the trainer must hand it. "paired" says whether chosen and rejected have to answer the same prompt.

# %%
pd.DataFrame(
    {
        "family": FAMILY_OF.get(name, "…"),
        "paired": loss.paired,
        "reference": loss.needs_reference,
        "takes": "means" if loss.average else "sums",
        "source": loss.source.split(";")[0],
    }
    for name, loss in LOSSES.items()
).assign(loss=list(LOSSES)).set_index("loss").drop(
    ["sigmoid_norm", "ipo_norm", "r_dpo", "aot", "aot_unpaired"]
)

# %% [markdown]
# Five entries are left out of the table: `sigmoid_norm` and `ipo_norm` are the same functions on means, `r_dpo` is lesson 07's length term, and `aot` and `aot_unpaired` sort a whole batch before they compare, so they have no curve of their own (for a batch of one they are DPO). "sums" are $\log\pi(y|x)$, a sum over tokens; "means" divide that by the number of tokens $|y|$. **`ipo` here takes sums, as the paper's equation 17 does; TRL's `ipo` takes means**, which is `ipo_norm` here. A τ tuned for one is some $|y|$ times off for the other.
#
# **Predict.** The policy has one pair hopelessly wrong ($m = -6$), another long since right ($m = +6$). A pair is pushed by the loss's *slope* in $m$. Which losses push the hopeless pair hard? Which still push the pair that is right, and which one pulls it *back*?

# %%
show(
    plot_loss_family(),
    "Loss (solid) and slope (dashed) at β = 1; the margin is split evenly, r_w = m/2 and r_l = −m/2. "
    "A negative slope widens the margin, a positive one narrows it. Token means play the part of rewards "
    "where there is no reference.",
    alt="Seventeen small panels in four colours. IPO and SPPO are parabolas, KTO and the APO losses nearly "
    "flat at both ends, hinge is flat from 1 on, the others resemble DPO's curve.",
)

# %% [markdown]
# Read the dashed lines from left to right.
#
# * **`sigmoid`, `hinge`, `bco_pair`, `simpo`** push a hopeless pair with full force and let go of one that is right. A flipped label is a hopeless pair for good: they never stop pushing it.
# * **`exo_pair`, `kto`, `apo_zero`** hardly push either end. They *give up* on a hopeless pair, which is robust if its label is wrong, and slow if it is right.
# * **`ipo`, `sppo_hard`** pull back what went too far; `nca_pair` does so gently, and `exo_pair` beyond the right edge of the figure.
# * **`robust`**, told that 20 % of labels are flipped, still pushes at $m = 6$: it goes on for ever.
# * **`discopop`**, found by a language model's search, has a bump around 0 in which it pushes the wrong way.
# * **`apo_down`** asks the *chosen* completion to fall as well. It is meant for data worse than the model.
#
# **Explore.** The margin hides which of the two completions moves. Find (1) a loss that pushes a chosen completion *down*; (2) two pairs with the same margin that `kto` treats differently and `sigmoid` does not; (3) what `dpop` does to a pair whose chosen completion has fallen.

# %%
loss_picker()

# %% [markdown]
# <details><summary>What you may have found</summary>
#
# (1) `ipo` with a gap beyond $1/(2\tau)$, `sppo_hard` and `nca_pair` with a chosen log-ratio that is too high, `apo_down` where $|r_w| < |r_w - r_l|$, `discopop` near margin 0. (2) Log-ratios +4 and 0 against +2 and −2: equal margins, but KTO's losses are 0.52 and 0.24 (β = 1, $z = 0$): each completion has its own place on its curve. (3) It pushes the chosen completion up many times harder than the rejected one down.
#
# </details>

# %% [markdown]
# ## 2 · IPO: a bounded optimum
#
# Lesson 06 gave the optimum of a pair whose label calls the first completion chosen with probability $p$. With the log-ratio gap $\delta = \rho_w - \rho_l$: DPO wants $\delta^* = \operatorname{logit}(p)/\beta$, which has no bound. IPO (Azar et al. 2023, eq. 17) minimises
#
# $$ \Bigl(\delta - \frac{1}{2\tau}\Bigr)^2 , \qquad \delta = \log\frac{\pi_\theta(y_w|x)}{\pi_\text{ref}(y_w|x)} - \log\frac{\pi_\theta(y_l|x)}{\pi_\text{ref}(y_l|x)} . $$
#
# A formula that you will meet in notes is $\bigl(\log\frac{\pi_\theta(y_w|x)}{\pi_\theta(y_l|x)} - \tau\bigr)^2$. It has lost the reference, and its target grows with τ instead of shrinking.
#
# **Write the paper's loss.** τ comes as `beta`. Return three `(B,)` tensors: the losses, and τ times the log-ratios of the chosen and of the rejected completions, detached (they are what is logged as rewards). `log_ratios(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps)` is imported and returns both log-ratios; it checks the tensors. τ needs no check.

# %% exercise="ipo_loss" points=3 minutes=7 difficulty=1 importance=4
...

# %%
ipo_loss = check(ipo_loss)

# %% [markdown] hints="ipo_loss"
# <details><summary>Hint 1: the gap</summary>
#
# `chosen, rejected = log_ratios(...)`, then `chosen - rejected` is δ.
#
# </details>
# <details><summary>Hint 2: the target</summary>
#
# `1 / (2 * beta)`, with the brackets. The square is on both sides of it: a gap that is too large costs as well.
#
# </details>

# %% [markdown]
# ### Does training end where the formula says?
#
# The smallest exact world has two words, a and b. We train its two logits with your loss on labels that call a chosen with probability $p$. Then with DPO, and with the formula of the notes.
#
# **Predict.** IPO's expected loss is $p\,(\delta - \frac{1}{2\tau})^2 + (1 - p)\,(\delta + \frac{1}{2\tau})^2$. Where is it least at $p = 0.5$, and at $p = 1$? Where does the formula of the notes end at $p = 0.5$, when the annotators see no difference?


# %%
pair_world = ExactWorld(alphabet="ab", length=1)
ref = pair_world.ref_logps


def trained_gap(loss, p, strength):
    """Log-ratio gap of word a over word b after training on labels that call a chosen with probability p."""
    logits = ref.clone().requires_grad_()
    search = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        a, b = logits.log_softmax(dim=-1).split(1)
        said_a, said_b = (
            loss(*four, beta=strength)[0] for four in ((a, b, *ref.split(1)), (b, a, *ref.flip(0).split(1)))
        )
        mean = (p * said_a + (1 - p) * said_b).sum()
        mean.backward()
        return mean

    search.step(closure)
    moved = logits.detach().log_softmax(dim=-1) - ref
    return (moved[0] - moved[1]).item()


def notes_loss(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    """The formula of the notes, τ = beta."""
    return ((policy_chosen_logps - policy_rejected_logps - beta) ** 2,)


tau, ref_gap = 0.3, (ref[0] - ref[1]).item()
rows = []
for p in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99):
    for name, loss, formula in (
        ("DPO: logit(p)/β", dpo_loss, math.log(p / (1 - p)) / tau),
        ("IPO: (2p − 1)/(2τ)", ipo_loss, (2 * p - 1) / (2 * tau)),
        ("notes: (2p − 1)τ − reference's gap", notes_loss, (2 * p - 1) * tau - ref_gap),
    ):
        rows.append({"loss": name, "p": p, "trained": trained_gap(loss, p, tau), "formula": formula})
curves = pd.DataFrame(rows)
print(f"the reference prefers a by {ref_gap:.3f} nats; largest difference from the formulas:", end=" ")
print(f"{(curves['trained'] - curves['formula']).abs().max():.1e}")
print(f"p = 1: IPO ends at {trained_gap(ipo_loss, 1.0, tau):.4f}, its bound is {1 / (2 * tau):.4f}")
print(f"       DPO stands at {trained_gap(dpo_loss, 1.0, tau):.1f} where the search gave up")

# %%
show(
    plot_best_gaps(curves),
    f"Where training ends (dots) and the formulas (lines), for β = τ = {tau:g}. DPO's gap grows without bound "
    "as labels get surer; IPO's stays below 1/(2τ). The notes' formula undoes the reference's preference "
    "even where p = 0.5.",
    alt="A steep curve for DPO, a straight line through the origin for IPO, and a nearly flat line below or above zero "
    "for the formula of the notes.",
)

# %% [markdown]
# The dots lie on the lines. At $p = 0.5$ nobody prefers anything: DPO and IPO stay at the reference, while the notes' formula makes both words equally likely, whatever the reference thought. And it has no KL term in any disguise: its gap is $(2p - 1)\,\tau$ whatever the reference thought, so a small τ does not stay at the reference, and a large one goes past it without bound.
#
# What bounds IPO is its square, which costs on both sides of the target. The price is its push: it grows without bound with the distance from the target, while DPO's never exceeds β. The optimum, however, is the steadier one: by the formulas, $p$ from 0.99 to 0.95 takes 36 % off DPO's gap and 8 % off IPO's.
#
# ## 3 · KTO: thumbs instead of pairs
#
# Users rarely compare two answers. They press a thumb up or a thumb down, on one answer to one prompt. KTO (Ethayarajh et al. 2024) judges each completion alone, against a **zero point** $z$:
#
# $$ \mathcal{L} = \begin{cases} \lambda_\text{up}\,\bigl(1 - \sigma(\beta\,(\rho - z))\bigr) & \text{thumb up}\\ \lambda_\text{down}\,\bigl(1 - \sigma(\beta\,(z - \rho))\bigr) & \text{thumb down} \end{cases} \qquad z = \max\bigl(0,\ \text{mean of mismatched log-ratios}\bigr) $$
#
# $z$ stands for $\text{KL}(\pi_\theta\,\|\,\pi_\text{ref})$, the log-ratio of a typical completion: a liked one shall do better than typical, a disliked one worse. To sample from the policy at each step would be dear, so $z$ is estimated on **mismatched** rows, each prompt with the completion of another one: $\log\pi_\theta(y'|x) - \log\pi_\text{ref}(y'|x)$. No gradient flows through $z$. λ weighs the two kinds, for data with many more of one than of the other.
#
# **Write it.** `thumbs_up` is a `(B,)` bool tensor and the two kinds may come in any numbers. Return two `(B,)` tensors: the losses, and the rewards $\beta\rho$, detached. Arguments need no checks.

# %% exercise="kto_loss" points=4 minutes=12 difficulty=3 importance=4
...

# %%
kto_loss = check(kto_loss)

# %% [markdown] hints="kto_loss"
# <details><summary>Hint 1: the zero point</summary>
#
# `mismatched_log_ratios.detach().mean().clamp(min=0)`: first the mean, then the floor.
#
# </details>
# <details><summary>Hint 2: two cases in one line</summary>
#
# `torch.where(thumbs_up, loss_if_up, loss_if_down)` chooses row by row. The two differ in the sign inside σ, and in their weight.
#
# </details>

# %% [markdown]
# ### The same data, as thumbs
#
# We make thumbs out of our pairs: of each pair one side is kept, the liked or the disliked one, and the other is thrown away. Nothing that is left can be compared with anything. The trainer takes the rows two by two, and `rejected_prompt` says that the second answers another prompt.

# %%
two = list(lab.pairs.select(range(2))) if hasattr(lab.pairs, "select") else list(lab.pairs)[:2]
pd.DataFrame(thumbs_rows(two, seed=0)).T.rename(columns={0: "one row of the trainer"})

# %%
try:
    train_dpo(lab.fresh_policy(), lab.reference, thumbs_rows(two, seed=0), DPOConfig(progress=False))
except ValueError as error:
    print("DPO:", error)

# %% [markdown]
# DPO refuses: in $r_w - r_l$ the term $\beta\log Z(x)$ of lesson 02 cancels only if both answers belong to the same $x$.
#
# **Predict.** Three runs see the same number of judged completions: DPO on 256 pairs, KTO on the same 256 pairs, KTO on 512 thumbs from twice as many pairs. Is the broken-up data worth less?

# %%
size = by_preset({}, {"samples": 16})
settings = [
    {"loss": loss, "beta": 0.3, "seed": seed, "thumbs": thumbs, "steps": steps, **size}
    for loss, thumbs, steps in by_preset(
        [("sigmoid", False, 16), ("kto", False, 16), ("kto", True, 32)],
        [("sigmoid", False, 4), ("kto", False, 4), ("kto", True, 8)],
    )
    for seed in seeds
]
thumbs = sweep(race_run, settings, progress="pairs and thumbs")
thumbs["data"] = thumbs["loss"] + thumbs["thumbs"].map({True: ", thumbs", False: ", pairs"})
start = lab.measure(lab.reference, by_preset(384, 32), seed=0)
tokens = sum(map(len, start.token_ids)) / len(start.token_ids)
print(f"before training: mean true reward {start.reward.mean:.2f}, {tokens:.1f} tokens a completion")
thumbs.groupby("data", sort=False)[["reward", "kl", "length"]].agg(["mean", "std"]).round(2)

# %% [markdown]
# All three rewards rise from the same start, and the three rows lie within each other's spread: on these data nothing was lost by breaking the pairs up. That is less surprising than it looks. For the reward of this world a good review of the salad and a bad one of the soup differ as clearly as two reviews of the salad. Where prompts differ much in how easy they are (a rude question gets few thumbs up, whatever the answer), a thumb says something about the prompt, a pair does not, and $\beta\log Z(x)$ is what DPO's difference takes out.
#
# Two more things to know. The zero point depends on the batch: TRL rotates the completions within a batch to build the mismatched rows, so with one row a batch it would be the row itself. And in a thumb's gradient σ(1 − σ) is small at *both* ends, so KTO passes over the completions that it has very wrong.
#
# ## 4 · Without a reference
#
# A reference costs memory and forward passes. SimPO (Meng et al. 2024, eq. 6) drops it: the reward is the policy's own *mean* log-prob of a token, and a win must be by a margin γ:
#
# $$ -\log\sigma\Bigl(\frac{\beta}{|y_w|}\log\pi_\theta(y_w|x) - \frac{\beta}{|y_l|}\log\pi_\theta(y_l|x) - \gamma\Bigr) . $$
#
# **Write it.** The trainer passes means already: `policy_chosen_logps` is $\log\pi_\theta(y_w|x)/|y_w|$. The reference's two tensors are taken, so that one call fits all losses, and not read; they may be `None`. Return three `(B,)` tensors: the losses, and the rewards of both sides, β times the mean log-prob, detached. Arguments need no checks.

# %% exercise="simpo_loss" points=2 minutes=6 difficulty=1 importance=4
...

# %%
simpo_loss = check(simpo_loss)

# %% [markdown] hints="simpo_loss"
# <details><summary>Hint 1: units</summary>
#
# γ is in units of the rewards, so it is subtracted *after* the difference has been multiplied by β.
#
# </details>
# <details><summary>Hint 2: far margins</summary>
#
# `logsigmoid`, as in lesson 04.
#
# </details>

# %% [markdown]
# ORPO (Hong et al. 2024) goes one step further and drops the SFT stage, too. It is the SFT loss on the chosen completion, plus a term that sets its odds apart from the rejected one's. With $\log p = \log\pi_\theta(y|x)/|y|$ and $\operatorname{odds}(p) = p/(1 - p)$,
#
# $$ -\log p_w \;-\; \beta\,\log\sigma\bigl(\log\operatorname{odds}(p_w) - \log\operatorname{odds}(p_l)\bigr) , $$
#
# where β is the paper's λ: here it weighs the *preference*, so a larger one goes further from SFT. **Write it**, with the same tensors, returns and freedom from checks as before; the rewards are β times $\log p$. `log_odds(logps)` is imported: it takes $\log p$ and returns $\log p - \log(1 - p)$ without rounding errors near $p = 1$.

# %% exercise="orpo_loss" points=2 minutes=6 difficulty=1 importance=3
...

# %%
orpo_loss = check(orpo_loss)

# %% [markdown] hints="orpo_loss"
# <details><summary>Hint 1: the first term</summary>
#
# $-\log p_w$ is `-policy_chosen_logps`: the mean negative log-prob of a token, which is the SFT loss.
#
# </details>
# <details><summary>Hint 2: the second</summary>
#
# `logsigmoid(log_odds(chosen) - log_odds(rejected))`, times β, with the sign that makes a loss of it.
#
# </details>

# %% [markdown]
# ### What the reference did
#
# **Predict.** Before the first step the policy *is* the reference. In how many of the held-out pairs does DPO's reward rank the chosen completion higher? SimPO's? A sum of log-probs without a reference?

# %%
encoded = encode_pairs(lab.policy.tokenizer, list(lab.heldout_pairs)[: by_preset(512, 64)])
sums = pair_logprobs(lab.reference, *encoded, batch_size=32)
lengths = [completion_lengths(rows) for rows in encoded]
means = [logps / length for logps, length in zip(sums, lengths, strict=True)]
scores = {
    "DPO: log-ratio": [sums[0] - sums[0], sums[1] - sums[1]],
    "sum of log-probs": sums,
    "SimPO: mean log-prob": means,
    "length in tokens": lengths,
}
pd.DataFrame(
    {
        "chosen higher": [(chosen > rejected).double().mean().item() for chosen, rejected in scores.values()],
        "tie": [(chosen == rejected).double().mean().item() for chosen, rejected in scores.values()],
        "mean |difference|": [
            (chosen - rejected).abs().mean().item() for chosen, rejected in scores.values()
        ],
    },
    index=list(scores),
).round(3)

# %% [markdown]
# DPO starts with every pair at a tie, so all that its margin ever shows has been learnt. SimPO starts with half of the pairs "won" and half "lost", for reasons that have nothing to do with preferences: some sentences are simply more common. It pushes hardest where the SFT model finds the rejected answer much more likely, and hardly where the chosen one was more likely anyway. The sum of log-probs mostly counts tokens, and its differences are many times larger than those of the mean: that is why a loss without a reference needs the mean (CPO, which sums, leans on its NLL term).
#
# The reference also said how far is too far. In DPO a log-ratio beyond what the labels warrant costs. In SimPO nothing ties $\pi_\theta$ to where it started; what limits the distance is the learning rate and the number of steps.
#
# ## 5 · A race
#
# "X beats DPO by four points" is easy to bring about: take the best of many settings of X, and DPO with β = 0.1. A fairer question: **given the distance from the reference, who earns most?** Each loss gets a small grid of its own strength, and where its points lie tells more than the best of them. All else is equal: pairs, their order, steps, batch size, learning rate, seeds.
#
# ### In the exact world
#
# The policy has 42 weights (lesson 07), so it generalises, and all 1,296 words are summed. Training uses 1,000 pairs, labelled once. Every run is placed against the frontier: what share of the reward that the best policy gains *at the run's own KL* has it gained? KTO's $z$ is the exact KL here. Words have one length, so means and sums differ by a factor only.
#
# **Predict.** With clean labels: which family is ahead? With 30 % of the labels flipped: which loses least? Think of the dashed lines of section 1.

# %%
strengths = {
    "sigmoid": [0.3, 1.0, 3.0],
    "hinge": [0.3, 1.0, 3.0],
    "ipo": [0.1, 0.3, 1.0],
    "exo_pair": [1.0, 3.0, 10.0],
    "kto": [0.1, 0.3, 1.0],
    "bco_pair": [0.3, 1.0, 3.0],
    "simpo": [0.5, 2.0, 8.0],
    "orpo": [0.5, 2.0, 8.0],
}
small = by_preset({}, {"pairs": 200, "steps": 30})
settings = [
    {**setting, **small}
    for loss, betas in strengths.items()
    for setting in grid(loss=[loss], beta=by_preset(betas, betas[1:2]), seed=seeds, flipped=[0.0, 0.3])
]
exact = sweep(exact_race_run, settings, progress="exact world")
show(
    plot_exact_race(exact, list(strengths)),
    "Exact world: the share of the frontier's gain that each run has, against its distance. A line joins "
    "the strengths of one loss, means over seeds; small marks are runs. Colours are the families of section 1.",
    alt="Two panels. On clean labels the losses of the margin lie close together near the top, KTO and ORPO below. "
    "With flipped labels all lie lower.",
)
table = exact.groupby(["flipped", "loss", "beta"], sort=False)[["kl", "efficiency"]].agg(["mean", "std"])
table.unstack("flipped").round(2)

# %% [markdown]
# Clean labels, left. `sigmoid`, `hinge`, `ipo` and `bco_pair` end at 94 to 96 % of what was to be had at their distance, and their differences are within one or two standard deviations: **among them the choice of loss hardly matters**, and the family does not decide either (BCO judges each completion alone). Their strengths matter much: a factor of ten in β or τ takes each of them from under a tenth of a nat to between one and three. KTO, EXO and ORPO lie clearly lower.
#
# The optimum on unlimited data does not explain the order: only the logistic losses' is the true log-odds, IPO's and EXO's are linear in $p$ and `hinge` just follows the majority, yet `hinge` and IPO are among the first. A reading that we have not tested: KTO and EXO have a slope that dies away on pairs which they have wrong, so those stop counting. ORPO and SimPO never look at the reference, so perhaps part of their distance goes into making common words more or less common.
#
# SimPO's line *rises* with distance because the ceiling comes near: at five nats the best policy has almost nothing left to gain (section 2 of lesson 06), and most runs that go there come close to it.
#
# Flipped labels, right. The four in front lose about a quarter of their share, ORPO a quarter or a little more, EXO and SimPO up to two fifths. KTO loses between a sixth and a quarter, and had less to lose: near two nats it ends level with `hinge`. So "KTO is robust to noise" holds here for what it loses and not for where it ends. Spreads grow most at low strengths of EXO, SimPO and `hinge`, so that much of the order is gone; ORPO and the strongly held runs keep theirs small.
#
# **Predict.** Two losses can be told how many labels are flipped: cDPO (`sigmoid` with `label_smoothing`) and `robust`, whose mean over flips is the loss on clean labels. Do they recover what was lost?

# %%
told = sweep(
    exact_race_run,
    grid(
        loss=["sigmoid", "robust"],
        beta=by_preset([0.3, 1.0], [1.0]),
        seed=seeds,
        flipped=[0.3],
        label_smoothing=[0.3],
        **{name: [value] for name, value in small.items()},
    ),
    progress="told of the noise",
)
told["loss"] = told["loss"].map({"sigmoid": "cDPO, ε = 0.3", "robust": "robust, ε = 0.3"})
told.groupby(["loss", "beta"], sort=False)[["kl", "efficiency"]].agg(["mean", "std"]).round(2)

# %% [markdown]
# Not in this measure. At the same β cDPO stays closer than plain DPO and `robust` goes much further, but the share of the frontier's gain is what it was without being told, within the spread. Flipping labels at random shrinks the log-odds that pairs report, without changing their order; plain DPO answers by staying closer, as a larger β would, and `robust` undoes the shrinking. What flips also do is to make every estimate noisier, and no loss puts that information back: only more labels do. Look at the spread of `robust` at β = 0.3. A correction by $1/(1 - 2\varepsilon)$ multiplies the noise, too.
#
# ### On the language model
#
# Here completions differ in length, the true reward is a sum over words, and KL and reward are estimated from samples. One pass over 512 pairs, 32 steps of 16.

# %%
grids = {
    "sigmoid": [0.1, 0.3, 1.0],
    "ipo": [0.02, 0.05, 0.15],
    "kto": [0.1, 0.3, 1.0],
    "simpo": [1.0, 3.0, 10.0],
    "orpo": [0.5, 2.0, 8.0],
}
small = by_preset({}, {"steps": 6, "samples": 16})
settings = [
    {**setting, **small}
    for loss, betas in by_preset(grids, dict(list(grids.items())[::2])).items()
    for beta in by_preset(betas, betas[1:2])
    for setting in grid(
        loss=[loss], beta=[beta], seed=seeds, flipped=[0.0, 0.3] if beta == betas[1] else [0.0]
    )
]
language = sweep(race_run, settings, progress="language model")
clean = language[language["flipped"] == 0]
show(
    plot_race(clean, list(dict.fromkeys(clean["loss"]))),
    "Language model, clean labels: reward and length against distance; a line joins the strengths of one "
    "loss, means over seeds, small marks are runs.",
    alt="Left, reward against KL: SimPO and the strongest ORPO above the others. Right, length against KL: "
    "the same two write the longest completions.",
)
clean.groupby(["loss", "beta"], sort=False)[["reward", "kl", "length"]].agg(["mean", "std"]).round(2)

# %%
middle = language[language["beta"] == language["loss"].map({loss: betas[1] for loss, betas in grids.items()})]
middle.groupby(["loss", "flipped"], sort=False)[["reward", "kl", "length"]].agg(["mean", "std"]).round(2)

# %% [markdown]
# What can be said with three seeds?
#
# * `sigmoid`, `ipo` and `kto` lie on top of each other around one nat. Pushed to low β or τ they go further and earn *no more*; KTO at β = 0.1 has a run near nine nats that earns less than its runs near one.
# * `simpo` and the strongest `orpo` earn more. They also write longer, and this true reward is a sum over words, so length pays (lesson 07). This race does not separate "found better words" from "wrote more of them".
# * `orpo` with a small λ is mostly SFT on the chosen completions: close to the reference, short, and the lowest reward.
# * With 30 % of labels flipped all lose about half of their gain or more, and the spreads swallow most of the order; `simpo` keeps the highest mean, and again the longest completions.
# * The KL of single runs differs by several nats at one setting. Anyone who shows one seed can show you nearly any order.
#
# So SimPO has won? One knob was the same for all and tuned for none: the learning rate.
#
# **Predict.** DPO, β = 0.3, with one and a half times and twice the learning rate: does it reach SimPO's rewards, and at which distance?

# %%
faster = sweep(
    race_run,
    [
        {"loss": "sigmoid", "beta": 0.3, "seed": seed, "lr": lr, **small}
        for lr in by_preset([4.5e-4, 6e-4], [6e-4])
        for seed in seeds
    ],
    progress="DPO, faster",
)
faster["run"] = [f"DPO, learning rate {lr:.1e}" for lr in faster["lr"]]
same = clean[(clean["loss"] == "simpo") | ((clean["loss"] == "sigmoid") & (clean["beta"] == 0.3))]
same = same.assign(
    run=[f"{loss}, β = {beta:g}, 3.0e-04" for loss, beta in zip(same["loss"], same["beta"], strict=True)]
)
both = pd.concat([same, faster])
both.groupby("run", sort=False)[["reward", "kl", "length"]].agg(["mean", "std"]).round(2)

# %% [markdown]
# DPO's mean rises past every SimPO row of the table, at distances between SimPO's own, and its completions grow longer as well. SimPO's lead may have been a matter of how fast each loss moves at a learning rate that we had picked for neither. The grid of β did not show it: it took DPO as far as SimPO at β = 10, and DPO earned no more there. β and the learning rate are different knobs, and only one had been turned. Length has not been held equal either. And with these spreads (at twice the rate a standard deviation of 0.78 over seeds) the new order is no more certain than the old one.
#
# The exact world, trained to the end, said that SimPO is behind at equal distance; the first race on the language model said that it is ahead; the second takes that back. **No race of this kind ranks losses for your data.** What carries over is how to run one: a grid for each loss that covers the *same distances*, the learning rate in it, seeds, and length beside reward.

# %% [markdown]
# ## 6 · Pairs that the policy writes itself
#
# Every loss so far was given pairs that somebody had collected before training. Such **offline** pairs say what is better among the texts of the *reference*. Once the policy writes other texts, nobody has compared those. A budget of labels can be spent in other ways, and each is an option of one function, `train_online(policy, reference, prompts, judge, config)`. The judge is any function `judge(prompt, first, second)` that returns the probability that the first completion wins; `judge_by_reward` makes one of a reward.
#
# | | how | option of `OnlineConfig` |
# |---|---|---|
# | **offline** | one round of pairs from the reference | `rounds=1` |
# | **iterative** | a few rounds; each samples fresh pairs from the policy, which then becomes the new reference (Xu et al. 2023, arXiv 2312.16682) | `rounds=4, refresh_reference=True` |
# | **online** | many rounds, down to one a step; the reference stays (Guo et al. 2024, arXiv 2402.04792) | `rounds=64` |
# | **best of n** | draw $n$ texts a prompt; the best becomes chosen, the worst rejected | `samples_per_prompt=4` |
# | **active** | draw more pairs than you can pay for; label those of which the policy is least sure | `candidates=4` |
#
# ### A round
#
# Iterative and online DPO differ in one line. **Write the start of a round**: return `(reference, pairs)`.
#
# * With `refresh_reference`, the reference of every round but the first (`number` counts from 0) is a frozen copy of the policy as it is now; `frozen_reference(policy)` makes one. In round 0, and without `refresh_reference`, it is the `reference` you were given, the same object.
# * `pairs` is what `collect(policy, reference)` returns, called once. It samples from its first argument and has the pairs labelled; the second, this round's reference, serves active selection.

# %% exercise="begin_round" points=2 minutes=6 difficulty=1 importance=4
...

# %%
begin_round = check(begin_round)

# %% [markdown] hints="begin_round"
# <details><summary>Hint 1: the order</summary>
#
# Decide on the reference first: `collect` shall get the new one.
#
# </details>
# <details><summary>Hint 2: why a copy</summary>
#
# `reference = policy` gives the same weights a second name. They move together, every log-ratio stays 0 and nothing is learnt.
#
# </details>

# %% [markdown]
# ### What a refreshed reference does
#
# "Refreshing the reference lets the model improve beyond the SFT model", you will read. Offline DPO improves on the SFT model, too; that is what it is for. What does the refresh add?
#
# **Predict.** In the exact world with unlimited data each round of DPO ends at $\pi_{k+1} = \pi_k\,e^{r/\beta}/Z$. After four rounds from $\pi_\text{ref}$, each with β = 2: which single run of DPO would have given the same policy?

# %%
world = ExactWorld()
policy_logps = world.ref_logps
rows = []
for number in range(4):
    policy_logps = optimal_policy(policy_logps, world.rewards, beta=2.0)  # and the next reference
    single = world.optimal_logps(2.0 / (number + 1))
    rows.append(
        {
            "rounds at β = 2": number + 1,
            "E[r]": world.expected_reward(policy_logps),
            "KL to the first reference": world.kl(policy_logps),
            "one run with β / rounds: E[r]": world.expected_reward(single),
            "KL": world.kl(single),
        }
    )
pd.DataFrame(rows).set_index("rounds at β = 2").round(4)

# %% [markdown]
# $R$ rounds multiply $e^{r/\beta}$ $R$ times, so they end where **one run with $\beta/R$** ends. In this limit the refresh is a lower β in disguise, and each round raises the distance from the model you started with, which no term of the loss sees any more. So measure the KL to the *first* reference, and compare iterative DPO with offline DPO at $\beta/R$, not at β.
#
# What fresh pairs can add is something else: labels where the policy is now. That needs no new reference.
#
# ## 7 · Best of n, worst of n
#
# A pair of two random samples is often close to a tie. Of $n$ samples, the best and the worst are further apart. A judge who can only compare two texts has to find them by comparisons, and each comparison is a label that somebody is paid for.
#
# **Write the search.** `completions` are $n \ge 2$ different texts; `beats(first, second)` asks the judge once and returns whether the first wins. Compare the first two with each other: the winner is the best so far, the loser the worst so far. Let each later text meet the best so far; if it wins, it is the new best, and nothing else changes; *only if it loses*, it meets the worst so far, and if it loses again it is the new worst. Return `(best, worst)`. Between $n - 1$ and $2n - 3$ calls are needed, and the check counts them. It passes no fewer than two texts, so you need no error.

# %% exercise="best_and_worst" points=3 minutes=10 difficulty=2 importance=3
...

# %%
best_and_worst = check(best_and_worst)

# %% [markdown] hints="best_and_worst"
# <details><summary>Hint 1: the start</summary>
#
# `first, second, *others = completions`, and one call decides which of the two is `best` and which is `worst`.
#
# </details>
# <details><summary>Hint 2: if and elif</summary>
#
# In the loop: `if beats(other, best): …` `elif not beats(other, worst): …`. The `elif` saves the second comparison where the first was won.
#
# </details>

# %% [markdown]
# **Predict.** Two texts A and B differ by 1 in true reward, and the judge follows Bradley-Terry, so A wins a single comparison with log-odds of 1. Now two more texts come along, and only groups in which A and B end as best and worst are kept. Are the log-odds of "A best, B worst" against the reverse still 1?


# %%
def odds_of_pair(others, groups, reward_a=1.0, reward_b=0.0):
    """Log-odds of A best and B worst against the reverse, beside some random others."""
    draw, count = random.Random(0), {"AB": 0, "BA": 0}
    for _ in range(groups):
        rewards = {"A": reward_a, "B": reward_b}
        rewards |= {f"other {i}": draw.gauss(0.5, 1.2) for i in range(others)}
        texts = draw.sample(list(rewards), len(rewards))
        pair = best_and_worst(
            texts, lambda one, two, r=rewards: draw.random() < 1 / (1 + math.exp(r[two] - r[one]))
        )
        if set(pair) == {"A", "B"}:
            count["".join(pair)] += 1
    return math.log(count["AB"] / count["BA"]), sum(count.values())


rows = []
for n in (2, 4, 8):
    odds, kept = odds_of_pair(n - 2, groups=by_preset(40_000, 4_000))
    rows.append({"n": n, "log-odds": odds, "groups in which A and B are the pair": kept})
pd.DataFrame(rows).set_index("n").round(2)

# %% [markdown]
# They are 1.7 times as high for $n = 4$ and 2.4 times for $n = 8$: A has beaten other texts on the way up, and B has lost to others on the way down, so the outcome is surer than one comparison. DPO reads a label as *one* Bradley-Terry draw. It will take the difference in reward for larger than it is, and a gap of $1.7\,\Delta r/\beta$ is what $\beta/1.7$ would have asked for. So best-of-$n$ pairs, too, act like a lower β: remember that when you compare.
#
# The third idea, **active selection**, is lesson 07's `select_active_pairs`: label the pairs whose margin is nearest to 0. There it was tried on a fixed pool.
#
# ## 8 · Equal labels
#
# **Predict.** All get the same number of labels. Rank them by reward *at equal distance*: offline, iterative, online, best of 4, active.
#
# First the exact world, where reward and KL are sums, so that all spread comes from the labels. A policy has 42 weights (lesson 07), four seeds each, β = 0.5; "offline, β / 4" is the control for four rounds of iterative DPO.

# %%
budgets = by_preset([640, 2560], [640])
methods = ["offline", "online"]
methods += by_preset(["offline, β / 4", "iterative", "best of 4", "active"], [])
asked = sweep(
    where_run,
    grid(method=methods, seed=range(by_preset(4, 1)), n_labels=budgets),
    progress="exact world, equal labels",
)
frontier = pd.DataFrame(world.frontier([0.03 * 1.2**i for i in range(36)]))
ref_reward = world.expected_reward(world.ref_logps)
show(
    plot_equal_labels(
        {f"{n:,} labels": asked[asked["n_labels"] == n] for n in budgets},
        [ref_reward] * len(budgets),
        frontier,
    ),
    "Exact world: expected reward against distance for equal numbers of labels; small marks are seeds, "
    "bars one standard deviation. Offline and online lie on the frontier; iterative DPO falls far below it.",
    alt="Two panels with the frontier; offline and online near it at small KL, best of 4 and offline with "
    "a quarter of beta further right, iterative far right and low.",
)
target = world.optimal_logps(0.5)
print(f"best policy at β = 0.5: E[r] = {world.expected_reward(target):.2f}, KL = {world.kl(target):.2f}")
found = asked.groupby(["n_labels", "method"], sort=False)[["reward", "kl", "gain"]].agg(["mean", "std"])
found = found.round(2).sort_index(level="n_labels", sort_remaining=False)
for name in ("pairs", "drawn"):
    found[name, ""] = asked.groupby(["n_labels", "method"])[name].mean().round().astype(int)
found

# %% [markdown]
# *Gain* is $\mathbb{E}[r] - \beta\,\text{KL}$ (β = 0.5) gained over the reference, as a share of what the best policy gains: 1 is the best possible, negative is worse than not training. *Drawn* counts sampled completions. The figure's black line is the most that any policy earns at that distance.
#
# * **Offline and online** both lie near the line. With 2,560 labels they are equal within the spread (gain 0.97 and 0.96); with 640 online goes a little further for a little more reward, but reward, KL and gain all differ by less than the spread. What online paid for it is sampling as it trains: here little, in a language model a lot.
# * **Iterative** has the lowest gain at either budget. In theory four rounds are β/4 on unlimited data. But each round knows only its own quarter of the labels, and overfits them from where the last one had overfitted. *Offline with β/4*, which sees all labels at once, has the higher mean at 2,560 labels (its rival's seeds spread widely), and that is the control that a claim for iterative DPO has to beat. (With 640 labels some runs collapsed onto a single word and could not spend theirs: see *pairs*.)
# * **Best of 4** behaves as section 7 foretold: a lower β, further right. It has a quarter of the pairs. At 2,560 labels it lies on the line's heels; at 640, 156 pairs are too few, and it falls far below.
# * **Active** moves further than online for the same labels and gains less at 640 (0.17 against 0.73); at 2,560 they are equal within the spread. It also draws four times as many completions. As in lesson 07: the pairs of which a policy is unsure are those on which the judge's coin is fairest.
#
# All this holds for a policy that can express the true reward, and whose reference gives every word some probability. Where the reference never writes what is good, fresh pairs are the only way to hear of it.
#
# ### On the language model
#
# The same with `train_online` on the tiny policy: 512 labels, 32 steps of 16 pairs, β = 0.3, the judge noisy by Bradley-Terry on the true reward. Online DPO makes fresh pairs every four steps. Offline pairs are the shipped ones, sampled from the same reference. Active selection is left to the exact world; in `train_online` it is one option.

# %%
methods = ["offline", "online"]
methods += by_preset(["offline, lr × 1.5", "iterative", "best of 4"], [])
size = by_preset({}, {"budget": [64], "steps": [8], "samples": [16]})
rounds = sweep(rounds_run, grid(method=methods, seed=seeds, **size), progress="language model, equal labels")
before = lab.measure(lab.reference, by_preset(512, 32), seed=0).reward.mean
show(
    plot_equal_labels({"Language model, 512 labels": rounds}, [before]),
    "Language model: mean true reward of held-out prompts against distance, equal labels and steps. "
    "Best of 4 goes further and earns more than offline; so does offline at a higher rate.",
    alt="One panel: offline, online and iterative close together at small KL, best of 4 and offline at a higher rate together at the top right.",
)
found = rounds.groupby("method", sort=False)[["reward", "kl", "length", "accuracy"]].agg(["mean", "std"])
found = found.round(2)
for name in ("labels", "pairs", "sampled"):
    found[name, ""] = rounds.groupby("method")[name].mean().round().astype(int)
found

# %% [markdown]
# *Sampled* counts tokens that were sampled for training, none for offline: its pairs lay there already. *Offline, lr × 1.5* is a control: the same pairs and steps at one and a half times the learning rate.
#
# * **Online against offline**: 0.94 against 0.88 in reward, which is well within the spread, at a KL of 0.46 against 0.60, a difference a little larger than offline's spread. That is no win to speak of, and it costs 13,000 sampled tokens.
# * **Iterative** goes further (0.95 nats) and its reward spreads by 0.40, so nothing can be said about it but that.
# * **Best of 4** earns much more than offline: 1.54 against 0.88. Would you have stopped there? It also went twice as far. The control goes as far (1.30 against 1.21 nats) and earns 1.43, so at equal distance nothing is left of the difference that the spread would not cover. What best-of-4 did show: 123 pairs, each seen about four times, were as good as 512 at the same number of labels.
#
# So at this size no way of making pairs beats offline DPO at equal labels *and* equal distance. That is no law. Offline pairs came from the very reference here, they are few, and the policy does not get far. Larger studies (Guo et al. 2024; Tang et al. 2024, arXiv 2405.08448) find online ahead where training goes further.
#
# ## 9 · Two rewards at once
#
# An assistant shall be helpful *and* safe. In the review world we take two stand-ins that pull against each other:
#
# * **helpfulness**: on how many of four topics (food, staff, price, room) the review gives an opinion, 0 to 4;
# * **safety**: minus the blame in it, so 0 at best. Saying nothing is perfectly safe.
#
# Each pair is judged twice, once for each, by Bradley-Terry on that reward.

# %%
judged = twice_judged(2048, seed=0)
gains = pd.DataFrame(
    {
        "helpfulness": helpfulness(pair["chosen"]) - helpfulness(pair["rejected"]),
        "safety": safety(pair["chosen"]) - safety(pair["rejected"]),
    }
    for pair in judged
)
differ = gains[(gains["helpfulness"] != 0) & (gains["safety"] != 0)]
against = (differ["helpfulness"] * differ["safety"] < 0).mean()
print(f"correlation of the two differences over pairs: {gains.corr().iloc[0, 1]:.2f}")
print(f"where neither ties, the more helpful one is the less safe in {against:.0%} of {len(differ):,} pairs")
agree = sum(pair["other_agrees"] for pair in judged) / len(judged)
print(f"the two noisy labels agree in {agree:.0%} of {len(judged):,} pairs")

# %% [markdown]
# Write $\Delta_1$ and $\Delta_2$ for the two differences of reward (chosen minus rejected, and chosen is what objective 1 prefers), $w$ for the weight of objective 1, and $\delta$ for the log-ratio gap of lesson 04. Three ways to train for both:
#
# 1. **Weighted losses**: $w\,\mathcal{L}(\text{label}_1) + (1 - w)\,\mathcal{L}(\text{label}_2)$, both on the same pair.
# 2. **Weighted margins**: one loss, on the labels of objective 1, with the other's reward as a margin (MODPO, Zhou et al. 2023, arXiv 2310.03708):
#
# $$ -\log\sigma\Bigl(\frac{\beta\,\delta - (1 - w)\,\Delta_2}{w}\Bigr) . $$
#
#    Here $\Delta_2$ must be known as a number: from a classifier, a reward model, or another policy's implicit reward.
# 3. **Safety first**, in two stages: DPO on the safety labels, then DPO on the helpfulness labels with the first stage's policy as the reference (`train_in_stages`).
#
# (A formula that goes round, $\sigma(\beta_1\,\text{margin}_1 + \beta_2\,\text{margin}_2)$, is none of them. If both margins are the policy's own gap on the same pair, it is plain DPO with $\beta_1 + \beta_2$ where the two labels agree and with $\beta_1 - \beta_2$ where they do not; on two different pairs a large margin on one hides a wrong order on the other.)
#
# **Write the loss of way 2.** Return three tensors of shape $(B,)$: the losses, and the chosen and rejected implicit rewards $\beta\,(\log\pi - \log\pi_\text{ref})$, detached. Arguments need no checks.

# %% exercise="weighted_margin_loss" points=3 minutes=10 difficulty=2 importance=3
...

# %%
weighted_margin_loss = check(weighted_margin_loss)

# %% [markdown] hints="weighted_margin_loss"
# <details><summary>Hint 1: βδ</summary>
#
# It is the chosen implicit reward minus the rejected one.
#
# </details>
# <details><summary>Hint 2: what is divided</summary>
#
# The whole difference stands over $w$: `(own - (1 - weight) * other_margins) / weight`.
#
# </details>

# %% [markdown]
# ### What the two weightings average
#
# **Predict.** Objective 1 slightly prefers A ($\Delta_1 = 1$). Objective 2 is strongly against it ($\Delta_2$ from 0 to −8). With $w = 0.7$, which of A and B does the trained policy come to prefer? Do both ways agree?
#
# With unlimited labels, way 2 has its optimum where $(\beta\delta - (1-w)\Delta_2)/w = \Delta_1$, so at $\beta\delta = w\,\Delta_1 + (1-w)\,\Delta_2$: it averages **rewards**. The weighted losses have theirs where $\sigma(\beta\delta) = w\,\sigma(\Delta_1) + (1-w)\,\sigma(\Delta_2)$: they average **probabilities**.

# %%
first, weight = torch.tensor(1.0), 0.7
rows = []
for stake in (0.0, -1.0, -2.0, -4.0, -8.0):
    other = torch.tensor(stake)
    shares = weight * first.sigmoid() + (1 - weight) * other.sigmoid()
    rows.append(
        {
            "Δ₂": stake,
            "margins: β δ": (weight * first + (1 - weight) * other).item(),
            "losses: β δ": torch.logit(shares).item(),
            "losses: P(A wins)": shares.item(),
        }
    )
pd.DataFrame(rows).set_index("Δ₂").round(3)

# %% [markdown]
# Averaged rewards turn against A once the stakes of objective 2 are high enough. Averaged probabilities do not *here*: however bad A is for objective 2, its label is one vote of weight 0.3, and A keeps at least 0.7 · σ(1) = 0.512. If a rare disaster shall outweigh many small advantages, a vote is not enough. The price of way 2 is that somebody must know *how* bad.
#
# With *once-labelled* pairs there is a second difference: the margin moves the bar that a label must clear, but a label never pulls downwards. Where A was chosen and $\Delta_2$ is very negative, the loss is simply near 0. Disagreement must come from other pairs.
#
# ### The Pareto front
#
# Which policies are worth having? A policy **dominates** another if it earns at least as much in every objective and more in at least one. Those that no other dominates form the Pareto front.
#
# **Write it.** `points` is $(N, K)$, higher is better in all columns; return the row numbers on the front in ascending order, as a list of ints. Equal points do not dominate each other. Raise `ValueError` if a value is NaN.

# %% exercise="pareto_front" points=3 minutes=12 difficulty=3 importance=4
...

# %%
pareto_front = check(pareto_front)

# %% [markdown] hints="pareto_front"
# <details><summary>Hint 1: every pair of points at once</summary>
#
# `points[:, None, :] >= points[None, :, :]` has shape $(N, N, K)$: entry $[i, j]$ compares point $i$ with point $j$.
#
# </details>
# <details><summary>Hint 2: dominated by anybody</summary>
#
# `all(dim=-1)` for "at least as high everywhere", `any(dim=-1)` of `>` for "higher somewhere". Their conjunction says who dominates whom; a point is out if *any* row of its column is true.
#
# </details>

# %% [markdown]
# ### The true front
#
# In the exact world the front is known. No policy within 1 nat of the reference has more of $w\,\mathbb{E}[r_1] + (1-w)\,\mathbb{E}[r_2]$ than $\pi_\text{ref}\,e^{(w r_1 + (1-w) r_2)/\beta}/Z$, with the β that takes it exactly that far; so the front is traced by moving $w$. Two rewards with a correlation of −0.7, unlimited labels, every way taken to 1 nat.
#
# **Predict.** Which of the three ways lie on the front? Does *safety first* end elsewhere than the weighted margins?

# %%
small = ExactWorld(alphabet="abcd", length=3)
rewards = conflicting_rewards(small)
front = pd.DataFrame(
    [point.rewards for point in true_front(small.ref_logps, rewards, [i / 40 for i in range(41)], kl=1.0)],
    columns=["first", "second"],
)
exact = sweep(
    exact_tradeoff_run,
    grid(
        way=["margins", "losses", "safety first"],
        weight=by_preset([0.1, 0.3, 0.5, 0.7, 0.9], [0.5]),
        stakes=[1.0, 4.0],
    ),
    progress="exact trade-offs",
)
show(
    plot_true_front(
        front,
        {f"Rewards × {stakes:g} before labelling": exact[exact["stakes"] == stakes] for stakes in (1.0, 4.0)},
        (rewards @ small.ref_logps.exp()).tolist(),
    ),
    "The true front at 1 nat, and where each way ends at 1 nat, a mark a weight. Margins and safety first "
    "coincide, on the front. Weighted losses end just inside it, and nearer its middle.",
    alt="Two panels with a concave front; circles and open diamonds on it, squares slightly inside in the "
    "right panel.",
)
weights = torch.arange(41) / 40
sides = torch.stack([weights, 1 - weights], dim=1).double()
best = (sides * torch.tensor(front.to_numpy())).sum(dim=1)  # the most that each weighting can earn at 1 nat
exact["short of the front"] = [
    (best - sides @ torch.tensor([row.first, row.second], dtype=torch.float64)).min().clamp_min(0).item()
    for row in exact.itertuples()
]
placed = exact.rename(columns={"stakes": "rewards ×", "first": "E[r₁]", "second": "E[r₂]"})
placed.pivot(
    index=["rewards ×", "weight"], columns="way", values=["E[r₁]", "E[r₂]", "short of the front"]
).round(3)

# %% [markdown]
# *Short of the front* is the least that a policy misses over all weightings of the two rewards.
#
# * **Margins** lie on the front by construction: their optimum *is* the formula above.
# * **Safety first** lies at the very same points: this is algebra, computed and not trained, with the two β chosen as $\beta/(1-w)$ and $\beta/w$. Two stages multiply: $\pi_\text{ref}\,e^{r_2/\beta_2}$, then $e^{r_1/\beta_1}$, and a product does not know its order. So on unlimited data "safety first" gives safety no priority whatever: the two β are the weights. To make safety a *constraint*, take what is unsafe out of the data or out of the samples, or measure safety after the second stage and stop.
# * **Weighted losses** end just inside the front, by up to 0.006 with soft labels and up to 0.032 with sure ones. What shows more is *where*: the same $w$ gives a more moderate policy, because votes are capped. Since $w$ is tuned by looking anyway, that is a small price, and this way needs no reward, only labels.
#
# ### On the language model
#
# Now with 384 pairs, labelled once, 24 steps, β = 0.5: each objective alone, and the three ways with $w = 0.5$.

# %%
ways = [("safety alone", "losses", 0), ("helpfulness alone", "losses", 1)]
ways += [(way, way, 0.5) for way in by_preset(["margins", "losses", "safety first"], ["margins"])]
size = by_preset({}, {"steps": 6, "samples": 16})
settings = [{"way": way, "weight": weight, "seed": seed, **size} for _, way, weight in ways for seed in seeds]
runs = sweep(tradeoff_run, settings, progress="two rewards")
runs["name"] = [name for name, _, _ in ways for _ in seeds]
tiny = Lab.auto("tiny")
start = earned(tiny, tiny.reference, by_preset(512, 16), seed=0)
show(
    plot_tradeoffs(runs, (start["helpfulness"], start["safety"])),
    "Language model: both rewards on held-out prompts; small marks are seeds, large ones means. More "
    "helpfulness costs safety along the whole front.",
    alt="Scatter of helpfulness against safety with a falling front from safety alone over safety first, "
    "losses and margins to helpfulness alone.",
)
measures = ["helpfulness", "safety", "length", "kl"]
table = runs.groupby("name", sort=False)[measures].agg(["mean", "std"])
table.loc["reference"] = [value for name in measures for value in (start[name], float("nan"))]
table.round(2)

# %% [markdown]
# The conflict is real: helpfulness alone raises helpfulness from 1.65 to 2.80 and lowers safety from −0.73 to −1.85. Safety alone raises safety to −0.42; helpfulness falls to 1.45, by about as much as it spreads over seeds. The first learns to write long reviews, the second short ones (*length*, in words).
#
# Weighted margins and weighted losses can't be told apart here: they differ by less than the spread in every column. Safety first is nearer to the reference (0.74 nats against 1.00 and 1.06), a little safer and less helpful; each of its stages has half of the pairs and steps. No mean dominates another, the reference included, so *each* of these policies is on the front of the means. That is not much: with two objectives nearly everything is a trade-off, and with three seeds a front is a cloud. The three ways with $w = 0.5$ gave up about 0.1 to 0.3 of safety for 0.4 to 0.7 of helpfulness. Whether that is a good bargain is not for the loss to say.
#
# There is a way out that none of them took: long reviews of pure praise have four topics and no blame. They lie far from the reference; at these distances the front is what can be had.
#
# ## Recap of the second half
#
# * `train_online` makes pairs as it trains. Offline is one round; iterative DPO refreshes the reference; online DPO does not; best-of-$n$ and active selection choose which pairs there are.
# * $R$ rounds with a refreshed reference are one run with $\beta/R$ on unlimited data. Best-of-$n$ pairs act like a lower β, too. So compare at equal labels *and* equal distance, and count the sampling.
# * At equal labels nothing beat offline DPO here by more than the spread; iterative DPO overfitted its small rounds.
# * Weighted margins average rewards, weighted losses average probabilities. Two stages are weights again: the order gives no priority.
# * A policy is on the Pareto front if no other earns at least as much in all objectives and more in one.
#
# <details><summary><b>Interview: how does DPO explore?</b></summary>
#
# Offline DPO does not: the pairs are fixed, whatever β is. (A common answer has it that a lower β explores more and stays closer to the reference; it drifts *further*, and among the same pairs.) Exploration comes from sampling: online DPO, iterative DPO with fresh pairs, best-of-$n$, active selection. The distance must be measured against the first model, since a refreshed reference lets the policy walk away step by step. Ask for the control before you believe a gain: the same number of labels, and an offline run that went as far.
#
# </details>
# <details><summary><b>Interview: how would you train one policy to be helpful and safe?</b></summary>
#
# Label each pair for both, or use a safety score. A weighted sum of two losses needs labels only and averages win probabilities, so a rare disaster counts one vote. A margin (MODPO) averages rewards, so that a high stake can outweigh, but needs the number. Two stages end, with enough data, where the weighted reward ends; "safety first" is no constraint. For a hard constraint filter: drop pairs whose chosen answer is unsafe, and refuse or resample unsafe outputs. Sweep the weight, draw the front with its spread, let the owner of the trade-off choose a point, and go on watching both numbers.
#
# </details>

# %% [markdown]
# ## Recap
#
# * A loss is known by its curve: whom it pushes, when it stops, whether it pulls back. The margin alone, the margin and a term, each completion alone, no reference: four families.
# * IPO's gap is bounded by $1/(2\tau)$, and its optimum is $(2p-1)/(2\tau)$. It keeps the reference; the formula without it is another loss. Say whether log-probs are sums or means before you quote a τ.
# * KTO learns from thumbs, against a zero point that stands in for the KL (cheap and biased: the mismatched completions come from the data, not from the policy). What judges completions alone does not need pairs; KTO paid for that in the exact world, BCO did not.
# * SimPO and ORPO need no reference. Nothing in SimPO's loss says how far is too far; ORPO's SFT term is a weak anchor.
# * Compare losses at equal distance, over a grid of their strengths *and* learning rates. In the exact world four losses lay within each other's spread; on the language model a faster DPO took SimPO's lead away.
# * Refreshing the reference $R$ times is a β of β/R in the limit. Fresh pairs, best of $n$ and active selection spend labels in different places: compare them at equal labels and equal KL.
# * Weighted losses average probabilities, weighted margins average rewards. What nobody dominates is the Pareto front.
#
# ### Interview questions
#
# <details><summary>What does KTO need that DPO does not, and the other way round?</summary>
#
# DPO needs two answers to one prompt; KTO needs single answers with a thumb up or down, in any proportion. KTO needs a zero point, an estimate of $\text{KL}(\pi_\theta\|\pi_\text{ref})$ from mismatched rows in the batch, without gradient and never below 0; in DPO everything that depends on the prompt alone cancels in the margin. Its value function saturates on both sides, so a completion that is hopelessly wrong hardly counts, a mislabelled one included. Both need the reference.
#
# </details>
# <details><summary>A colleague reports that a new loss beats DPO on your benchmark. What do you ask?</summary>
#
# At which KL, each? Over which grid of its own strength, and did DPO get one of the same size? How many seeds, and is the difference larger than their spread? Are the completions longer, and does the judge like length? Sums or means, and the same τ or β for both? Was the learning rate tuned for one of them only? Same pairs, same number of labels, same steps?
#
# </details>
#
# Next: **[10 · DPO against PPO](10_dpo_vs_ppo.ipynb)**, the algorithm that all of these were made to replace.
