"""Every figure of the course, one file a topic."""

from dpo_lab.plots.losses import draw_pair_state, plot_label_smoothing, plot_loss_and_gradient
from dpo_lab.plots.style import show
from dpo_lab.plots.training import plot_history

__all__ = ["draw_pair_state", "plot_history", "plot_label_smoothing", "plot_loss_and_gradient", "show"]
