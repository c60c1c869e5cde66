"""Choose which tokens of a padded row count, and watch the sum."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import ipywidgets as widgets
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dpo_lab.encoding import Encoded, collate_rows, encode_pair
from dpo_lab.logprobs import token_logprobs
from dpo_lab.plots.tokens import draw_tokens
from dpo_lab.policies import Policy
from dpo_lab.widgets.sliders import follow

Rule = Callable[[dict[str, Tensor], int], Tensor]

RULES: dict[str, Rule] = {
    "the completion, by position": lambda batch, pad: batch["completion_mask"],
    "everything (no mask)": lambda batch, pad: torch.ones_like(batch["completion_mask"]),
    "all but padding, by position": lambda batch, pad: batch["attention_mask"].bool(),
    "all but padding, by id": lambda batch, pad: batch["input_ids"] != pad,
    "the completion, but not the pad id": lambda batch, pad: (
        batch["completion_mask"] & (batch["input_ids"] != pad)
    ),
    "the completion, mask not shifted": lambda batch, pad: batch["completion_mask"].roll(1, dims=-1),
}


def token_mask_viewer(policy: Policy, prompt: str, completion: str) -> None:
    """Dropdowns for the rule and the padding side, a slider for the padding; the row, and its sum and mean."""

    @cache
    def scored(padding: int, side: str) -> tuple[dict[str, Tensor], Tensor]:
        return padded_row(policy, prompt, completion, padding, side)

    def draw(rule: str, side: str, padding: int) -> Figure:
        batch, logprobs = scored(padding, side)
        counted = counted_by(rule, batch, policy.tokenizer.pad_token_id)
        figure = draw_tokens(policy.tokenizer, batch, logprobs, counted)
        total, size = logprobs[counted[:, 1:]].sum().item(), int(counted.sum())
        title = f"sum {total:.2f} nats over {size} tokens, mean {total / size:.2f}"
        figure.axes[0].set_title(title.replace("-", "−"))
        return figure

    width = {"style": {"description_width": "170px"}, "layout": {"width": "480px"}}
    follow(
        draw,
        alt="A row of tokens; those that the chosen rule counts are coloured, and their sum stands above.",
        rule=widgets.Dropdown(options=list(RULES), description="what counts", **width),
        side=widgets.Dropdown(options=["right", "left"], description="padding side", **width),
        padding=widgets.IntSlider(value=3, min=0, max=6, description="padding tokens", **width),
    )


def padded_row(
    policy: Policy, prompt: str, completion: str, padding: int, side: str
) -> tuple[dict[str, Tensor], Tensor]:
    """One row with `padding` pad tokens on `side`, as a batch of (1, T) tensors, and its (1, T - 1) log-probs."""
    row, pad = encode_pair(policy.tokenizer, prompt, completion), policy.tokenizer.pad_token_id
    # a second, longer row makes the collator pad
    longer = Encoded([pad] * (len(row) + padding), [False] * (len(row) + padding))
    batch = {name: tensor[:1] for name, tensor in collate_rows([row, longer], pad, side).items()}
    return batch, score(policy, batch)


def counted_by(rule: str, batch: dict[str, Tensor], pad: int) -> Tensor:
    """(R, T) bool: the tokens that a rule of `RULES` counts, less those that nothing predicts.

    Those are the first column and each row's first real token, which on the left has only padding before it.
    """
    counted = RULES[rule](batch, pad).clone()
    counted[:, 0] = False
    counted[torch.arange(len(counted)), batch["attention_mask"].argmax(dim=-1)] = False
    return counted


@torch.no_grad()
def score(policy: Policy, batch: dict[str, Tensor]) -> Tensor:
    """(R, T - 1) token log-probs of a padded batch, positions counted over real tokens, on the CPU."""
    inputs = {name: batch[name].to(policy.device) for name in ("input_ids", "attention_mask")}
    positions = (inputs["attention_mask"].cumsum(dim=-1) - 1).clamp(min=0)
    logits = policy.model(**inputs, position_ids=positions, use_cache=False).logits
    return token_logprobs(logits, inputs["input_ids"]).cpu()
