"""How good is a policy? Held-out pairs, win rates, intervals and tests, distance from the reference.

The scorecard and its report are in `dpo_lab.evaluation.scorecard` and `.report`, which need more than these.
"""

from dpo_lab.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from dpo_lab.evaluation.judges import NoisyJudge, reward_judge
from dpo_lab.evaluation.judging import (
    Verdicts,
    WinRate,
    judge_both_orders,
    judge_one_order,
    length_controlled_win_rate,
    summarise_scores,
    win_rate,
)
from dpo_lab.evaluation.kl import kl_estimate, kl_terms
from dpo_lab.evaluation.pairs import accuracy_by_group, pair_accuracies, pair_margins
from dpo_lab.evaluation.reliability import reliability_bins
from dpo_lab.evaluation.scoring import score_completions, score_rows
from dpo_lab.evaluation.significance import comparisons_needed, sign_test, sign_test_power

__all__ = [
    "Interval",
    "NoisyJudge",
    "Verdicts",
    "WinRate",
    "accuracy_by_group",
    "bootstrap_interval",
    "comparisons_needed",
    "judge_both_orders",
    "judge_one_order",
    "kl_estimate",
    "kl_terms",
    "length_controlled_win_rate",
    "pair_accuracies",
    "pair_margins",
    "reliability_bins",
    "reward_judge",
    "score_completions",
    "score_rows",
    "sign_test",
    "sign_test_power",
    "summarise_scores",
    "wilson_interval",
    "win_rate",
]
