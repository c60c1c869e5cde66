"""A DPO run whose β a controller moves so that the measured KL comes to a target."""

from __future__ import annotations

from dpo_lab.beta import adapt_beta
from dpo_lab.experiments.language import whole_epochs
from dpo_lab.history import History
from dpo_lab.lab import Lab
from dpo_lab.policies import Policy
from dpo_lab.trainer import DPOConfig, train_dpo


class Controller:
    """A `beta_schedule` for `train_dpo`: every few steps it measures the KL and adapts β.

    Args:
        lab: holds the reference and the prompts.
        policy: the one in training.
        beta: at the start.
        target_kl: in nats a completion.
        gain: see `adapt_beta`; 0 keeps β.
        every: steps between measurements.
        samples: completions a measurement.
    """

    def __init__(
        self,
        lab: Lab,
        policy: Policy,
        beta: float,
        *,
        target_kl: float,
        gain: float,
        every: int = 8,
        samples: int = 64,
    ) -> None:
        self.lab, self.policy, self.beta = lab, policy, beta
        self.target_kl, self.gain, self.every, self.samples = target_kl, gain, every, samples
        self.steps: list[int] = []
        self.kls: list[float] = []
        self.betas: list[float] = []

    def __call__(self, history: History) -> float:
        """β of the next step."""
        if len(history) and len(history) % self.every == 0:
            self.measure(len(history))
            if self.gain:
                self.beta = adapt_beta(self.beta, self.kls[-1], self.target_kl, self.gain)
        return self.beta

    def measure(self, step: int) -> None:
        """Log the KL, and the β that led to it."""
        found = self.lab.measure(self.policy, self.samples, seed=step)
        self.steps.append(step)
        self.kls.append(self.lab.kl(self.policy, found))
        self.betas.append(self.beta)


def adaptive_run(
    beta: float,
    seed: int,
    *,
    target_kl: float,
    gain: float,
    steps: int = 96,
    batch_size: int = 32,
    lr: float = 3e-4,
    every: int = 8,
    samples: int = 64,
) -> dict[str, list[float]]:
    """Train with a `Controller`, at a constant rate so that the policy can go on moving to the end.

    Returns:
        Lists with an entry for each measurement: `step`, `measured_kl` and `used_beta`, the β of the step before it.
    """
    lab = Lab.auto()
    policy = lab.fresh_policy()
    pairs, epochs = whole_epochs(lab.pairs, steps, batch_size)
    config = DPOConfig(
        beta=beta,
        seed=seed,
        lr=lr,
        batch_size=batch_size,
        epochs=epochs,
        schedule="constant_with_warmup",
        progress=False,
    )
    controller = Controller(lab, policy, beta, target_kl=target_kl, gain=gain, every=every, samples=samples)
    history = train_dpo(policy, lab.reference, pairs, config, beta_schedule=controller)
    controller.measure(len(history))
    return {"step": controller.steps, "measured_kl": controller.kls, "used_beta": controller.betas}
