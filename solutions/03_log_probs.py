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
# # 03 · Log-probabilities
#
# **How likely does a model find an answer, and which tokens of a padded batch does that number count?**
#
# After this lesson you can
#
# * turn a model's logits into the log-probability of a completion: shift, look up, mask, sum;
# * build the row and the batch that this needs: one EOS, no token across the border, a mask by position, padding on either side;
# * say what goes wrong with a mask by pad id, a mean in place of a sum, a clamp, bfloat16 sums, and recognise each by its numbers.
#
# {{lesson_facts}}
#
# You need PyTorch and the idea of a causal language model: it reads tokens from left to right and predicts the next one. The loss that uses these numbers is lesson 04.

# %%
import copy
from collections.abc import Sequence
from typing import Literal

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from dpo_lab.checks import check_same_shape, rows_where
from dpo_lab.course import check
from dpo_lab.encoding import Encoded, encode_pair
from dpo_lab.plots import draw_tokens, plot_length, show
from dpo_lab.policies import frozen_reference, load_policy
from dpo_lab.preferences import load_pairs
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.widgets import token_mask_viewer
from dpo_lab.widgets.token_mask_viewer import RULES, counted_by, padded_row

# %% [markdown]
# ## 1 · One number a token
#
# A model $\pi$ gives a completion $y = (y_1, \dots, y_{|y|})$ of a prompt $x$ the probability
#
# $$ \pi(y\mid x) = \prod_{t=1}^{|y|} \pi(y_t \mid x, y_{<t}), \qquad \log\pi(y\mid x) = \sum_{t=1}^{|y|} \log\pi(y_t \mid x, y_{<t}) , $$
#
# where $y_{<t}$ are the completion's tokens before the $t$-th and $|y|$ is their number. A product of many small numbers soon underflows to 0 in a computer; a sum of logarithms does not. Logarithms are natural, so the unit is the **nat**.
#
# The model does not hand out these factors. It takes a batch of token ids, shape $(B, T)$ for $B$ rows of $T$ tokens, and returns **logits**, shape $(B, T, V)$: for each position one number for each of the $V$ tokens of the vocabulary. With $z \in \mathbb{R}^V$ for the logits of one position,
#
# $$ \log\pi(\text{token } v) = z_v - \log\sum_{u=1}^{V} e^{z_u} = \mathrm{log\_softmax}(z)_v . $$
#
# Let us look at one row: a prompt of the course's smallest policy, an answer, and the token that says "I am done", EOS.

# %%
tiny = load_policy("tiny", device="cpu")
pairs = load_pairs("review_train").select(range(128))
row = encode_pair(tiny.tokenizer, "review of the soup :", "the soup was fresh .")

input_ids = torch.tensor([row.input_ids])
with torch.no_grad():
    logits = tiny.model(input_ids).logits
print("tokens:", tiny.tokenizer.convert_ids_to_tokens(row.input_ids))
print("input_ids", tuple(input_ids.shape), "  logits", tuple(logits.shape))

# %% [markdown]
# **Predict.** The logits at position 5 (counting from 0) come out where the token "the" went in. Which token are they about: this "the", or the "soup" behind it? How many of the 11 tokens get a score?

# %%
best = logits[0].argmax(dim=-1).tolist()
words = tiny.tokenizer.convert_ids_to_tokens
pd.DataFrame(
    {"went in": words(row.input_ids), "most likely by these logits": words(best)},
    index=pd.RangeIndex(11, name="position"),
).T

# %% [markdown]
# The logits at position $t$ are about token $t + 1$: after "was" the model thinks of an adjective, not of "was". So nothing predicts the first token, and the last logits predict a token that is not there. Of $T$ tokens, $T - 1$ get a score.
#
# **Write it.** Drop the last position of the logits and the first token of the ids, and compute the formula above for the token that really came: pick it from the log-softmax, or pick its logit $z_v$ and subtract `logsumexp`. Both are right. Turn the logits into float32 first (section 7 shows why); logits that are float64 may stay so. `logits.gather(dim, index)` picks entries along a dimension; its `index` has as many dimensions as the tensor. Arguments need no checking: the finished version does that, and you may leave it out.

# %% exercise="token_logprobs" points=3 minutes=10 difficulty=2 importance=5
...

# %%
token_logprobs = check(token_logprobs)

# %% [markdown] hints="token_logprobs"
# <details><summary>Hint 1: the two slices</summary>
#
# `logits[:, :-1]` has the positions 0 to T − 2. `input_ids[:, 1:]` has the tokens 1 to T − 1. Now entry t of one belongs to entry t of the other.
#
# </details>
# <details><summary>Hint 2: gather</summary>
#
# The log-probs have shape (B, T − 1, V), the ids (B, T − 1). Give the ids a last dimension of size 1 (`[..., None]`), gather along the last dimension, and take that dimension away again with `.squeeze(-1)`. The finished version gathers from the logits instead and subtracts `.logsumexp(dim=-1)`; section 7 shows what that is good for.
#
# </details>

# %%
batch = {
    "input_ids": input_ids,
    "attention_mask": torch.ones_like(input_ids),
    "completion_mask": torch.tensor([row.completion_mask]),
}
scores = token_logprobs(logits, input_ids)
unshifted = log_softmax(logits, dim=-1).gather(-1, input_ids[..., None]).squeeze(-1)[:, 1:]
show(
    draw_tokens(tiny.tokenizer, batch, scores),
    "One row: the prompt grey, the completion coloured by its log-prob in nats, "
    "which stands below each token. Dark means unexpected.",
    alt="Eleven cells with one token each. The prompt's five are grey, "
    "the answer's six are in shades of blue with their log-probs.",
)
pd.DataFrame(
    {"shifted": scores[0].tolist(), "not shifted": unshifted[0].tolist()},
    index=pd.Index(words(row.input_ids)[1:], name="token"),
).T.round(2)

# %% [markdown]
# The shifted scores are what a reader would expect: a choice (which dish? which adjective?) costs nats, a word of the answer that the prompt forces costs nearly none. (The prompt's own words cost most, such as the colon: this model was trained on answers only and never learnt to write prompts. No mask will count them.) The unshifted ones are a different quantity: how much the model expects each word *twice in a row*. Nothing crashes, and training on them teaches the model to repeat itself.
#
# ## 2 · Which tokens are the answer?
#
# $\log\pi(y\mid x)$ sums over $y$ alone. So each row carries a **completion mask**: `True` exactly at the completion's tokens. Three decisions hide in it:
#
# * **EOS is part of the completion.** Stopping is a choice that the model makes, and it must be scored like any other.
# * **There is exactly one EOS at the end.** Data often brings its own; a second one would be scored as if the model had said it.
# * **The mask goes by position.** All behind the prompt is the completion, whatever its id. A chat's *prompt* holds EOS tokens too, one after each turn.
#
# **Write `join_pair`.** It returns `Encoded(input_ids, completion_mask)`, a small dataclass of two lists that is already imported; a bare tuple of the lists won't do. Don't change the lists that you are given.

# %% exercise="join_pair" points=2 minutes=6 difficulty=1 importance=4
...

# %%
join_pair = check(join_pair)

# %% [markdown] hints="join_pair"
# <details><summary>Hint 1: exactly one EOS</summary>
#
# Copy the completion with `list(…)`. While its last entry is EOS, pop it. Then append one.
#
# </details>
# <details><summary>Hint 2: the mask</summary>
#
# `[False] * n` is a list of n times False. You know how many prompt ids there are, and how many completion ids with their EOS.
#
# </details>

# %%
eos = tiny.tokenizer.eos_token_id
prompt_ids, answer_ids = (
    tiny.tokenizer("review of the soup :").input_ids,
    tiny.tokenizer("the soup was fresh .").input_ids,
)
joined = join_pair(prompt_ids, answer_ids, eos)
print("the same as the library's encode_pair:", joined == row)
print(
    "an answer that brings its own EOS gives the same row:",
    join_pair(prompt_ids, [*answer_ids, eos], eos) == joined,
)

# %% [markdown]
# ## 3 · One number a completion
#
# **Predict.** Two batches hold the same answer; in the second the row has three more padding tokens. Which log-probability is lower: the first, the second, neither? And if you forget the mask?
#
# **Write `sequence_logprobs`.** It sums the token log-probs where the mask is true; with `average=True` it divides each row's sum by that row's number of completion tokens. You have `token_logprobs`. Mind two things:
#
# * The mask has $T$ entries, the log-probs $T - 1$.
# * A masked position may hold $-\infty$ (a model may forbid a token outright), so *select* with `masked_fill` or `torch.where`; do not multiply by the mask. The cell below the exercise shows why.
#
# A row whose mask is all `False` has nothing to score: raise a `ValueError` then (any message will do; the finished one names the rows, and it checks shapes, which you may leave out).

# %% exercise="sequence_logprobs" points=4 minutes=12 difficulty=3 importance=5
...

# %%
sequence_logprobs = check(sequence_logprobs)

# %% [markdown] hints="sequence_logprobs"
# <details><summary>Hint 1: where to start</summary>
#
# Compute `token_logprobs(logits, input_ids)`, shape (B, T − 1). Entry t is about token t + 1. Which slice of the mask has the same meaning?
#
# </details>
# <details><summary>Hint 2: selecting</summary>
#
# `scores.masked_fill(~scored, 0.0)` puts zeros where the bool tensor `scored` is false. Then `.sum(dim=-1)`. The number of tokens is `scored.sum(dim=-1)`: look at it before you divide.
#
# </details>

# %%
forbidden = torch.tensor([-1.5, float("-inf"), -0.5], requires_grad=True)
counts = torch.tensor([True, False, True])
print("multiplied by the mask:", (forbidden * counts).sum().item())
print("selected:              ", forbidden.masked_fill(~counts, 0.0).sum().item())

# %% [markdown]
# $0 \cdot (-\infty)$ is NaN in floating point, so one forbidden token anywhere in the *padding* would turn the loss into NaN. Selecting never looks at it.
#
# Now the prediction: the same row with no, one and three padding tokens.

# %%
pad = tiny.tokenizer.pad_token_id
table = {}
for extra in (0, 1, 3):
    ids = torch.tensor([row.input_ids + [pad] * extra])
    mask = torch.tensor([row.completion_mask + [False] * extra])
    with torch.no_grad():
        padded_logits = tiny.model(ids).logits
    kept = sequence_logprobs(padded_logits, ids, mask).item()
    forgotten = sequence_logprobs(padded_logits, ids, torch.ones_like(mask)).item()
    table[f"{extra} padding tokens"] = {"mask kept": kept, "mask forgotten": forgotten}
pd.DataFrame(table).T.round(3)

# %% [markdown]
# With the mask the padding changes nothing. Without it the same answer gets a different number in each batch, depending on which other rows it happens to share the batch with.
#
# ## 4 · A batch is a rectangle
#
# Rows have different lengths, a tensor is a rectangle: the short rows are **padded** to the longest. Three tensors, each $(R, T)$, say what is what. $R$ counts rows: a batch of $B$ pairs has $R = 2B$.
#
# | tensor | in the row | in the gap | who reads it |
# |---|---|---|---|
# | `input_ids` | the ids | the pad id | the model |
# | `attention_mask` | 1 (int64) | 0 | the model: tokens with 0 are invisible to the others |
# | `completion_mask` | the row's mask | `False` | `sequence_logprobs` |
#
# **Write `collate_rows`.** It returns a dict with these three keys. `len(row)` is the number of a row's tokens. Both masks go by position: the pad id may well occur inside a row.

# %% exercise="collate_rows" points=3 minutes=12 difficulty=2 importance=4
...

# %%
collate_rows = check(collate_rows)

# %% [markdown] hints="collate_rows"
# <details><summary>Hint 1: fill first, then write</summary>
#
# Make three tensors of the full size that hold what the gaps hold: `torch.full((R, T), pad_token_id)`, zeros of dtype `torch.long`, zeros of dtype `torch.bool`. Then write each row into its place.
#
# </details>
# <details><summary>Hint 2: its place</summary>
#
# For a row of n tokens: columns 0 to n − 1 for right padding, T − n to T − 1 for left padding. One `slice(start, stop)` serves all three tensors.
#
# </details>

# %%
rows = [
    encode_pair(tiny.tokenizer, "review of the soup :", text)
    for text in ("the soup was fresh .", "the soup was very tasty .", "best to avoid .")
]


def run_model(policy, batch, attention_mask=None):
    """(R, T, V) logits of a padded batch, without gradient; positions count attended tokens."""
    attended = batch["attention_mask"] if attention_mask is None else attention_mask
    positions = (attended.cumsum(dim=-1) - 1).clamp(min=0)
    with torch.no_grad():
        return policy.model(
            input_ids=batch["input_ids"], attention_mask=attended, position_ids=positions
        ).logits


left = collate_rows(rows, pad, padding_side="left")
scores = token_logprobs(run_model(tiny, left), left["input_ids"])
show(
    draw_tokens(tiny.tokenizer, left, scores, names=["A", "B", "C"]),
    "Three rows, padded on the left. Hatched cells are padding: "
    "the model computes something there too, and nobody reads it.",
    alt="A grid of three rows. Rows A and C begin with hatched padding cells, "
    "then grey prompt cells, then coloured completion cells.",
)

# %% [markdown]
# Training usually pads on the right, sampling must pad on the left (each prompt has to end where its answer begins).
#
# **Predict.** Do the log-probs of A, B and C depend on the side? And what happens on each side if the attention mask is forgotten, so that the model reads the padding like text?

# %%
sides = {}
for side in ("right", "left"):
    batch = collate_rows(rows, pad, padding_side=side)
    all_ones = torch.ones_like(batch["attention_mask"])
    for name, attended in (("", None), (", attention mask forgotten", all_ones)):
        logits = run_model(tiny, batch, attended)
        logps = sequence_logprobs(logits, batch["input_ids"], batch["completion_mask"])
        sides[side + name] = logps.tolist()
pd.DataFrame(sides, index=["A", "B", "C"]).T.round(4)

# %% [markdown]
# With the mask the side does not matter. A forgotten attention mask does no harm on the right: a causal model never looks ahead, so what stands behind the answer is invisible anyway. On the left it is the beginning of the text, and the padded rows A and C change. B, the longest, has no padding and keeps its number. (The forgotten mask changes two things at once: the padding becomes visible, and `run_model` counts it among the positions.) The change is small on this model; section 6 has a large one.
#
# One more thing has to be right. Look into `run_model`: positions are counted over the real tokens and handed over as `position_ids`. Left out, a row's first token gets the number of its *column*. Here are our model, which has **rotary** positions, and a GPT-2 with random weights, whose positions are **learned** vectors, one a position.
#
# **Predict.** Both get the attention mask and padding on the left. Which of the two forgives a missing `position_ids`?

# %%
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
sizes = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.2}
tokens = {"vocab_size": len(tiny.tokenizer), "bos_token_id": eos, "eos_token_id": eos}
gpt2 = GPT2LMHeadModel(GPT2Config(**sizes, **tokens)).eval()

results = {}
for kind, model in (("rotary", tiny.model), ("learned", gpt2)):
    for side, is_counted in (("right", True), ("left", True), ("left", False)):
        batch = collate_rows(rows, pad, padding_side=side)
        ids, attended = batch["input_ids"], batch["attention_mask"]
        positions = (attended.cumsum(dim=-1) - 1).clamp(min=0) if is_counted else None
        with torch.no_grad():
            logits = model(ids, attention_mask=attended, position_ids=positions).logits
        name = f"{kind}, {side}, position_ids {'counted' if is_counted else 'left out'}"
        results[name] = sequence_logprobs(logits, ids, batch["completion_mask"]).tolist()
pd.DataFrame(results, index=["A", "B", "C"]).T.round(4)

# %% [markdown]
# So either side gives the same log-probs if the attention mask is there *and positions are counted over real tokens*. Rotary models, as ours, forgive a shift: they see only distances between tokens. Models with learned positions, such as GPT-2, do not.
#
# ## 5 · A row that is too long
#
# A model has a window; a training run sets its own limit. What gives way? Not the completion: cut it, and its EOS goes first. The prompt can lose its beginning.
#
# **Write `truncate_prompt`.** It returns an `Encoded` of at most `max_length` tokens. If the completion and one prompt token don't fit, raise a `ValueError` (any message): dropping the pair knowingly is better than training on half an answer.

# %% exercise="truncate_prompt" points=3 minutes=8 difficulty=2 importance=3
...

# %%
truncate_prompt = check(truncate_prompt)

# %% [markdown] hints="truncate_prompt"
# <details><summary>Hint 1: count what is too much</summary>
#
# `len(row) - max_length` tokens have to go, from the left. If that is negative, none has to.
#
# </details>
# <details><summary>Hint 2: when it can't be done</summary>
#
# `row.completion_mask.index(True)` is the number of prompt tokens. At least one has to stay.
#
# </details>

# %%
prompt = "review of the soup :"
long_row = encode_pair(tiny.tokenizer, prompt, "the soup was tasty . highly recommended .")
cut_right = Encoded(long_row.input_ids[:11], long_row.completion_mask[:11])
for name, cut in (
    ("prompt from the left", truncate_prompt(long_row, 11)),
    ("simply on the right", cut_right),
):
    print(f"{name:21}", tiny.tokenizer.decode(cut.input_ids))

# %% [markdown]
# Cut on the right, the row breaks off in mid-sentence and has no EOS left to learn from. That is what a tokenizer's `truncation=True` does by default.
#
# DPO compares two answers, so rows come in pairs.
#
# **Predict.** The rejected answer is short, and its row fits into the 11 tokens. We cut each row for itself. What do the two answers then have in common?

# %%
short_row = encode_pair(tiny.tokenizer, prompt, "best to avoid .")
excess = max(len(long_row), len(short_row)) - 11
for name, pair in (
    ("apart", [truncate_prompt(long_row, 11), truncate_prompt(short_row, 11)]),
    ("alike", [truncate_prompt(r, len(r) - excess) for r in (long_row, short_row)]),
):
    for side, cut in zip(("chosen", "rejected"), pair, strict=True):
        print(f"cut {name}  {side:8}", tiny.tokenizer.decode(cut.input_ids))

# %% [markdown]
# Cut apart, the chosen answer belongs to the prompt "soup :" and the rejected one to "review of the soup :". In a pair, cut both prompts by what the longer answer needs; otherwise the two answers belong to different prompts, and nothing cancels. (The library's trainer does so.)
#
# ## 6 · A real tokenizer
#
# Words separated by blanks are a gentle world. From here on we use SmolLM2-135M-Instruct, a real model with a real tokenizer.
#
# ### The border
#
# The tokenizer cuts text into frequent pieces, and most words carry the blank *before* them: `·Yes` is one token, and it is another token than `Yes`.
#
# **Predict.** The prompt ends in a blank, the completion is "Yes." Tokenize prompt and completion apart, or both as one text: are the ids the same?

# %%
smol = load_policy("smollm2", device="cpu")
tokenizer = smol.tokenizer


def pieces(text):
    return [
        tokenizer.decode([i]).replace("\n", "↵").replace(" ", "·")
        for i in tokenizer(text, add_special_tokens=False).input_ids
    ]


examples = [
    ("Any good? Answer: ", "Yes."),
    ("The kettle is un", "usable."),
    ("The kettle is wonder", "ful."),
    ("Any good? Answer:", " Yes."),
]
table = pd.DataFrame(
    [
        {
            "apart": " | ".join(pieces(p)) + "  ‖  " + " | ".join(pieces(c)),
            "together": " | ".join(pieces(p + c)),
        }
        for p, c in examples
    ],
    index=pd.Index([p.replace(" ", "·") for p, _ in examples], name="prompt"),
)
left_aligned = [{"selector": "th, td", "props": "text-align: left !important"}]
table.style.set_table_styles(left_aligned)

# %% [markdown]
# In the first three examples a token **straddles** the border when the text is tokenized as one: `·Yes` begins in the prompt and ends in the completion. Whose is it? The usual recipe, "tokenize all, the first `len(prompt_ids)` tokens are the prompt", gives it to the prompt. Here is what each choice does to the score of "Yes."


# %%
def score_answer(prompt_ids, answer_ids):
    """Log-probs of the answer's tokens behind the prompt's, without EOS."""
    ids = torch.tensor([prompt_ids + answer_ids])
    logits = run_model(smol, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return token_logprobs(logits, ids)[0, -len(answer_ids) :]


def ids_of(text):
    return tokenizer(text, add_special_tokens=False).input_ids


question = "Question: Is this kettle any good?\nAnswer:"
together, border = ids_of(question + " Yes."), len(ids_of(question + " "))
cases = {
    "together, cut at len(prompt_ids)": (together[:border], together[border:]),
    "apart, blank in the prompt": (ids_of(question + " "), ids_of("Yes.")),
    "apart, blank in the completion": (ids_of(question), ids_of(" Yes.")),
}
scored = {name: score_answer(*case) for name, case in cases.items()}
table = pd.DataFrame(
    {
        "answer's tokens": [
            " | ".join(tokenizer.decode([i]).replace(" ", "·") for i in answer)
            for _, answer in cases.values()
        ],
        "log-probs": [", ".join(f"{v:.2f}" for v in logps.tolist()) for logps in scored.values()],
        "sum": [logps.sum().item() for logps in scored.values()],
    },
    index=list(cases),
)
table.style.format({"sum": "{:.2f}"}).set_table_styles(left_aligned)

# %% [markdown]
# Tokenized together and cut by length, "Yes" is lost: only the full stop is scored, and the pair "Yes." against "No." would compare two full stops. Tokenized apart, nothing is lost; that is what `encode_pair` does. But the second line shows a price of a prompt that *ends in a blank*: the model has rarely seen a lone blank followed by `Yes`, and the answer costs far more than in the third line. So tokenize apart, and put the blank where the tokenizer wants it: at the beginning of the completion. With a chat template the question hardly arises: the assistant's turn opens with a line break, and the answer starts right behind it.
#
# ### pad == eos
#
# Many models have no pad token of their own, and then EOS is used for both.
#
# **Predict.** The notes that this course grew from mask with `labels != pad_token_id`. Which tokens does that rule count in the row below, and which does it lose?

# %%
for name in ("eos", "pad"):
    print(name, getattr(tokenizer, f"{name}_token"), getattr(tokenizer, f"{name}_token_id"))
pad = tokenizer.pad_token_id
short = encode_pair(tokenizer, "Is this kettle good?", " It boils fast.")
longer = encode_pair(tokenizer, "Is this kettle good?", " It boils fast, too.")
batch = {name: tensor[:1] for name, tensor in collate_rows([short, longer], pad).items()}
scores = token_logprobs(run_model(smol, batch), batch["input_ids"])
by_id = batch["input_ids"] != pad

# %%
twice = {name: tensor.repeat(2, 1) for name, tensor in batch.items()}
show(
    draw_tokens(
        tokenizer,
        twice,
        scores.repeat(2, 1),
        torch.cat([batch["completion_mask"], by_id]),
        names=["by position", "by id"],
    ),
    "The same padded row twice; coloured is what each rule counts. "
    "By id, the prompt counts and the EOS does not.",
    alt="Two rows of the same tokens. Above, the answer and its end token are coloured. "
    "Below, prompt and answer are coloured and the end token is grey.",
)

# %%
counted = {
    "completion, by position": batch["completion_mask"],
    "not pad, by id": by_id,
    "completion and not pad": batch["completion_mask"] & by_id,
}
pd.DataFrame(
    {
        "sum": [scores[mask[:, 1:]].sum().item() for mask in counted.values()],
        "tokens": [int(mask[:, 1:].sum()) for mask in counted.values()],
    },
    index=list(counted),
).round(2)

# %% [markdown]
# Two errors in one rule: the prompt is scored, and the EOS is not. The third line repairs the first error only, and it is the nastier bug: its number is off by just the EOS's own log-prob, so it looks right.
#
# **Explore.** Choose a rule and move the padding. Which rules give a sum that depends on the padding? Which give one that does not, and is wrong all the same?

# %%
token_mask_viewer(smol, "Is this kettle good?", " It boils fast.")

# %% [markdown]
# The next cell goes through all of it: each rule, each side, four amounts of padding.

# %%
sums = {}
for side in ("right", "left"):
    for padding in (0, 1, 3, 6):
        batch, scores = padded_row(smol, "Is this kettle good?", " It boils fast.", padding, side)
        for rule in RULES:
            counted = counted_by(rule, batch, pad)
            sums.setdefault(rule, {})[side, padding] = scores[counted[:, 1:]].sum().item()
pd.DataFrame(sums).T.round(1)

# %% [markdown]
# <details><summary><b>What the table says</b></summary>
#
# * **Right:** the completion by position, −21.1 whatever the padding.
# * **Depends on the padding:** "everything" scores the padding too, from −54.5 to −150.0 and further. "Mask not shifted" is one token late: it loses the answer's first token and takes what stands behind the EOS. On the right that is a pad token (−33.9); without padding, or with padding on the left, nothing stands there (−17.9). (On the left one pad token costs nothing: the row's first column is never counted, and neither is the first real token, which only padding precedes.)
# * **Does not depend on it, and is wrong:** "all but padding" scores the prompt, by position (−54.5) and by id (−52.6, which has lost the EOS as well). "The completion, but not the pad id" has lost the EOS alone (−19.2). A test that only varies the padding finds none of these three.
#
# </details>
#
# Padding on the left also needs its **attention mask**. Section 4 promised a large effect of forgetting it. We score " It boils fast." in three batches, each with one longer neighbour.
#
# **Predict.** The neighbours are longer by two, three and four tokens. How far does the number of " It boils fast." move?

# %%
table = {}
for ending in (", too.", " and pours.", " and it pours."):
    longer = encode_pair(tokenizer, "Is this kettle good?", " It boils fast" + ending)
    batch = collate_rows([short, longer], pad, padding_side="left")
    ids, mask, kept = batch["input_ids"], batch["completion_mask"], batch["attention_mask"]
    table["It boils fast" + ending] = {
        name: sequence_logprobs(run_model(smol, batch, attended), ids, mask)[0].item()
        for name, attended in (("mask kept", kept), ("mask forgotten", torch.ones_like(kept)))
    }
pd.DataFrame(table).T.rename_axis("neighbour in the batch").round(2)

# %% [markdown]
# Two padding tokens hardly matter, four cost more than seven nats, and nothing in the row itself has changed. A test with short padding would have passed.
#
# A chat sets a second trap. Each turn of the *prompt* ends in the same token, so an attention mask by id, `input_ids != pad_token_id`, hides real tokens from the model.

# %%
messages = [{"role": "user", "content": "Is this kettle good?"}]
chat = encode_pair(tokenizer, messages, "It boils fast.")
batch = collate_rows([chat], pad)
hidden = (batch["input_ids"] == pad).long()
results = {
    "by position": run_model(smol, batch),
    "by id": run_model(smol, batch, attention_mask=1 - hidden),
}
print("tokens of the row:", len(chat), "  hidden by id:", hidden.sum().item())
for name, logits in results.items():
    logp = sequence_logprobs(logits, batch["input_ids"], batch["completion_mask"]).item()
    print(f"attention mask {name:11}  log π(y|x) = {logp:.2f}")

# %% [markdown]
# A quarter of a nat: too little to notice, and wrong in every row. Where the policy trains with one mask and the reference is scored with the other, it is wrong in the loss.
#
# ### A model that nobody teaches to stop
#
# What does it matter if one token of many is not scored? That token gets **no gradient**. Let us fine-tune the tiny policy on reviews of a single sentence, twice: with the mask by position, and with the EOS masked out. We look at the probability of EOS right behind the first sentence.
#
# **Predict.** Does this probability rise, fall or stay, in each of the two runs?

# %%
one_sentence = [
    encode_pair(tiny.tokenizer, p["prompt"], p["chosen"].split(" . ")[0].removesuffix(" .") + " .")
    for p in pairs.select(range(32))
]
eos = tiny.tokenizer.eos_token_id
batch = collate_rows(one_sentence, eos)  # pad == eos, as in SmolLM2
last = torch.tensor([len(r) - 2 for r in one_sentence])  # log-prob of each row's final EOS


def stop_probability(policy):
    scores = token_logprobs(run_model(policy, batch), batch["input_ids"])
    return scores[torch.arange(len(last)), last].exp().mean().item()


masks = {
    "mask by position": batch["completion_mask"],
    "EOS masked by id": batch["completion_mask"] & (batch["input_ids"] != eos),
}
print(f"{'before':17} P(EOS after the first sentence) = {stop_probability(tiny):.3f}")
for name, mask in masks.items():
    student = copy.deepcopy(tiny)
    optimizer = torch.optim.AdamW(student.model.parameters(), lr=1e-3)
    for _ in range(8):
        logits = student.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        optimizer.zero_grad()
        (-sequence_logprobs(logits, batch["input_ids"], mask).mean()).backward()
        optimizer.step()
    print(f"{name:17} P(EOS after the first sentence) = {stop_probability(student):.3f}")

# %%
logits = tiny.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
for name, mask in masks.items():
    total = sequence_logprobs(logits, batch["input_ids"], mask).sum()
    (gradient,) = torch.autograd.grad(total, logits, retain_graph=True)
    norm = gradient[torch.arange(len(last)), last].norm()
    print(f"{name:17} gradient norm at the positions that predict EOS: {norm:.4f}")

# %% [markdown]
# With the mask by position the model learns to stop. With the EOS masked by id, the gradient at those positions is exactly 0, and the probability only drifts with what the other tokens do to the shared weights. This model could stop before we began, so it still does, more often than not. A model that is trained so from the start is never taught to stop.
#
# ## 7 · In float32, whatever the model's dtype
#
# Models run in bfloat16 on a GPU: 8 bits of significand, which is two to three decimal digits. We take SmolLM2's logits for three answers of growing length, round them to bfloat16 as a model in that dtype would return them, and compare each way of scoring with float64.
#
# **Predict.** How large does the error of the longest answer get if log-softmax and sum are done in bfloat16 too?

# %%
sentence = (
    " This kettle boils a full litre in three minutes, pours without a drip "
    "and has survived two years of daily tea."
)
more = (
    " The lid opens wide enough to clean, and the handle stays cool even when you forget it "
    "on the stove. I would buy it again, "
    "although the blue light is far too bright for a dark kitchen."
)
texts = {"short": " It boils water.", "one sentence": sentence, "three sentences": sentence + more}
smol_rows = [encode_pair(tokenizer, "Is this kettle good?", text) for text in texts.values()]
batch = collate_rows(smol_rows, pad)
ids, mask, logits = batch["input_ids"], batch["completion_mask"], run_model(smol, batch)
review_logits, review_ids, review_mask = logits, ids, mask  # section 9 uses them again

# %%
from dpo_lab.logprobs import sequence_logprobs as library_logprobs

exact = library_logprobs(logits.double(), ids, mask)
rounded = logits.bfloat16()
upcast = library_logprobs(rounded, ids, mask)


def textbook(logits):  # in the dtype of the logits throughout
    scores = log_softmax(logits[:, :-1], dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return scores.masked_fill(~mask[:, 1:], 0.0).sum(-1)


in_float32, low = textbook(logits), textbook(rounded)
steps_to_next = [torch.nextafter(v, torch.zeros_like(v)).item() - v.item() for v in low]
pd.DataFrame(
    {
        "tokens": mask.sum(-1).tolist(),
        "log π(y|x)": exact.tolist(),
        "float32, log_softmax": (in_float32.double() - exact).tolist(),
        "float32, logsumexp": (library_logprobs(logits, ids, mask) - exact).tolist(),
        "logits rounded": (upcast - exact).tolist(),
        "log-softmax and sum too": (low.double() - upcast).tolist(),
        "next bf16 number is away": steps_to_next,
    },
    index=list(texts),
).round(5)

# %% [markdown]
# Read it column by column.
#
# * **float32** has no trouble with these sums. PyTorch's `log_softmax` errs a little more than picking the logit and subtracting `logsumexp`, and its errors add up over the tokens. (Another processor may show other digits.) Both are good enough to train with; the library takes the second.
# * **logits rounded** is what the model's own dtype costs; no later code can undo it.
# * **log-softmax and sum too** is what you *add* by going on in bfloat16. For the two shorter answers that is less than what the rounded logits had cost already, for the longest it is more. What no luck can mend is the grain in the last column: near the longest answer's sum, bfloat16 has no number closer than that step. Two models that differ by less get the same log-prob, or one a whole step apart, and DPO lives on such differences.
#
# What about **float16**? It has more digits than bfloat16 (11 bits of significand against 8), but its numbers end at 65504.

# %%
large = torch.tensor([70_000.0, 0.0])
for dtype in (torch.bfloat16, torch.float16):
    values = large.to(dtype)
    print(f"{dtype!s:15}", values.tolist(), "  log-softmax:", log_softmax(values, dim=-1).tolist())

# %% [markdown]
# In float16 a large value becomes infinite, and inf − inf, which log-softmax computes, is NaN.
#
# So, from either: logits to float32 first, then the rest.
#
# ## 8 · Sum or mean?
#
# A sum of negative numbers falls with every token. The notes that this course grew from conclude that DPO is biased against long answers and that dividing by the length is the cure. Let us look before we divide. We train the tiny policy for one epoch of DPO: **Direct Preference Optimization**, which makes the chosen answer of each pair likelier against the rejected one (lesson 04 has the loss, with its weight β; lesson 05 the loop). Write $\pi_\theta$ for the policy that is trained and $\pi_\text{ref}$ for the **reference**, the same policy before training, frozen.

# %%
reference = frozen_reference(tiny)
policy = load_policy("tiny", device="cpu")
train_dpo(policy, reference, pairs, DPOConfig(beta=0.1, lr=3e-4, epochs=1, batch_size=16, seed=0))

chosen = [encode_pair(tiny.tokenizer, p["prompt"], p["chosen"]) for p in pairs]
rejected = [encode_pair(tiny.tokenizer, p["prompt"], p["rejected"]) for p in pairs]
batch = collate_rows(chosen + rejected, tiny.tokenizer.pad_token_id)
ids, mask, everything = batch["input_ids"], batch["completion_mask"], batch["attention_mask"].bool()
policy_logits, ref_logits = run_model(policy, batch), run_model(reference, batch)
lengths = mask.sum(dim=-1)

# %% [markdown]
# **Predict.** Three scatter plots over the completion's length: the reference's sum, the reference's mean per token, and the log-ratio $\log\pi_\theta(y\mid x) - \log\pi_\text{ref}(y\mid x)$, which is all that DPO sees. Which of them falls along a line? Which one opens like a fan?

# %%
policy_logps, ref_logps = (
    sequence_logprobs(policy_logits, ids, mask),
    sequence_logprobs(ref_logits, ids, mask),
)
show(
    plot_length(lengths, ref_logps, policy_logps, is_chosen=torch.arange(256) < 128),
    "256 completions by length, each point one completion. From the shortest to the longest "
    "group of the table below, the sum's size grows sixfold, the mean's by half. "
    "The log-ratio opens like a fan.",
    alt="Three scatter plots against completion length: sums fall from about -4 to about -40, "
    "most means lie between -0.5 and -1.4, "
    "log-ratios spread out around and below zero as length grows.",
)

# %%
moved = (policy_logps - ref_logps).abs()
values = pd.DataFrame(
    {
        "tokens": lengths,
        "sum": ref_logps,
        "mean per token": ref_logps / lengths,
        "|log-ratio|": moved,
        "|log-ratio| per token": moved / lengths,
    }
)
names = ["up to 8", "9–14", "15–20", "21 and more"]
groups = pd.cut(values["tokens"], [0, 8, 14, 20, 40], labels=names).rename("length")
values.astype(float).groupby(groups, observed=True).mean().round(3)

# %% [markdown]
# * **The level is no bias.** The sum is lower for long answers, but for policy and reference alike. Before the first step every log-ratio is 0, at every length.
# * **It is the log-ratio that scales.** A model that shifts each token's log-prob a little shifts a long answer's sum by more: the size of the log-ratio grows with length. The last column says by what: most of it is the number of tokens; each token also moves somewhat more in long answers. Length exploitation, where it happens, is put down to this together with data in which the longer answer wins, and to drift out of distribution (Park et al. 2024); lesson 07 measures it.
# * **A mean is another objective.** It is a fair choice (SimPO makes it, with a loss of its own), but it is not $\log\pi(y\mid x)$, and $\beta$ means something else with it.
#
# ### What a mean does to the prompt
#
# Chosen and rejected share their prompt, token for token. If the prompt's tokens are scored too, they add the same number to both sides.
#
# **Predict.** The DPO gap is $\delta = [\log\pi_\theta(y_w) - \log\pi_\text{ref}(y_w)] - [\log\pi_\theta(y_l) - \log\pi_\text{ref}(y_l)]$, with $y_w$ the chosen and $y_l$ the rejected completion. Does it change when the prompt is scored, with sums? With means?


# %%
def gaps(mask, average):
    ratios = sequence_logprobs(policy_logits, ids, mask, average) - sequence_logprobs(
        ref_logits, ids, mask, average
    )
    return ratios[:128] - ratios[128:]


table = pd.DataFrame(
    {
        "sum, completion": gaps(mask, False),
        "sum, with prompt": gaps(everything, False),
        "mean, completion": gaps(mask, True),
        "mean, with prompt": gaps(everything, True),
    }
)
print(
    "largest difference with sums: ",
    f"{(table['sum, completion'] - table['sum, with prompt']).abs().max():.1e}",
    "nats",
)
print(
    "largest difference with means:",
    f"{(table['mean, completion'] - table['mean, with prompt']).abs().max():.3f}",
    "nats per token",
)
print(
    "pairs whose mean gap changes sign with the prompt:",
    int((table["mean, completion"] * table["mean, with prompt"] < 0).sum()),
    "of 128",
)
table.head(4).round(4)

# %% [markdown]
# With sums the prompt cancels, up to rounding. With means it does not: prompt and completion are divided by a length that differs between the two sides, so the prompt's drift leaks into the comparison. That is the answer to "is the prompt masked, and does it matter?": for DPO's loss on sums it does not; for each implicit reward on its own, for means, and for any NLL term it does. Mask it.
#
# ## 9 · Three bug hunts
#
# Each of these is in the notes that this course grew from, and in posts and pull requests. Read the code, find the bug, then run the cell.
#
# ### The slice


# %%
def get_log_probs(model, prompt_ids, response_ids):  # (B, P) and (B, C)
    logits = model(torch.cat([prompt_ids, response_ids], dim=1)).logits
    log_probs = log_softmax(logits[:, len(prompt_ids) - 1 : -1], dim=-1)
    return log_probs.gather(-1, response_ids.unsqueeze(-1)).sum(dim=1)


# %% [markdown]
# **Predict.** We score the same first row in batches of 1, 2, … 6 rows, each with a prompt of 5 tokens. For which batch sizes is the number right?

# %%
size = pd.Series(lengths[:128].tolist()).mode()[0]  # rows of one length need no padding
same = ids[:128][lengths[:128] == size][:6]
prompts, answers = same[:, :5], same[:, 5 : 5 + size]
first = same[:1, : 5 + size]
first_logits = run_model(tiny, {"input_ids": first, "attention_mask": torch.ones_like(first)})
right = sequence_logprobs(first_logits, first, completion_mask=torch.arange(5 + size)[None] >= 5)
found = {}
with torch.no_grad():
    for rows_in_batch in range(1, 7):
        try:
            result = get_log_probs(tiny.model, prompts[:rows_in_batch], answers[:rows_in_batch])
            value = f"{result[0].item():.3f}"
            found[rows_in_batch] = {"first row": value, "shape": tuple(result.shape)}
        except RuntimeError:
            found[rows_in_batch] = {"first row": "RuntimeError", "shape": ""}
print("right:", round(right.item(), 3))
pd.DataFrame(found).T.rename_axis("rows in the batch")

# %% [markdown]
# `len` of a $(B, P)$ tensor is $B$, the number of rows. The slice starts at the batch size, and `gather` does not mind: it takes as many positions as it has indices and ignores the rest. The result is right only where the batch happens to have as many rows as the prompt has tokens, wrong and silent below, and an error above. Meant was `prompt_ids.shape[1]`, and even that needs prompts of one length. There is a second slip: the shape is $(B, 1)$, because the gathered dimension was never squeezed. Subtract a $(B,)$ tensor from it and you get $(B, B)$.
#
# ### The clamp
#
# "Clip log-probabilities for stability": `logp = torch.clamp(logp, min=-100, max=0)`.
#
# **Predict.** What does the clamp do to the log-probs of the three kettle reviews of section 7? And to their gradients?

# %%
leaf = review_logits.clone().requires_grad_()
report = {}
for name, lowest in (("plain", None), ("clamped", -100)):
    logps = sequence_logprobs(leaf, review_ids, review_mask).clamp(min=lowest, max=0)
    (gradient,) = torch.autograd.grad(logps.sum(), leaf)
    report[f"log π, {name}"] = logps.tolist()
    report[f"gradient norm, {name}"] = gradient.flatten(1).norm(dim=1).tolist()
pd.DataFrame(report, index=list(texts)).round(3)

# %% [markdown]
# The clamp kills the gradient of every sequence below −100 nats, which here are the two longer answers. They are never trained on by their own gradient, in silence. A pair of two such answers has a margin of 0 for good if the reference's two are below −100 as well. A log-prob of −300 needs no stabilising: it is an ordinary float32. What would underflow is its exponential, and DPO never takes that (lesson 04).
#
# ### The product
#
# You met the third in section 3: `(scores * mask).sum()`. **Predict.** In the next cell the forbidden token is masked in both versions. Which gradients arrive at the logits when the sum goes into DPO's $-\log\sigma$?

# %%
selections = {"product": lambda s, m: s * m, "masked_fill": lambda s, m: s.masked_fill(~m, 0.0)}
for name, select in selections.items():
    raw = torch.tensor([[1.0, 2.0], [float("-inf"), 0.0]], requires_grad=True)
    scores = log_softmax(raw, dim=-1)[:, 0]  # the second token is forbidden, and masked
    loss = -logsigmoid(select(scores, torch.tensor([True, False])).sum())
    loss.backward()
    print(f"{name:12} loss {loss.item():.3f}   gradient {raw.grad.flatten().tolist()}")

# %% [markdown]
# One masked $-\infty$ makes the loss NaN, and the NaN comes back through the sigmoid to the logits of the token that *was* scored. After one optimiser step, all weights are NaN.
#
# ## Recap
#
# * The logits at position $t$ are about token $t + 1$: slice logits, ids *and mask*, then log-softmax, gather, sum.
# * $\log\pi(y\mid x)$ sums over the completion's tokens, its EOS included. Not the prompt, not the padding.
# * Masks go by position. Where pad == eos, a mask by id loses the EOS, and the model gets no gradient for stopping: one that could not stop before will not learn it.
# * Tokenize prompt and completion apart, so that no token straddles the border; begin the completion with the blank, don't end the prompt with it.
# * Padding on either side gives the same log-probs, if the attention mask is there and positions are counted over real tokens.
# * Truncate the prompt from the left; never the completion. In a pair, cut both prompts by what the longer answer needs.
# * Float32 from the logits on. Select, don't multiply. Don't clamp.
# * DPO's log-probs are sums. The prompt cancels in the loss for sums, not for means. A lower sum for longer answers is no bias; the size of the *log-ratio* grows with length.
#
# ## Two interview questions
#
# <details><summary><b>1. A colleague masks the loss with <code>labels != pad_token_id</code>. When does that go wrong, and how would you notice?</b></summary>
#
# It goes wrong in two ways. It scores the prompt, which cancels in DPO's loss on sums but not in means, single rewards or NLL terms. And where the pad token is the EOS token, as in SmolLM2 and in every model whose pad was set to EOS for want of one, it removes the EOS from the loss. The model gets no gradient for stopping: a model that could not stop before will not learn it. One notices answers that run on to the token limit; in the code, compare the number of counted tokens with the completion's length including EOS. The cure is a mask by position, made where prompt and completion are joined.
#
# </details>
# <details><summary><b>2. Longer answers have lower log-probabilities. Does DPO need length normalisation?</b></summary>
#
# Not for that reason. The log-prob of a long answer is lower under the policy and under the reference alike, and DPO only looks at the difference of the two, which is 0 before training at every length. What scales with length is the *log-ratio* of a completion: a small shift per token adds up over a long answer. Length exploitation is put down to that together with data in which longer answers win, and to drift out of distribution. Dividing by the length changes the objective: it is no longer $\log\pi(y\mid x)$, β has another meaning, and the prompt, if it is scored, no longer cancels. Balanced data or a length term in the margin (R-DPO) address the cause; SimPO uses means by design.
#
# </details>
#
# **Next:** lesson 04 puts four of these numbers into a loss.
