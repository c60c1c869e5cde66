"""The rival: a reward model trained on the same preference pairs, and PPO with a KL penalty on top of it."""

from dpo_lab.baselines.advantages import gae, kl_shaped_rewards, whiten
from dpo_lab.baselines.exact_ppo import TablePolicy, exact_ppo
from dpo_lab.baselines.language_ppo import LanguageActor, train_ppo
from dpo_lab.baselines.memory import training_memory
from dpo_lab.baselines.ppo import PPOConfig, run_ppo
from dpo_lab.baselines.ppo_loss import approximate_kl, ppo_policy_loss, ppo_value_loss
from dpo_lab.baselines.reward_model import (
    RewardModel,
    RewardModelConfig,
    completion_scores,
    train_reward_model,
)
from dpo_lab.baselines.rows import text_scorer

__all__ = [
    "LanguageActor",
    "PPOConfig",
    "RewardModel",
    "RewardModelConfig",
    "TablePolicy",
    "approximate_kl",
    "completion_scores",
    "exact_ppo",
    "gae",
    "kl_shaped_rewards",
    "ppo_policy_loss",
    "ppo_value_loss",
    "run_ppo",
    "text_scorer",
    "train_ppo",
    "train_reward_model",
    "training_memory",
    "whiten",
]
