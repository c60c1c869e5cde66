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
# # 08 · Debugging a DPO run
#
# **The run is over and something is wrong. Which line do you look at first?**
#
# After this lesson you can
#
# * say what the first record of a sound run must hold, and read a dashboard: state, cause, next action;
# * say why a loss stays at 0.6931, and tell five causes apart by the log alone;
# * find the bugs that leave no trace in the curves, with checks that look at the code's behaviour.
#
# {{lesson_facts}}
#
# You need lessons 03 to 05. Every curve below is of a real run of this course's trainer; in most of them one line was changed on purpose.

# %%
import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from dpo_lab.bugs import BUGS, run_bug
from dpo_lab.bugs.runs import tiny_lab
from dpo_lab.course import check
from dpo_lab.diagnostics import diagnose, show_findings
from dpo_lab.encoding import collate
from dpo_lab.experiments.bug_runs import (
    ASKED,
    DRILLS,
    bug_run,
    case_run,
    cause_run,
    drill_run,
    history_of,
)
from dpo_lab.experiments.doctor_runs import doctor_run
from dpo_lab.logprobs import token_logprobs
from dpo_lab.plots import plot_dashboards, plot_healthy, plot_positions, show
from dpo_lab.presets import by_preset
from dpo_lab.sweeps import grid, sweep
from dpo_lab.trainer import encode_pairs
from dpo_lab.widgets import bug_explorer

# %% [markdown]
# ## 1 · What a sound run looks like
#
# You can't see what is odd before you know what is usual. So here are sound runs that differ in their seed alone, which picks the pairs and their order: 24 steps of 16 pairs, the smallest policy, β = 0.1.
#
# **Predict.** Does the loss fall at every step? Does the chosen reward rise? What are loss, rewards and margin at step 1, to three digits?

# %%
seeds = by_preset(full=[0, 1, 2], fast=[0])
healthy = sweep(bug_run, grid(bug=["none"], seed=seeds), progress="sound runs")
healthy_runs = {f"seed {row.seed}": history_of(row.log) for row in healthy.itertuples()}
show(
    plot_healthy(healthy_runs),
    "Sound runs with different seeds. All start at ln 2, margin 0 and reward 0; from there the loss goes "
    "down and the margin up, in jumps. The dotted lines are ln 2 and 0.",
    alt="Four panels: loss, margin, chosen reward and gradient norm against the step, one line a seed.",
)


# %%
def last_third(history, name):
    values = history[name][-(len(history) // 3) :]
    return sum(values) / len(values)


columns = ["loss", "rewards/margins", "rewards/accuracies", "rewards/chosen", "rewards/rejected"]
pd.DataFrame(
    {run: {name: last_third(h, name) for name in columns} for run, h in healthy_runs.items()}
).T.round(3)

# %% [markdown]
# The table holds means over the last third of the steps. A single step says little: a batch of 16 pairs is a small sample, and in the left panel its loss jumps by more than the run gains. So read means over several steps, and the margin before the loss.
#
# Look at the chosen reward too. A positive one is not what makes a run sound: the loss only asks for the *margin* (lesson 04).
#
# ### Step 1 is a free test
#
# Before the first update the policy *is* the reference. So three things are known in advance, whatever the data (dropout off, the reference the start, both scored by one function):
#
# * the loss is $-\log\sigma(0) = \ln 2$;
# * both implicit rewards, $\beta\,(\log\pi - \log\pi_\text{ref})$, are 0. *Both*: their difference alone may be 0 by luck;
# * `logps/chosen` and `logps/rejected` are those of the reference, which you can compute on the same batch with a function that you trust.
#
# **Write this test.** `record` is what a run logged at step 1. The function returns which of `"loss"`, `"rewards"` and `"logps"` are off by more than `tolerance` nats, in this order, as a list. A number that is NaN is off.

# %% exercise="first_step_failures" points=3 minutes=8 difficulty=2 importance=5
...

# %%
first_step_failures = check(first_step_failures)

# %% [markdown] hints="first_step_failures"
# <details><summary>Hint 1: five numbers, three names</summary>
#
# For each name, list the differences between what is and what should be: one for the loss, two for the rewards, two for the log-probs. A name fails if any of its differences is too large in magnitude.
#
# </details>
# <details><summary>Hint 2: NaN</summary>
#
# Every comparison with NaN is false: `abs(nan) > 0.02` is, and so is `abs(nan) <= 0.02`. So ask for `not abs(x) <= tolerance`.
#
# </details>

# %%
for row in healthy.itertuples():
    record = history_of(row.log).records[0]
    print(f"seed {row.seed}:", first_step_failures(record, row.ref_chosen, row.ref_rejected))

# %% [markdown]
# An empty list for a sound run. Keep this function: in section 4 it does half of the work.
#
# ## 2 · Drills: state and next action
#
# Six runs, all with the sound trainer; what differs is data and settings. The learning rate's schedule is the usual one (warm-up, then a cosine), unless a run says otherwise. Black dots, where there are any, are losses on held-out pairs. Runs 2 and 6 go over their pairs several times; in the others each pair is fresh when it is logged.
#
# **Predict** for each run, before you write anything: is it sound? If not, what would you do next?

# %%
drills = sweep(drill_run, grid(drill=list(DRILLS), seed=[0]), progress="drills")
drill_runs = {f"run {row.drill}": history_of(row.log) for row in drills.itertuples()}
show(
    plot_dashboards(dict(list(drill_runs.items())[:3])),
    "Runs 1 to 3. Dotted lines: ln 2 in the first column, 0 in the second. The axes differ from run to "
    "run: read the numbers on them.",
    alt="Three rows of four panels: loss, implicit rewards, log-probs, gradient norm of runs 1 to 3.",
)

# %%
show(
    plot_dashboards(dict(list(drill_runs.items())[3:])),
    "Runs 4 to 6, drawn in the same way.",
    alt="Three rows of four panels: loss, implicit rewards, log-probs, gradient norm of runs 4 to 6.",
)

# %%
summary = {
    run: {name: last_third(history, name) for name in [*columns, "logps/chosen"]}
    | {"largest learning rate": f"{max(history['learning_rate']):.1e}"}
    for run, history in drill_runs.items()
}
pd.DataFrame(summary).T.infer_objects().round(3)

# %% [markdown]
# **Name each run's state and the next action.** `read_dashboard("1")` returns a pair of texts, the state and the action, for each run from `"1"` to `"6"`; every state occurs once.
#
# | state | means |
# |---|---|
# | `"healthy"` | margin and accuracy rise, held-out loss not worse, log-probs near where they began |
# | `"stuck"` | the rewards themselves don't move |
# | `"no signal"` | the rewards move, but margin and accuracy on fresh pairs don't |
# | `"too fast"` | the loss goes well above ln 2, the log-probs fall to several times their start |
# | `"overfitting"` | the training loss falls, the held-out loss has turned |
# | `"displacement"` | the margin grows, but the chosen reward falls far below 0 as well |
#
# Actions: `"go on"`, `"fix the set-up"`, `"read the pairs"`, `"lower the rate"`, `"go back to the best weights"`, `"change the loss"`, `"lower beta"`, `"train longer"`. Two of them are never right here.
#
# Two warnings. Several marks may show in one run: a held-out loss, where there is one and it turns, decides. And accuracy counts signs: a margin of 1e-5 is a win like any other. Where the margins are about 0 the accuracy is the sign of noise; don't read it there.

# %% exercise="read_dashboard" points=3 minutes=13 difficulty=2 importance=5
...

# %%
read_dashboard = check(read_dashboard)

# %% [markdown] hints="read_dashboard"
# <details><summary>Hint 1: an order of questions</summary>
#
# Do the rewards move at all? Do the log-probs stay on the scale where they began? Is there a held-out loss, and which way does it go? Is the margin of the last third above 0? And what does the chosen reward do?
#
# </details>
# <details><summary>Hint 2: the form of the answer</summary>
#
# A dict from the run's number to a pair does it: `readings = {"1": ("…", "…"), …}` and `return readings[run]`.
#
# </details>

# %%
pd.DataFrame(
    {run: [*read_dashboard(run), (DRILLS[run].__doc__ or "").strip()] for run in DRILLS},
    index=["state", "next action", "what was done"],
).T.style.set_properties(**{"text-align": "left"})

# %% [markdown]
# The last column says how each run was made. What to keep:
#
# * *Noise is not a state.* The loss of a small batch jumps in a sound run too. And the last third of run 3 is 128 pairs: the standard error of its accuracy is 0.044, so 0.41 is no proof of a swap.
# * *No signal* and *stuck* look alike in the loss. The rewards tell them apart.
# * *Overfitting* needs a second data set to be seen at all: run 2 has the lowest training loss and the largest margin of the six. Its held-out loss is lowest at step 6, with 0.692, hardly below ln 2. So the best weights are nearly the reference, and 48 pairs were too few.
# * *Displacement* looks perfect in loss, margin and accuracy. The chosen reward gives it away, and it is a matter of degree: divide by β = 0.1, and the chosen completions have lost about one nat in run 1 and more than six in run 6. Run 2 has it too, with more than four; there the held-out loss is the more urgent reading. Run 6 logs none, so whether it overfits as well nobody knows: log one.
#
# What does the falling chosen reward of run 6 come from: from pairs that are near each other? The next cell changes one thing at a time, with three seeds, and prints the chosen reward in the last third of each run.

# %%
changes = by_preset(list(ASKED), ["as in run 6", "NLL term"])
causes = sweep(cause_run, grid(change=changes, seed=seeds), progress="what run 6 comes from")
causes.pivot(index="change", columns="seed", values="chosen reward").loc[changes].round(2)

# %% [markdown]
# Not from the nearness of the pairs: with the original rejected texts, mostly whole other reviews, the chosen reward falls about as far. The rate takes part (at 3e-4 it falls less with each seed), and what stops the fall is a loss that asks for the chosen text: with an NLL term or DPOP it ends at about 0 with each seed. Hence the action: *change the loss*. Lesson 07 measures both.
#
# ## 3 · Stuck at 0.6931
#
# "My loss stays at 0.6931" is among the most asked questions on DPO. A widely copied answer is: *reduce β to see if it learns*. Let us try that on a run that is stuck.
#
# **Predict.** What does the loss do at β = 0.1, and at a hundredth of it? And the loss of a sound run at the two?

# %%
tries = [("no_gradient", 0.1), ("no_gradient", 0.001), (None, 0.1), (None, 0.001)]
for bug, beta in tqdm(tries, desc="four short runs"):
    short_run = run_bug(bug, 0, steps=6, batch_size=8, beta=beta)
    losses = [round(loss, 4) for loss in short_run.history["loss"]]
    print(f"{'stuck' if bug else 'sound'}, β = {beta:<6} loss:", losses)

# %% [markdown]
# Nothing, and it could not be otherwise. $\ln 2 = -\log\sigma(0)$ at every step means that the margins are 0, and 0 times any β is 0. A smaller β even makes the first gradient smaller: at margin 0 its size is β/2 in each log-ratio. And it makes a *sound* run look stuck: under Adam the policy moves all the same, but the loss hardly shows it. A loss at $\ln 2$ has a *cause*, and the log says which. Two columns do most of it: is there a gradient, and are the rewards exactly 0?
#
# | all rewards ... | gradient norm 0 at every step | gradient |
# |---|---|---|
# | exactly 0 | `beta_zero`: β reaches the loss as 0 | `reference_shared`: the reference is a second name for the policy and moves with it |
# | tiny, not exactly 0 | `no_gradient`: frozen, detached, or under `no_grad` | the steps are too small: `warmup_too_long` or `rate_too_low` |
#
# Why "tiny, not exactly 0"? The reference scored each pair once, in a batch with other neighbours than in the training step. The same model rounds a little differently then, by some 1e-7 nats. Multiply by β = 0, or subtract a number from itself, and even that is gone. (If both passes see the very same batches the rounding agrees, and an exact 0 proves nothing. Then print β where the loss uses it.)
#
# **Write the rule.** If any reward, chosen or rejected, exceeds 0.001 in magnitude at any step, the run is `"moving"`. Otherwise return one of the five names. It is `"warmup_too_long"` where the largest learning rate of the run is below a tenth of `lr`, the rate that the config asked for.

# %% exercise="diagnose_flat_loss" points=4 minutes=10 difficulty=2 importance=5
...

# %%
diagnose_flat_loss = check(diagnose_flat_loss)

# %% [markdown] hints="diagnose_flat_loss"
# <details><summary>Hint 1: gather first</summary>
#
# One list with all rewards of all steps and both sides, one with the gradient norms, one with the rates. Then four short questions.
#
# </details>
# <details><summary>Hint 2: which rate</summary>
#
# Every run with a warm-up begins at rate 0, and every cosine ends near 0. So neither the first nor the last rate says anything: take the largest.
#
# </details>

# %%
flat_bugs = ["beta_zero", "no_gradient", "reference_shared", "warmup_too_long"]
flat = sweep(bug_run, grid(bug=flat_bugs, seed=[0]), progress="stuck runs")
rows = []
for row in flat.itertuples():
    history = history_of(row.log)
    rewards = [abs(r) for side in ("chosen", "rejected") for r in history[f"rewards/{side}"]]
    rows.append(
        {
            "bug": row.bug,
            "your diagnosis": diagnose_flat_loss(history.records, lr=3e-4),
            "last loss": round(history["loss"][-1], 4),
            "largest |reward|": f"{max(rewards):.1e}",
            "largest gradient norm": round(max(history["grad_norm"]), 3),
            "largest rate": f"{max(history['learning_rate']):.1e}",
        }
    )
pd.DataFrame(rows).set_index("bug")

# %% [markdown]
# Four runs with one flat loss between them, and four causes. `reference_shared` is the mean one: there *is* a gradient, the weights do move, and the loss can't see it, since both sides of each log-ratio move together.
#
# ## 4 · The bug hunt
#
# Eight runs of the same loop. In each of them one line or setting was changed, always one that people really ship. You see what you would see at work: the curves, and step 1 against the reference. All configs ask for β = 0.1, and for the sigmoid loss; only **G** asks for `loss="ipo"` (a loss that is $\left(\delta - \tfrac{1}{2\beta}\right)^2$ for a log-ratio gap $\delta$, lesson 09's subject; at step 1, $\delta = 0$).

# %%
cases = sweep(case_run, grid(case=list("ABCDEFGH"), seed=[0]), progress="the hunt")
case_runs = {row.case: history_of(row.log) for row in cases.itertuples()}
show(
    plot_dashboards({case: case_runs[case] for case in "ABCD"}),
    "Runs A to D. Dotted lines: ln 2 and 0. Read the numbers on the axes.",
    alt="Four rows of four panels: loss, implicit rewards, log-probs, gradient norm of runs A to D.",
)

# %%
show(
    plot_dashboards({case: case_runs[case] for case in "EFGH"}),
    "Runs E to H, drawn in the same way.",
    alt="Four rows of four panels: loss, implicit rewards, log-probs, gradient norm of runs E to H.",
)

# %% [markdown]
# The suspects:
#
# | suspect | the change |
# |---|---|
# | `pair_swapped` | the loss gets rejected minus chosen |
# | `reference_random` | the reference's weights were never loaded |
# | `dropout_on` | the model was never put in `eval()`: both passes ran with dropout, with other noise each time |
# | `mean_for_sum` | log-probs are divided by the length |
# | `off_by_one` | the logits at $t$ are matched with token $t$ |
# | `padding_summed` | the sum goes on over the padding |
# | `clamp` | log-probs are clamped from below |
# | `rate_100x` | the learning rate is a hundred times too high |
# | `loss_ignored` | the config's loss is never read |
# | `beta_zero` | β reaches the loss as 0 |

# %%
first = {}
for row in cases.itertuples():
    history, record = case_runs[row.case], case_runs[row.case].records[0]
    first[row.case] = {
        "fails at step 1": ", ".join(first_step_failures(record, row.ref_chosen, row.ref_rejected)) or "-",
        "loss": record["loss"],
        "reward w": record["rewards/chosen"],
        "reward l": record["rewards/rejected"],
        "logps w": record["logps/chosen"],
        "reference w": row.ref_chosen,
        "logps l": record["logps/rejected"],
        "reference l": row.ref_rejected,
        "late margin": last_third(history, "rewards/margins"),
    }
pd.DataFrame(first).T.infer_objects().round(3)

# %% [markdown]
# Columns 2 to 8 are of step 1 (w: chosen, l: rejected); the last is the mean margin of the last third.
#
# **Name the suspects.** `name_suspect("A")` returns the name of the bug in run A, and so on to H. Two suspects are innocent. A wrong answer gets a hint at the number that speaks against it.

# %% exercise="name_suspect" points=4 minutes=22 difficulty=3 importance=5
...

# %%
name_suspect = check(name_suspect)

# %% [markdown] hints="name_suspect"
# <details><summary>Hint 1: sort by the first column</summary>
#
# Nothing fails at step 1: then it goes wrong with the steps, or another loss was asked for than the sigmoid. Only `logps` fail: policy and reference are scored alike, both wrongly. `rewards` fail: the two sides of the log-ratio don't match. `rewards` and `logps` fail together: F and H alone, where both sides are scored wrongly *and* differently.
#
# </details>
# <details><summary>Hint 2: sizes</summary>
#
# A sound completion here has some -5 to -40 nats. Below 1 nat is what one *token* costs. A hundred nats more come from text that is not there, or from tokens matched with the wrong logits; the first depends on the batch, the second does not.
#
# </details>

# %%
pd.DataFrame(
    {
        case: [name_suspect(case), BUGS[name_suspect(case)].symptom, BUGS[name_suspect(case)].fix]
        for case in "ABCDEFGH"
    },
    index=["suspect", "what gives it away", "the repair"],
).T.style.set_properties(**{"text-align": "left"})

# %% [markdown]
# A is no slip in the code: one number in its config is unusual, a peak rate of 3e-2 in place of 3e-4. Read the config along with the log.
#
# **Explore.** Choose a run and compare it with the sound one on the same pairs. Which of these would you have noticed had only the loss been logged?

# %%
named = {f"{case}: {name_suspect(case)}": history for case, history in case_runs.items()}
named |= {row.bug: history_of(row.log) for row in flat.itertuples()}
bug_explorer(named, healthy_runs["seed 0"])

# %% [markdown]
# ## 5 · Bugs that the curves don't show
#
# Some bugs leave the dashboard as it was. The chosen and rejected columns exchanged in the data: every curve falls and rises as it should, on the wrong text. The end of text lost from the mask: a single token. A reference that trains along: the margin grows all the same. Log-probs that were clamped, cut or rounded.
#
# Not the curves, but step 1 against a function that you trust finds the swap, the lost end, the clamp and the cut: their `logps` are off. It can't find a reference that moves later, and it doesn't say *where* the slip is. For that you need checks of the *code*, and the strongest takes one line of autograd: **which logits does the score depend on?**
#
# A right score of a completion depends on the logits at the positions just before its tokens, and on nothing else. The gradient tells: where it is exactly 0, the score does not look.
#
# **Write the probe.** `score` is any function from logits $(R, T, V)$ to one number a row. Return a boolean $(R, T)$ tensor: true where at least one of the $V$ logits at that position has a gradient that is not 0. Leave the given logits as they are.

# %% exercise="positions_scored" points=4 minutes=10 difficulty=3 importance=4
...

# %%
positions_scored = check(positions_scored)

# %% [markdown] hints="positions_scored"
# <details><summary>Hint 1: a gradient in a tensor that you made</summary>
#
# `probe = logits.detach().clone().requires_grad_()` is a copy that records what happens to it. `torch.autograd.grad(number, probe)[0]` is the gradient, shaped like `probe`.
#
# </details>
# <details><summary>Hint 2: nothing shows up</summary>
#
# The gradient of a log-softmax is "one-hot minus probabilities": over the vocabulary it *sums* to 0. So don't sum; ask whether any entry is not 0.
#
# </details>

# %% [markdown]
# Now the probe looks at eight scoring functions, one of them right, on two pairs of the review world. The picture shows one row, a completion that is followed by padding.
#
# **Predict.** Which positions are looked at, for a mask by id where pad and EOS share an id? For the clamp? (Our tokenizer has two ids; the third line acts the shared one out.)

# %%
lab = tiny_lab()
tokenizer = lab.reference.tokenizer
short = [pair for pair in lab.pairs if len(pair["chosen"].split()) < 9 and len(pair["rejected"].split()) < 9]
batch = collate(*encode_pairs(tokenizer, short[:2]), tokenizer.pad_token_id)
ids, own, text = batch["input_ids"], batch["completion_mask"], batch["attention_mask"].bool()
with torch.no_grad():
    logits = lab.reference.model(input_ids=ids, attention_mask=batch["attention_mask"]).logits


def total(logits, keep):
    return token_logprobs(logits, ids).masked_fill(~keep[:, 1:], 0.0).sum(-1)


def unshifted(logits):
    return (logits.log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1) * own).sum(-1)


# %%
from_len = torch.arange(ids.shape[1]) >= len(ids)
scorers = {
    "right": lambda logits: total(logits, own),
    "prompt scored": lambda logits: total(logits, text),
    "mask by id, pad == eos": lambda logits: total(logits, own & (ids != tokenizer.eos_token_id)),
    "padding summed": lambda logits: total(logits, own | ~text),
    "off by one": unshifted,
    "slice from len(prompt_ids)": lambda logits: total(logits, text & from_len),
    "clamped at -2": lambda logits: total(logits, own).clamp(min=-2.0),
    "mean for sum": lambda logits: total(logits, own) / own.sum(-1),
}
row = int((~text).sum(-1).argmax())
maps = {name: positions_scored(score, logits)[row] for name, score in scorers.items()}
about = [*tokenizer.convert_ids_to_tokens(ids[row, 1:].tolist()), "(nothing)"]
show(
    plot_positions(maps, about, maps["right"].tolist()),
    "Blue: looked at, rightly. Marked 'wrong': looked at and should not be. Marked 'missing': left out. "
    "All slips but the last leave a pattern of their own; the clamp is blind to the whole completion.",
    alt="A grid of scoring functions against token positions, with wrong and missing positions marked.",
)

# %% [markdown]
# * The mask by id misses one position: the one that predicts the end of the text. That token is what teaches a policy to stop.
# * The clamped score has no gradient anywhere in this row, since its log-prob is below the limit. You will find "clamp log-probs to [-100, 0] for stability" recommended. Our texts are short, so here the limit is -2; for answers of a few hundred tokens -100 does the same. The cure for overflow is `logsigmoid`, not a clamp.
# * The last line is a warning: a *mean* looks at the right positions, and so does rounding to 16 bits. This check is blind to both. Step 1 against a trusted function catches the mean. At a tolerance of 0.02 it misses the rounding, which is some thousandths of a nat here; the doctor of section 7 compares to 1e-4.
#
# ### Is the reference still what it was?
#
# An optimiser that got the parameters of both models, a `requires_grad_(False)` that was forgotten: the reference drifts, and no curve has to show it. The check compares weights.
#
# **Write it.** `before` holds a copy of every parameter of the reference from before the first step. Return the names of the parameters that ask for a gradient *or* are no longer exactly equal to their copy, in the order of `model.named_parameters()`.

# %% exercise="reference_leaks" points=2 minutes=5 difficulty=1 importance=4
...

# %%
reference_leaks = check(reference_leaks)

# %% [markdown] hints="reference_leaks"
# <details><summary>Hint 1: equal means equal</summary>
#
# `torch.equal(a, b)` is true if all entries agree exactly. A frozen weight does not change in its last digit either, so no tolerance is needed.
#
# </details>
# <details><summary>Hint 2: the loop</summary>
#
# `for name, parameter in model.named_parameters()` gives both; `parameter.requires_grad` is the flag.
#
# </details>

# %%
before = {name: p.detach().clone() for name, p in lab.reference.model.named_parameters()}
for bug in tqdm((None, "reference_trainable"), desc="two short runs"):
    run = run_bug(bug, 0, steps=6, batch_size=8)
    leaks = reference_leaks(run.reference.model, before)
    print(f"{bug or 'sound':<20} {len(leaks):>3} of {len(before)} parameters leak")

# %% [markdown]
# ## 6 · Repair
#
# The function below is stitched together from code that you can find in tutorials on DPO. Prompts are unpadded and of one length; completions are padded on the right, and the padding's id is EOS's, as in SmolLM2.


# %%
def tutorial_logprobs(logits, prompt_ids, completion_ids, eos_token_id):
    predictions = logits[:, len(prompt_ids) - 1 : -1]
    logps = predictions.log_softmax(-1)
    logps = logps[:, : completion_ids.shape[1]].gather(-1, completion_ids[..., None]).squeeze(-1)
    mask = completion_ids != eos_token_id  # pad == eos
    mean = (logps * mask).sum(-1) / mask.sum(-1)
    return mean.clamp(-100, 0)  # for stability


generator = torch.Generator().manual_seed(0)
fake_logits = torch.randn(2, 11, 50, generator=generator)
prompt = torch.randint(1, 50, (2, 5), generator=generator)
completion = torch.tensor([[7, 3, 9, 4, 8, 0], [5, 2, 0, 0, 0, 0]])
print(tutorial_logprobs(fake_logits, prompt, completion, eos_token_id=0))

# %% [markdown]
# It runs and returns plausible negative numbers. **Count the bugs, then write the repaired function.** It gets the true `lengths` of the completions, EOS included, in place of the EOS's id, and returns $\log\pi(y\mid x)$, a sum over the completion's tokens in float32, right also for bf16 logits.

# %% exercise="repaired_logprobs" points=4 minutes=12 difficulty=3 importance=5
...

# %%
repaired_logprobs = check(repaired_logprobs)

# %% [markdown] hints="repaired_logprobs"
# <details><summary>Hint 1: the slice</summary>
#
# `len` of a $(B, P)$ tensor is $B$. The first completion token stands at position $P$, and the logits *before* it predict it.
#
# </details>
# <details><summary>Hint 2: the mask</summary>
#
# `torch.arange(C) < lengths[:, None]` is a $(B, C)$ mask by position.
#
# </details>
# <details><summary>Hint 3: the rest</summary>
#
# A sum, no clamp, and `.float()` before `log_softmax`.
#
# </details>

# %%
print("tutorial:", tutorial_logprobs(fake_logits, prompt, completion, eos_token_id=0))
print("repaired:", repaired_logprobs(fake_logits, prompt, completion, torch.tensor([6, 3])))

# %% [markdown]
# Five slips in one short function: the slice by `len`, no upcast, the mask by id, the mean, the clamp. In the first three lines nothing raises an error, because shapes happen to fit. That is why the checks of sections 1 and 5 compare *numbers*.
#
# ## 7 · The run doctor
#
# What you have done by hand, `diagnose` does for any run: it looks at the set-up first (frozen? same tokenizer? identical pairs? cut completions?), then scores the first batch again, in the right way and in every wrong way it knows, then reads the curves. In a terminal: `dpo-lab doctor RUN`, where `RUN` is a run's folder or TRL's `trainer_state.json`.
#
# **Predict.** The next run had its chosen and rejected rows exchanged by the collator. What do the curves alone say?

# %%
run = run_bug("columns_swapped", 0, steps=12, progress=True)
print("last margins:", [round(m, 3) for m in run.history["rewards/margins"][-4:]])
print("findings from the curves alone:")
show_findings(diagnose(run.history))

# %%
print("with models, pairs and config:")
show_findings(
    diagnose(run.history, policy=run.policy, reference=run.reference, pairs=run.pairs, config=run.config)[:1]
)

# %% [markdown]
# No alarm from the curves alone; a note is not an alarm, and sound runs often get this one. With the pairs at hand the doctor scores them itself, and sees that the logged numbers belong to the other completion. The margins were positive: so the exchange was made before the loss, in the columns or the collator. Give the doctor all you have. The next table says how far curves alone get you on some other bugs, in one run of 24 steps each.

# %%
bugs = by_preset(
    full=["none", "pair_swapped", "mean_for_sum", "eos_masked", "clamp", "reference_trainable", "rate_100x"],
    fast=["none", "eos_masked", "rate_100x"],
)
doctor = sweep(doctor_run, grid(bug=bugs, seed=[0]), progress="doctor")
doctor.set_index("bug")[["curves", "all"]].rename(
    columns={"curves": "first alarm, curves alone", "all": "first alarm, everything given"}
)

# %% [markdown]
# "No alarm" in the middle column means that a sound run *could* look like this. If you have a sound run on the same pairs, you may still see a difference:

# %%
beside = sweep(
    bug_run,
    grid(bug=["none", "clamp", "reference_trainable", "eos_masked"], seed=seeds),
    progress="beside a sound run",
)
for name in ("rewards/margins", "rewards/chosen"):
    beside[name] = [last_third(history_of(log), name) for log in beside["log"]]
beside.pivot(index="bug", columns="seed", values=["rewards/margins", "rewards/chosen"]).round(3)

# %% [markdown]
# Compare within a column: the pairs are the same. Under the clamp the margin stays at a third to a half of the sound run's. A reference that trains along gives two to five times the margin, and lifts the chosen reward above 0. The lost end of text moves the margin by 0.02 to 0.04, no more than one sound seed differs from another: nobody would call that a symptom.
#
# ## What to keep
#
# * Step 1 is a free test: loss $\ln 2$, both rewards 0, log-probs those of the reference. Assert it in your training script.
# * A loss that stays at 0.6931 has a cause. Ask: is there a gradient? Are the rewards exactly 0? What is the largest rate? Check that β reaches the loss; turning it down cures nothing.
# * Read margins and rewards as means over several steps; read the numbers on the axes; log a held-out loss.
# * Swapped columns, a lost EOS, a trainable reference or a clamp can leave the curves as they were. Not the curves, but the `logps` of step 1 catch three of the four; the checks of section 5 say where, and catch the fourth: which logits count, which weights moved.
# * Change one thing at a time, and keep the sound run to compare with.
#
# ## Two interview questions
#
# <details><summary><b>1. A DPO model is not learning: the loss stays at 0.69. How do you debug it?</b></summary>
#
# 0.6931 is $\ln 2$: the margins are 0. First I'd look at the rewards, not at the loss. If they move while the margin stays around 0, the machinery works, and the question is the data: labels at random, or pairs that contradict each other. If they don't move at all, I'd look at the gradient norm. It is 0: parameters frozen, log-probs under `no_grad` or detached, β = 0, or pairs whose two sides are the same text, perhaps only after a length limit has cut them (a careful trainer refuses those). It is not 0: the reference is the same object as the policy and moves with it, or the learning rate is still near 0, in a warm-up that is longer than the run. With exact zeros and a gradient I'd also print whether a weight changed at all: in pure bf16 a step of 1e-6 often rounds away. I would not "reduce β": it multiplies a margin of 0, and makes the first gradient smaller.
#
# </details>
# <details><summary><b>2. All curves look right, but samples from the trained model are worse than before. What do you check?</b></summary>
#
# What the curves can't show. First step 1: do the logged `logps` agree with the reference's, scored by a function that I trust? That finds exchanged columns, a lost EOS, a clamp and cut completions. Then what it can't find or can't place. Columns: score a handful of pairs afresh, with a function that I trust, under policy and reference, and read them: does the policy prefer the text that a human would? Masking: count the scored tokens of a row, and see whether the end of text is among them, or take the gradient with respect to the logits. Reference: compare its weights with the checkpoint. Truncation: count completions without their EOS. Then the dashboard again, for what it shows but nobody read: a chosen reward far below 0 (displacement), a margin of many nats with the loss near 0 (too far from the reference), completions that got longer.
#
# </details>
#
# **Next:** lesson 09 changes the loss itself.
