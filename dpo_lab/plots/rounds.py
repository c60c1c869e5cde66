"""Figures of where the pairs come from: reward against distance, a mark a method."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpo_lab.plots.style import ACCENT, CHOSEN, POLICY, REFERENCE, REFERENCE_LINE, REJECTED, label, subplots

COLORS = {
    "offline": CHOSEN,
    "offline, β / 4": "#56B4E9",
    "offline, lr × 1.5": "#56B4E9",
    "iterative": REJECTED,
    "online": POLICY,
    "best of 4": ACCENT,
    "active": "#E69F00",
}
MARKERS = {
    "offline": "o",
    "offline, β / 4": "v",
    "offline, lr × 1.5": "v",
    "iterative": "s",
    "online": "D",
    "best of 4": "^",
    "active": "P",
}


def plot_equal_labels(
    tables: dict[str, pd.DataFrame],
    reference: Sequence[float],
    frontier: pd.DataFrame | None = None,
) -> Figure:
    """Reward against KL, a panel for each table: small marks are runs, large ones the means of a method.

    Args:
        tables: by panel title; each with a row a run: `method`, `reward`, `kl`.
        reference: the reference's reward in each panel.
        frontier: `kl` and `reward` of the best policies, where they are known.
    """
    figure, _ = subplots(columns=len(tables), width=9.6 / max(2, len(tables)), height=3.7)
    for panel, start, (title, table) in zip(figure.axes, reference, tables.items(), strict=True):
        if frontier is not None:
            seen = frontier[frontier["kl"] <= 1.05 * table["kl"].max()]
            panel.plot(seen["kl"], seen["reward"], color="black", linewidth=1.2, label="best possible")
        panel.axhline(start, **REFERENCE_LINE)
        panel.annotate("reference", (1, start), xycoords=("axes fraction", "data"), xytext=(-4, 4),
                       textcoords="offset points", ha="right", fontsize=9, color=REFERENCE)  # fmt: skip
        for method, runs in table.groupby("method", sort=False):
            method_marks(panel, str(method), runs)
        panel.set_xlim(left=0)
        label(panel, "KL to the first reference (nats)", "mean true reward", title)
    figure.axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9.5)
    return figure


def method_marks(panel: Axes, method: str, runs: pd.DataFrame) -> None:
    """One method: its runs small, their mean large with the standard deviations as bars."""
    style = {"color": COLORS[method], "marker": MARKERS[method], "linestyle": "none"}
    panel.plot(runs["kl"], runs["reward"], markersize=4, alpha=0.55, **style)
    panel.errorbar(
        runs["kl"].mean(),
        runs["reward"].mean(),
        xerr=runs["kl"].std() if len(runs) > 1 else None,
        yerr=runs["reward"].std() if len(runs) > 1 else None,
        markersize=9,
        markeredgecolor="black",
        elinewidth=1.0,
        label=method,
        **style,
    )
