"""How far a policy of the exact world has drifted after so many steps of Adam."""

from __future__ import annotations

import torch

from dpo_lab.worlds.exact import ExactWorld


def drift_run(
    beta: float,
    seed: int = 0,
    *,
    looks: list[int],
    pairs: int = 500,
    soft: bool = False,
    loss: str = "sigmoid",
    lr: float = 0.03,
) -> dict[str, list[float]]:
    """Train all logits on finitely many pairs, the whole set at each step, and look at the KL now and then.

    Args:
        beta: weight of the KL term; IPO's τ.
        seed: of the pairs; the world is always the same.
        looks: steps after which to measure, rising.
        pairs: how many.
        soft: give the loss P(chosen wins) instead of the outcome.
        loss: "sigmoid" or "ipo".
        lr: Adam's rate, in nats of a logit.

    Returns:
        Lists with an entry a look: `step` and `kl`.
    """
    world = ExactWorld()
    drawn = world.sample_pairs(pairs, seed=seed, soft=soft)
    loss_of = world.pair_loss if loss == "sigmoid" else world.ipo_pair_loss
    logits = world.ref_logps.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=lr)
    kls = []
    for step in range(1, max(looks) + 1):
        optimizer.zero_grad()
        loss_of(logits, drawn, beta).backward()
        optimizer.step()
        if step in looks:
            kls.append(world.kl(logits.detach().log_softmax(dim=-1)))
    return {"step": list(looks), "kl": kls}
