"""Every figure of the course, one file a topic."""

from dpo_lab.plots.bradley_terry import (
    draw_comparison,
    plot_fitted_rewards,
    plot_likelihood_slices,
    plot_loss_of_label,
)
from dpo_lab.plots.data_quality import plot_data_size, plot_epochs, plot_noise, plot_selection
from dpo_lab.plots.debugging import plot_dashboards, plot_healthy, plot_positions
from dpo_lab.plots.demo import plot_alignment
from dpo_lab.plots.evaluation import plot_group_accuracy, plot_reliability, plot_win_rates
from dpo_lab.plots.evidence import (
    draw_power,
    plot_accuracy_and_wins,
    plot_coverage,
    plot_estimators,
    plot_optimisation,
    plot_power,
    plot_proxies,
)
from dpo_lab.plots.failures import draw_amplification, plot_collapse, plot_cures, plot_groups
from dpo_lab.plots.frontier import (
    draw_trained,
    plot_beta_metrics,
    plot_beta_regimes,
    plot_controller,
    plot_converged,
    plot_finite,
    plot_reward_against_kl,
    plot_runaway,
)
from dpo_lab.plots.loss_family import (
    draw_one_pair,
    plot_best_gaps,
    plot_exact_race,
    plot_loss_family,
    plot_race,
)
from dpo_lab.plots.losses import draw_pair_state, plot_label_smoothing, plot_loss_and_gradient
from dpo_lab.plots.optimum import plot_frontier, plot_implicit_rewards, plot_optimal_policies
from dpo_lab.plots.ppo import (
    draw_advantages,
    plot_clipping,
    plot_exact_rivals,
    plot_over_optimisation,
    plot_rivals,
    plot_search,
)
from dpo_lab.plots.preferences import (
    draw_agreement,
    plot_annotators,
    plot_label_noise,
    plot_leak,
    plot_longer_wins,
)
from dpo_lab.plots.rounds import plot_equal_labels
from dpo_lab.plots.stages import draw_stages
from dpo_lab.plots.style import show
from dpo_lab.plots.tokens import draw_tokens, plot_length
from dpo_lab.plots.tradeoffs import plot_tradeoffs, plot_true_front
from dpo_lab.plots.training import (
    plot_before_after,
    plot_early_stopping,
    plot_history,
    plot_schedules,
    plot_watch,
)

__all__ = [
    "draw_advantages",
    "draw_agreement",
    "draw_amplification",
    "draw_comparison",
    "draw_one_pair",
    "draw_pair_state",
    "draw_power",
    "draw_stages",
    "draw_tokens",
    "draw_trained",
    "plot_accuracy_and_wins",
    "plot_alignment",
    "plot_annotators",
    "plot_before_after",
    "plot_best_gaps",
    "plot_beta_metrics",
    "plot_beta_regimes",
    "plot_clipping",
    "plot_collapse",
    "plot_controller",
    "plot_converged",
    "plot_coverage",
    "plot_cures",
    "plot_dashboards",
    "plot_data_size",
    "plot_early_stopping",
    "plot_epochs",
    "plot_equal_labels",
    "plot_estimators",
    "plot_exact_race",
    "plot_exact_rivals",
    "plot_finite",
    "plot_fitted_rewards",
    "plot_frontier",
    "plot_group_accuracy",
    "plot_groups",
    "plot_healthy",
    "plot_history",
    "plot_implicit_rewards",
    "plot_label_noise",
    "plot_label_smoothing",
    "plot_leak",
    "plot_length",
    "plot_likelihood_slices",
    "plot_longer_wins",
    "plot_loss_and_gradient",
    "plot_loss_family",
    "plot_loss_of_label",
    "plot_noise",
    "plot_optimal_policies",
    "plot_optimisation",
    "plot_over_optimisation",
    "plot_positions",
    "plot_power",
    "plot_proxies",
    "plot_race",
    "plot_reliability",
    "plot_reward_against_kl",
    "plot_rivals",
    "plot_runaway",
    "plot_schedules",
    "plot_search",
    "plot_selection",
    "plot_tradeoffs",
    "plot_true_front",
    "plot_watch",
    "plot_win_rates",
    "show",
]
