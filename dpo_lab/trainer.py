"""SFT and DPO: what each computes on a batch. The loop around them is `dpo_lab.loop`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dpo_lab.checks import check_fraction, check_positive
from dpo_lab.encoding import Encoded, collate, collate_rows, encode_pair
from dpo_lab.history import History
from dpo_lab.logprobs import completion_logprobs
from dpo_lab.loop import LoopConfig, run_loop, split
from dpo_lab.losses import dpo_loss, preference_metrics
from dpo_lab.policies import Policy, check_same_tokenizer


@dataclass(frozen=True, kw_only=True)
class DPOConfig(LoopConfig):
    """A DPO run: `LoopConfig` and the loss's own settings.

    Args:
        beta: weight of the KL term, > 0; higher stays closer to the reference.
        label_smoothing: probability in [0, 0.5) that a label is flipped.
    """

    lr: float = 1e-5
    beta: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(beta=self.beta)
        check_fraction(label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class SFTConfig(LoopConfig):
    """A supervised fine-tuning run: the loss is the mean negative log-prob of the completions' tokens."""

    lr: float = 1e-3


def train_dpo(
    policy: Policy,
    reference: Policy,
    pairs: Iterable[Mapping[str, Any]],
    config: DPOConfig | None = None,
    eval_pairs: Iterable[Mapping[str, Any]] | None = None,
    callback: Callable[[History], None] | None = None,
) -> History:
    """Train `policy` in place on preference pairs (Rafailov et al. 2023, eq. 7).

    The reference runs once over the pairs, before the first step: it is frozen, so its log-probs don't change.

    Args:
        policy: the model that learns, usually the SFT model.
        reference: the frozen one, usually `frozen_reference(policy)`.
        pairs: rows with `prompt`, `chosen`, `rejected`, as text or chat messages.
        config: see `DPOConfig`.
        eval_pairs: held-out rows; evaluated every `eval_every` steps, logged as `eval_loss` and so on.
        callback: called with the history after each step.

    Returns:
        The history, one record a step, under TRL's metric names.

    Raises:
        ValueError: no pairs, an empty or identical completion, tokenizers that differ, or a bad setting.
    """
    config = config or DPOConfig()
    check_same_tokenizer(policy, reference)
    train = PairObjective(policy, reference, pairs, config, "DPO")
    if eval_pairs is None:
        return run_loop(policy, train, config, callback=callback)
    held_out = PairObjective(policy, reference, eval_pairs, config, "held-out")
    return run_loop(policy, train, config, lambda: held_out.evaluate(policy.model), callback)


class PairObjective:
    """DPO's loss on encoded pairs whose reference log-probs were computed once."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        pairs: Iterable[Mapping[str, Any]],
        config: DPOConfig,
        name: str,
    ) -> None:
        self.name, self.config, self.pad = name, config, policy.tokenizer.pad_token_id
        self.chosen, self.rejected = encode_pairs(policy.tokenizer, pairs, config.max_length)
        self.size = len(self.chosen)
        self.ref_chosen_logps, self.ref_rejected_logps = pair_logprobs(
            reference,
            self.chosen,
            self.rejected,
            batch_size=config.batch_size,
            progress="reference log-probs" if config.progress else None,
        )

    def weight(self, rows: list[int]) -> float:
        return len(rows)

    def batch(self, rows: list[int]) -> dict[str, Tensor]:
        return collate([self.chosen[i] for i in rows], [self.rejected[i] for i in rows], self.pad)

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        batch = to_device(self.batch(rows), model)
        device = batch["input_ids"].device
        loss, metrics = dpo_step_loss(
            model,
            batch,
            self.ref_chosen_logps[rows].to(device),
            self.ref_rejected_logps[rows].to(device),
            beta=self.config.beta,
            label_smoothing=self.config.label_smoothing,
        )
        return loss * len(rows), metrics

    @torch.no_grad()
    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Means over all rows, with dropout off."""
        model.eval()
        totals: dict[str, float] = {}
        for rows in split(list(range(self.size)), self.config.batch_size):
            for name, mean in self.loss(model, rows)[1].items():
                totals[name] = totals.get(name, 0.0) + mean * len(rows) / self.size
        return totals


def dpo_step_loss(
    model: torch.nn.Module,
    batch: dict[str, Tensor],
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """The first half of a training step: DPO's mean loss on a batch, with one forward pass of the policy.

    Args:
        model: the policy's model, in whatever mode it is.
        batch: `input_ids`, `attention_mask`, `completion_mask`, each (2B, T), as `collate` returns them: rows 0 to
            B − 1 are the chosen completions of the B pairs, rows B to 2B − 1 the rejected ones in the same order.
        ref_chosen_logps: (B,), log π_ref(y_w|x) in nats, computed once before training.
        ref_rejected_logps: (B,), log π_ref(y_l|x).
        beta: weight of the KL term, > 0.
        label_smoothing: in [0, 0.5).

    Returns:
        loss: a scalar tensor, the mean over the B pairs, to call `backward` on.
        metrics: what `preference_metrics` says of the batch, its two `logps/` entries included.
    """
    policy_chosen_logps, policy_rejected_logps = completion_logprobs(model, batch).chunk(2)
    losses, chosen_rewards, rejected_rewards = dpo_loss(
        policy_chosen_logps,
        policy_rejected_logps,
        ref_chosen_logps,
        ref_rejected_logps,
        beta,
        label_smoothing,
    )
    metrics = preference_metrics(
        losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps
    )
    return losses.mean(), metrics


def train_sft(
    policy: Policy,
    examples: Iterable[Mapping[str, Any]],
    config: SFTConfig | None = None,
    eval_examples: Iterable[Mapping[str, Any]] | None = None,
    callback: Callable[[History], None] | None = None,
) -> History:
    """Train `policy` in place to continue each prompt with its completion.

    Args:
        policy: the model that learns.
        examples: rows with `prompt` and `completion`, as text or chat messages.
        config: see `SFTConfig`.
        eval_examples: held-out rows; their loss is logged as `eval_loss`.
        callback: called with the history after each step.

    Returns:
        The history; `loss` is the mean negative log-prob of a completion token, in nats.

    Raises:
        ValueError: no examples, an empty completion, or a bad setting.
    """
    config = config or SFTConfig()
    train = CompletionObjective(policy, examples, config, "SFT")
    if eval_examples is None:
        return run_loop(policy, train, config, callback=callback)
    held_out = CompletionObjective(policy, eval_examples, config, "held-out")
    return run_loop(policy, train, config, lambda: held_out.evaluate(policy.model), callback)


class CompletionObjective:
    """The SFT loss: negative log-prob of the completions, a mean over tokens."""

    def __init__(
        self, policy: Policy, examples: Iterable[Mapping[str, Any]], config: SFTConfig, name: str
    ) -> None:
        self.name, self.config, self.pad = name, config, policy.tokenizer.pad_token_id
        self.rows = [
            encode_pair(policy.tokenizer, row["prompt"], row["completion"], config.max_length)
            for row in examples
        ]
        self.size = len(self.rows)
        if not self.size:
            raise ValueError("examples is empty: there is nothing to train on")

    def weight(self, rows: list[int]) -> float:
        return sum(sum(self.rows[i].completion_mask) for i in rows)

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        batch = to_device(collate_rows([self.rows[i] for i in rows], self.pad), model)
        total = -completion_logprobs(model, batch).sum()
        return total, {"loss": total.item() / self.weight(rows)}

    @torch.no_grad()
    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Mean negative log-prob of a completion token over all rows, with dropout off."""
        model.eval()
        batches = split(list(range(self.size)), self.config.batch_size)
        total = sum(self.loss(model, rows)[0].item() for rows in batches)
        return {"loss": total / self.weight(list(range(self.size)))}


def encode_pairs(
    tokenizer: Any, pairs: Iterable[Mapping[str, Any]], max_length: int | None = None
) -> tuple[list[Encoded], list[Encoded]]:
    """Chosen and rejected rows of all pairs; ValueError, with the row's number, where a pair can't be used."""
    chosen, rejected = [], []
    for number, pair in enumerate(pairs):
        try:
            if pair["chosen"] == pair["rejected"]:
                raise ValueError("chosen and rejected are the same: their gradients cancel")
            chosen.append(encode_pair(tokenizer, pair["prompt"], pair["chosen"], max_length))
            rejected.append(encode_pair(tokenizer, pair["prompt"], pair["rejected"], max_length))
        except KeyError as error:
            raise ValueError(
                f"pair {number} has no {error}; a pair needs 'prompt', 'chosen' and 'rejected'"
            ) from None
        except ValueError as error:
            raise ValueError(f"pair {number}: {error}") from error
    if not chosen:
        raise ValueError("pairs is empty: there is nothing to train on")
    return chosen, rejected


@torch.no_grad()
def pair_logprobs(
    policy: Policy,
    encoded_chosen: list[Encoded],
    encoded_rejected: list[Encoded],
    batch_size: int = 8,
    progress: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probs of all chosen and of all rejected completions under one model, in nats, without gradient.

    Args:
        policy: any policy or reference; evaluated with dropout off.
        encoded_chosen: N rows.
        encoded_rejected: N rows, in the same order.
        batch_size: pairs a forward pass.
        progress: label of a progress bar; None shows none.

    Returns:
        Two (N,) float32 tensors on the CPU: chosen_logps, rejected_logps.
    """
    was_training = policy.model.training
    policy.model.eval()
    chosen_logps, rejected_logps = [], []
    batches = split(list(range(len(encoded_chosen))), batch_size)
    for rows in tqdm(batches, desc=progress, disable=progress is None, unit="batch"):
        batch = collate(
            [encoded_chosen[i] for i in rows],
            [encoded_rejected[i] for i in rows],
            policy.tokenizer.pad_token_id,
        )
        chosen, rejected = completion_logprobs(policy.model, to_device(batch, policy.model)).cpu().chunk(2)
        chosen_logps.append(chosen)
        rejected_logps.append(rejected)
    policy.model.train(was_training)
    return torch.cat(chosen_logps), torch.cat(rejected_logps)


def to_device(batch: dict[str, Tensor], model: torch.nn.Module) -> dict[str, Tensor]:
    """The batch on the model's device."""
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}
