"""PPO on a language model: sampling, scoring, and the policy beside a value model of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dpo_lab.baselines.ppo import PPOConfig, Rollout, run_ppo
from dpo_lab.baselines.reward_model import ScalarModel
from dpo_lab.baselines.rows import Scorer
from dpo_lab.encoding import Messages, collate_rows, encode_sampled
from dpo_lab.history import History
from dpo_lab.policies import Policy, check_same_tokenizer
from dpo_lab.sampling import sample_ids
from dpo_lab.trainer import to_device


class LanguageActor:
    """A language model that learns, its frozen reference, a value model and a reward.

    Args:
        policy: trained in place.
        reference: frozen.
        prompts: what completions are sampled for; batches take them in turn.
        reward: a `Scorer`.
        value_model: trained in place; None makes one whose trunk is a copy of the policy's.
        config: lengths and penalties.
    """

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        prompts: Sequence[str | Messages],
        reward: Scorer,
        config: PPOConfig,
        value_model: ScalarModel | None = None,
    ) -> None:
        if not prompts:
            raise ValueError("prompts is empty: there is nothing to sample for")
        check_same_tokenizer(policy, reference)
        policy.model.float()
        self.policy, self.reference, self.prompts, self.reward = policy, reference, list(prompts), reward
        self.config = config
        self.value_model = value_model if value_model is not None else ScalarModel(policy.model)
        self.value_model.requires_grad_(True)
        self.policy_parameters = [p for p in policy.model.parameters() if p.requires_grad]
        self.value_parameters = list(self.value_model.parameters())

    @torch.no_grad()
    def rollout(self, size: int, seed: int) -> Rollout:
        """Sample completions and run every model over them once."""
        prompts = [self.prompts[(seed * size + i) % len(self.prompts)] for i in range(size)]
        token_ids = sample_ids(
            self.policy,
            prompts,
            max_new_tokens=self.config.max_new_tokens,
            seed=seed,
            batch_size=size,
        )
        rows = encode_sampled(self.policy.tokenizer, prompts, token_ids)
        batch = to_device(collate_rows(rows, self.policy.tokenizer.pad_token_id), self.policy.model)
        lengths = torch.tensor([len(ids) for ids in token_ids], device=self.policy.device)
        mask = torch.arange(int(lengths.max()), device=lengths.device)[None, :] < lengths[:, None]
        ends = torch.tensor([ids[-1] == self.policy.tokenizer.eos_token_id for ids in token_ids])
        scores = self.reward(prompts, token_ids).float() - self.config.missing_eos_penalty * ~ends
        logps, _ = token_statistics(self.policy.model, batch, mask)
        ref_logps, _ = token_statistics(self.reference.model, batch, mask)
        values = token_values(self.value_model, batch, mask)
        return Rollout(batch, mask, logps, ref_logps, values, scores.to(self.policy.device))

    def evaluate(self, rollout: Rollout, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probs, values and entropies of these rows' tokens, with gradients."""
        batch = {name: tensor[rows] for name, tensor in rollout.completions.items()}
        mask = rollout.mask[rows]
        logps, entropies = token_statistics(self.policy.model, batch, mask)
        return logps, token_values(self.value_model, batch, mask), entropies


def token_statistics(model: torch.nn.Module, batch: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
    """Log-prob of each completion token, and the entropy of the distribution that it was drawn from.

    Args:
        model: a `transformers` causal LM.
        batch: `input_ids`, `attention_mask`, `completion_mask`, each (R, width), padded on the right.
        mask: (R, T) bool, true at the completions' tokens, from column 0 on.

    Returns:
        Two (R, T) float32 tensors in nats, 0 where the mask is false.
    """

    def read(part: dict[str, Tensor]) -> Tensor:
        inputs = {name: part[name] for name in ("input_ids", "attention_mask")}
        logits = model(**inputs, use_cache=False).logits.float()
        predictions = before_tokens(logits, part["completion_mask"]).log_softmax(dim=-1)  # (tokens, V)
        targets = part["input_ids"][part["completion_mask"]]
        entropies = -(predictions.exp() * predictions).sum(dim=-1)
        return torch.stack([predictions.gather(1, targets[:, None]).squeeze(1), entropies])

    logps, entropies = per_token(read, batch, mask)
    return logps, entropies


def token_values(value_model: ScalarModel, batch: dict[str, Tensor], mask: Tensor) -> Tensor:
    """(R, T) estimates of the value model just before each completion token; arguments as above."""
    (values,) = per_token(
        lambda part: before_tokens(value_model(part), part["completion_mask"])[None], batch, mask
    )
    return values


def before_tokens(outputs: Tensor, completion_mask: Tensor) -> Tensor:
    """What a model says just before each completion token, where it is chosen: (tokens, ...) of (R, width, ...)."""
    return outputs[:, :-1][completion_mask[:, 1:]]


def per_token(
    read: Callable[[dict[str, Tensor]], Tensor], batch: dict[str, Tensor], mask: Tensor, rows: int = 16
) -> Tensor:
    """Run `read` over a ragged batch, rows of like length together, so that little of the work goes into padding.

    Args:
        read: a batch to (k, tokens), its completion tokens row after row.
        batch: each (R, width), padded on the right.
        mask: (R, T) bool, true at the completions' tokens.
        rows: of one call.

    Returns:
        (k, R, T), 0 where the mask is false.
    """
    lengths = batch["attention_mask"].sum(dim=-1)
    order = lengths.argsort()
    found = [
        read({name: tensor[part, : lengths[part].max()] for name, tensor in batch.items()})
        for part in order.split(rows)
    ]
    sorted_rows = [
        torch.zeros(mask.shape, device=mask.device).masked_scatter(mask[order], values)
        for values in torch.cat(found, dim=1)
    ]
    return torch.stack(sorted_rows)[:, order.argsort()]


def train_ppo(
    policy: Policy,
    reference: Policy,
    prompts: Sequence[str | Messages],
    reward: Scorer,
    config: PPOConfig | None = None,
    value_model: ScalarModel | None = None,
    callback: Callable[[History], None] | None = None,
) -> History:
    """Train `policy` in place with PPO (Schulman et al. 2017; Ziegler et al. 2019; Ouyang et al. 2022).

    Args:
        policy: the model that learns, usually the SFT model; dropout stays off throughout.
        reference: the frozen one, usually `frozen_reference(policy)`.
        prompts: what to write completions for.
        reward: a `Scorer`: `RewardModel.scorer()`, or `text_scorer` of a true reward.
        config: see `PPOConfig`.
        value_model: as in `LanguageActor`; a copy of the reward model's network is a usual start.
        callback: called with the history after each batch.

    Returns:
        The history, see `run_ppo`.

    Raises:
        ValueError: no prompts, or tokenizers that differ.
    """
    config = config or PPOConfig()
    actor = LanguageActor(policy, reference, prompts, reward, config, value_model)
    policy.model.eval()
    actor.value_model.eval()
    return run_ppo(actor, config, callback)
