"""A row of sliders above a figure that follows them."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets
from IPython.display import display
from matplotlib.figure import Figure

from dpo_lab.plots.style import png


def slider(description: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    """A slider with room for its name."""
    return widgets.FloatSlider(
        value=value,
        min=low,
        max=high,
        step=step,
        description=description,
        style={"description_width": "170px"},
        layout={"width": "480px"},
    )


def follow(draw: Callable[..., Figure], alt: str, **controls: widgets.Widget) -> None:
    """Display the controls and, below them, `draw(**their values)`, redrawn at each change."""
    image = widgets.Image(format="png", layout={"max_width": "100%"})

    def redraw(*_: object) -> None:
        image.value = png(draw(**{name: control.value for name, control in controls.items()}), alt).data

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    display(widgets.VBox([*controls.values(), image]))
