"""A reward model: a language model's trunk with one number as output, trained on preference pairs by Bradley-Terry."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dpo_lab.baselines.rows import Scorer
from dpo_lab.bradley_terry import bradley_terry_loss
from dpo_lab.checks import check_same_shape, rows_where
from dpo_lab.encoding import Encoded, collate_rows, encode_pairs, encode_sampled
from dpo_lab.history import History
from dpo_lab.loop import LoopConfig, mean_metrics, run_loop, split
from dpo_lab.policies import Policy
from dpo_lab.trainer import to_device


class ScalarModel(torch.nn.Module):
    """A causal language model whose vocabulary head is replaced by a linear map to one number a position.

    The same shape serves as reward model (read at the last token) and as value model (read at all of them). The head
    starts at zero: every score is 0 at first, as DPO's implicit rewards are.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.base_model = copy.deepcopy(model.base_model).float().requires_grad_(True)
        size = model.get_input_embeddings().embedding_dim
        self.head = torch.nn.Linear(size, 1, device=model.get_input_embeddings().weight.device)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(R, T) numbers, float32, for a batch of `input_ids` and `attention_mask`, each (R, T)."""
        attention_mask = batch["attention_mask"]
        hidden = self.base_model(
            input_ids=batch["input_ids"],
            attention_mask=attention_mask,
            position_ids=(attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        return self.head(hidden.float()).squeeze(-1)


def completion_scores(values: Tensor, completion_mask: Tensor) -> Tensor:
    """The score of each completion: the model's number at its last token, where it has read all of it.

    Args:
        values: (R, T), the scalar model's output at each position.
        completion_mask: (R, T) bool, true exactly at a completion's tokens, which follow each other. The prompt stands
            before them; padding may stand on either side.

    Returns:
        (R,) scores, differentiable in `values`.

    Raises:
        ValueError: shapes disagree, or a row has no completion token.
    """
    check_same_shape(values=values, completion_mask=completion_mask)
    check_completions(completion_mask)
    positions = torch.arange(values.shape[1], device=values.device)
    last = (positions * completion_mask).argmax(dim=-1)
    return values.gather(dim=1, index=last[:, None]).squeeze(dim=1)


def check_completions(completion_mask: Tensor) -> None:
    """Raise ValueError unless every row has a true entry."""
    if (empty := ~completion_mask.any(dim=-1)).any():
        raise ValueError(f"rows {rows_where(empty)} of completion_mask are empty: there is nothing to score")


def score_rows(
    model: ScalarModel, rows: Sequence[Encoded], pad_token_id: int, batch_size: int = 16
) -> Tensor:
    """(N,) scores of N encoded rows, on the model's device, differentiable; rows of like length run together."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found = []
    for part in split(order, batch_size):
        batch = to_device(collate_rows([rows[i] for i in part], pad_token_id), model)
        found.append(completion_scores(model(batch), batch["completion_mask"]))
    return torch.cat(found)[torch.tensor(order).argsort()]


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(LoopConfig):
    """A reward model's training run: see `LoopConfig`."""

    lr: float = 1e-3


@dataclass
class RewardModel:
    """A trained reward model, and the tokenizer whose ids it reads."""

    model: ScalarModel
    tokenizer: Any

    @torch.no_grad()
    def score(self, rows: Sequence[Encoded]) -> Tensor:
        """(N,) scores on the CPU of N encoded prompts with completions."""
        self.model.eval()
        return score_rows(self.model, rows, self.tokenizer.pad_token_id).cpu()

    def scorer(self) -> Scorer:
        """The model as PPO takes a reward: a function of prompts and completions' token ids."""
        return lambda prompts, token_ids: self.score(encode_sampled(self.tokenizer, prompts, token_ids))


class RewardObjective:
    """Bradley-Terry's loss on encoded pairs: −log σ(s_w − s_l), s the scores  (Ouyang et al. 2022, eq. 1)."""

    def __init__(
        self, tokenizer: Any, pairs: Iterable[Mapping[str, Any]], config: RewardModelConfig, name: str
    ) -> None:
        self.name, self.config, self.pad = name, config, tokenizer.pad_token_id
        self.chosen, self.rejected = encode_pairs(tokenizer, pairs, config.max_length)
        self.size = len(self.chosen)

    def weight(self, rows: list[int]) -> float:
        return len(rows)

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        encoded = [self.chosen[i] for i in rows] + [self.rejected[i] for i in rows]
        chosen_scores, rejected_scores = score_rows(model, encoded, self.pad).chunk(2)
        losses = bradley_terry_loss(chosen_scores, rejected_scores)
        margins = (chosen_scores - rejected_scores).detach()
        ties = 0.5 * (margins == 0).float()
        metrics = {
            "loss": losses.mean().item(),
            "rewards/accuracies": ((margins > 0).float() + ties).mean().item(),
            "rewards/margins": margins.mean().item(),
        }
        return losses.sum(), metrics


def train_reward_model(
    policy: Policy,
    pairs: Iterable[Mapping[str, Any]],
    config: RewardModelConfig | None = None,
    eval_pairs: Iterable[Mapping[str, Any]] | None = None,
    callback: Callable[[History], None] | None = None,
) -> tuple[RewardModel, History]:
    """Train a reward model whose trunk starts as a copy of `policy`'s, which stays as it is.

    Pairs fix a score only up to a constant, so at the end the head is shifted until the mean score of the training
    completions is 0: PPO's value model then starts from the right level.

    Args:
        policy: usually the SFT model.
        pairs: rows with `prompt`, `chosen`, `rejected`, as text or chat messages.
        config: see `RewardModelConfig`.
        eval_pairs: held-out rows; their loss is logged as `eval_loss`, their accuracy as `eval_rewards/accuracies`.
        callback: called with the history after each step.

    Returns:
        The reward model and the history.

    Raises:
        ValueError: no pairs, or an empty or identical completion.
    """
    config = config or RewardModelConfig()
    scored = Policy(ScalarModel(policy.model), policy.tokenizer, f"{policy.name} (reward model)")
    train = RewardObjective(policy.tokenizer, pairs, config, "reward model")
    evaluate = None
    if eval_pairs is not None:
        held_out = RewardObjective(policy.tokenizer, eval_pairs, config, "held-out")
        evaluate = partial(mean_metrics, held_out, scored.model, config.batch_size)
    history = run_loop(scored, train, config, evaluate, callback)
    reward_model = RewardModel(scored.model.requires_grad_(False), policy.tokenizer)
    with torch.no_grad():
        scored.model.head.bias -= reward_model.score([*train.chosen, *train.rejected]).mean()
    return reward_model, history
