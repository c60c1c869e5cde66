"""Every figure of the course, one file a topic."""

from dpo_lab.plots.bradley_terry import (
    draw_comparison,
    plot_fitted_rewards,
    plot_likelihood_slices,
    plot_loss_of_label,
)
from dpo_lab.plots.demo import plot_alignment
from dpo_lab.plots.losses import draw_pair_state, plot_label_smoothing, plot_loss_and_gradient
from dpo_lab.plots.optimum import plot_frontier, plot_implicit_rewards, plot_optimal_policies
from dpo_lab.plots.preferences import (
    draw_agreement,
    plot_annotators,
    plot_label_noise,
    plot_leak,
    plot_longer_wins,
)
from dpo_lab.plots.stages import draw_stages
from dpo_lab.plots.style import show
from dpo_lab.plots.tokens import draw_tokens, plot_length
from dpo_lab.plots.training import (
    plot_before_after,
    plot_early_stopping,
    plot_history,
    plot_schedules,
    plot_watch,
)

__all__ = [
    "draw_agreement",
    "draw_comparison",
    "draw_pair_state",
    "draw_stages",
    "draw_tokens",
    "plot_alignment",
    "plot_annotators",
    "plot_before_after",
    "plot_early_stopping",
    "plot_fitted_rewards",
    "plot_frontier",
    "plot_history",
    "plot_implicit_rewards",
    "plot_label_noise",
    "plot_label_smoothing",
    "plot_leak",
    "plot_length",
    "plot_likelihood_slices",
    "plot_longer_wins",
    "plot_loss_and_gradient",
    "plot_loss_of_label",
    "plot_optimal_policies",
    "plot_schedules",
    "plot_watch",
    "show",
]
