"""Many epochs on few pairs of the review world, with and without early stopping."""

from __future__ import annotations

from typing import Any

from dpo_lab.diagnostics.calibration import calibration
from dpo_lab.lab import Lab
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.worlds.review import shipped_pairs


def overfitting_run(
    seed: int, *, n: int = 64, epochs: int = 12, patience: int | None = None, samples: int = 64
) -> dict[str, Any]:
    """Train on the same few pairs again and again; evaluate on 64 held-out ones after each epoch.

    Args:
        seed: which n of the shipped pairs, and their order.
        n: training pairs.
        epochs: passes over them, at most.
        patience: stop after so many epochs without a lower held-out loss and take the best weights; None never stops.
        samples: completions to measure the reward on.

    Returns:
        `training` and `held_out`: the loss after each epoch, lists. `epochs_done`. Of the policy that was returned:
        `reward`, `kl`, and on 192 further held-out pairs `loss`, `predicted` and `measured` (share of pairs won), and
        `calibration_error`.
    """
    lab = Lab.auto("tiny", "cpu")
    policy = lab.fresh_policy()
    pairs, heldout = shipped_pairs("train")[seed * n : (seed + 1) * n], shipped_pairs("heldout")
    config = DPOConfig(
        lr=5e-4, epochs=epochs, batch_size=16, patience=patience, seed=seed, schedule="constant_with_warmup",
        warmup_ratio=0.0, progress=False,
    )  # fmt: skip
    history = train_dpo(policy, lab.reference, pairs, config, eval_pairs=heldout[:64])
    steps = -(-n // config.batch_size)
    losses, done = history["loss"], len(history["eval_loss"])
    found = calibration(policy, lab.reference, heldout[64:], config.beta)
    written = lab.measure(policy, samples, seed=seed)
    return {
        "training": [sum(losses[e * steps : (e + 1) * steps]) / steps for e in range(done)],
        "held_out": history["eval_loss"],
        "epochs_done": done,
        "reward": written.reward.mean,
        "kl": lab.kl(policy, written),
        "loss": found.loss,
        "calibration_error": found.error,
        "predicted": found.predicted,
        "measured": found.measured,
    }
