"""The trainer's objective, cut into steps, and one subclass a bug that gets a single step wrong.

Nothing here is for use outside the lesson on debugging: every class but `Steps` is wrong on purpose.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from dpo_lab.encoding import Encoded, collate, encode_pair, encode_pairs
from dpo_lab.logprobs import completion_logprobs, token_logprobs
from dpo_lab.losses import dpo_loss, preference_metrics
from dpo_lab.policies import Policy
from dpo_lab.trainer import DPOConfig, PairObjective, split, to_device

CLAMP = -10.0
CUT = 16
DROPOUT = 0.1


class Steps(PairObjective):
    """`PairObjective` with the sigmoid loss, one method a step; a bug overrides one of them."""

    def __init__(
        self, policy: Policy, reference: Policy, pairs: Iterable[Mapping[str, Any]], config: DPOConfig
    ) -> None:
        self.name, self.config, self.pad = "DPO", config, policy.tokenizer.pad_token_id
        self.beta, self.scheduled = config.beta, False
        self.policy, self.reference = policy, reference
        self.prepare()
        self.chosen, self.rejected = self.encode(list(pairs))
        self.size = len(self.chosen)
        self.ref_chosen_logps, self.ref_rejected_logps = self.reference_pass()
        self.last: dict[str, float] = {}

    def prepare(self) -> None:
        """Models before anything is computed."""

    def encode(self, pairs: list[Mapping[str, Any]]) -> tuple[list[Encoded], list[Encoded]]:
        return encode_pairs(self.policy.tokenizer, pairs, self.config.max_length)

    def batch(self, rows: list[int]) -> dict[str, Tensor]:
        """Chosen rows first, padded: most bugs sit in what is done to a rectangle."""
        return collate([self.chosen[i] for i in rows], [self.rejected[i] for i in rows], self.pad)

    @torch.no_grad()
    def reference_pass(self) -> tuple[Tensor, Tensor]:
        """(N,) chosen and (N,) rejected log-probs of all pairs, once, before the first step."""
        self.reference.model.eval()
        return self.score_all(self.reference.model)

    def score_all(self, model: torch.nn.Module) -> tuple[Tensor, Tensor]:
        parts = split(list(range(self.size)), self.config.batch_size)
        halves = [self.score(model, to_device(self.batch(rows), model)).cpu().chunk(2) for rows in parts]
        return torch.cat([half[0] for half in halves]), torch.cat([half[1] for half in halves])

    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """(2B,) log-probs of the batch's completions; policy and reference both come through here."""
        return completion_logprobs(model, batch)

    def references(self, rows: list[int], batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.ref_chosen_logps[rows], self.ref_rejected_logps[rows]

    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, chosen rewards and rejected rewards, each (B,), of the four log-probs."""
        return dpo_loss(*four, beta=self.beta)

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        batch = to_device(self.batch(rows), model)
        chosen, rejected = self.score(model, batch).chunk(2)
        references = [logps.to(chosen.device) for logps in self.references(rows, batch)]
        losses, chosen_rewards, rejected_rewards = self.losses(chosen, rejected, *references)
        self.last = preference_metrics(losses, chosen_rewards, rejected_rewards, chosen, rejected)
        return losses.mean() * len(rows), self.last


# the pair


class PairSwapped(Steps):
    """The loss wants the rejected completion; the rewards are logged rightly."""

    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, chosen_rewards, rejected_rewards = dpo_loss(*four, beta=self.beta)
        chosen, rejected, ref_chosen, ref_rejected = four
        margins = self.beta * ((rejected - ref_rejected) - (chosen - ref_chosen))
        return -logsigmoid(margins), chosen_rewards, rejected_rewards


class ColumnsSwapped(Steps):
    """The collator puts the rejected rows where the loss expects the chosen ones."""

    def batch(self, rows: list[int]) -> dict[str, Tensor]:
        return collate([self.rejected[i] for i in rows], [self.chosen[i] for i in rows], self.pad)


# the reference


class ReferenceTrainable(Steps):
    """The reference was not frozen and its weights are in the optimiser; it is scored at each step."""

    def prepare(self) -> None:
        self.reference.model.requires_grad_(True)
        # whatever hangs on the policy's module is found by `parameters()`, as in a wrapper that holds both models
        self.policy.model.add_module("reference", self.reference.model)

    def references(self, rows: list[int], batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.score(self.reference.model, batch).chunk(2)


class ReferenceShared(Steps):
    """`reference = policy`: a second name for the model that trains, scored at each step."""

    @torch.no_grad()
    def references(self, rows: list[int], batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.score(self.policy.model, batch).chunk(2)


class ReferenceRandom(Steps):
    """The reference was built from the config and its weights never loaded."""

    def prepare(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            model = AutoModelForCausalLM.from_config(copy.deepcopy(self.policy.model.config))
        self.reference.model = model.to(self.policy.device).eval().requires_grad_(False)


class DropoutOn(Steps):
    """The model has dropout, and the reference pass runs it in training mode."""

    def prepare(self) -> None:
        for module in self.policy.model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = DROPOUT
        self.policy.model.config.attention_dropout = DROPOUT

    @torch.no_grad()
    def reference_pass(self) -> tuple[Tensor, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            return self.score_all(self.policy.model.train())


# the log-probs


class Scored(Steps):
    """A slip in the log-prob of a completion, made with policy and reference alike."""

    def score(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        logits = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        ).logits.float()
        return self.sum_up(logits, batch)

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """(2B,) from (2B, T, V) logits; here the right way."""
        return masked_sum(token_logprobs(logits, batch["input_ids"]), batch["completion_mask"][:, 1:])


class MeanForSum(Scored):
    """The mean over the completion's tokens."""

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return super().sum_up(logits, batch) / batch["completion_mask"].sum(-1)


class PromptMean(Scored):
    """The mean over prompt and completion: the mask only leaves the padding out."""

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        mask = batch["attention_mask"][:, 1:].bool()
        return masked_sum(token_logprobs(logits, batch["input_ids"]), mask) / mask.sum(-1)


class OffByOne(Scored):
    """The logits at t are read as if they were about token t."""

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        picked = logits.log_softmax(-1).gather(-1, batch["input_ids"][..., None]).squeeze(-1)
        return masked_sum(picked, batch["completion_mask"])


class EosMasked(Scored):
    """A mask by id: where pad == eos, `ids != pad` loses each completion's end."""

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        mask = batch["completion_mask"] & (batch["input_ids"] != self.policy.tokenizer.eos_token_id)
        return masked_sum(token_logprobs(logits, batch["input_ids"]), mask[:, 1:])


class PaddingSummed(Scored):
    """Everything from the completion's start to the end of the row, padding included."""

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        mask = batch["completion_mask"] | ~batch["attention_mask"].bool()
        return masked_sum(token_logprobs(logits, batch["input_ids"]), mask[:, 1:])


class WrongSlice(Scored):
    """`logps[:, len(prompt_ids) - 1:]`, where prompt_ids is (B, P): `len` is the number of rows."""

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        start = (
            len(logits) // 2
        )  # chosen and rejected went through the model one after the other: B rows each
        logps = token_logprobs(logits, batch["input_ids"])[:, start - 1 :]
        return masked_sum(logps, batch["attention_mask"][:, start:].bool())


class Clamped(Scored):
    """The log-prob is clamped "for stability"."""

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return super().sum_up(logits, batch).clamp(min=CLAMP, max=0.0)


class Bf16Sum(Scored):
    """Token log-probs are cast to bf16 and summed there."""

    def sum_up(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        logps = token_logprobs(logits, batch["input_ids"]).bfloat16()
        return masked_sum(logps, batch["completion_mask"][:, 1:]).float()


class CompletionCut(Steps):
    """Rows are cut at their right end, where the completion is."""

    def encode(self, pairs: list[Mapping[str, Any]]) -> tuple[list[Encoded], list[Encoded]]:
        sides = []
        for side in ("chosen", "rejected"):
            rows = [encode_pair(self.policy.tokenizer, pair["prompt"], pair[side]) for pair in pairs]
            cut = self.config.max_length
            sides.append([Encoded(row.input_ids[:cut], row.completion_mask[:cut]) for row in rows])
        return sides[0], sides[1]


# the loss


class BetaZero(Steps):
    """β reaches the loss as 0."""

    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        chosen, rejected, ref_chosen, ref_rejected = four
        chosen_rewards, rejected_rewards = 0.0 * (chosen - ref_chosen), 0.0 * (rejected - ref_rejected)
        return (
            -logsigmoid(chosen_rewards - rejected_rewards),
            chosen_rewards.detach(),
            rejected_rewards.detach(),
        )


class LogOfSigmoid(Steps):
    """log(sigmoid(m)) in two steps."""

    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, chosen_rewards, rejected_rewards = dpo_loss(*four, beta=self.beta)
        chosen, rejected, ref_chosen, ref_rejected = four
        margins = self.beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
        return -torch.log(torch.sigmoid(margins)), chosen_rewards, rejected_rewards


class LossIgnored(Steps):
    """The config's loss is never read: `Steps` only knows the sigmoid."""


class NoGradient(Steps):
    """The log-probs are computed under no_grad, and the error that follows is silenced."""

    def losses(self, *four: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        losses, *rewards = dpo_loss(*(logps.detach() for logps in four), beta=self.beta)
        return losses.requires_grad_(), *rewards


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """(R,) sums over the last dimension where the mask is true."""
    return values.masked_fill(~mask, 0.0).sum(-1)
