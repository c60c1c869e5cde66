"""One look for every figure: colours that the colour-blind can tell apart, with one meaning in all lessons."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito's palette
CHOSEN = "#0072B2"
REJECTED = "#D55E00"
POLICY = "#009E73"
REFERENCE = "#666666"
ACCENT = "#CC79A7"
# for a parameter that varies, such as β: dark to light, and none of the colours above
SEQUENCE = ("#440154", "#3E4A89", "#26828E", "#35B779", "#9FCB3B", "#D8C51E")

POLICY_LINE = {"color": POLICY, "linestyle": "-", "linewidth": 2.0}
REFERENCE_LINE = {"color": REFERENCE, "linestyle": "--", "linewidth": 1.5}
GUIDE_LINE = {"color": "#999999", "linestyle": ":", "linewidth": 1.2, "zorder": 0}

STYLE = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.1,  # inches: a dark page shows where a white figure ends
    "figure.constrained_layout.h_pad": 0.1,
    "savefig.facecolor": "white",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "axes.prop_cycle": plt.cycler(color=SEQUENCE),
}
plt.rcParams.update(STYLE)


def subplots(
    columns: int = 1, rows: int = 1, width: float = 4.6, height: float = 3.4, **options: Any
) -> tuple[Figure, Any]:
    """A figure in the course's style and its axes; `width` and `height` in inches are one panel's."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", **options
    )
    return figure, axes


def label(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Axis labels (with units) and a title that says what to see."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)


def show(figure: Figure, caption: str, alt: str | None = None) -> None:
    """Show a figure in a notebook with its caption below; `alt` describes it to those who can't see it."""
    from IPython.display import Markdown, display

    display(png(figure, alt or caption))
    display(Markdown(f"*{caption}*"))


def png(figure: Figure, alt: str) -> Any:
    """The figure as an image that a notebook displays, with its alternative text; the figure itself is closed."""
    from IPython.display import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return Image(data=buffer.getvalue(), format="png", alt=alt, metadata={"alt": alt})
