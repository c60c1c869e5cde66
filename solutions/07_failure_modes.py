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
# # 07 · Failure modes
#
# **How does DPO go wrong, how do you notice, and which cure really helps?**
#
# After this lesson you can
#
# * cause ten failures of preference training on purpose, and say why each one happens;
# * write the detectors that tell a healthy run from a sick one, and say what each detector can't see;
# * judge a cure by a number with its spread over seeds, and drop the ones that only sound right.
#
# {{lesson_facts}}
#
# You need lesson 04 (the loss), lesson 05 (the trainer), and from lesson 06 what β does.
#
# **How to read this lesson.** Each section is one failure, in five moves: *cause it, see it, detect it, cure it, measure the cure*. Every setting is trained with three seeds, five where a run takes a moment. The seed decides the order of the pairs and the samples drawn afterwards, from section 6 on also which pairs. In tables, "0.71 ± 0.08" is the mean over seeds and their standard deviation. Two settings differ by **more than the spread** if their means differ by more than the larger of their two standard deviations. A cure counts only if it moves its number by more than the spread; where it doesn't, the text says so.
#
# Sections 7 and 10 use the exact world, all others the tiny policy, whatever your machine: the runs should cost minutes. They are kept in a cache, so a second run of this notebook takes seconds. The lesson is long: the end of section 5 is a good place for a break.
#
# The review world, once more: a prompt names an item of a restaurant's menu (`review of the soup :`), the policy writes a review, and the true reward adds up the worth of its words (`delicious` +1, `rude` −1, and so on). Every annotator below is a small program that reads two reviews, so that we know exactly what it asked for.

# %%
import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from dpo_lab.checks import check_batch, check_positive
from dpo_lab.course import check
from dpo_lab.diagnostics.amplification import Amplification, check_traits, log_odds
from dpo_lab.diagnostics.calibration import check_probabilities
from dpo_lab.diagnostics.variety import self_bleu
from dpo_lab.experiments import failures as runs
from dpo_lab.experiments import shift
from dpo_lab.experiments.displacement import displacement_run, twin_pairs
from dpo_lab.experiments.noisy_labels import active_run, labels_run
from dpo_lab.experiments.overfitting import overfitting_run
from dpo_lab.experiments.references import CASES, reference_run, two_rounds
from dpo_lab.experiments.traits import TRAIT_CURES, trait_run
from dpo_lab.lab import Lab
from dpo_lab.plots import (
    plot_collapse,
    plot_cures,
    plot_data_size,
    plot_epochs,
    plot_groups,
    plot_noise,
    plot_selection,
    show,
)
from dpo_lab.presets import by_preset
from dpo_lab.sweeps import grid, sweep
from dpo_lab.tiny_recipe import untrained_policy
from dpo_lab.trainer import encode_pairs, pair_logprobs
from dpo_lab.widgets import amplification_explorer, failure_browser

SEEDS = range(by_preset(full=3, fast=1))
MANY_SEEDS = range(by_preset(full=5, fast=2))  # for runs that take a fraction of a second
short = by_preset({}, {"steps": [8], "samples": [24]})  # the tests' preset: a few steps and samples
tiny = by_preset({}, {"n": 32, "samples": 16})  # and, where a run draws its own pairs, few of them
lab = Lab.auto("tiny")


# %%
def over_seeds(table, by, columns):
    """Mean ± standard deviation over seeds, a row a setting; no spread where there is one seed."""
    grouped = table.groupby(by, sort=False)[columns]
    spread = grouped.std().map(lambda value: "" if math.isnan(value) else f" ± {value:.2f}")
    shown = grouped.mean().map("{:.2f}".format) + spread
    left = shown.style.set_properties(**{"text-align": "left"})
    return left.format_index(lambda name: f"{name:g}" if isinstance(name, float) else name)


def named_runs(function, settings, seeds, progress, fixed):
    """One row a run, with the setting's name in front; `fixed` is the same in all of them."""
    rows = [{**setting, **fixed, "seed": seed} for setting in settings.values() for seed in seeds]
    table = sweep(function, rows, progress=progress)
    table.insert(0, "run", [name for name in settings for _ in seeds])
    return table


# %% [markdown]
# ## 1 · Mode collapse
#
# **Cause.** An annotator has a favourite sentence: `i loved the soup .` In three of four pairs it beats whatever else was written. (A real case: a safety team that prefers one and the same refusal.) Preferences that certain leave room for nothing else when $\beta$ is small: we derive the formula in section 4.
#
# First the detector that everyone uses. **distinct-n** (Li et al. 2016) is the share of different n-grams among all n-grams of a set of texts; an n-gram is $n$ words in a row. **Write it.** Words are separated by blanks. n-grams count over all texts together, but none of them crosses from one text into the next. Arguments need no checking, here and in the other exercises of this lesson: the finished versions check them.

# %% exercise="distinct_n" points=2 minutes=7 difficulty=2 importance=4
...

# %%
distinct_n = check(distinct_n)

# %% [markdown] hints="distinct_n"
# <details><summary>Hint 1: the n-grams of one text</summary>
#
# A list of $L$ words has $L - n + 1$ n-grams: `words[start : start + n]` for each `start` in `range(len(words) - n + 1)`. A text with fewer than $n$ words has none, and the range is then empty by itself.
#
# </details>
# <details><summary>Hint 2: counting different ones</summary>
#
# A list can't be an element of a set, a tuple can: collect `tuple(words[start : start + n])` of all texts in one list, and compare the length of its `set` with its own length.
#
# </details>

# %% [markdown]
# The usual second detector is **self-BLEU** (Zhu et al. 2018): score each sample with BLEU, the machine-translation measure, as if all the other samples were its reference translations, and average. 1 means that every sample can be pieced together from the others. It is in the library.
#
# **Predict.** Which of these three sets has the lowest distinct-2? Which one is the most collapsed?

# %%
one_text = ["i loved the soup ."] * 40
long_texts = [row["completion"] for row in runs.review.sample_reviews(400, seed=3)]
sets = {
    "one short text, 40 times": one_text,
    "40 reviews, the shortest": sorted(long_texts, key=len)[:40],
    "40 reviews, the longest": sorted(long_texts, key=len)[-40:],
}
pd.DataFrame.from_dict(
    {
        name: {
            "words": sum(len(t.split()) for t in texts),
            "distinct-2": distinct_n(texts),
            "self-BLEU": self_bleu(texts),
        }
        for name, texts in sets.items()
    },
    orient="index",
).round(3)

# %% [markdown]
# Forty copies of one text give the lowest distinct-2 and a self-BLEU of 1: so far so good. But look at the other two rows. The forty longest reviews are all different and still get a *lower* distinct-2 than the forty shortest, several of which are the same sentence: more words repeat more pairs of words. **distinct-n falls with length** (and with the number of samples), so compare sets of one size, and suspect it where the length has changed. Self-BLEU is above 0.89 for both: in a small language everything can be pieced together from everything else. Look at a detector's value on healthy text before you trust it.
#
# **See it.** Now the runs: three values of $\beta$, 48 steps each, looked at every 16. The plainest measure is the share of the most common text among 96 samples (with the item's name masked, or four items would pass for variety).
#
# **Predict.** The notes that this course began from say: "with *high* β values, the model may collapse". Do you agree? Which curve rises to the top?

# %%
collapsed = sweep(
    runs.collapse_run,
    grid(
        beta=by_preset([0.03, 0.3, 3.0], [0.03, 3.0]),
        seed=SEEDS,
        **by_preset({}, {"steps": [16], "samples": [24]}),
    ),
    progress="mode collapse",
)
before = runs.variety(lab, lab.reference, samples=96, seed=0)

# %%
show(
    plot_collapse(collapsed, before),
    "Left: the lower β, the more samples are one and the same text. "
    "Middle and right: distinct-2 and self-BLEU of the same samples tell the settings apart far "
    "less well. "
    "Dots are seeds, lines their means, dashed the reference.",
    alt="Three panels against the step, a colour a beta: share of the most common text, distinct-2, self-BLEU.",
)

# %%
last = collapsed.assign(
    **{name: [row[-1] for row in collapsed[name]] for name in ("top_share", "distinct_2", "self_bleu")}
)
over_seeds(last, "beta", ["top_share", "distinct_2", "self_bleu", "kl"])

# %%
failure_browser(
    {"reference": lab.measure(lab.reference, 30, seed=0).texts}
    | {f"β = {row.beta:g}, seed {row.seed}": row.texts for row in collapsed.itertuples()}
)

# %% [markdown]
# At $\beta = 0.03$ about four samples in five are one sentence, at 0.3 not quite a third, at 3 one in twenty, much as in the reference: the *low* $\beta$ collapses, and each step is many times the spread over seeds. The claim of the notes is the wrong way round. Training longer matters only where there is room: at $\beta = 0.03$ the mean share more than doubles between step 16 and step 32, at 0.3 it has arrived by step 16. So the cure for collapse is a higher $\beta$, or fewer steps, or (best) pairs whose chosen sides differ among themselves.
#
# Now look at the usual detectors. distinct-2 and self-BLEU see the full collapse at $\beta = 0.03$. At 0.3, where every third sample is the same sentence, distinct-2 lies *above* the reference's, as it does at $\beta = 3$ (the likely reason is that the texts are shorter), and self-BLEU is where it was. Neither would have warned you. And the KL of the collapsed runs is about 5 nats: one short sentence is cheap to love. Page through the samples above, and count the most common text; it is the dullest detector and the best one here.
#
# ## 2 · Reward hacking: length
#
# **Cause.** "DPO makes answers long because it sums log-probs" is half right at best. A sum of negative numbers is *lower* for a longer answer, and the reference's sum is subtracted anyway. What scales with length is how far the log-ratio *can* move: forty tokens have more places to move than ten. The direction has to come from somewhere else, and mostly it comes from the data (Park et al. 2024).
#
# So we make such data. The annotator of this section judges the shipped pairs anew: Bradley-Terry on the true reward plus 0.1 for every word.
#
# **Detect it.** One question serves data and policies alike: *how often does the judge prefer the longer of the two?* In data the judge is the annotator, who prefers the chosen completion by definition. In a policy it is the implicit reward: its margin says which one the policy prefers. **Write it**: among the pairs whose lengths differ, the share of votes for the longer completion. A margin above 0 is a vote for the chosen completion, below 0 for the rejected one, exactly 0 half a vote for each. Return a plain number.

# %% exercise="prefers_longer" points=3 minutes=10 difficulty=3 importance=4
...

# %%
prefers_longer = check(prefers_longer)

# %% [markdown] hints="prefers_longer"
# <details><summary>Hint 1: four cases, one product</summary>
#
# The vote is for the longer one when margin and length difference have the same sign: chosen preferred and longer, or rejected preferred and longer. `tensor.sign()` is 1, 0 or −1; the product of the two signs is 1 for the longer, −1 for the shorter.
#
# </details>
# <details><summary>Hint 2: the two kinds of zero</summary>
#
# A length difference of 0: leave the pair out, of the count and of the total. A margin of 0: keep it, as one half. `(votes + 1) / 2` maps −1, 0, 1 to 0, ½, 1.
#
# </details>

# %%
labels = {
    "fair labels": runs.length_pairs(price=0.0),
    "0.1 a word": runs.length_pairs(price=0.1),
    "balanced": runs.balance_lengths(runs.length_pairs(price=0.1)),
}
pd.DataFrame.from_dict(
    {
        name: {
            "pairs": len(pairs),
            "longer preferred": prefers_longer(torch.ones(len(pairs)), *runs.pair_lengths(pairs)),
        }
        for name, pairs in labels.items()
    },
    orient="index",
).round(3)

# %% [markdown]
# Fair labels prefer the longer review in half of the pairs: in this world length and worth have nothing to do with each other. Blame adds up just as praise does. The price of 0.1 a word shifts the share by less than eight points. You would not notice that by reading pairs. Balancing brings it to one half exactly and costs a seventh of the pairs.
#
# **Cure it.** Three cures, all on the biased labels:
#
# * **balanced pairs**: at each size of the length difference, keep as many pairs in which the shorter one won as the longer;
# * **R-DPO** (Park et al. 2024): add $\alpha\,(|y_w| - |y_l|)$ to the margin inside the loss, where $|y|$ is a completion's length in tokens and $\alpha$ the price of a token. Length then explains its part of the wins, and only the rest is left for the policy. We know our annotator, so we set $\alpha = 0.1$; on real data you would have to fit it;
# * **length-normalised loss** (`sigmoid_norm`): means over tokens instead of sums, with a $\beta$ as many times larger as a typical review has tokens. The notes call it the most common cure.
#
# **Predict.** Which of the three brings the length back to what fair labels give?

# %%
lengths = sweep(
    runs.length_run,
    grid(cure=by_preset(list(runs.LENGTH_CURES), ["fair labels", "R-DPO"]), seed=SEEDS, **short),
    progress="length",
)

# %%
reference_found = lab.measure(lab.reference, 96, seed=0)
show(
    plot_cures(
        lengths,
        "cure",
        {
            "length": "Length | tokens a sample",
            "reward": "True reward | mean of samples",
            "prefers_longer": "Prefers the longer | share of held-out pairs",
        },
        before={
            "length": sum(map(len, reference_found.token_ids)) / 96,
            "reward": reference_found.reward.mean,
        },
    ),
    "Biased labels lengthen the samples far beyond what fair labels do. R-DPO brings the length "
    "back and more, "
    "balanced pairs less clearly (the seeds overlap), the length-normalised loss hardly. "
    "Dots are seeds, bars their means, dashed the reference.",
    alt="Three panels, five rows: length, true reward and preference for the longer completion of each cure.",
)

# %%
lengths["reward per token"] = lengths["reward"] / lengths["length"]
columns = ["length", "reward", "reward per token", "kl", "prefers_longer", "accuracy"]
over_seeds(lengths, "cure", columns)

# %%
by_seed = lengths.pivot(index="cure", columns="seed", values="length")
by_seed.loc[list(dict.fromkeys(lengths["cure"]))].round(1)

# %% [markdown]
# The leaning that was hardly visible in the pairs takes the samples from 16.03 ± 3.26 tokens to 30.51 ± 7.82. The judge inside shows it as well: on the same held-out pairs the implicit reward prefers the longer review in 0.49 of them, against 0.39 after fair labels. Compare with that 0.39, here and below, and not with one half. Fair *labels* prefer the longer review in half of the pairs, but a policy trained on them does not have to: the likely reason is that training lowers most log-ratios (section 6), and a longer review has more tokens to lower.
#
# Is it reward *hacking*? Look at the reward columns. The true reward went **up**, since in this world every further clause of praise is worth something. Per token it is the same as after fair labels, within the spread: the policy did not write better reviews, it wrote more. A dashboard that shows reward alone would celebrate.
#
# * **R-DPO** works, and beyond what was asked: 12.31 ± 1.57 tokens, shorter than after fair labels. At convergence $\alpha = 0.1$ would cancel the annotator's price exactly. A likely reason for the rest: the run is short, and the length term acts in full from the first step, while the reward has yet to be learnt.
# * **Balanced pairs** shorten in each of the three seeds (compare the columns of the table above), to 23.38 ± 4.85 in the mean. The seeds differ by more than that, so by the rule of this lesson it is not shown by these runs, though the direction is the same three times.
# * **The length-normalised loss** moves the judge inside (0.49 ± 0.02 to 0.43 ± 0.03) but not what is written: 27.59 ± 5.95 tokens, within the spread of no cure at all. The leaning sits in the labels, and a mean over tokens obeys labels as a sum does. What it changes is how far each pair is pushed for its length.
#
# ## 3 · Forgetting
#
# **Cause.** The reference was fine-tuned on reviews of all kinds. DPO's pairs only say which of two reviews is better; nothing in them asks the policy to keep what it knew. At a low $\beta$ it is free to trade that in.
#
# **Detect it.** Score text that the reference had learnt with both models, and compare perplexities. With $N$ texts $y_i$ of $|y_i|$ tokens each,
#
# $$ \mathrm{ppl} = \exp\!\Bigl(-\,\frac{\sum_{i=1}^N \log\pi(y_i\mid x_i)}{\sum_{i=1}^N |y_i|}\Bigr): $$
#
# among how many equally likely tokens the model seems to choose at each step. **Write it**: it takes the summed log-probs and the lengths, and returns a plain number.

# %% exercise="perplexity" points=2 minutes=5 difficulty=1 importance=3
...

# %%
perplexity = check(perplexity)

# %% [markdown] hints="perplexity"
# <details><summary>Hint 1: which mean</summary>
#
# One mean over all tokens of the set: sum the log-probs, sum the lengths, divide once.
#
# </details>
# <details><summary>Hint 2: the sign</summary>
#
# Log-probs are negative, so minus their mean is positive and its exponential at least 1.
#
# </details>

# %% [markdown]
# The detector `forgetting` is the policy's perplexity divided by the reference's: 1 means nothing was forgotten.
#
# **A trap.** An annotator who likes praise *wants* the policy to find blame unlikely. Higher perplexity on reviews full of blame is the preference at work, not damage. So we look at all held-out SFT reviews together, and at two things that the annotator never asked to lose: the reviews that are **all praise**, and one plain skill: does the review name the item that it was asked about?
#
# **Cure it.** A higher $\beta$; an NLL term, which adds the chosen completions' negative log-prob per token to the loss (weight 0.3); replay, which adds the SFT loss on old examples to every step (weight 0.3).
#
# **Predict.** Which of the three costs the least reward for what it saves?

# %%
memory = sweep(
    runs.memory_run,
    grid(cure=by_preset(list(runs.MEMORY_CURES), ["none", "replay"]), seed=SEEDS, **short),
    progress="forgetting",
)

# %%
show(
    plot_cures(
        memory,
        "cure",
        {
            "forgetting": "SFT reviews | perplexity ratio",
            "praise": "Praise only | perplexity ratio",
            "on_topic": "Names the item | share of samples",
            "reward": "True reward | mean of samples",
        },
        before={"forgetting": 1.0, "praise": 1.0, "on_topic": 1.0, "reward": 0.0},
    ),
    "Without a cure the policy predicts the reviews it was fine-tuned on worse, but those that "
    "praise hardly so. "
    "Each cure brings the ratio back towards 1 (dashed: the reference); the right-hand panel "
    "shows what it costs.",
    alt="Four panels, four rows: perplexity ratio on all and on praising reviews, share on topic, true reward.",
)

# %%
over_seeds(memory, "cure", ["forgetting", "praise", "blame", "on_topic", "reward", "kl"])

# %% [markdown]
# Uncured, the ratio is about 1.5 on all reviews. Most of that is blame, whose perplexity more than doubles: the annotator's wish. On praise the ratio is 1.07 ± 0.04, so what is truly forgotten is there, and small; and the reviews go on naming their item with or without a cure. Had we looked at one number only, we would have cried wolf.
#
# On all reviews each cure lowers the ratio by many times the spread, and on praise each brings it to about 1, by a little more than the spread (1.07 ± 0.04 to 1.01 ± 0.03 for $\beta = 1$, the narrowest of them). But they also hold on to the blame that was meant to go. At these weights the NLL term and replay cost about half of the reward. $\beta = 1$ keeps it, as far as three seeds can tell. That is one pair of weights, not a verdict on the methods: a smaller weight forgets a little more and costs less. (The NLL term also pulls towards the *chosen* texts alone, and replay towards all of the SFT text, a likely reason why replay leaves a smaller ratio than the NLL term.) Notice the direction, against the notes' "lower β" for forgetting: it is the *higher* $\beta$ that forgets less.
#
# ## 4 · Preference amplification
#
# **Cause.** Annotators have a mild leaning: of two reviews, one of which mentions the staff, they choose that one in 60 of 100 cases, and care for nothing else. Is a policy trained on this going to mention the staff in 60 % of its reviews? DPO's optimum is known (lesson 02): the margin of a pair is the log-odds of its label, so the log-ratio gap is
#
# $$ \delta^* = \frac{1}{\beta}\,\log\frac{p}{1-p}, $$
#
# with $p = 0.6$ the probability that the completion with the trait wins. If the trait is all that counts, then every review with staff gains the same $\delta^*$ nats over every review without, and the **odds** of the trait (its share over the share without it) are multiplied by
#
# $$ e^{\delta^*} = \Bigl(\frac{p}{1-p}\Bigr)^{1/\beta}. $$
#
# **Predict**, by the formula: the trait is in half of the reference's reviews, $p = 0.6$, $\beta = 0.1$. What share will DPO's optimum have?

# %%
for p, beta in ((0.6, 0.1), (0.6, 0.3), (0.6, 1.0), (0.56, 0.1), (0.52, 0.1)):
    nats = math.log(p / (1 - p)) / beta
    share = 1 / (1 + math.exp(-nats))
    print(
        f"p = {p:.2f}, β = {beta:<3}: {nats:4.2f} nats, odds × {math.exp(nats):6.2f}, 50 % becomes {share:.1%}"
    )

# %% [markdown]
# No bug and no bad luck: *maximising* reward means doing more of what is preferred, up to what the KL term costs. At $\beta = 0.1$ a leaning of 60 to 40 is a strong wish. Try other leanings.

# %%
amplification_explorer()

# %% [markdown]
# **Detect it.** Compare what the data ask with what the policy did, on one scale: log-odds, in nats. **Write `amplification`**. *Asked*: take the pairs that differ in the trait, and the log-odds that the completion with the trait is the chosen one. *Moved*: the log-odds of the trait in the policy's samples, minus those in the reference's. Return both, asked first, as `Amplification(asked, moved)` (a named tuple) or as a plain tuple.
#
# `log_odds(has)` is given: for a tensor of $n$ booleans of which $k$ are true it returns $\log\frac{k + 1/2}{n - k + 1/2}$, a plain number. The halves keep it finite when all samples have the trait.

# %% exercise="amplification" points=4 minutes=12 difficulty=3 importance=4
...

# %%
amplification = check(amplification)

# %% [markdown] hints="amplification"
# <details><summary>Hint 1: the pairs that differ</summary>
#
# `chosen_has != rejected_has` is a mask of the pairs. Under that mask exactly one completion of each pair has the trait, so `chosen_has[mask]` alone says whether the one with the trait won.
#
# </details>
# <details><summary>Hint 2: three calls</summary>
#
# `log_odds` once on the masked chosen side, once on the policy's samples, once on the reference's.
#
# </details>

# %% [markdown]
# **Cure it.** Label smoothing with $\varepsilon = 0.2$, since the labels are so undecided; $\beta = 1$; and data that are balanced in the trait (50 to 50). All pairs are of two reviews with two clauses each, one with staff and one without, so that staff does not mean a longer review; and the trait is counted among samples with more than one clause.
#
# **Predict.** Label smoothing mixes 20 % of the opposite label into every pair. What will be left of the leaning, by the formula above? (A label that wins with $p$ then wins with $0.8\,p + 0.2\,(1 - p)$.)

# %%
traits = sweep(
    trait_run,
    grid(cure=by_preset(list(TRAIT_CURES), ["none", "balanced pairs"]), seed=SEEDS, **short),
    progress="amplification",
)

# %%
show(
    plot_cures(
        traits,
        "cure",
        {
            "policy": "Share with staff | share of samples",
            "moved": "Moved | nats of log-odds",
        },
        before={"policy": traits["reference"].mean(), "moved": 0.0},
    ),
    "A leaning of 60 to 40 in the data becomes a large majority in the samples at β = 0.1. "
    "Dashed: the reference's share, and no movement.",
    alt="Two panels, four rows: share of samples that mention staff, and log-odds moved, for each cure.",
)

# %%
over_seeds(traits, "cure", ["data", "reference", "policy", "asked", "moved", "theory"])

# %% [markdown]
# A leaning of 60 to 40 became a share of 0.84 ± 0.04. The data ask for 0.40 nats of log-odds, the policy moved by 1.72 ± 0.13: amplified fourfold, on its way to the optimum's 4.05, which sixty steps do not reach.
#
# * **Label smoothing** leaves 1.42 ± 0.46: less in the mean, but not by more than the spread. The formula says why little can be expected: with $\varepsilon = 0.2$ a label that wins 60 in 100 wins 56 in 100, and $\log(0.56/0.44)/0.1$ is still 2.4 nats. (The column *theory* is plain DPO's $\log\frac{p}{1-p}/\beta$.) Smoothing is meant for labels that look surer than they are; these never looked sure.
# * **β = 1** brings the movement down to 0.36 ± 0.43, about what the data ask for. That is a change of three spreads, and as predicted: at $\beta = 1$ the policy moves the odds as far as the labels lean, no further. It holds back everything else that the pairs teach, too.
# * **Balanced pairs** leave no leaning to amplify: −0.32 ± 0.21, if anything the other way. This needs someone who knows which trait to balance; that is what the detector is for.
#
# The exactness of the balance matters at this $\beta$: by the formula, 52 to 48 already becomes 69 to 31 at the optimum. Mode collapse in section 1 was the same thing with a stronger leaning, three to one towards one text.
#
# ## 5 · Distribution shift
#
# **Cause.** The pairs come from one corner of what the policy will be asked. Here: 512 noise-free pairs of one-clause reviews, which all speak of the food (`the soup was bland .`). Nobody ever compared staff, prices or rooms.
#
# **Detect it.** Reward accuracy on held-out *groups*, each with pairs of one kind, instead of one number for all:
#
# * *same kind*: other one-clause pairs on the training items;
# * *new items*: one clause, on items that no pair was about;
# * *long*: three or more clauses;
# * *new words*: two clauses, of which the first (the food) is worth the same in both reviews; after it no ending (`best to avoid`) and no adverb of worth (`terribly`), which one-clause pairs have too. Only adjectives of staff, prices and rooms decide, and no training pair compared those.
#
# **Predict.** Rank the four groups.

# %%
shifted = sweep(
    shift.shift_run,
    grid(pairs=["narrow", "broad"], seed=SEEDS, steps=[by_preset(32, 8)]),
    progress="distribution shift",
)
groups = list(shift.shift_groups(n=2))

# %%
show(
    plot_groups(shifted, "pairs", groups),
    "Reward accuracy on four groups of 200 held-out pairs, after as many pairs of one clause "
    "only (narrow) or of one to three "
    "clauses (broad). Dots are seeds, bars their means. Narrow pairs leave new words at a coin.",
    alt="Accuracy of two training sets on four groups of test pairs, three seeds each.",
)

# %%
over_seeds(shifted, "pairs", groups)

# %% [markdown]
# New items cost nothing: what an item is called does not matter for what a review is worth, and a shift is not a failure by itself. Long reviews cost about ten points. On words that no training pair compared, accuracy is 0.52 ± 0.08: a coin. Nothing carries over from food to staff, prices and rooms.
#
# **Cure: wider data.** As many pairs of one to three clauses reach 0.71 ± 0.06 on the new words, more than the spread, and cost nothing on the other groups; long reviews stay as they were. Note how the failure hides: one accuracy over all four groups would look like a slightly weaker model, and a group is new only if you check what decides its pairs.

# %% [markdown]
# ## 6 · Likelihood displacement
#
# You will read that DPO "raises the likelihood of the chosen response". Lesson 04 showed that its loss does not insist: only the margin counts. Here is the case that is said to be the worst one: **near-identical pairs** (Pal et al. 2024, Razin et al. 2024). We make *twins* from reviews: one adjective is exchanged for another of its group, and the better review is the chosen one.

# %%
pd.DataFrame(twin_pairs(3))

# %% [markdown]
# **Write the detector.** A pair is *displaced* if it counts as learnt and has lost all the same: its log-ratio gap $\delta$ (chosen log-ratio minus rejected one) is above 0, **and** $\log\pi(y_w\mid x) < \log\pi_\text{ref}(y_w\mid x)$. A pair that has not moved is neither. Return the share of displaced pairs among **all** pairs, as a plain float. Arguments need no checking: the finished version calls `check_batch` first.

# %% exercise="displaced_share" points=3 minutes=7 difficulty=2 importance=5
...

# %%
displaced_share = check(displaced_share)

# %% [markdown] hints="displaced_share"
# <details><summary>Hint 1: two differences</summary>
#
# Compute both log-ratios first, policy minus reference. Both conditions are about these two numbers.
#
# </details>
# <details><summary>Hint 2: a share of booleans</summary>
#
# `(a & b).double().mean().item()` is the share of rows in which both hold; mind the brackets around each comparison.
#
# </details>

# %% [markdown]
# **Predict.** Twins share every word but one. Before the exchanged word both contexts are equal, so the two pushes of the loss cancel exactly; what moves there moves through shared weights. After it the contexts differ a little, and the pushes nearly cancel. After an epoch on twins: is the chosen log-prob higher or lower than before? Do the words *before*, *at* or *after* the exchanged one lose most?
#
# Three cures are at hand. *DPOP* adds a penalty for a chosen log-prob below its reference's. An *NLL term* adds the chosen completion's own negative log-prob. And a *filter* leaves out pairs whose word overlap is 0.8 or more (it is tried on a half-and-half mixture, since of twins alone it leaves nothing). The learning rate, 5e-4, was chosen by trying 3e-4 to 1e-3 on seed 0.

# %%
displacement_settings = {
    "ordinary pairs": {"twins": 0.0},
    "twins": {"twins": 1.0},
    "twins, DPOP λ = 5": {"twins": 1.0, "loss": "dpop", "loss_options": {"penalty": 5.0}},
    "twins, NLL × 0.5": {"twins": 1.0, "nll_weight": 0.5},
    "half twins": {"twins": 0.5},
    "half twins, filtered": {"twins": 0.5, "most_overlap": 0.8},
}
displaced = named_runs(displacement_run, displacement_settings, SEEDS, "displacement", tiny)
show(
    plot_cures(
        displaced,
        "run",
        {
            "chosen": "Chosen | change of log-prob (nats)",
            "rejected": "Rejected | change of log-prob (nats)",
            "displaced": "Displaced | share of pairs",
        },
        before={"chosen": 0.0, "rejected": 0.0},
    ),
    "One epoch on 160 pairs, measured on those pairs; a dot a seed, a bar at their mean, dashed the reference. "
    "Without a cure the rejected log-probs fall and in most seeds take chosen ones along; "
    "DPOP and the NLL term hold them up.",
    alt="Three panels with six settings each: change of the chosen and of the rejected log-prob, "
    "and share of displaced pairs, one dot a seed.",
)

# %%
over_seeds(displaced, "run", ["before", "at", "after", "chosen", "rejected", "displaced", "reward", "kl"])

# %% [markdown]
# Both log-probs fall, in the mean of the seeds, on ordinary pairs and on twins alike. The twins' chosen completions fall further in the mean, but the seeds differ by more than that, so these runs do not show that twins are the worse case; and no twins are needed: on ordinary pairs the chosen side falls by a nat with two seeds, and not at all with the third. Where it happens is clearer. On twins the exchanged word itself (*at*) hardly moves in the mean, and most of the loss comes *after* it: words that both reviews share, pushed up in one context and down in a nearly equal one, and the push down wins. What both texts lose goes to other text; the KL, measured on what the policy writes, says how far away that is.
#
# **DPOP and the NLL term hold the mean up**: with every seed the chosen log-prob ends above the reference's, and the difference to plain DPO on twins is larger than the spread. Both move less altogether, DPOP least, as the rejected log-probs and the KL show. The displaced share falls from 0.40 ± 0.02 on twins to 0.19 ± 0.02 (DPOP) and 0.26 ± 0.04 (NLL): about halved, not gone, though the mean chosen log-prob has risen. Neither moves the *reward* by more than the spread.
#
# **The filter** is not shown to work here: on the half-and-half mixture the chosen log-prob falls less with it in the mean, but by less than the spread over seeds, and it trains on fewer than half of the pairs, which alone makes every change smaller.
#
# ## 7 · Noisy and contradictory labels
#
# Annotators err, and disagree with themselves. Suppose that a share $\varepsilon$ of the labels is turned round. To see exactly what that costs we go back to the exact world of lesson 02, where the best policy is known, with a policy that *generalises*: one weight for each letter and one for each pair of neighbours, $\pi \propto \pi_\text{ref}\,e^{\text{features}\cdot\text{weights}}$. The true reward is a sum of such parts, so the best policy is within reach, and training takes a fraction of a second.
#
# Three numbers judge it. **gain**: how much of the objective $\mathbb{E}[r] - \beta\,\text{KL}$ was won over the reference, as a share of what the best policy wins (1 is best, 0 is the reference, negative is worse than not training). **accuracy**: how often its implicit reward orders two completions as the true one does. **scale**: the slope of implicit against true reward; 1 is right.
#
# **Predict.** With 2,000 pairs and 30 % of the labels flipped: does the policy learn the wrong order, or the right order too timidly?

# %%
shares = by_preset([0.0, 0.1, 0.2, 0.3, 0.4], [0.0, 0.3])
noise = sweep(labels_run, grid(n=[2000], flipped=shares, seed=MANY_SEEDS), progress="flipped labels")
show(
    plot_noise(noise),
    "2,000 pairs, a dot a seed. Flipped labels shrink the implicit reward first (right), "
    "so less of the possible gain is won (left); the order of pairs suffers later (middle).",
    alt="Three panels against the share of flipped labels: gain, accuracy and scale all fall; scale falls fastest.",
)
over_seeds(noise, "flipped", ["gain", "accuracy", "scale", "kl"])

# %% [markdown]
# Too timidly. A coin that is right with probability $1 - \varepsilon$ can never make a pair look surer than $\log\frac{1-\varepsilon}{\varepsilon}$, so every margin shrinks: small margins **to** $1 - 2\varepsilon$ of their size (dotted), large ones to less. At 30 % the order is still right in four pairs of five, and about half of the gain is left. At 40 % the order suffers as well (0.68), and under a quarter of the gain remains.
#
# Three cures. The loss may be told $\varepsilon$: by **label smoothing** (lesson 04), or by the **robust** loss (Chowdhury et al. 2024), which subtracts what flips add on average, so that its mean over flips equals the loss on clean labels. With $\ell(m) = -\log\sigma(m)$, DPO's loss at the margin $m$,
#
# $$ \ell_\text{robust}(m) = \frac{(1-\varepsilon)\,\ell(m) - \varepsilon\,\ell(-m)}{1 - 2\varepsilon}. $$
#
# Or several annotators judge each pair and the **majority** decides. How much better is a majority? **Write it down.** Each of `votes` annotators errs with probability `flipped`, independently of the others. Return the probability that more than half err; with an even number of votes a tie is settled by a fair coin, so half of its probability counts.

# %% exercise="majority_error" points=3 minutes=10 difficulty=3 importance=3
...

# %%
majority_error = check(majority_error)

# %% [markdown] hints="majority_error"
# <details><summary>Hint 1: exactly k of them err</summary>
#
# That has probability $\binom{v}{k}\varepsilon^k(1-\varepsilon)^{v-k}$ with $v$ votes; `math.comb(v, k)` is the number of ways.
#
# </details>
# <details><summary>Hint 2: which k count, and how much</summary>
#
# All of it where $2k > v$, half where $2k = v$, nothing else.
#
# </details>

# %%
pd.DataFrame(
    {f"votes: {votes}": [majority_error(e, votes) for e in (0.1, 0.2, 0.3, 0.4)] for votes in (1, 3, 5, 15)},
    index=["ε = 0.1", "ε = 0.2", "ε = 0.3", "ε = 0.4"],
).round(3)

# %% [markdown]
# **Predict.** 30 % flipped. Rank: label smoothing with ε = 0.3, the robust loss with ε = 0.3, five votes a pair. Then: you can pay for 2,000 votes. One each for 2,000 pairs, or five each for 400?

# %%
cure_settings = {
    "2,000 pairs, 1 vote": {"n": 2000, "flipped": 0.3},
    "… label smoothing 0.3": {"n": 2000, "flipped": 0.3, "label_smoothing": 0.3},
    "… robust 0.3": {"n": 2000, "flipped": 0.3, "loss": "robust", "label_smoothing": 0.3},
    "2,000 pairs, 5 votes": {"n": 2000, "flipped": 0.3, "votes": 5},
    "400 pairs, 5 votes": {"n": 400, "flipped": 0.3, "votes": 5},
    "8,000 pairs, 1 vote": {"n": 8000, "flipped": 0.3},
    "… robust 0.3, of 8,000": {"n": 8000, "flipped": 0.3, "loss": "robust", "label_smoothing": 0.3},
}
cures = named_runs(labels_run, cure_settings, MANY_SEEDS, "cures for noise", {})
over_seeds(cures, "run", ["gain", "accuracy", "scale", "reward", "kl"])

# %% [markdown]
# Read it row by row.
#
# * **Label smoothing made it worse.** The margins were too small already; smoothing has them shrink once more, and more than half of the gain is lost, far beyond the spread. The order stays what it was. Smoothing is a cure for *overconfidence* (sections 8 and 10), not for wrong labels.
# * **The robust loss** gets the scale right, on average, as its theory says. It pays in variance: its push, $-\ell_\text{robust}'(m)$, lies between $\varepsilon/(1-2\varepsilon)$ and $(1-\varepsilon)/(1-2\varepsilon)$ (0.75 and 1.75 here), where plain DPO's lies between 0 and 1: 2.5 times as strong at margin 0, and a pair long since won is still pushed on, since the loss has no lower bound. With 2,000 pairs the policy drifts too far and the gain does not improve (its spread is larger than the difference to plain DPO). With 8,000 pairs it does, by much more than the spread.
# * **Five votes on each of the 2,000 pairs** help clearly, and cost five times as much. **At the same price** (400 pairs of five votes) the gain is that of one vote on 2,000 pairs, within the spread, but by another road: reward 0.94 at KL 1.49, against 0.32 at 0.28; order 0.75 against 0.80. More pairs are as good as better labels here. Where finding a prompt is dear and a vote is cheap, that turns round.
#
# Contradictions, pairs that occur in both directions, are the same thing seen from close by: `find_contradictions` of lesson 01 finds them. A pair with the labels 3 : 2 says $p = 0.6$, and keeping both rows says exactly that to the loss.
#
# ## 8 · More epochs
#
# Preference sets are small, so it is tempting to go over them again. Recipes stop after one to three epochs. Why?
#
# If the held-out loss rises while the order of the pairs stays, the policy is wrong about *how sure it is*. For each pair the completion with the higher implicit reward is the **favourite**. The **forecast** is the probability that it wins, $\sigma(|m|)$ with $m$ the pair's margin; the **outcome** is 1 if it is the chosen completion, else 0. **Write the measure**, the expected calibration error: forecasts are sorted into $K$ bins of equal width, bin $k$ holding $[k/K, (k+1)/K)$, a forecast of exactly 1 in the last one. Then
#
# $$ \text{ECE} = \sum_k \frac{n_k}{N}\,\bigl|\,\bar o_k - \bar f_k\,\bigr| $$
#
# with $n_k$ of $N$ forecasts in bin $k$, $\bar f_k$ the mean of these forecasts and $\bar o_k$ the mean of their outcomes. Empty bins add nothing. Return a plain float; arguments need no checking.

# %% exercise="calibration_error" points=4 minutes=12 difficulty=3 importance=4
...

# %%
calibration_error = check(calibration_error)

# %% [markdown] hints="calibration_error"
# <details><summary>Hint 1: the bin of a forecast</summary>
#
# `(predicted * bins).long()` cuts off the fraction. One value needs care: what does it give for a forecast of 1?
#
# </details>
# <details><summary>Hint 2: one bin at a time</summary>
#
# `inside = places == k` is a mask; `outcomes[inside].mean()` is $\bar o_k$, and `inside.double().mean()` is $n_k / N$. Skip a bin with no `True`.
#
# </details>

# %% [markdown]
# **Predict.** The tiny policy goes twelve times over 64 pairs. When does the held-out loss turn? Does the *true* reward of what it writes turn with it?

# %%
epochs = by_preset(12, 3)
epoch_settings = {
    "all epochs": {"epochs": epochs},
    "early stopping, patience 2": {"epochs": epochs, "patience": 2},
}
overfit = named_runs(overfitting_run, epoch_settings, SEEDS, "epochs", tiny)
endless = overfit[overfit["run"] == "all epochs"]
show(
    plot_epochs(list(endless["training"]), list(endless["held_out"])),
    "64 pairs again and again; a thin line a seed, a thick one their mean, a ring at the lowest held-out mean. "
    "The training loss goes on falling after the held-out loss has stopped.",
    alt="Training loss falls steadily with the epochs, held-out loss stays near ln 2 and rises after its lowest point.",
)

# %%
overfit["overconfidence"] = overfit["predicted"] - overfit["measured"]
over_seeds(
    overfit,
    "run",
    ["loss", "calibration_error", "predicted", "measured", "overconfidence", "reward", "kl"],
)

# %%
overfit["lowest loss"] = overfit["held_out"].map(min)
overfit["at epoch"] = overfit["held_out"].map(lambda losses: 1 + losses.index(min(losses)))
overfit["last loss"] = overfit["held_out"].str[-1]
overfit[["run", "seed", "epochs_done", "lowest loss", "at epoch", "last loss", "reward"]].round(3)

# %% [markdown]
# The training loss falls and falls. The held-out loss hardly gets below $\ln 2$: one seed never does, the others reach 0.65 and 0.60. The lowest point is at epoch 2, 3 or 7, and every run ends above its own lowest point. The policy becomes surer than it is right (*overconfidence*: *predicted*, its mean forecast, minus *measured*, the share of favourites that won) and ends many nats from the reference.
#
# **Early stopping** (patience two) ends after 4, 5 and 9 epochs and hands back the best weights. On further held-out pairs, that neither training nor stopping saw, it takes the loss from 0.69 ± 0.03 to 0.63 ± 0.04, the calibration error from 0.11 ± 0.02 to 0.06 ± 0.03 and overconfidence from 0.09 ± 0.04 to −0.02 ± 0.03; the KL falls from 23 ± 11 to 6 ± 4: each by more than the spread. The share of favourites that won is the same within the spread (0.65 and 0.64): the order stays, the forecasts change.
#
# One thing the held-out loss does not say: the *true reward* of what the policy writes is higher after twelve epochs with each seed. A true reward that adds up words pays for every further step in the right direction, sense or no sense. Whether to stop is decided by what you want: a calibrated reward and a policy near its reference, or more of a reward that you trust. If you trust it less than ours, stop.
#
# ## 9 · A reference that does not fit
#
# DPO measures everything against the reference, so it matters which one it is. Three beginnings, one epoch on 128 pairs each: the sound one; **SFT skipped**, start and reference have random weights; and **another reference**, the start is the SFT policy but the reference has random weights.
#
# **Predict.** Which of the three have a first loss of $\ln 2$? In which does the accuracy rise? What does each write?

# %%
few = by_preset({}, {"n": [64], "samples": [16]})
beginnings = sweep(reference_run, grid(case=list(CASES), seed=SEEDS, **few), progress="references")
over_seeds(
    beginnings,
    "case",
    ["first loss", "last loss", "first accuracy", "last accuracy", "reward", "length", "ended"],
)

# %%
for case, rows in beginnings.groupby("case", sort=False):
    print(f"{case}:\n   {rows['text'].iloc[0][:110]}")

# %%
pairs = runs.review.shipped_pairs("train")[:128]
for name, start in {"SFT policy": lab.reference, "random weights": untrained_policy(0)}.items():
    chosen, _ = pair_logprobs(start, *encode_pairs(start.tokenizer, pairs), batch_size=64)
    print(f"{name}: logps/chosen {chosen.mean():.1f} nats")
gaps = runs.log_ratio_gaps(lab.reference, untrained_policy(100), pairs)
share = prefers_longer(gaps, *runs.pair_lengths(pairs))
print(
    f"SFT policy against a random reference: the longer review has the higher implicit reward in {share:.0%}"
)

# %% [markdown]
# * **SFT skipped** looks healthy. The first loss is $\ln 2$, since the reference *is* the start; the accuracy rises as in the sound run; and the mean true reward is the highest of the three, far beyond the spread. Now read the sample: it is a heap of words, and a good part of the completions never end. DPO has learnt *which words win*, and our true reward adds up words without asking for a sentence. Loss, accuracy and margin look as in a sound run. One logged number does not: `logps/chosen` starts near −50, where the SFT policy has about −9. And the samples tell. SFT is what made the words a language.
# * **Another reference** gives itself away on the first line of the log: the loss is not $\ln 2$ and the accuracy is not 0 (an accuracy of 0 at the start is margins of exactly 0, which count as not won). The SFT policy beats a random reference at almost every token, so at the start the longer review has the higher implicit reward in 97 % of these pairs, whether it is the chosen one or not. From there on DPO works to move the policy relative to a point at which it never was: on these pairs the mean last loss lies above $\ln 2$. What the policy writes is still sound after so few steps; its mean reward is lower than the sound run's, but by no more than the spread.
#
# **Stale or renewed?** After one round the policy has moved. The pairs of the second round can be *old* (more of those that the SFT policy wrote) or *new* (written by the policy of round one, judged afresh); the reference can be *old* (the SFT policy) or *new* (the policy of round one). New pairs with a new reference are called iterative DPO.
#
# **Predict.** Which gains most reward in round two? Which ends farthest from the SFT policy?

# %%
round_settings = {
    "old pairs, old reference": {"pairs": "old", "reference": "old"},
    "new pairs, old reference": {"pairs": "new", "reference": "old"},
    "new pairs, new reference": {"pairs": "new", "reference": "new"},
}
rounds = named_runs(two_rounds, round_settings, SEEDS, "two rounds", tiny)
over_seeds(rounds, "run", ["reward 1", "kl 1", "first loss", "reward 2", "kl 2"])

# %% [markdown]
# The first loss tells the cases apart: with a *new* reference it is $\ln 2$ again, because each round starts from its own reference; with the *old* one it is only near it, since the policy has moved already. The second round adds reward in the mean of each row, but the three rows differ by less than the spread, in reward and in KL: two rounds of 96 pairs do **not** show that fresh pairs or a renewed reference pay.
#
# What follows from the formula, and not from this table, is the leash. The old reference keeps pulling towards the SFT policy. A renewed one forgets it: each round may go a further step, no $\beta$ bounds the sum of the steps, and the KL to the SFT policy has to be watched by yourself.
#
# A common piece of advice for a reference that is too weak or too strong is an "adaptive β". No β repairs a reference that is not the policy's start: it scales the margins, it does not move the point that they are measured from.
#
# ## 10 · Too little data
#
# How many pairs are enough? Back to the exact world of section 7, with clean labels (that is, labels as noisy as Bradley-Terry makes them, and none flipped): 10 to 4,000 pairs, plain DPO against a label smoothing of 0.1.
#
# **Predict.** With 40 pairs for 42 weights, is DPO better or worse than not training at all?

# %%
sizes = by_preset([10, 40, 160, 640, 2500, 4000], [10, 160, 2500])
plain = sweep(labels_run, grid(n=sizes, seed=MANY_SEEDS), progress="pairs")
small = [n for n in sizes if n < 1000]
smooth = sweep(labels_run, grid(n=small, label_smoothing=[0.1], seed=MANY_SEEDS), progress="smoothed")
curve = pd.concat([plain.assign(run="DPO"), smooth.assign(run="label smoothing 0.1")])
show(
    plot_data_size(curve, "run"),
    "A dot a seed. Left: under a few hundred pairs DPO ends below the reference, which is 0. "
    "Right: the order of pairs is learnt long before the gain is positive.",
    alt="Gain and accuracy against the number of pairs on a log scale; gain is negative for few pairs.",
)
over_seeds(curve, ["run", "n"], ["gain", "accuracy", "scale", "kl"])

# %% [markdown]
# Worse. A few pairs can be told apart without error, so the loss wants infinite margins; no $\beta$ stops it, only the fixed number of training steps does. The KL is several times that of the best policy, which is what 4,000 pairs come near to. The order is better than chance in the mean (with 10 pairs one seed of five is not). The weights have moved far in directions that have nothing to do with the reward: the *scale* need not be far from 1 while the KL is. It is the opposite fault to section 7: too bold, not too timid. So here label smoothing, which shrinks margins, is the right tool: with 10, 40 and 160 pairs it raises the gain by more than the spread, though with 10 and 40 the policy stays worse than the reference. At 640 pairs the difference is within the spread.
#
# In practice: with a hundred pairs smooth, and look at the KL. Fewer steps, or IPO, should help for the same reason; they are not tried here.
#
# **Which pairs to label?** If labels are dear, let the policy say where it is unsure. **Write the rule**, uncertainty sampling: `margins` holds the implicit-reward margins of unlabelled pairs; return the row numbers of the `n` pairs whose margin is nearest to 0, least sure first, and the earlier row first among equals. A list of plain ints; arguments need no checking.

# %% exercise="select_active_pairs" points=2 minutes=5 difficulty=1 importance=3
...

# %%
select_active_pairs = check(select_active_pairs)

# %% [markdown] hints="select_active_pairs"
# <details><summary>Hint 1: nearest to 0</summary>
#
# The sign only says which completion is favoured. `margins.abs()` says how surely.
#
# </details>
# <details><summary>Hint 2: rows, in order</summary>
#
# `torch.argsort(..., stable=True)` returns row numbers and keeps equals in order; `.tolist()` makes them ints.
#
# </details>

# %% [markdown]
# **Predict.** From 64 random labels we go on, 64 at a time, to 320, out of 2,000 pairs. After each round the policy is trained anew. Which way of choosing the next 64 is best: at random, the *least* sure, or the *surest*?

# %%
chosen_rules = by_preset(["random", "uncertain", "certain"], ["random", "uncertain"])
selection = sweep(active_run, grid(rule=chosen_rules, seed=MANY_SEEDS), progress="active selection")
show(
    plot_selection(selection),
    "Share of pairs in the right order against labels paid for; a thin line a seed, a thick one their mean. "
    "Choosing at random ends ahead of both clever rules.",
    alt="Three curves of accuracy rising with the number of labels; random selection is highest at the end.",
)
last = selection.assign(**{name: selection[name].str[-1] for name in ("gain", "accuracy")})
over_seeds(last, "rule", ["gain", "accuracy"])

# %% [markdown]
# Random choice orders pairs best, by more than the spread over both rules; uncertainty sampling is worst in the mean. It is the reverse of what the rule's name promises. A likely cause, not measured here: the policy is unsure for two reasons that one margin does not tell apart. It knows too little about a pair, or the two completions are nearly equally good. Pairs of the second kind have noisier labels, and however many are bought, they say little about how good the others are. Meanwhile the margins of the rest grow unchecked, and the gain is far below the reference.
#
# The *surest* pairs have the highest mean gain, since they put the boldest forecasts to the test; but the gain of random choice is spread so widely over seeds that this difference is within the spread, and their order is worse. What works in the literature asks where the *policy's ignorance* is large, for instance where an ensemble disagrees, not where its margin is small. The rule to keep: compare any selection with random choice, at equal cost.
#
# ## Recap
#
# * **Mode collapse**: near-certain preferences at a low $\beta$ leave one text. It is the low $\beta$ that collapses, not the high one. Count the most common text; distinct-n moves with length and self-BLEU is near its ceiling in a small language.
# * **Length exploitation** comes from the data: a leaning that is hardly visible in the pairs nearly doubles the length of the samples, and the true reward may rise along. Price the tokens (R-DPO) or mend the data. Normalising the loss by length did not bring the samples' length back.
# * **Forgetting**: measure perplexity on text that the annotators have no reason to dislike, and a skill; the rest may be the preference at work. A higher $\beta$, an NLL term and replay all hold the old text, at different prices.
# * **Amplification**: the odds of a preferred trait are multiplied by $(p/(1-p))^{1/\beta}$ at the optimum. It is what DPO is made to do. A larger $\beta$ or balanced data tame it; label smoothing hardly touches it.
# * **Distribution shift**: one accuracy hides it; hold out groups; wider pairs cure it.
# * **Displacement**: a growing margin says nothing about the chosen log-prob. Watch `logps/chosen` on a fixed set of pairs; DPOP or an NLL term holds its mean up and halves the displaced share.
# * **Flipped labels** make DPO timid: the implicit reward shrinks to about $1 - 2\varepsilon$ of its size, or less. The robust loss undoes that if there is data enough to pay for its variance; label smoothing shrinks further.
# * **Few pairs and many epochs** make DPO bold: margins grow without bound on what can be fitted. Stop early, smooth, collect more.
# * **The reference** should be the policy's own start. A first loss other than $\ln 2$ is the alarm. It does not ring when SFT was skipped: look at `logps/chosen` and at samples.
# * **Uncertainty sampling** also picks the pairs whose labels are noisier, and lost to random choice here. Compare it with random choice before you rely on it.
# * A cure counts if it moves its metric by more than the seeds differ. Several of this lesson's did not, and the tables say so.
#
# ## Interview questions
#
# <details><summary><b>1. Your DPO model's answers are twice as long as before. A colleague says that DPO sums log-probs, so it favours long answers, and wants to normalise by length. What do you say?</b></summary>
#
# A sum of negative log-probs is lower for long answers, and the reference's sum is subtracted, so the sum as such favours nothing. Length scales how far the log-ratio can move; the direction comes from the data. So look there first: in how many pairs of unequal length is the longer one chosen, and does the policy's implicit reward prefer the longer one more often than the labels do? Also train on labels without the leaning: some growth may be earned, if longer answers are really better. Then balance the pairs in length or price the tokens with R-DPO. In this lesson R-DPO brought the length back; balancing did so in each seed but by less than the spread; the normalised loss did not. Whatever you try, measure the quality you want apart from length.
#
# </details>
# <details><summary><b>2. Annotators prefer answers that agree with the user in 60 % of pairs. The tuned model agrees nearly always. Is that a bug?</b></summary>
#
# No, it is the optimum. The log-ratio gap goes to $\log\frac{p}{1-p}/\beta$, so the odds of agreeing are multiplied by $(0.6/0.4)^{1/\beta}$: about 58 at $\beta = 0.1$. Maximising a preference is not imitating its frequency. If the leaning is unwanted, remove it from the data (balance or relabel) or use a larger $\beta$; at $\beta = 1$ the odds move by 1.5, just as in the labels. Label smoothing barely helps, since 60/40 is soft already. Detect it by comparing log-odds: what the data ask with what the policy moved.
#
# </details>
# <details><summary>Name some failure modes of DPO, how you would detect each, and what you would do. (Beware of the usual answer.)</summary>
#
# Mode collapse: the share of the most common text grows (distinct n-grams alone can miss it); **raise** β, train less. Length exploitation: completions grow, the longer one wins more often in the data than it should; balance the data, length-regularise. Forgetting: perplexity on SFT text and unrelated benchmarks; **raise** β, an NLL term, replay. Amplification: compare a trait's odds in the data with its odds in the policy; balance. Shift: accuracy on held-out groups; wider data. Displacement: `logps/chosen` falls on a fixed set; DPOP, NLL. Noise: the margins stay small; more or better labels, the robust loss.
#
# The usual answer says "lower β" for collapse and forgetting. That is the wrong way round: β is the weight of the KL term, so a lower β lets the policy move *farther* from the reference. Lesson 06 measured it.
#
# </details>
# <details><summary>My chosen reward falls during training while the accuracy rises. Is that a bug?</summary>
#
# Not necessarily. The loss sees only the difference of the two log-ratios; both can fall as long as the rejected one falls faster. It is harmless while samples stay good, and a fault when the mass goes to text that nobody compared. Look at `logps/chosen` on fixed pairs, at the pairs' similarity and at samples; then try DPOP or an NLL term.
#
# </details>
# <details><summary>A third of your labels are wrong. Does label smoothing help?</summary>
#
# It does not undo the damage. Flips shrink the implicit reward, and smoothing shrinks it further. The robust loss corrects the mean at the price of variance, so it needs more pairs; several votes a pair help but cost as many labels. Smoothing helps against the opposite fault, overconfidence on few pairs. And if only the order matters, as for ranking, even plain DPO keeps most of it.
#
# </details>
#
# **Next: lesson 08.** There the faults are not in the data but in the code. You get curves of broken trainers, name the bug, mend it, and meet the run doctor that does the same.
