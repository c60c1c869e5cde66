"""Training on pairs that two objectives have judged: both at once, or one stage after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_lab.history import History
from dpo_lab.loop import run_loop
from dpo_lab.losses import preference_metrics
from dpo_lab.multi_objective import check_weight, weighted_label_loss, weighted_margin_loss
from dpo_lab.packing import score_pairs
from dpo_lab.policies import Policy, check_same_tokenizer, frozen_reference
from dpo_lab.trainer import DPOConfig, PairObjective, train_dpo

COLUMNS = {"margins": "other_margin", "losses": "other_agrees"}
"""What a way of weighting needs to know of each pair beside objective 1's label."""


def train_weighted(
    policy: Policy,
    reference: Policy,
    pairs: Iterable[Mapping[str, Any]],
    config: DPOConfig | None = None,
    *,
    way: str,
    weight: float,
    callback: Callable[[History], None] | None = None,
) -> History:
    """Train `policy` in place on pairs that two objectives have judged.

    Args:
        policy: the model that learns.
        reference: the frozen one.
        pairs: rows with `prompt`, and `chosen` and `rejected` as objective 1's label says; in addition, of objective 2,
            `other_margin` (the reward of the chosen one minus that of the rejected one) for the way "margins", or
            `other_agrees` (whether its label is the same) for "losses".
        config: see `DPOConfig`; its loss is "sigmoid", without smoothing or NLL term.
        way: "margins" (`weighted_margin_loss`) or "losses" (`weighted_label_loss`).
        weight: of objective 1, in (0, 1].
        callback: called with the history after each step.

    Returns:
        The history, as `train_dpo` returns it; accuracy and margins are those of objective 1's labels.

    Raises:
        ValueError: another way, a weight outside (0, 1], a row without what the way needs, or a bad pair.
    """
    config = config or DPOConfig()
    check_same_tokenizer(policy, reference)
    return run_loop(
        policy, WeightedObjective(policy, reference, pairs, config, way, weight), config, callback=callback
    )


def train_in_stages(
    policy: Policy,
    reference: Policy,
    stages: Sequence[tuple[Iterable[Mapping[str, Any]], DPOConfig]],
) -> list[History]:
    """One DPO run after another, each with the policy that the one before ended with as its reference.

    With the constraint's pairs first ("safety first") the later stage is held near a policy that already keeps it. On
    unlimited data the stages' order does not matter: π ∝ π_ref exp(r₁/β₁ + r₂/β₂).

    Args:
        policy: the model that learns, in place.
        reference: of the first stage.
        stages: each stage's pairs and settings, in order.

    Returns:
        One history a stage.

    Raises:
        ValueError: no stages, or what `train_dpo` raises.
    """
    if not stages:
        raise ValueError("stages is empty: give at least one (pairs, config)")
    histories = []
    for number, (pairs, config) in enumerate(stages):
        start = reference if number == 0 else frozen_reference(policy)
        histories.append(train_dpo(policy, start, pairs, config))
    return histories


class WeightedObjective(PairObjective):
    """Pairs with a second objective's judgement beside DPO's label."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        pairs: Iterable[Mapping[str, Any]],
        config: DPOConfig,
        way: str,
        weight: float,
    ) -> None:
        if way not in COLUMNS:
            raise ValueError(f"way must be one of {', '.join(COLUMNS)}, got {way!r}")
        check_weight(weight)
        if config.loss != "sigmoid" or config.label_smoothing or config.nll_weight:
            raise ValueError(
                f"weighted objectives take the plain DPO loss, got loss={config.loss!r}, label_smoothing="
                f"{config.label_smoothing}, nll_weight={config.nll_weight}: leave them at their defaults"
            )
        rows, column = list(pairs), COLUMNS[way]
        if missing := [number for number, row in enumerate(rows) if column not in row]:
            raise ValueError(f"pairs {missing[:5]} have no {column!r}, which way={way!r} needs")
        super().__init__(policy, reference, rows, config, f"weighted {way}")
        self.way, self.objective_weight = way, weight
        self.other = torch.tensor([float(row[column]) for row in rows])

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        sides = [self.chosen[i] for i in rows], [self.rejected[i] for i in rows]
        chosen, rejected = score_pairs(model, *sides, self.pad)
        device = chosen.device
        references = self.ref_chosen_logps[rows].to(device), self.ref_rejected_logps[rows].to(device)
        function = weighted_margin_loss if self.way == "margins" else weighted_label_loss
        losses, *rewards = function(
            chosen, rejected, *references, self.other[rows].to(device), self.objective_weight, self.beta
        )
        return losses.mean() * len(rows), preference_metrics(losses, *rewards, chosen, rejected)
