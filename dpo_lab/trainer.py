"""SFT and DPO: what each computes on a batch. The loop around them is `dpo_lab.loop`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dpo_lab.batch_terms import Mismatched, RunningReward
from dpo_lab.checks import check_fraction, check_positive
from dpo_lab.encoding import Encoded, encode_pair, encode_pairs, same_prompts
from dpo_lab.history import History
from dpo_lab.logprobs import completion_logprobs
from dpo_lab.loop import LoopConfig, mean_metrics, run_loop, split
from dpo_lab.losses import LOSSES, chosen_nll, dpo_loss, preference_metrics
from dpo_lab.packing import score_groups, score_pairs
from dpo_lab.policies import Policy, check_same_tokenizer


@dataclass(frozen=True, kw_only=True)
class DPOConfig(LoopConfig):
    """A DPO run: `LoopConfig` and the loss's own settings.

    Args:
        beta: weight of the KL term, > 0; higher stays closer to the reference.
        label_smoothing: probability in [0, 0.5) that a label is flipped; for the losses that take it.
        loss: a key of `losses.LOSSES`; "sigmoid" is DPO.
        loss_options: what else that loss takes, such as `{"penalty": 50.0}` for "dpop".
        nll_weight: weight of the chosen completions' negative log-prob, added to the loss; 0 leaves it out.
        replay_weight: weight of the replayed examples' loss, where `train_dpo` is given some.
    """

    lr: float = 1e-5
    beta: float = 0.1
    label_smoothing: float = 0.0
    loss: str = "sigmoid"
    loss_options: Mapping[str, float] = field(default_factory=dict)
    nll_weight: float = 0.0
    replay_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(beta=self.beta)
        check_fraction(label_smoothing=self.label_smoothing)
        check_loss(self.loss, self.label_smoothing, self.loss_options)
        for name in ("nll_weight", "replay_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a finite number >= 0, got {getattr(self, name)}")


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
    beta_schedule: Callable[[History], float] | None = None,
    replay: Iterable[Mapping[str, Any]] | None = None,
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
        beta_schedule: given the history before each step, says β of that step, which is then logged as `beta`; None
            keeps `config.beta`. Held-out losses use `config.beta` throughout, so that they stay comparable.
        replay: rows with `prompt` and `completion`, such as SFT data; each batch of pairs comes with as many of them,
            whose SFT loss is added, times `config.replay_weight`, and logged as `replay`.

    Returns:
        The history, one record a step, under TRL's metric names.

    Raises:
        ValueError: no pairs, an empty or identical completion, tokenizers that differ, or a bad setting.
    """
    config = config or DPOConfig()
    check_same_tokenizer(policy, reference)
    train = PairObjective(policy, reference, pairs, config, "DPO")
    evaluate = None
    if eval_pairs is not None:
        held_out = PairObjective(policy, reference, eval_pairs, config, "held-out")
        held_out.running = train.running
        evaluate = partial(held_out.evaluate, policy.model)
    prepare = partial(train.before_step, beta_schedule)
    objective = train if replay is None else WithReplay(policy, train, replay, config)
    return run_loop(policy, objective, config, evaluate, callback, prepare)


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
        self.beta, self.scheduled = config.beta, False
        self.chosen, self.rejected = encode_pairs(policy.tokenizer, pairs, config.max_length)
        self.size = len(self.chosen)
        self.variant, self.running = LOSSES[config.loss], RunningReward()
        self.ref_chosen_logps, self.ref_rejected_logps = torch.zeros(2, self.size)
        if self.variant.paired and not same_prompts(self.chosen, self.rejected):
            raise ValueError(
                f"loss {config.loss!r} compares two answers to one prompt: leave out rejected_prompt"
            )
        if self.variant.needs_reference:
            self.ref_chosen_logps, self.ref_rejected_logps = pair_logprobs(
                reference,
                self.chosen,
                self.rejected,
                batch_size=config.batch_size,
                progress="reference log-probs" if config.progress else None,
            )
        if self.variant.mismatched:
            self.mismatched = Mismatched(reference, self.chosen, self.rejected, 2 * config.batch_size)

    def before_step(self, beta_schedule: Callable[[History], float] | None, history: History) -> None:
        """Take what the next step's loss depends on from the log so far: BCO's shift, a scheduled β."""
        self.running.follow(history)
        if beta_schedule is not None:
            self.beta, self.scheduled = beta_schedule(history), True
            check_positive(beta=self.beta)

    def weight(self, rows: list[int]) -> float:
        return len(rows)

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        chosen, rejected = [self.chosen[i] for i in rows], [self.rejected[i] for i in rows]
        policy_logps = score_pairs(model, chosen, rejected, self.pad)
        device = policy_logps[0].device
        references = self.ref_chosen_logps[rows].to(device), self.ref_rejected_logps[rows].to(device)
        lengths = completion_lengths(chosen).to(device), completion_lengths(rejected).to(device)
        terms = self.batch_terms(model, rows)
        loss, metrics = configured_loss(*policy_logps, *references, *lengths, self.beta, self.config, **terms)
        if self.scheduled:
            metrics["beta"] = self.beta
        return loss * len(rows), metrics

    def batch_terms(self, model: torch.nn.Module, rows: list[int]) -> dict[str, Any]:
        """What the loss takes from beyond its pairs, by the name of the parameter."""
        if self.variant.mismatched:
            return {"mismatched_log_ratios": self.mismatched.log_ratios(model, rows)}
        return {"delta": self.running.mean} if self.variant.running_reward else {}

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Means over all rows, with dropout off."""
        return mean_metrics(self, model, self.config.batch_size)


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


def configured_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float,
    config: DPOConfig,
    **terms: Any,
) -> tuple[Tensor, dict[str, float]]:
    """The loss that a config names, with the chosen completions' NLL where it is asked for.

    All six tensors are (B,); the log-probs are sums in nats, the lengths completion tokens as floats. `terms` are what
    the loss takes from beyond the pairs: `mismatched_log_ratios` or `delta`.

    Returns:
        The mean loss and the metrics, as `dpo_step_loss` does; `nll` is logged where it counts.
    """
    variant = LOSSES[config.loss]
    four = [policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps]
    if variant.average:
        sides = (chosen_lengths, rejected_lengths) * 2
        four = [logps / length for logps, length in zip(four, sides, strict=True)]
    options = {**config.loss_options, **terms}
    if variant.lengths:
        options.update(chosen_lengths=chosen_lengths, rejected_lengths=rejected_lengths)
    if config.label_smoothing:
        options.update(label_smoothing=config.label_smoothing)
    losses, chosen_rewards, rejected_rewards = variant.function(*four, beta=beta, **options)
    metrics = {}
    if config.nll_weight:
        nll = chosen_nll(policy_chosen_logps, chosen_lengths)
        losses = losses + config.nll_weight * nll
        metrics["nll"] = nll.detach().mean().item()
    metrics |= preference_metrics(
        losses, chosen_rewards, rejected_rewards, policy_chosen_logps, policy_rejected_logps
    )
    return losses.mean(), metrics


def completion_lengths(rows: Iterable[Encoded]) -> Tensor:
    """(N,) float32: tokens of each completion, its EOS included."""
    return torch.tensor([float(sum(row.completion_mask)) for row in rows])


def check_loss(name: str, label_smoothing: float, options: Mapping[str, float]) -> None:
    """Raise ValueError unless the loss exists and takes these options."""
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
    reserved = {
        "beta",
        "label_smoothing",
        "chosen_lengths",
        "rejected_lengths",
        "mismatched_log_ratios",
        "delta",
    }
    takes = list(inspect.signature(LOSSES[name].function).parameters)[4:]
    own = [option for option in takes if option not in reserved]
    if unknown := [option for option in options if option not in own]:
        raise ValueError(f"loss {name!r} takes {', '.join(own) or 'no options'}, got {', '.join(unknown)}")
    if label_smoothing and "label_smoothing" not in takes:
        raise ValueError(f"loss {name!r} takes no label_smoothing, got {label_smoothing}")


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
        total = -score_groups(model, [[self.rows[i]] for i in rows], self.pad).sum()
        return total, {"loss": total.item() / self.weight(rows)}

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Mean negative log-prob of a completion token over all rows, with dropout off."""
        return mean_metrics(self, model, self.config.batch_size)


class WithReplay:
    """DPO's loss on pairs, plus the SFT loss on as many other examples: what the policy shall not forget."""

    def __init__(
        self,
        policy: Policy,
        pairs: PairObjective,
        examples: Iterable[Mapping[str, Any]],
        config: DPOConfig,
    ) -> None:
        sft = SFTConfig(max_length=config.max_length)
        self.pairs, self.examples = pairs, CompletionObjective(policy, examples, sft, "replay")
        self.name, self.size, self.replay_weight = pairs.name, pairs.size, config.replay_weight

    def weight(self, rows: list[int]) -> float:
        return self.pairs.weight(rows)

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = self.pairs.loss(model, rows)
        replayed = [row % self.examples.size for row in rows]
        total, sft_metrics = self.examples.loss(model, replayed)
        mean = total / self.examples.weight(replayed)
        return loss + self.replay_weight * mean * len(rows), metrics | {"replay": sft_metrics["loss"]}


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
    pad = policy.tokenizer.pad_token_id
    for rows in tqdm(batches, desc=progress, disable=progress is None, unit="batch"):
        sides = [encoded_chosen[i] for i in rows], [encoded_rejected[i] for i in rows]
        chosen, rejected = score_pairs(policy.model, *sides, pad)
        chosen_logps.append(chosen.cpu())
        rejected_logps.append(rejected.cpu())
    policy.model.train(was_training)
    return torch.cat(chosen_logps), torch.cat(rejected_logps)


def to_device(batch: dict[str, Tensor], model: torch.nn.Module) -> dict[str, Tensor]:
    """The batch on the model's device."""
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}
