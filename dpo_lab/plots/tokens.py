"""Figures of token rows: what each token costs, and which tokens count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from dpo_lab.plots.style import CHOSEN, GUIDE_LINE, REJECTED, label, subplots

LIKELY_TO_UNLIKELY = LinearSegmentedColormap.from_list("logprob", ["#FFFFFF", "#9ECAE1", "#08519C"])
UNLIKELY = 8.0  # nats at which the colour is full
NOT_COUNTED, UNCOUNTED_INK = "#EBEBEB", "#4D4D4D"
CELL_WIDTH, CELL_HEIGHT = 0.78, 0.68  # inches


def draw_tokens(
    tokenizer: Any,
    batch: dict[str, Tensor],
    logprobs: Tensor,
    counted: Tensor | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Rows of tokens, a cell each: blue where it counts (dark is unlikely), grey elsewhere, hatched in the padding.

    Args:
        tokenizer: turns ids back into text.
        batch: `input_ids`, `attention_mask`, `completion_mask`, each (R, T), as `encoding.collate_rows` returns them.
        logprobs: (R, T - 1), of each token given those before it, in nats; written below the token.
        counted: (R, T), true where a token enters the sum; None counts the completions. The first token never counts:
            nothing predicts it.
        names: R labels, written before the rows.
    """
    counted = batch["completion_mask"] if counted is None else counted
    rows, width = batch["input_ids"].shape
    margin = 1.0 if names else 0.3
    figure, axes = subplots(width=CELL_WIDTH * width + margin, height=CELL_HEIGHT * rows + 0.35)
    for row in range(rows):
        pieces = [readable(tokenizer, token) for token in batch["input_ids"][row].tolist()]
        for column, piece in enumerate(pieces):
            score = None if column == 0 else logprobs[row, column - 1].item()
            is_padding = not batch["attention_mask"][row, column]
            draw_cell(axes, column, row, piece, score, bool(counted[row, column]) and column > 0, is_padding)
    axes.set_xlim(-0.05, width + 0.05)
    axes.set_ylim(rows + 0.05, -0.05)
    axes.set_xticks([])
    axes.set_yticks([row + 0.5 for row in range(rows)], names or [""] * rows)
    axes.tick_params(length=0)
    axes.grid(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def draw_cell(
    axes: Axes, column: int, row: int, piece: str, score: float | None, is_counted: bool, is_padding: bool
) -> None:
    """One token with its log-prob below."""
    depth = 0.0 if score is None else min(-score / UNLIKELY, 1.0)
    fill = LIKELY_TO_UNLIKELY(depth) if is_counted else NOT_COUNTED
    ink = "white" if is_counted and depth > 0.75 else "black" if is_counted else UNCOUNTED_INK
    frame = {"facecolor": fill, "edgecolor": "#333333" if is_counted else "#b5b5b5"}
    hatch = {"hatch": "////"} if is_padding else {}
    axes.add_patch(Rectangle((column + 0.03, row + 0.05), 0.94, 0.9, linewidth=1.0, **frame, **hatch))
    backdrop = {"bbox": {"facecolor": fill, "edgecolor": "none", "pad": 0.6}} if is_padding else {}
    text = {"ha": "center", "va": "center", "color": ink, **backdrop}
    axes.text(column + 0.5, row + 0.34, piece, fontsize=11 if len(piece) < 8 else 8.5, **text)
    axes.text(
        column + 0.5,
        row + 0.74,
        "" if score is None else f"{score:.2f}".replace("-", "−"),
        fontsize=11,
        **text,
    )


def readable(tokenizer: Any, token: int, longest: int = 12) -> str:
    """A token's text, its spaces and line breaks made visible; a special token's name in short."""
    text = tokenizer.decode([token]).replace(" ", "·").replace("\n", "↵")
    text = text.replace("<|im_end|>", "‹im_end›").replace("<|im_start|>", "‹im_start›")
    return text.replace("$", r"\$") if len(text) <= longest else f"{text[: longest - 1]}…"


def plot_length(lengths: Tensor, ref_logps: Tensor, policy_logps: Tensor, is_chosen: Tensor) -> Figure:
    """How a completion's sum, its mean and its log-ratio change with its length.

    Args:
        lengths: (N,) completion tokens.
        ref_logps, policy_logps: (N,) sums, in nats, before and after training.
        is_chosen: (N,) bool, sets the colour.
    """
    figure, panels = subplots(columns=3, width=3.9)
    jitter = (torch.rand(len(lengths), generator=torch.Generator().manual_seed(0)) - 0.5) * 0.6
    values = (ref_logps, ref_logps / lengths, policy_logps - ref_logps)
    for axes, value in zip(panels, values, strict=True):
        for name, rows, color in (("chosen", is_chosen, CHOSEN), ("rejected", ~is_chosen, REJECTED)):
            axes.plot(
                (lengths + jitter)[rows], value[rows], "o", color=color, markersize=3, alpha=0.5, label=name
            )
        axes.axhline(0, **GUIDE_LINE)
    panels[0].legend()
    length = "completion length (tokens)"
    label(panels[0], length, "log π_ref(y|x) (nats)", "Sum: falls along a line")
    label(panels[1], length, "mean log-prob (nats per token)", "Mean: falls less")
    label(panels[2], length, "log π − log π_ref (nats)", "Log-ratio: fans out")
    return figure
