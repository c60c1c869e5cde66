"""The healthy loop in parts, and its broken versions: each overrides the one part that holds its bug."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from dpo_lab.encoding import Encoded, collate
from dpo_lab.logprobs import completion_logprobs, sequence_logprobs, token_logprobs
from dpo_lab.loop import split
from dpo_lab.losses import preference_metrics
from dpo_lab.policies import Policy
from dpo_lab.trainer import DPOConfig, PairObjective, to_device
from dpo_lab.variants import LOSSES

CLAMP = -10.0
"""Where `LogpsClamped` cuts, in nats. In the wild it is −100; our reviews have a tenth of a chat answer's tokens."""
CUT = 10
"""Tokens that `CompletionCut` leaves of a row."""
DROPOUT = 0.3
"""Of the attention weights, where a bug needs a model that has dropout."""


class Loop(PairObjective):
    """DPO's objective, with each part a method of its own: nothing is wrong with this one."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        pairs: Iterable[Mapping[str, Any]],
        config: DPOConfig,
    ) -> None:
        super().__init__(policy, reference, pairs, config, "DPO")
        self.reference = reference
        self.prepare(policy)
        self.score_reference()

    def prepare(self, policy: Policy) -> None:
        """What happens once, before the reference is scored."""

    @torch.no_grad()
    def score_reference(self) -> None:
        """The reference's log-probs of all pairs, by the same scoring as the policy's."""
        parts = [
            self.score(self.reference.model, to_device(self.batch(rows), self.reference.model)).cpu().chunk(2)
            for rows in split(list(range(self.size)), self.config.batch_size)
        ]
        self.ref_chosen_logps, self.ref_rejected_logps = (
            torch.cat(side) for side in zip(*parts, strict=True)
        )

    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """(2B,) log-probs of a batch's completions."""
        return completion_logprobs(model, batch)

    def reference_logps(self, rows: list[int], batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B,) and (B,): the reference's log-probs of these rows."""
        device = batch["input_ids"].device
        return self.ref_chosen_logps[rows].to(device), self.ref_rejected_logps[rows].to(device)

    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Per-pair losses and both implicit rewards."""
        return LOSSES[self.config.loss].function(*four, beta=self.config.beta)

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        batch = to_device(self.batch(rows), model)
        policy_logps = self.score(model, batch).chunk(2)
        losses, *rewards = self.losses(*policy_logps, *self.reference_logps(rows, batch))
        means = preference_metrics(losses.nan_to_num(), *rewards, *policy_logps)
        means["loss"] = losses.detach().mean().item()  # a NaN is logged as one
        return losses.mean() * len(rows), means


def all_logits(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """(2B, T, V): the scorings below need logits that `completion_logprobs` would not compute."""
    positions = (batch["attention_mask"].long().cumsum(dim=-1) - 1).clamp(min=0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return model(**inputs, position_ids=positions, use_cache=False).logits


def masked_sum(scores: Tensor, mask: Tensor) -> Tensor:
    """(rows,) sums of the (rows, T − 1) scores where the (rows, T) mask of tokens says so; 0 where it never does."""
    return scores.masked_fill(~mask[:, 1:].bool(), 0.0).sum(dim=-1)


class PairSwapped(Loop):
    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, chosen, rejected = super().losses(*four)
        losses, *_ = super().losses(four[1], four[0], four[3], four[2])
        return losses, chosen, rejected


class ReferenceTrainable(Loop):
    def prepare(self, policy: Policy) -> None:
        parameters = self.reference.model.requires_grad_(True).parameters()
        self.optimizer = torch.optim.AdamW(parameters, lr=self.config.lr, weight_decay=0.0)

    def reference_logps(self, rows: list[int], batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        self.optimizer.step()  # with the last step's gradients; there are none at first
        self.optimizer.zero_grad()
        return self.score(self.reference.model, batch).chunk(2)


class ReferenceRandom(Loop):
    def prepare(self, policy: Policy) -> None:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self.config.seed)
            for parameter in self.reference.model.parameters():
                parameter.normal_(0, 0.02)


class PromptScoredWithMean(Loop):
    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        logits, everything = all_logits(model, batch), batch["attention_mask"].bool()
        return sequence_logprobs(logits, batch["input_ids"], everything, average=True)


class ShiftForgotten(Loop):
    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        scores = log_softmax(all_logits(model, batch).float(), dim=-1)
        picked = scores.gather(-1, batch["input_ids"][..., None]).squeeze(-1)
        return masked_sum(picked[:, 1:], batch["completion_mask"])


class EosMasked(Loop):
    def prepare(self, policy: Policy) -> None:
        self.eos = policy.tokenizer.eos_token_id

    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        mask = batch["completion_mask"] & (batch["input_ids"] != self.eos)
        return completion_logprobs(model, {**batch, "completion_mask": mask})


class LogpsClamped(Loop):
    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return super().score(model, batch).clamp(min=CLAMP, max=0.0)


class MeanForSum(Loop):
    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return completion_logprobs(model, batch, average=True)


class LogOfSigmoid(Loop):
    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, chosen, rejected = super().losses(*four)
        chosen_gap, rejected_gap = four[0] - four[2], four[1] - four[3]
        return -torch.log(torch.sigmoid(self.config.beta * (chosen_gap - rejected_gap))), chosen, rejected


class BetaZero(Loop):
    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        chosen, rejected = 0.0 * (four[0] - four[2]), 0.0 * (four[1] - four[3])
        return -logsigmoid(chosen - rejected), chosen.detach(), rejected.detach()


class DropoutInReference(Loop):
    def prepare(self, policy: Policy) -> None:
        for model in (policy.model, self.reference.model):
            for layer in model.model.layers:
                layer.self_attn.attention_dropout = DROPOUT

    def reference_logps(self, rows: list[int], batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self.score(self.reference.model.train(), batch).chunk(2)


class PaddingSummed(Loop):
    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        mask = batch["completion_mask"].bool() | ~batch["attention_mask"].bool()
        return masked_sum(token_logprobs(all_logits(model, batch), batch["input_ids"]), mask)


class SummedInBfloat16(Loop):
    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        scores = log_softmax(all_logits(model, batch).bfloat16()[:, :-1], dim=-1)
        picked = scores.gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
        return masked_sum(picked, batch["completion_mask"]).float()


class WrongSlice(Loop):
    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        start = len(batch["input_ids"]) // 2  # the number of pairs, not the length of their prompts
        behind = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device) >= start
        mask = batch["attention_mask"].bool() & behind
        return masked_sum(token_logprobs(all_logits(model, batch), batch["input_ids"]), mask)


class LossTypeIgnored(Loop):
    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return LOSSES["sigmoid"].function(*four, beta=self.config.beta)


class CompletionCut(Loop):
    def batch(self, rows: list[int]) -> dict[str, Tensor]:
        sides = [[cut(side[i]) for i in rows] for side in (self.chosen, self.rejected)]
        return collate(*sides, self.pad)


def cut(row: Encoded) -> Encoded:
    """The row's first tokens; its end and its EOS are gone."""
    return Encoded(row.input_ids[:CUT], row.completion_mask[:CUT])
