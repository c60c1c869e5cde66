"""The stages of RLHF and of DPO, side by side."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from dpo_lab.plots.style import POLICY, REFERENCE, SEQUENCE, subplots

# left edge, width, title, what happens there, models held in memory
RLHF = (
    (0.0, 3.0, "1 · SFT", "demonstrations", "policy"),
    (3.6, 3.0, "2 · reward model", "preference pairs", "reward model"),
    (7.2, 4.4, "3 · PPO", "sample, score, update, repeat", "policy, value, reward, reference"),
)
DPO = (
    (0.0, 3.0, "1 · SFT", "demonstrations", "policy"),
    (3.6, 3.0, "once: log-probs", "preference pairs", "reference"),
    (7.2, 4.4, "2 · DPO", "a loss on the same pairs", "policy (reference cached)"),
)


def draw_stages() -> Figure:
    """Two rows of boxes: what each recipe runs, on which data, and which models it holds in memory."""
    figure, axes = subplots(width=10.0, height=3.3)
    for y, name, boxes in ((2.3, "RLHF", RLHF), (0.0, "DPO", DPO)):
        axes.text(-1.5, y + 0.75, name, fontsize=13, fontweight="bold", va="center")
        for index, box in enumerate(boxes):
            draw_box(axes, y, *box, color=REFERENCE if box[2].startswith("once") else POLICY)
            if index:
                end = boxes[index - 1][0] + boxes[index - 1][1]
                arrow = {"arrowstyle": "-|>", "color": "#444444", "lw": 1.5}
                axes.annotate("", (box[0], y + 0.75), xytext=(end, y + 0.75), arrowprops=arrow)
    axes.set_xlim(-1.7, 11.8)
    axes.set_ylim(-0.25, 4.05)
    axes.set_axis_off()
    return figure


def draw_box(
    axes: Axes, y: float, x: float, width: float, title: str, data: str, models: str, color: str
) -> None:
    """One stage: its title, its data, the models in memory."""
    style = "round,pad=0.02,rounding_size=0.12"
    axes.add_patch(
        FancyBboxPatch((x, y), width, 1.5, boxstyle=style, facecolor="#f7f7f7", edgecolor=color, lw=1.8)
    )
    middle = x + width / 2
    axes.text(middle, y + 1.2, title, ha="center", va="center", fontsize=10.5, fontweight="bold")
    axes.text(middle, y + 0.75, data, ha="center", va="center", fontsize=9.5)
    axes.text(middle, y + 0.28, models, ha="center", va="center", fontsize=9, color=SEQUENCE[1])
