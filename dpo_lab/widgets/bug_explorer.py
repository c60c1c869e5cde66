"""Choose a bug and see the dashboard of a run with it, above one of a sound run."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets
from matplotlib.figure import Figure

from dpo_lab.history import History
from dpo_lab.plots.debugging import plot_dashboards
from dpo_lab.widgets.sliders import follow


def bug_explorer(runs: Mapping[str, History], healthy: History) -> None:
    """A menu of runs; the chosen one's dashboard below that of a sound run on the same pairs.

    Args:
        runs: histories by bug.
        healthy: the sound run.
    """

    def draw(bug: str) -> Figure:
        return plot_dashboards({"healthy": healthy, bug: runs[bug]})

    menu = widgets.Dropdown(options=list(runs), description="bug")
    follow(draw, alt="Dashboards of a sound run and of one with the chosen bug.", bug=menu)
