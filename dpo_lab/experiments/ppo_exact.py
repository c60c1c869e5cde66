"""DPO and PPO side by side in the exact world: the same pairs, the same table, and a random search of each."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lab.baselines.exact_ppo import TablePolicy, exact_ppo
from dpo_lab.baselines.ppo import PPOConfig
from dpo_lab.beta import frontier_point
from dpo_lab.worlds.exact import ExactWorld, IndexPairs

TUNED = {"steps": 150, "batch_size": 256, "epochs": 4, "lr": 0.05, "value_lr": 0.1}
"""PPO's settings in the exact world, found by trying a few."""


def frontier_share(world: ExactWorld, logps: Tensor) -> float:
    """How much of the reward that the frontier gains over the reference a policy gains at its own KL."""
    start, kl = world.expected_reward(world.ref_logps), world.kl(logps)
    return (world.expected_reward(logps) - start) / (reward_on_frontier(world, kl) - start)


def reward_on_frontier(world: ExactWorld, kl: float) -> float:
    """Expected reward of the closed-form optimum at a KL, by bisection over log β."""
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(50):
        middle = (low + high) / 2
        too_far = frontier_point(world.ref_logps, world.rewards, math.exp(middle))[0] > kl
        low, high = (middle, high) if too_far else (low, middle)
    return frontier_point(world.ref_logps, world.rewards, math.exp(low))[1]


def measure(world: ExactWorld, logps: Tensor, beta: float) -> dict[str, float]:
    """KL, reward, their objective at β, and the share of the frontier's gain."""
    return {
        "kl": world.kl(logps),
        "reward": world.expected_reward(logps),
        "objective": world.objective(logps, beta),
        "share": frontier_share(world, logps),
    }


def true_reward_run(beta: float, seed: int, *, steps: int = 150) -> dict[str, float]:
    """PPO on the true reward: it sees what its own words are worth, as many as it draws."""
    world = ExactWorld()
    logps, _ = exact_ppo(world, PPOConfig(beta=beta, seed=seed, progress=False, **{**TUNED, "steps": steps}))
    return measure(world, logps, beta)


def pairs_run(
    beta: float, seed: int, *, method: str, rewards: str, pairs: int = 2000, steps: int = 150
) -> dict[str, float]:
    """DPO, or a reward model and PPO, on the same hard-labelled pairs; both stop at the lowest held-out loss.

    Args:
        beta: weight of the KL term.
        seed: of pairs and PPO; the world is always the same.
        method: "DPO", or "PPO" with a reward model.
        rewards: what a reward may be: "table", one number a word, or "features", a sum over letters and neighbours,
            which is what the true reward is. DPO's policy is π_ref exp(s/β)/Z, s of the same form.
        pairs: how many; a fifth is held out.
        steps: batches of PPO.
    """
    world = ExactWorld()
    drawn = world.sample_pairs(pairs, seed=seed)
    train, held_out = halves(drawn, 4 * pairs // 5)
    features = torch.eye(len(world), dtype=torch.float64) if rewards == "table" else letter_features(world)
    if method == "DPO":
        weights = early_stopped(
            lambda w: dpo_pair_loss(world, w, features, train, beta),
            lambda w: dpo_pair_loss(world, w, features, held_out, beta),
            features,
        )
        return measure(world, (world.ref_logps + features @ weights).log_softmax(dim=-1), beta)
    weights = early_stopped(
        lambda w: reward_pair_loss(w, features, train),
        lambda w: reward_pair_loss(w, features, held_out),
        features,
    )
    config = PPOConfig(beta=beta, seed=seed, progress=False, **{**TUNED, "steps": steps})
    logps, _ = exact_ppo(world, config, rewards=features @ weights)
    return measure(world, logps, beta)


def letter_features(world: ExactWorld) -> Tensor:
    """(N, A + A²): how often each letter, and each pair of neighbours, stands in each word."""
    size = len(world.alphabet)
    neighbours = size * world.letters[:, :-1] + world.letters[:, 1:]
    counts = [
        torch.nn.functional.one_hot(world.letters, size).sum(dim=1),
        torch.nn.functional.one_hot(neighbours, size**2).sum(dim=1),
    ]
    return torch.cat(counts, dim=1).double()


def halves(pairs: IndexPairs, first: int) -> tuple[IndexPairs, IndexPairs]:
    """The first so many pairs, and the rest."""
    return IndexPairs(*(x[:first] for x in pairs)), IndexPairs(*(x[first:] for x in pairs))


def dpo_pair_loss(
    world: ExactWorld, weights: Tensor, features: Tensor, pairs: IndexPairs, beta: float
) -> Tensor:
    """DPO's mean loss of the policy whose logits are log π_ref + features · weights. A scalar."""
    return world.pair_loss(world.ref_logps + features @ weights, pairs, beta)


def reward_pair_loss(weights: Tensor, features: Tensor, pairs: IndexPairs) -> Tensor:
    """Bradley-Terry's mean loss of the rewards features · weights. A scalar."""
    scores = features @ weights
    return -logsigmoid(scores[pairs.chosen] - scores[pairs.rejected]).mean()


def early_stopped(
    loss: Callable[[Tensor], Tensor], held_out: Callable[[Tensor], Tensor], features: Tensor, steps: int = 300
) -> Tensor:
    """Weights from 0 on by Adam, those with the lowest held-out loss on the way."""
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.03)
    best, lowest = weights.detach().clone(), math.inf
    for step in range(steps):
        if step % 5 == 0 and (now := held_out(weights.detach()).item()) < lowest:
            best, lowest = weights.detach().clone(), now
        optimizer.zero_grad()
        loss(weights).backward()
        optimizer.step()
    return best


RANGES = {
    "DPO": {"lr": (0.003, 1.0), "batch_size": (16, 256), "warmup": (0.0, 0.3)},
    "PPO": {
        "lr": (0.003, 1.0),
        "batch_size": (16, 256),
        "value_lr": (0.003, 1.0),
        "clip_range": (0.05, 0.5),
        "value_clip_range": (0.1, 10.0),
        "lam": (0.8, 1.0),
        "epochs": (1, 8),
    },
}
"""What the random search draws, lowest and highest: linear for warmup and lam, else on a logarithmic scale."""


def draw_settings(method: str, draw: int) -> dict[str, float]:
    """One draw of a method's settings; whole numbers where they count something."""
    rng = random.Random(1000 + draw)
    found: dict[str, float] = {}
    for name, (low, high) in RANGES[method].items():
        linear = name in ("warmup", "lam")
        value = rng.uniform(low, high) if linear else math.exp(rng.uniform(math.log(low), math.log(high)))
        found[name] = round(value) if name in ("batch_size", "epochs") else value
    return found


def search_run(method: str, draw: int, *, beta: float = 1.0, completions: int = 40_000) -> dict[str, Any]:
    """One draw of the random search, with labels and rewards free of noise, so that both have one optimum, π*.

    Args:
        method: "DPO" on fresh pairs from the reference with P(chosen wins) as label, or "PPO" on the true reward.
        draw: number of the draw; both methods draw `lr` and `batch_size` alike.
        beta: weight of the KL term.
        completions: how many the policy is trained on, with repetition: 2 a pair, `epochs` a sample of PPO's.

    Returns:
        The settings, `score` (the objective, 0 at the reference and 1 at the optimum), `kl` and `updates`.
    """
    world, settings = ExactWorld(), draw_settings(method, draw)
    if method == "PPO":
        steps = max(1, completions // (settings["batch_size"] * settings["epochs"]))
        config = PPOConfig(beta=beta, steps=steps, seed=draw, progress=False, **settings)
        logps, updates = exact_ppo(world, config)[0], steps * settings["epochs"]
    else:
        updates = max(1, completions // (2 * settings["batch_size"]))
        logps = table_dpo(world, beta, updates, draw, **settings)
    start, best = (world.objective(p, beta) for p in (world.ref_logps, world.optimal_logps(beta)))
    score = (world.objective(logps, beta) - start) / (best - start)
    return {**settings, "score": score, "final_kl": world.kl(logps), "updates": updates}


def table_dpo(
    world: ExactWorld, beta: float, steps: int, seed: int, *, lr: float, batch_size: int, warmup: float
) -> Tensor:
    """(N,) log-probs after DPO by Adam on the same table of prefixes that PPO trains; the rate falls linearly."""
    policy = TablePolicy(world)
    optimizer = torch.optim.Adam([policy.logits], lr=lr)
    pairs = world.sample_pairs(steps * batch_size, seed=seed, soft=True)
    rise = max(1, round(warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, 1 - 0.9 * step / steps)
    )
    for step in range(steps):
        rows = slice(step * batch_size, (step + 1) * batch_size)
        batch = IndexPairs(pairs.chosen[rows], pairs.rejected[rows], pairs.targets[rows])
        optimizer.zero_grad()
        # the words' log-probs are normalised already: pair_loss's softmax leaves them as they are
        world.pair_loss(policy.token_logps(policy.logits).sum(dim=-1), batch, beta).backward()
        torch.nn.utils.clip_grad_norm_([policy.logits], 1.0)
        optimizer.step()
        schedule.step()
    return policy.logps()


def over_optimised_run(seed: int, *, pairs: int = 60, beta: float = 0.02, steps: int = 60) -> dict[str, Any]:
    """PPO against a reward model of very few pairs, fitted without early stopping; all means are exact sums.

    Args:
        seed: of pairs and PPO.
        pairs: what the reward model (sums of features) is fitted to.
        beta: weight of the KL penalty: small, so that PPO pushes hard.
        steps: batches.

    Returns:
        Lists with an entry a batch: `learned` and `true` expected reward of the policy after it, and its `kl`.
    """
    world = ExactWorld()
    features, drawn = letter_features(world), world.sample_pairs(pairs, seed=seed)
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        reward_pair_loss(weights, features, drawn).backward()
        optimizer.step()
    scores = features @ weights.detach()
    scores -= (world.ref_logps.exp() * scores).sum()
    looks: dict[str, list[float]] = {"learned": [], "true": [], "kl": []}

    def look(history: Any, policy: TablePolicy) -> None:
        logps = policy.logps()
        looks["learned"].append((logps.exp() * scores).sum().item())
        looks["true"].append(world.expected_reward(logps))
        looks["kl"].append(world.kl(logps))

    config = PPOConfig(beta=beta, seed=seed, progress=False, **{**TUNED, "steps": steps})
    exact_ppo(world, config, rewards=scores, callback=look)
    return looks
