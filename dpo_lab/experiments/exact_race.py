"""Every loss in the exact world, with a policy that generalises: reward and KL are sums, so the frontier is a line.

One prompt and words of one length: what sums and means differ in, and what length does, can't show here.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dpo_lab.experiments.noisy_labels import features, world
from dpo_lab.losses import LOSSES
from dpo_lab.schedules import warmup_cosine
from dpo_lab.worlds.exact import ExactWorld


def exact_race_run(
    loss: str,
    beta: float,
    seed: int,
    *,
    pairs: int = 1000,
    flipped: float = 0.0,
    label_smoothing: float = 0.0,
    steps: int = 300,
) -> dict[str, float]:
    """Train π ∝ π_ref exp(features · weights) with one loss, all pairs at once, and judge it exactly.

    Args:
        loss: a key of `LOSSES`.
        beta: the loss's own strength: β, IPO's τ, ORPO's λ.
        seed: of pairs, labels and flips.
        pairs: how many are drawn from the reference and judged once each by Bradley-Terry.
        flipped: share of the labels that are turned round afterwards.
        label_smoothing: for the losses that take it.
        steps: of Adam, learning rate 0.1 with cosine decay.

    Returns:
        `kl`, `reward`, and `efficiency`: the reward gained over the reference, as a share of what the best policy gains
        at the same KL; at most 1.
    """
    drawn = world().sample_pairs(pairs, seed=seed)
    turned = torch.rand(pairs, generator=torch.Generator().manual_seed(1000 + seed)) < flipped
    chosen = torch.where(turned, drawn.rejected, drawn.chosen)
    rejected = torch.where(turned, drawn.chosen, drawn.rejected)
    weights = torch.zeros(features().shape[1], dtype=torch.float64, requires_grad=True)
    search = torch.optim.Adam([weights], lr=0.1)
    for step in range(steps):
        search.param_groups[0]["lr"] = 0.1 * warmup_cosine(step, steps, 0)
        search.zero_grad()
        logps = policy_logps(weights)
        mean_loss(loss, logps, chosen, rejected, beta, label_smoothing).backward()
        search.step()
    found = policy_logps(weights.detach())
    kl, reward = world().kl(found), world().expected_reward(found)
    start = world().expected_reward(world().ref_logps)
    return {"kl": kl, "reward": reward, "efficiency": (reward - start) / (frontier_reward(kl) - start)}


def policy_logps(weights: Tensor) -> Tensor:
    """(N,) log-probs of all words."""
    return (world().ref_logps + features() @ weights).log_softmax(dim=-1)


def mean_loss(
    name: str, logps: Tensor, chosen: Tensor, rejected: Tensor, beta: float, label_smoothing: float = 0.0
) -> Tensor:
    """The registry's loss on pairs of words, a scalar; a word's length is its letters, KTO's z is the exact KL."""
    loss, ref_logps = LOSSES[name], world().ref_logps
    length = float(world().letters.shape[1])
    four = [logps[chosen], logps[rejected], ref_logps[chosen], ref_logps[rejected]]
    if loss.average:
        four = [values / length for values in four]
    options = {"label_smoothing": label_smoothing} if label_smoothing else {}
    if name == "simpo":
        options["gamma"] = beta / 2  # the paper tunes the ratio γ/β, and finds about a half
    if loss.lengths:
        options |= dict.fromkeys(("chosen_lengths", "rejected_lengths"), torch.full_like(four[0], length))
    if loss.mismatched:
        kl = (logps.exp() * (logps - ref_logps)).sum()
        options["mismatched_log_ratios"] = kl.detach().view(1)
    if loss.running_reward:
        rewards = beta * torch.cat([four[0] - four[2], four[1] - four[3]])
        options["delta"] = rewards.detach().mean().item()
    return loss.function(*four, beta=beta, **options)[0].mean()


def frontier_reward(kl: float) -> float:
    """The most that a policy at this KL can earn: the closed-form optimum of the β that leads there."""
    return _frontier_reward(world(), round(kl, 6))


@cache
def _frontier_reward(world: ExactWorld, kl: float) -> float:
    low, high = 1e-3, 1e4
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if world.kl(world.optimal_logps(middle)) > kl else (low, middle)
    return world.expected_reward(world.optimal_logps(high))
