"""See what runs write, most common text first; and move a biased annotator and watch the policy."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence

import ipywidgets as widgets
from IPython.display import display

from dpo_lab.plots.failures import draw_amplification
from dpo_lab.widgets.sliders import follow, slider


def failure_browser(runs: Mapping[str, Sequence[str]]) -> None:
    """A dropdown of runs; below it the chosen run's texts with how often each occurs, most common first.

    Args:
        runs: what each run wrote, by its label.
    """
    choose = widgets.Dropdown(
        options=list(runs), description="run", style={"description_width": "60px"}, layout={"width": "420px"}
    )
    page = widgets.HTML()

    def turn(*_: object) -> None:
        page.value = listing(runs[choose.value])

    choose.observe(turn, names="value")
    turn()
    display(widgets.VBox([choose, page]))


def listing(texts: Sequence[str], most: int = 12, width: int = 160) -> str:
    """The most common texts as an HTML table that follows the notebook's theme; long ones are cut."""
    rows = []
    for text, count in Counter(texts).most_common(most):
        shown = text if len(text) <= width else text[:width] + " …"
        rows.append(
            f'<tr><td style="text-align:right;padding:1px 10px">{count} ×</td>'
            f'<td style="text-align:left">{html.escape(shown) or "(empty)"}</td></tr>'
        )
    different = len(set(texts))
    return (
        '<div style="color:var(--jp-ui-font-color1,inherit);line-height:1.4">'
        f"{different} different texts among {len(texts)}<table>{''.join(rows)}</table></div>"
    )


def amplification_explorer() -> None:
    """Sliders for the annotators' preference, the reference's share and β; the share at DPO's optimum."""
    follow(
        draw_amplification,
        alt="Share of a trait at DPO's optimum against the preference in the data, for several beta, one point marked.",
        data=slider("preferred in the data", 0.6, 0.05, 0.95, 0.01),
        reference=slider("share in the reference", 0.5, 0.02, 0.98, 0.01),
        beta=slider("β", 0.1, 0.02, 2.0, 0.01),
    )
