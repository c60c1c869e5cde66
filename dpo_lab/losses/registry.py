"""Every loss under its name, with what the trainer must hand it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dpo_lab.losses.anchored import dpo_nll_loss, dpop_loss, r_dpo_loss
from dpo_lab.losses.distributional import aot_loss, aot_unpaired_loss
from dpo_lab.losses.dpo import dpo_loss
from dpo_lab.losses.pairwise import discopop_loss, exo_pair_loss, hinge_loss, ipo_loss, robust_dpo_loss
from dpo_lab.losses.pointwise import (
    apo_down_loss,
    apo_zero_loss,
    bco_pair_loss,
    kto_pair_loss,
    nca_pair_loss,
    sppo_hard_loss,
)
from dpo_lab.losses.reference_free import cpo_loss, orpo_loss, simpo_loss


@dataclass(frozen=True)
class Loss:
    """A loss as the trainer calls it.

    Attributes:
        function: of four `(B,)` log-prob tensors, `beta`, what the flags below add, and options of its own.
        source: the paper.
        average: whether it takes means over the completion's tokens instead of sums.
        lengths: whether it also takes `chosen_lengths` and `rejected_lengths`.
        needs_reference: whether it reads the reference's log-probs.
        paired: whether chosen and rejected must answer the same prompt.
        mismatched: whether it also takes `mismatched_log_ratios`, of completions to another prompt (KTO's z).
        running_reward: whether it also takes `delta`, the mean reward of recent completions (BCO's δ).
    """

    function: Callable[..., tuple[Tensor, Tensor, Tensor]]
    source: str
    average: bool = False
    lengths: bool = False
    needs_reference: bool = True
    paired: bool = True
    mismatched: bool = False
    running_reward: bool = False


LOSSES = {
    "sigmoid": Loss(dpo_loss, "Rafailov et al. 2023, arXiv 2305.18290"),
    "sigmoid_norm": Loss(dpo_loss, "Lambert et al. 2024, arXiv 2411.15124", average=True),
    "robust": Loss(robust_dpo_loss, "Chowdhury et al. 2024, arXiv 2403.00409"),
    "hinge": Loss(hinge_loss, "Zhao et al. 2023, arXiv 2305.10425; Liu et al. 2023, arXiv 2309.06657"),
    "ipo": Loss(ipo_loss, "Azar et al. 2023, arXiv 2310.12036"),
    "ipo_norm": Loss(ipo_loss, "Azar et al. 2023, arXiv 2310.12036", average=True),
    "exo_pair": Loss(exo_pair_loss, "Ji et al. 2024, arXiv 2402.00856"),
    "discopop": Loss(discopop_loss, "Lu et al. 2024, arXiv 2406.08414"),
    "dpop": Loss(dpop_loss, "Pal et al. 2024, arXiv 2402.13228"),
    "r_dpo": Loss(r_dpo_loss, "Park et al. 2024, arXiv 2403.19159", lengths=True),
    "dpo_nll": Loss(dpo_nll_loss, "Pang et al. 2024, arXiv 2404.19733", lengths=True),
    "kto": Loss(kto_pair_loss, "Ethayarajh et al. 2024, arXiv 2402.01306", paired=False, mismatched=True),
    "bco_pair": Loss(bco_pair_loss, "Jung et al. 2024, arXiv 2404.04656", paired=False, running_reward=True),
    "nca_pair": Loss(nca_pair_loss, "Chen et al. 2024, arXiv 2402.05369", paired=False),
    "sppo_hard": Loss(sppo_hard_loss, "Wu et al. 2024, arXiv 2405.00675", paired=False),
    "apo_zero": Loss(apo_zero_loss, "D'Oosterlinck et al. 2024, arXiv 2408.06266", paired=False),
    "apo_down": Loss(apo_down_loss, "D'Oosterlinck et al. 2024, arXiv 2408.06266"),
    "aot": Loss(aot_loss, "Melnyk et al. 2024, arXiv 2406.05882"),
    "aot_unpaired": Loss(aot_unpaired_loss, "Melnyk et al. 2024, arXiv 2406.05882", paired=False),
    "simpo": Loss(simpo_loss, "Meng et al. 2024, arXiv 2405.14734", average=True, needs_reference=False),
    "orpo": Loss(orpo_loss, "Hong et al. 2024, arXiv 2403.07691", average=True, needs_reference=False),
    "cpo": Loss(cpo_loss, "Xu et al. 2024, arXiv 2401.08417", lengths=True, needs_reference=False),
}
"""Names as in TRL, where TRL has the loss, with one exception: TRL's `ipo` takes means, which is `ipo_norm` here; `ipo`
takes sums, as in the paper's eq. 17. TRL reaches "dpo_nll" as `loss_type=["sigmoid", "sft"]`."""
