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
# # 01 · Preference data
#
# **What exactly does DPO learn from, and how do you find out that the data is bad before a model does?**
#
# After this lesson you can
#
# * say what a preference pair is, name four ways of collecting pairs and what goes wrong with each;
# * turn several annotators' votes into labels, and say how far the annotators agree beyond chance;
# * find contradictions, duplicates and shortcuts such as length, and split the data so that nothing leaks.
#
# {{lesson_facts}}
#
# You need Python and a little PyTorch. Nothing about DPO is assumed.

# %%
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

import pandas as pd
import torch
from torch import Tensor

from dpo_lab import preferences
from dpo_lab.checks import check_batch, check_positive
from dpo_lab.course import check
from dpo_lab.plots import draw_agreement, plot_annotators, plot_label_noise, plot_leak, plot_longer_wins, show
from dpo_lab.preferences import COLUMNS, Key, Pairs, PairsT, check_votes, count_words, group_of, load_pairs
from dpo_lab.preferences.rows import normalise, text_of
from dpo_lab.preferences.splitting import take
from dpo_lab.widgets import agreement_explorer
from dpo_lab.worlds import review

# %% [markdown]
# ## 1 · A row is a comparison
#
# A language model gets a **prompt** $x$ and writes a **completion** $y$. Someone is shown two completions of the same prompt and says which is better. The better one is called **chosen**, $y_w$ ("winner"), the other one **rejected**, $y_l$ ("loser"). The triplet $(x, y_w, y_l)$ is all that DPO ever sees:
#
# * no score says *how much* better the chosen one is;
# * the chosen one need not be good, only better than its rival;
# * nothing is known about completions that nobody compared.
#
# The model in training is called the **policy**; a frozen copy of how it was before is the **reference**. Training raises $y_w$ *relative to* $y_l$, compared with the reference. It need not make $y_w$ likelier: both may fall, if $y_l$ falls more.
#
# The course ships two sets. `review_train` holds restaurant reviews by a tiny model with a tiny vocabulary. `everyday_train` holds one-sentence reviews by SmolLM2-135M-Instruct, a real if small language model, as chat messages.

# %%
pairs = load_pairs("review_train")
chats = load_pairs("everyday_train")
print(len(pairs), "review pairs, columns", pairs.column_names)
print(len(chats), "everyday pairs, columns", chats.column_names)
pd.DataFrame(pairs.select(range(4)).to_list()).style.set_properties(**{"text-align": "left"})

# %%
for column in ("prompt", "chosen", "rejected"):
    print(column, "→", chats[1][column])

# %% [markdown]
# Both forms are common: plain strings, or lists of messages with a `role` and a `content`. `text_of(value)` gives the text of either. The everyday set has more columns: the thing that is reviewed (`item`), both true rewards, and `p_chosen`, the probability with which the label fell as it did.
#
# In the first set "better" was decided by a rule that we know. The **true reward** of a review is the sum of its words' values: *delicious* counts $+1$, *stale* $-0.5$, *was* nothing (for the everyday set it is a sentiment score between $-1$ and $1$). In real life nobody hands you the true reward. Here we have it, and can measure what you would otherwise have to guess.
#
# A file from elsewhere may hold anything. A loader that skips bad rows in silence, or fails deep inside training, costs a day. Ours names them. (The message about $\ln 2$ speaks of DPO's loss on such a pair: lesson 04 says why.)

# %%
import json
import tempfile
from pathlib import Path

rows = [
    {"prompt": "review of the soup :", "chosen": "i loved the soup .", "rejected": "the soup was stale ."},
    {"prompt": "review of the soup :", "chosen": "", "rejected": "the soup was bland ."},
    {"prompt": "review of the cake :", "chosen": "the cake was fresh .", "rejected": "the cake was fresh ."},
]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "mine.jsonl")
    path.write_text("\n".join(json.dumps(row) for row in rows))
    try:
        load_pairs(path)
    except ValueError as error:
        print(str(error).replace(folder + "/", ""))

# %% [markdown]
# ## 2 · Where comparisons come from
#
# | who compares | good for | where it goes wrong |
# |---|---|---|
# | **people** | what people want, new tasks, taste | slow and dear; they tire, disagree and skim, and take confidence for correctness (Hosking et al. 2024) |
# | **AI feedback**: a strong model as the judge, guided by written principles. Reinforcement learning (RL) from it is called RLAIF; a well-known case is Constitutional AI (Bai et al. 2022): fine-tuning on the model's own revisions, then RL from AI feedback | scale, even standards | the judge's habits become the data: it likes long answers, the one shown first, its own style (Zheng et al. 2023) |
# | **synthetic pairs**: a strong model's answer as chosen, a weak one's as rejected | no judge needed | the pair differs in everything (length, format, vocabulary), so the model may learn the style and not the reason |
# | **on-policy sampling**: both completions drawn from the model that will be trained, then judged by any of the above | the comparison is about what this model really writes | costs a round of sampling, and ages: after training the model writes other things |
#
# Whoever compares, show the two completions in random order. Otherwise "the first one" is something that can be learnt.
#
# Both shipped sets are on-policy: the pairs were sampled from the model that later lessons train. Who labelled them? Not a person, but a draw whose odds depend on the true rewards, as section 3 tells.
#
# ## 3 · A judge who errs
#
# No annotator is exact. The usual model is **Bradley–Terry** (lesson 02 is about it). Let $r_A$ and $r_B$ be the true rewards of completions $A$ and $B$, and $T > 0$ the annotator's **temperature**, the size of the noise in units of the reward. Then
#
# $$ P(A \succ B) = \sigma\!\left(\frac{r_A - r_B}{T}\right), \qquad \sigma(z) = \frac{1}{1 + e^{-z}} , $$
#
# where $A \succ B$ means that $A$ is preferred. A large difference is seen by nearly everyone; two completions of equal worth are a fair coin.
#
# **Write the annotator.** For each pair draw whether $A$ wins. Draw from the `generator` that is passed (`torch.rand(..., generator=generator)` or `torch.bernoulli(p, generator=generator)`), one draw a pair. If `generator` is None, torch's global one is used, as both do by themselves. The finished version checks its arguments first (`check_batch`, `check_positive`); you may leave that out.

# %% exercise="label_by_bradley_terry" points=3 minutes=8 difficulty=2 importance=4
...

# %%
label_by_bradley_terry = check(label_by_bradley_terry)

# %% [markdown] hints="label_by_bradley_terry"
# <details><summary>Hint 1: the probability</summary>
#
# `torch.sigmoid` works entry by entry, so all B probabilities are one line.
#
# </details>
# <details><summary>Hint 2: from a probability to a yes or no</summary>
#
# A uniform number from [0, 1) is below $p$ with probability $p$. `torch.bernoulli(p)` does the same and gives zeros and ones, in floats: make them booleans.
#
# </details>

# %% [markdown]
# With the true rewards at hand, look at the **margin** of each shipped pair, $r(y_w) - r(y_l)$. A pair is
#
# * *easy* if the annotator would get it right with probability 0.9 or more, and did;
# * *hard* if that probability is lower, and the label is right all the same;
# * *flipped* if the label contradicts the reward;
# * *equal* if both completions have the same reward. Then there is no right label, so **shares of wrong labels are taken among the pairs whose rewards differ**, here and below.
#
# **Predict.** The review pairs were labelled at temperature 1, the everyday pairs at 0.2. What share of the labels is flipped? And if $T$ grows without end, where does that share go?

# %%
chosen_rewards, rejected_rewards = (
    torch.tensor([review.true_reward(y) for y in pairs[side]]) for side in ("chosen", "rejected")
)
margins = chosen_rewards - rejected_rewards
differ = margins != 0
difficulty = [
    name if unequal else "equal"
    for name, unequal in zip(preferences.pair_difficulty(margins), differ.tolist(), strict=True)
]

# %%
temperatures, generator = (0.1, 0.3, 1.0, 3.0, 10.0), torch.Generator().manual_seed(0)
best, worst = margins.abs()[differ], torch.zeros(int(differ.sum()))


def flipped_share(temperature: float) -> Tensor:
    """Share of wrong labels if the same pairs are labelled once more."""
    return (~label_by_bradley_terry(best, worst, temperature, generator)).float().mean()


flipped = torch.stack([torch.stack([flipped_share(T) for _ in range(20)]) for T in temperatures])
show(
    plot_label_noise(margins, difficulty, temperatures, flipped),
    "Left: true margins of the shipped pairs (values beyond ±6 are drawn at ±6). "
    "The wrong labels lie left of 0, most of them close to it. Right: share of flipped labels "
    "when the same pairs are labelled again; points are means of 20 labellings, bars their standard deviation.",
    alt="Left: stacked histogram of margins, a small part of it left of zero. "
    "Right: flipped share rising from near 0 to near 0.5 with temperature.",
)

# %%
everyday_margins = torch.tensor(chats["chosen_reward"][:]) - torch.tensor(chats["rejected_reward"][:])
everyday_differ = everyday_margins != 0
everyday_flipped = (everyday_margins[everyday_differ] < 0).float().mean().item()
print(f"everyday pairs: {everyday_flipped:.3f} of those whose rewards differ are flipped")

counts = Counter(difficulty)
table = pd.DataFrame({"review pairs": {name: counts[name] for name in ("easy", "hard", "flipped", "equal")}})
table["share of those whose rewards differ"] = table["review pairs"] / int(differ.sum())
table.loc["equal", "share of those whose rewards differ"] = math.nan
table.round(3)

# %% [markdown]
# Wrong labels are not spread evenly. They gather where the two completions are nearly equal, where a wrong label costs the least true reward. That is a property of this noise, not of all noise: an annotator who clicks without reading flips easy and hard pairs alike.
#
# A good set has both kinds of pairs. Easy ones carry a clear signal, but a model that has them right has little more to learn from them. Hard ones draw the fine line, and are the ones most often mislabelled.
#
# ## 4 · More votes clear the easy pairs first
#
# The standard remedy for noise is to ask several people. Each says "A", "B" or "tie". **Write the count**: a completion wins only if it has **more than half of all votes**, ties among them. In every other case the result is "tie". (`check_votes(votes)` raises on an empty list or an unknown label; you may leave it out.)

# %% exercise="majority_vote" points=2 minutes=6 difficulty=1 importance=3
...

# %%
majority_vote = check(majority_vote)

# %% [markdown] hints="majority_vote"
# <details><summary>Hint 1: counting</summary>
#
# `votes.count("A")` is the number of votes for A, and `len(votes)` the number of all votes.
#
# </details>
# <details><summary>Hint 2: what about two against two?</summary>
#
# Two of four is not more than half. Neither wins, so the answer is "tie": the annotators did not agree, and the code must not pretend that they did.
#
# </details>

# %% [markdown]
# Now let 1, 3, 5 or 9 annotators of temperature 1 vote on each pair, and compare the majority with the true reward. Every pair gets new labels here, so the shipped ones don't matter: from now on a pair is *easy* or *hard* by the size $|r_A - r_B|$ alone, and pairs of equal reward are left out. The two sides are shuffled first, as they should be. We repeat the whole collection 20 times to see the spread.
#
# **Predict.** For which kind of pair do more opinions help most: easy or hard? Will nine annotators get the hard ones right?

# %%
swap = torch.rand(len(pairs), generator=generator) < 0.5
rewards_a, rewards_b = (
    torch.where(swap, rejected_rewards, chosen_rewards),
    torch.where(swap, chosen_rewards, rejected_rewards),
)


def collect(annotators: int, temperature: float) -> list[list[str]]:
    """Votes of some annotators on every pair, as "A" and "B"."""
    votes = torch.stack(
        [label_by_bradley_terry(rewards_a, rewards_b, temperature, generator) for _ in range(annotators)],
        dim=1,
    )
    return [["A" if a_wins else "B" for a_wins in row] for row in votes.tolist()]


# %%
easy = torch.sigmoid(margins.abs()) >= 0.9
kinds = {"easy pairs": easy, "all pairs": differ, "hard pairs": differ & ~easy}
annotators, repeats = (1, 3, 5, 9), 20
wrong = {name: torch.zeros(repeats, len(annotators)) for name in kinds}
for repeat in range(repeats):
    votes = collect(max(annotators), 1.0)
    for column, count in enumerate(annotators):
        a_wins = torch.tensor([majority_vote(row[:count]) == "A" for row in votes])
        missed = a_wins != (rewards_a > rewards_b)  # nine is odd and nobody says "tie": someone always wins
        for name, rows in kinds.items():
            wrong[name][repeat, column] = missed[rows].float().mean()

# %%
show(
    plot_annotators(annotators, wrong),
    "Share of majority labels that contradict the true reward. "
    "Bands: two standard deviations over 20 repeated collections. "
    "Nine votes all but clear the easy pairs; the hard ones keep many wrong labels.",
    alt="Three falling lines against the number of annotators: easy pairs lowest, hard pairs highest.",
)
pd.DataFrame(
    {name: shares.mean(dim=0).tolist() for name, shares in wrong.items()},
    index=pd.Index(annotators, name="annotators"),
).round(3)

# %% [markdown]
# In absolute terms votes remove the most errors where there are most, on the hard pairs. In relative terms they do much more for the easy ones, whose errors nearly vanish. All of it rests on two conditions. The annotators must err **independently**: if they share a habit, nine of them are one (section 5). And on each pair they must be **more often right than wrong**: otherwise more votes make the wrong answer surer.
#
# A common recipe is to go further and keep only the pairs on which everybody agrees.
#
# **Predict.** What does such a filter do to the wrong labels, and what does it do to the hard pairs?

# %%
votes = collect(5, 1.0)
votes_for_a = torch.tensor([row.count("A") for row in votes])
a_wins, most = votes_for_a > 2, torch.maximum(votes_for_a, 5 - votes_for_a)
kept = {}
for name, least in (("all pairs", 3), ("at least 4 of 5 agree", 4), ("5 of 5 agree", 5)):
    rows = differ & (most >= least)
    missed = (a_wins != (rewards_a > rewards_b))[rows].float().mean().item()
    kept[name] = {
        "pairs kept": int(rows.sum()),
        "wrong labels": missed,
        "hard pairs among them": (~easy)[rows].float().mean().item(),
    }
pd.DataFrame(kept).T.astype({"pairs kept": int}).round(3)

# %% [markdown]
# The filter works, and it costs: fewer pairs, and above all fewer hard ones. "Filter ambiguous pairs" and "include easy and hard pairs" are often given as advice side by side. They pull in opposite directions, so decide how much of each, and look at what is left.
#
# A majority also throws something away. "5 of 5" and "3 of 5" become the same label. A **soft label** keeps the difference: the share of the votes for $A$, a tie as half a vote each way. Five of five is not certainty either, so a small *prior* of votes on both sides may be added:
#
# $$ p_A = \frac{n_A + \tfrac12 n_\text{tie} + c}{n + 2c} $$
#
# with $n_A$, $n_\text{tie}$ and $n$ the number of votes for $A$, for a tie and in all, and $c \ge 0$ the prior.

# %%
examples = [
    ["A"] * 5,
    ["A", "A", "A", "B", "B"],
    ["A", "A", "B", "B"],
    ["A", "A", "tie", "tie", "tie"],
    ["B"],
]
pd.DataFrame(
    {
        "votes": [" ".join(votes) for votes in examples],
        "majority": [majority_vote(votes) for votes in examples],
        "soft label": [preferences.soft_label(votes) for votes in examples],
        "with prior 0.5": [preferences.soft_label(votes, prior=0.5) for votes in examples],
    }
).round(3)

# %% [markdown]
# DPO can take a soft label: it weighs the pair's loss with $p$ and the loss of the reversed pair with $1 - p$ (label smoothing in lesson 04 is the case of one $p$ for all pairs).
#
# What should become of ties? With hard labels they give no pair, for a triplet needs a winner; with soft labels they can stay, at 0.5. If you drop them, **count them**: `preferences.triplets_from_votes` returns their row numbers next to the pairs. Many ties mean that your two completions are too much alike, or that your instructions are unclear.
#
# ## 5 · Agreement is not truth
#
# You can't measure wrong labels without the true reward. What you can measure is whether annotators agree with each other. The obvious number is **raw agreement**, the share of items on which two of them gave the same label.
#
# **Predict.** Two moderators mark 2,000 answers as "fine" or "harmful". They agree on 90 % of them. Are they doing a good job?

# %%
rng = random.Random(0)
first = ["fine" if rng.random() < 0.95 else "harmful" for _ in range(2_000)]
second = ["fine" if rng.random() < 0.95 else "harmful" for _ in range(2_000)]
print("raw agreement:", sum(a == b for a, b in zip(first, second, strict=True)) / len(first))
print("marked harmful:", first.count("harmful"), "and", second.count("harmful"))
print("marked harmful by both:", sum(a == b == "harmful" for a, b in zip(first, second, strict=True)))

# %% [markdown]
# These two did not read a single answer. Each marks one in twenty as harmful, at random. They agree because both nearly always say "fine".
#
# **Cohen's κ** takes that off. Let $p_o$ be the observed raw agreement, and $p_a(k)$, $p_b(k)$ the shares of annotator $a$'s and annotator $b$'s labels that are $k$. If they labelled independently of each other, with these habits, they would agree by chance with probability $p_e$:
#
# $$ p_e = \sum_k p_a(k)\,p_b(k), \qquad \kappa = \frac{p_o - p_e}{1 - p_e} . $$
#
# $\kappa$ is 1 for perfect agreement, 0 for what chance gives, and negative for less than that. If both gave one and the same label to everything, then $p_e = 1$ and $\kappa$ is $0/0$: there is nothing to measure, so **return NaN** (`math.nan`). Labels may be any values that can be compared and hashed. **Write it.**

# %% exercise="cohen_kappa" points=4 minutes=10 difficulty=2 importance=4
...

# %%
cohen_kappa = check(cohen_kappa)

# %% [markdown] hints="cohen_kappa"
# <details><summary>Hint 1: the two habits</summary>
#
# `Counter(a)` counts the labels of one annotator; divide by `len(a)` for shares. A `Counter` gives 0 for a label it has not seen, so a label that only one of them used does no harm.
#
# </details>
# <details><summary>Hint 2: chance</summary>
#
# For each label multiply the two shares, then add up. A label that one of them never used adds 0.
#
# </details>
# <details><summary>Hint 3: the last case</summary>
#
# Test for `p_e == 1` before you divide.
#
# </details>

# %%
print("κ of the two who did not read:", round(cohen_kappa(first, second), 3))
for agree in (0.92, 0.75):
    half = ["A", "B"] * 500  # both labels equally common, so p_e = 1/2
    other = [("B" if label == "A" else "A") if i >= agree * 1_000 else label for i, label in enumerate(half)]
    print(f"both labels equally common, raw agreement {agree}: κ =", round(cohen_kappa(half, other), 3))

# %% [markdown]
# Where the two sides of each pair are shuffled, $A$ and $B$ are about equally common, $p_e \approx \tfrac12$, and $\kappa \approx 2 p_o - 1$. It takes skewed labels to make high agreement worthless.
#
# **Predict.** Two annotators judge independently, each right on 90 % of the items. The share of items whose right label is $A$ goes from 0.5 to 0.97. Does their raw agreement rise, fall, or stay? And κ?

# %%
show(
    draw_agreement(share=0.97, accuracy=0.9),
    "Left: the two annotators' labels at a share of 0.97 (dark is frequent). "
    "Right: raw agreement is flat, chance rises towards it, and κ falls. The dots mark the share 0.97.",
    alt="A table with 0.786 in the cell A, A. Three curves against the share of A: flat, rising, falling.",
)
said_b, slips = 0.03 * 0.9 + 0.97 * 0.1, 0.97 * 0.1
print("share of one annotator's labels B that are slips:", round(slips / said_b, 3))

# %% [markdown]
# **Explore.** Which accuracy do the two need for a κ of 0.6 at a share of 0.97?

# %%
agreement_explorer()

# %% [markdown]
# With this kind of annotator raw agreement does not depend on the skew at all. What the labels are worth does: where nearly everything is $A$, most labels $B$ are slips. So report κ, and the label shares with it: κ also falls with the skew when the annotators are as careful as before, which is a reason not to compare κ between tasks of different skew.
#
# For more than two annotators there is **Fleiss' κ**: observed agreement is the share of annotator pairs that agree, averaged over the items, and chance comes from the labels of all annotators pooled. Three crews of three label our 2,048 pairs. The first is careful, the second hurried, and the third does not read: the longer completion wins, and of two equally long ones $B$.
#
# **Predict.** Which crew has the highest κ? Which one has the best labels?

# %%
words_chosen, words_rejected = (
    torch.tensor([count_words(text) for text in pairs[side]]) for side in ("chosen", "rejected")
)
a_longer = torch.where(swap, words_rejected > words_chosen, words_chosen > words_rejected)
crews = {"careful (T = 0.3)": collect(3, 0.3), "hurried (T = 3)": collect(3, 3.0)}
crews["longer wins"] = [["A" if longer else "B"] * 3 for longer in a_longer.tolist()]
report = {}
for name, votes in crews.items():
    a_wins = torch.tensor([majority_vote(row) == "A" for row in votes])
    missed = (a_wins != (rewards_a > rewards_b))[differ].float().mean().item()
    report[name] = {
        "Fleiss' κ": preferences.fleiss_kappa(preferences.count_votes(votes)),
        "wrong majority labels": missed,
    }
pd.DataFrame(report).T.round(3)

# %% [markdown]
# The crew that does not read agrees perfectly and is wrong about half of the time. **Agreement shows that annotators do the same thing, not that they do the right thing.** A low κ warns, but not of what: careless annotators, unclear instructions, close calls and skew all lower it. A high one asks for a second test: mix in some items whose answer you know.
#
# ## 6 · Repeats and contradictions
#
# The same comparison may come up twice: the same two completions of the same prompt. If both rows agree it is a duplicate, and counts double. If they disagree it is a **contradiction**.
#
# Texts that differ only in capitals or white space are the same to a reader, so everything is compared after `normalise`, which takes a string or a list of messages:

# %%
print(
    normalise("  The soup\nwas  FRESH. "),
    "|",
    normalise([{"role": "assistant", "content": "The soup  was FRESH."}]),
)

# %% [markdown]
# **Write the search.** Return every two rows that have the same prompt and the same two texts with chosen and rejected exchanged, as row numbers $(i, j)$ with $i < j$, sorted. A row whose two completions are the same text contradicts nothing. Comparing all rows with all others is accepted (normalise each row once, not once a comparison), but a dictionary needs one pass only. `pairs` is a list of rows or a data set; both give one row after the other in a `for` loop.

# %% exercise="find_contradictions" points=3 minutes=10 difficulty=2 importance=3
...

# %%
find_contradictions = check(find_contradictions)

# %% [markdown] hints="find_contradictions"
# <details><summary>Hint 1: what to remember of a row</summary>
#
# Its triplet of normalised texts, `(prompt, chosen, rejected)`. A later row contradicts it if *its* triplet, with the last two exchanged, is the remembered one.
#
# </details>
# <details><summary>Hint 2: one pass</summary>
#
# Keep a `defaultdict(list)` from triplet to the numbers of the rows seen so far. For each new row look up the exchanged triplet, note all matches, then add the row itself.
#
# </details>
# <details><summary>Hint 3: the order of the result</summary>
#
# Going through the rows you find pairs in the order of $j$. `sorted(...)` puts them in the order of $i$.
#
# </details>

# %% [markdown]
# First a test with planted rows: a contradiction in other spelling, a duplicate, and the same two texts under another prompt.

# %%
planted = [
    {"prompt": "review of the tea :", "chosen": "the tea was fresh .", "rejected": "the tea was stale ."},
    {"prompt": "review of the tea :", "chosen": "The tea was stale .", "rejected": "the tea  was FRESH ."},
    {"prompt": "review of the tea :", "chosen": "the tea was fresh .", "rejected": "the tea was stale ."},
    {
        "prompt": "worst review of the tea :",
        "chosen": "the tea was stale .",
        "rejected": "the tea was fresh .",
    },
]
print("contradictions:", find_contradictions(planted), " duplicates:", preferences.find_duplicates(planted))

# %% [markdown]
# Now the real data. `review_train` was made by the course's own script, and later lessons train on it.
#
# **Predict.** Does it contain contradictions?

# %%
rows = pairs.to_list()  # a list is faster to go through than a data set
contradictions, duplicates = find_contradictions(rows), preferences.find_duplicates(rows)
print(f"review_train: {len(contradictions)} contradictions, {len(duplicates)} groups of duplicates")
found = find_contradictions(chats.to_list()), preferences.find_duplicates(chats)
print(f"everyday_train: {len(found[0])} contradictions, {len(found[1])} groups of duplicates")

kinds = {
    "contradict another": sorted({row for two in contradictions for row in two}),
    "repeat another and agree": sorted({row for group in duplicates for row in group}),
    "all rows": list(range(len(rows))),
}
words, sizes = (words_chosen + words_rejected).float(), margins.abs()
table = {
    name: {
        "rows": len(n),
        "mean |margin|": sizes[n].mean().item(),
        "mean words of both": words[n].mean().item(),
    }
    for name, n in kinds.items()
}
pd.DataFrame(table).T.astype({"rows": int}).round(2)

# %%
shown = [(i, j, rows[i]["chosen"], rows[i]["rejected"], margins[i].item()) for i, j in contradictions[:6]]
names = ["row i", "row j", "chosen in i, rejected in j", "rejected in i, chosen in j", "margin of i"]
pd.DataFrame(shown, columns=names).style.set_properties(**{"text-align": "left"}).format(precision=2)

# %% [markdown]
# It does. Nobody tampered: the tiny model writes some short reviews again and again, so the same comparison is drawn twice, and a noisy judge need not judge twice alike. That is why the rows involved are short and close: so are the rows that repeat another and *agree* with it. Their margin is not much larger.
#
# What to do with a contradiction? There are two votes, one each way, and 0.5 is what we know. Keeping both rows says just that. So does one row with the soft label 0.5, at half the weight. Keeping the first and dropping the second says that the first vote was right. Duplicates are another matter. If two people judged, keep both votes; if one judgement was copied by accident, keep one.
#
# ## 7 · Shortcuts that hide in an average
#
# A model learns whatever tells chosen from rejected. If the chosen ones are longer, then "write more" is a lesson of the data, and the model will take it. **Length bias** is the first thing to look for.
#
# **Write the measurement.** It returns a dict with the shares of pairs whose chosen completion is longer, whose completions are equally long, and whose rejected one is longer, and with the mean of chosen minus rejected length. Lengths are of the completion's text alone (`text_of(pair["chosen"])`), measured by the function `length`; its default, `count_words`, counts words. You need not handle an empty set.

# %% exercise="length_bias" points=2 minutes=6 difficulty=1 importance=4
...

# %%
length_bias = check(length_bias)

# %% [markdown] hints="length_bias"
# <details><summary>Hint 1: one list</summary>
#
# Make one list of differences, `length(chosen text) − length(rejected text)`. All four numbers come from it.
#
# </details>
# <details><summary>Hint 2: shares from comparisons</summary>
#
# `sum(d > 0 for d in differences)` counts, because `True` is 1. All three shares are of the number of *all* pairs.
#
# </details>

# %%
pd.DataFrame({"review_train": length_bias(pairs), "everyday_train": length_bias(chats)}).round(3)

# %% [markdown]
# In `review_train` chosen and rejected are longer about equally often. Is length harmless there? Remember how the reward is made: the values of the words, *added up*.
#
# **Predict.** Take only the pairs of which both completions are praise (reward above 0). Which one wins, the longer or the shorter? And of two complaints?


# %%
def longer_won(rows) -> tuple[int, int]:
    """How often the longer completion was chosen, and how many pairs are not equally long."""
    differences = [
        count_words(text_of(row["chosen"])) - count_words(text_of(row["rejected"])) for row in rows
    ]
    return sum(d > 0 for d in differences), sum(d != 0 for d in differences)


praise = (chosen_rewards > 0) & (rejected_rewards > 0)
complaint = (chosen_rewards < 0) & (rejected_rewards < 0)


def among(mask: Tensor) -> list[dict]:
    """The review pairs at which a mask is true."""
    return take(rows, mask.nonzero().flatten().tolist())


# %%
groups = {
    "review_train, all": longer_won(rows),
    "review_train, both praise": longer_won(among(praise)),
    "review_train, both complaints": longer_won(among(complaint)),
    "review_train, the others": longer_won(among(~(praise | complaint))),
    "everyday_train, all": longer_won(chats),
}
show(
    plot_longer_wins(groups),
    "How well 'choose the longer one' predicts the label, with 95 % intervals; "
    "n counts pairs of unequal length. Over all review pairs it is a coin; of two praises the longer tends to win, "
    "of two complaints the shorter. In the everyday pairs the longer one tends to win.",
    alt="Five rows of dots with intervals: all review pairs at one half, both praise clearly above, "
    "both complaints clearly below, everyday pairs somewhat above.",
)
pd.DataFrame({name: {"longer won": wins / total} for name, (wins, total) in groups.items()}).T.round(3)

# %% [markdown]
# In `review_train` two tendencies cancel in the total. Longer praise is more praise, so it wins; a longer complaint is a worse one, so it loses. A model trained on these pairs may learn both; if it comes to write mostly praise, mostly the first one shows. Nothing in the overall number warns of it.
#
# In `everyday_train` the bias shows in the total: the interval lies above one half. Nobody put it there. Probably a longer sentence has more room for kind words, which the score counts.
#
# Two things are often said about length: that DPO makes models wordy because it sums log-probabilities, and that dividing by the length is the cure. A sum of negative numbers is *lower* for a long completion, but that is no bias either way, because the same completion is scored by the reference too. What grows with length is the *gap* between policy and reference. Whether it pays to be long depends on that together with the data and, later in training, on how far the policy has drifted from what the pairs are about (Park et al. 2024). Dividing by the length changes the loss and leaves the bias in the pairs, so look at the pairs first. Lesson 07 compares the cures.
#
# Length is one shortcut of many. The test for any other is the same: among pairs in which **exactly one** completion has the feature, how often is it the chosen one?


# %%
def won_with(feature: Callable[[str], bool], rows: list[dict]) -> tuple[int, float]:
    """How many pairs have one completion with the feature, and the share in which that one was chosen."""
    has = [(feature(row["chosen"]), feature(row["rejected"])) for row in rows]
    decided = [chosen for chosen, rejected in has if chosen != rejected]
    return len(decided), sum(decided) / max(len(decided), 1)


features = {
    "mentions the staff": lambda text: review.staff_reward(text) > 0,
    "mentions the price": lambda text: "price" in text.split() or "bill" in text.split(),
    "starts with 'i'": lambda text: text.startswith("i "),
    "says 'but'": lambda text: "but" in text.split(),
    "ends 'highly recommended'": lambda text: "highly recommended" in text,
    "says 'delicious'": lambda text: "delicious" in text.split(),
}
# %%
parts = {"all": rows, "both praise": among(praise), "both complaints": among(complaint)}
results = {
    name: {part: won_with(feature, some) for part, some in parts.items()}
    for name, feature in features.items()
}
pd.DataFrame(
    {
        name: {
            part: f"{share:.3f} of {n}" if n >= 20 else f"only {n} pairs" for part, (n, share) in row.items()
        }
        for name, row in results.items()
    }
).T

# %% [markdown]
# A share far from one half is either the point of your data, such as *delicious*, or a shortcut; only you can say which. A share near one half clears nothing, as with length: over all pairs the staff gives nothing away, but of two praises the one that mentions the staff tends to win, and of two complaints it tends to lose. So test within groups.
#
# **Topics** need a look too: if nine of ten prompts are about one thing, the model learns about that thing. `effective_topics` says how many equally large topics would be as varied (exp of the entropy of the shares).

# %%
for name, key in (("review_train", "prompt"), ("everyday_train", "item")):
    shares = preferences.topic_balance(load_pairs(name), key)
    print(
        name,
        len(shares),
        "topics, as varied as",
        round(preferences.effective_topics(shares), 1),
        "equal ones",
    )

# %% [markdown]
# ## 8 · Splits that don't leak
#
# To know whether a model has learnt a preference or learnt the rows by heart, you hold some rows out. Preference rows come in families: the same prompt, the same completion compared with several others. Shuffle the rows, and each family has members on both sides. InstructGPT's authors met the same in training: with the comparisons of a ranking shuffled among the others, one pass was enough for their reward model to overfit (Ouyang et al. 2022).
#
# So split by **group**: all rows of a group go to the same side. **Write the split.**
#
# * `key` is a column's name or a function from a pair to its group. `group_of(pair, key)` handles both and normalises text.
# * `held_out` is a share of the *rows*. Groups differ in size, so it can't always be met exactly; it must be met **within the size of the largest group**.
# * Each side gets at least one group, each row goes to exactly one side, and rows keep their order.
# * The same `seed` gives the same split, today and in another session; another seed can give another one. Leave Python's global generator alone: use `random.Random(seed)`.
# * Return `(train, held out)`. `take(pairs, rows)` gives the rows with these numbers, for a list as for a data set.
#
# In the signature `Key` is such a key, and `PairsT` a data set or a list of rows. How you pick the groups is up to you; the docstring describes one way. Argument checks may be left out.

# %% exercise="group_split" points=4 minutes=15 difficulty=3 importance=5
...

# %%
group_split = check(group_split)

# %% [markdown] hints="group_split"
# <details><summary>Hint 1: where to start</summary>
#
# Make a list `groups` with one entry a row. `Counter(groups)` knows each group's size, and its keys come in order of first appearance.
#
# </details>
# <details><summary>Hint 2: which groups to hold out</summary>
#
# Shuffle the names with `random.Random(seed).shuffle(names)`. Go through them and hold a group out if that brings the number of held-out rows nearer to `held_out * len(pairs)`. Leave the last name for training.
#
# </details>
# <details><summary>Hint 3: the same split in another session</summary>
#
# The order of a `set` of strings changes from one Python session to the next. Shuffle a list that was not made from a set, or sort it first.
#
# </details>
# <details><summary>Hint 4: two groups, one of them huge</summary>
#
# If no group brings the number nearer to its target, the held-out side would be empty. Then hold out the smallest group.
#
# </details>

# %% [markdown]
# Does it matter? We make a data set as they often are: 12 prompts, 30 different completions each, every completion compared with several others of its prompt. Two judges learn from the training rows:
#
# * the **look-up** judge knows nothing about words. It remembers each completion's wins minus losses and prefers the higher. A text it has not seen has score 0, and equal scores count as half right, as a coin would be;
# * the **word** judge learns one value a word, so that it can judge a review it has never seen.


# %%
def compared_often(prompt: str, texts: list[str]) -> list[dict]:
    """Each text against five others, judged by an annotator of T = 0.5."""
    rewards, rows = torch.tensor([review.true_reward(text) for text in texts]), []
    for step in (1, 2, 3, 4, 5):
        others = texts[step:] + texts[:step]
        wins = label_by_bradley_terry(rewards, rewards.roll(-step), 0.5, generator).tolist()
        for text, other, text_wins in zip(texts, others, wins, strict=True):
            chosen, rejected = (text, other) if text_wins else (other, text)
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


texts_of = defaultdict(dict)  # a dictionary keeps each text once, in order
for row in review.sample_reviews(1_500, seed=0):
    texts_of[row["prompt"]][row["completion"]] = None
compared = [row for prompt, texts in texts_of.items() for row in compared_often(prompt, list(texts)[:30])]
print(
    len(compared),
    "rows;",
    len({row["chosen"] for row in compared} | {row["rejected"] for row in compared}),
    "different completions",
)


# %%
def look_up_accuracy(train, test) -> float:
    """Accuracy of the judge that remembers completions; equal scores count as half right."""
    score = Counter(row["chosen"] for row in train)
    score.subtract(row["rejected"] for row in train)
    gaps = [score[row["chosen"]] - score[row["rejected"]] for row in test]
    return sum(1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps) / len(test)


# %%
WORDS = {word: i for i, word in enumerate(review.vocabulary())}


def count_each_word(text: str) -> Tensor:
    """(words,): how often each word of the vocabulary stands in a text."""
    return torch.bincount(torch.tensor([WORDS[word] for word in text.split()]), minlength=len(WORDS)).float()


def word_accuracy(train, test) -> float:
    """Accuracy of the judge that learns a value for each word, by maximum likelihood under Bradley–Terry."""
    x_train, x_test = (
        torch.stack([count_each_word(row["chosen"]) - count_each_word(row["rejected"]) for row in rows])
        for rows in (train, test)
    )
    values = torch.zeros(len(WORDS), requires_grad=True)
    optimizer = torch.optim.Adam([values], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = -torch.nn.functional.logsigmoid(x_train @ values).mean() + 0.001 * values.square().sum()
        loss.backward()
        optimizer.step()
    return ((x_test @ values) > 0).float().mean().item()


# %% [markdown]
# **Predict.** On which split does the look-up judge beat a coin? Which judge suffers from the clean split?


# %%
def by_rows(rows, seed: int):
    """The leaky split: rows shuffled, a quarter held out."""
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    return take(rows, sorted(order[len(rows) // 4 :])), take(rows, sorted(order[: len(rows) // 4]))


def true_reward_accuracy(train, test) -> float:
    """Accuracy of the true reward itself on the noisy labels: no judge can be expected to do better."""
    gaps = [review.true_reward(row["chosen"]) - review.true_reward(row["rejected"]) for row in test]
    return sum(1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps) / len(test)


# %%
splits = {
    "rows shuffled": by_rows,
    "whole prompts": lambda rows, seed: group_split(rows, "prompt", 0.25, seed),
}
judges = {"look-up": look_up_accuracy, "words": word_accuracy, "true reward": true_reward_accuracy}
scores = {
    name: {
        judge: torch.tensor([accuracy(*split(compared, seed)) for seed in range(5)])
        for judge, accuracy in judges.items()
    }
    for name, split in splits.items()
}
show(
    plot_leak(scores),
    "Held-out accuracy of the two judges, and of the true reward as a ceiling; a dot is one split, "
    "the bar their mean, the dotted line a coin. With rows shuffled the look-up judge looks useful. "
    "On whole prompts it is a coin, while the word judge keeps its score.",
    alt="Two panels of three bars. Left: all well above one half. Right: look-up at one half, the others unchanged.",
)
table = {name: {judge: values.mean().item() for judge, values in row.items()} for name, row in scores.items()}
pd.DataFrame(table).round(3)

# %%
for name, split in splits.items():
    train, test = split(compared, 0)
    found = {what: len(rows) for what, rows in preferences.leakage(train, test).items()}
    print(f"{name:14} {len(test)} held-out rows, of which seen in training: {found}")

# %% [markdown]
# The look-up judge has learnt nothing that it could use on a new review (on whole prompts it has seen no text, so its 0.500 is by construction), and the leaky split hides that. The noisy labels set the ceiling: the true reward itself does not reach 1. A language model can remember rows just as well. `leakage` counts what was seen before: prompts, single completions, and whole pairs.
#
# This is no made-up trouble. Nearly every row of `everyday_train` shares its prompt with others, and some reviews are in two pairs. Shuffled by rows, it would leak:

# %%
rows_of_prompt = Counter(text_of(row["prompt"]) for row in chats)
print(sum(n == 1 for n in rows_of_prompt.values()), "of", len(chats), "rows have a prompt of their own")
train, test = by_rows(chats, 0)
print(
    f"{len(test)} held-out rows, of which seen in training:",
    {what: len(rows) for what, rows in preferences.leakage(train, test).items()},
)

# %% [markdown]
# What is the right group? Whatever a new case will not share with the old ones. By prompt is the least; by user, by document or by topic may be what you need. The shipped sets are split by the thing that is reviewed:

# %%
for name, key in (("review", "prompt"), ("everyday", "item")):
    train, test = load_pairs(f"{name}_train"), load_pairs(f"{name}_heldout")
    shared = {group_of(row, key) for row in train} & {group_of(row, key) for row in test}
    found = {what: len(rows) for what, rows in preferences.leakage(train, test).items()}
    print(
        f"{name:9} {len(train)} + {len(test)} pairs, {len(shared)} things on both sides, seen before: {found}"
    )

# %% [markdown]
# ## Recap
#
# * DPO learns from triplets $(x, y_w, y_l)$: which of two completions is better, not by how much, and not whether either is good.
# * People, AI judges, synthetic pairs and on-policy sampling fail in different ways. Know where your pairs come from, and shuffle the sides.
# * Under Bradley–Terry noise the wrong labels gather among the close calls. More votes clear the easy pairs first.
# * A majority is more than half of all votes. Count the ties; keep soft labels if you can.
# * Report κ and the label shares, not raw agreement alone. And agreement is not truth.
# * Contradictions are information; copies are not.
# * A bias can hide from an overall number. Test shortcuts within groups.
# * Split by groups. A leaky split rewards memory.
#
# ## Two interview questions
#
# <details><summary><b>1. Your annotators agree on 92 % of the pairs. Is the data good?</b></summary>
#
# Compute Cohen's or Fleiss' κ, and look at the label shares. If the sides were shuffled, the two labels are about equally common, chance agreement is one half, and 92 % is a κ of about 0.84: good agreement. Only if one label is far more common than the other can 92 % be chance. But even a high κ shows consistency, not correctness: annotators who share a shortcut ("the longer one") agree perfectly. So mix in items with known answers, look at how often the longer (or first, or more confident) completion wins, and read some of the disagreements: close calls are expected there, misread instructions are not.
#
# </details>
# <details><summary><b>2. Your model has 95 % reward accuracy on held-out pairs, but users see no improvement. What do you check in the data?</b></summary>
#
# First the split: are prompts, or single completions, on both sides? Rankings cut into pairs and then shuffled leak every time; split by prompt or by something coarser, and measure again. Then shortcuts: does "choose the longer one", or "choose the one with a list", do nearly as well? Synthetic pairs of a strong against a weak model differ in many ways that have nothing to do with quality. Then whether the pairs are about what this model writes at all: accuracy on other models' completions says little about its own. And the share of easy pairs: with 95 % of those, 95 % is no feat.
#
# </details>
#
# **Next:** lesson 02 turns comparisons into rewards, and rewards into the policy that DPO looks for.
