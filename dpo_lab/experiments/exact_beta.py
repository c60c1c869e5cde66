"""One fit in the exact world as a function of plain settings, for sweeps over β, data and loss."""

from __future__ import annotations

from dpo_lab.worlds.exact import ExactWorld


def exact_run(
    beta: float,
    seed: int = 0,
    *,
    pairs: int | None = None,
    soft: bool = False,
    loss: str = "sigmoid",
    steps: int = 200,
) -> dict[str, float]:
    """Train DPO or IPO in the exact world and say where it ended, and where infinite data would have led.

    Args:
        beta: weight of the KL term; IPO's τ.
        seed: of the pairs; the world is always the same.
        pairs: how many; None for infinite data.
        soft: give the loss P(chosen wins) instead of the outcome.
        loss: "sigmoid" or "ipo".
        steps: at most so many L-BFGS steps.

    Returns:
        `kl` and `reward` of the trained policy, `limit_kl` and `limit_reward` of the loss's optimum on infinite data.
    """
    world = ExactWorld()
    drawn = None if pairs is None else world.sample_pairs(pairs, seed=seed, soft=soft)
    trained = world.fit(beta, drawn, steps=steps, loss=loss)
    limit = world.optimal_logps(beta) if loss == "sigmoid" else world.ipo_optimum(beta)
    return {
        "kl": world.kl(trained),
        "reward": world.expected_reward(trained),
        "limit_kl": world.kl(limit),
        "limit_reward": world.expected_reward(limit),
    }
