"""Preference losses: pure functions of four `(batch,)` tensors of log-probabilities, one module an idea.

dpo             DPO, its gradient, and the log-sigmoid
pairwise        of the margin alone: IPO, hinge, robust, EXO, DiscoPOP
anchored        DPO and a term more: DPOP, R-DPO, NLL
pointwise       each completion alone: KTO, BCO, NCA, SPPO, APO
distributional  sorted batches: AOT
reference_free  SimPO, ORPO, CPO
registry        LOSSES: all by name
"""

from dpo_lab.losses.anchored import chosen_nll, dpo_nll_loss, dpop_loss, r_dpo_loss
from dpo_lab.losses.distributional import aot_loss, aot_unpaired_loss
from dpo_lab.losses.dpo import dpo_gradient, dpo_loss, stable_log_sigmoid
from dpo_lab.losses.metrics import preference_metrics
from dpo_lab.losses.pairwise import discopop_loss, exo_pair_loss, hinge_loss, ipo_loss, robust_dpo_loss
from dpo_lab.losses.pointwise import (
    apo_down_loss,
    apo_zero_loss,
    bco_pair_loss,
    kto_loss,
    kto_pair_loss,
    nca_pair_loss,
    sppo_hard_loss,
)
from dpo_lab.losses.ratios import log_ratios
from dpo_lab.losses.reference_free import cpo_loss, log_odds, orpo_loss, simpo_loss
from dpo_lab.losses.registry import LOSSES, Loss

__all__ = [
    "LOSSES",
    "Loss",
    "aot_loss",
    "aot_unpaired_loss",
    "apo_down_loss",
    "apo_zero_loss",
    "bco_pair_loss",
    "chosen_nll",
    "cpo_loss",
    "discopop_loss",
    "dpo_gradient",
    "dpo_loss",
    "dpo_nll_loss",
    "dpop_loss",
    "exo_pair_loss",
    "hinge_loss",
    "ipo_loss",
    "kto_loss",
    "kto_pair_loss",
    "log_odds",
    "log_ratios",
    "nca_pair_loss",
    "orpo_loss",
    "preference_metrics",
    "r_dpo_loss",
    "robust_dpo_loss",
    "simpo_loss",
    "sppo_hard_loss",
    "stable_log_sigmoid",
]
