"""The training loop that SFT and DPO share: steps, clipping, schedule, evaluation, early stopping, Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from tqdm.auto import tqdm

from dpo_lab.checkpoint import Checkpoint
from dpo_lab.checks import check_positive
from dpo_lab.history import History
from dpo_lab.policies import Policy
from dpo_lab.schedules import check_schedule, make_schedule


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What SFT and DPO runs have in common.

    Args:
        lr: peak learning rate.
        epochs: passes over the data.
        batch_size: rows an optimiser step; the last batch of an epoch may be smaller, none is dropped.
        micro_batch_size: rows a forward pass; None takes the whole batch. The gradients add up to the same.
        max_grad_norm: gradients are scaled down to this norm.
        warmup_ratio: share of the steps in which the rate rises from 0.
        schedule: how the rate goes on after that.
        optimizer: "adamw", or "sgd" without momentum.
        weight_decay: the optimiser's.
        seed: of the batch order and of dropout.
        precision: "bf16" runs the forward pass under autocast; weights, log-probs and loss stay float32. "auto" is
            bf16 on a GPU that has it, else fp32.
        max_length: longest row in tokens, see `encoding.encode_pair`.
        eval_every: steps between evaluations, where there is something to evaluate on; 0 means once an epoch.
        patience: stop after so many evaluations without a lower loss, and return to the best weights; None never.
        output_dir: folder for the checkpoint, `history.jsonl` and the trained policy; None keeps all in memory.
        save_every: steps between checkpoints; 0 saves at the end alone.
        resume: go on from the checkpoint in output_dir, where there is one.
        progress: show a progress bar.
    """

    lr: float
    epochs: int = 1
    batch_size: int = 32
    micro_batch_size: int | None = None
    max_grad_norm: float = 1.0
    warmup_ratio: float = 0.1
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.0
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    max_length: int | None = None
    eval_every: int = 0
    patience: int | None = None
    output_dir: str | None = None
    save_every: int = 0
    resume: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        check_positive(
            lr=self.lr, epochs=self.epochs, batch_size=self.batch_size, max_grad_norm=self.max_grad_norm
        )
        check_schedule(self.schedule)
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer must be 'adamw' or 'sgd', got {self.optimizer!r}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision must be 'auto', 'fp32' or 'bf16', got {self.precision!r}")
        if (self.save_every or self.resume) and self.output_dir is None:
            raise ValueError("save_every and resume need an output_dir to save to")


class Objective(Protocol):
    """What a loop trains on: rows with a loss."""

    name: str
    size: int

    def weight(self, rows: list[int]) -> float:
        """What the summed loss of these rows is divided by: pairs for DPO, tokens for SFT."""

    def loss(self, model: torch.nn.Module, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        """Summed loss of these rows, and the means of their metrics."""


def run_loop(
    policy: Policy,
    objective: Objective,
    config: LoopConfig,
    evaluate: Callable[[], dict[str, float]] | None = None,
    callback: Callable[[History], None] | None = None,
    prepare: Callable[[History], None] | None = None,
) -> History:
    """Train `policy` in place and return what was logged.

    `prepare` sees the history before each step, `callback` after it.
    """
    run = Run(policy, objective, config)
    eval_every = config.eval_every or math.ceil(objective.size / config.batch_size)
    first = len(run.history) + 1
    bar = tqdm(
        total=run.steps, initial=first - 1, desc=objective.name, unit="step", disable=not config.progress
    )
    with bar, finish_step_on_interrupt() as interrupted:
        for step in range(first, run.steps + 1):
            if interrupted() or run.done():
                break
            if prepare is not None:
                prepare(run.history)
            run.step(step)
            if evaluate is not None and (step % eval_every == 0 or step == run.steps):
                run.evaluated(step, evaluate())
            if config.save_every and step % config.save_every == 0:
                run.save()
            if callback is not None:
                callback(run.history)
            bar.update()
            bar.set_postfix_str(f"loss {run.history.records[-1]['loss']:.3f}")
    run.close(interrupted())
    return run.history


class Run:
    """The state of one training run: policy, optimiser, schedule, batches, history."""

    def __init__(self, policy: Policy, objective: Objective, config: LoopConfig) -> None:
        self.policy, self.objective, self.config = policy, objective, config
        policy.model.float()  # in bf16 a step of 1e-5 rounds to nothing; autocast wants float32 weights anyway
        self.batches = [
            b for epoch in range(config.epochs) for b in epoch_batches(objective.size, epoch, config)
        ]
        self.steps = len(self.batches)
        trainable = [p for p in policy.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.SGD
        self.optimizer = optimizer(trainable, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        warmup = math.ceil(config.warmup_ratio * self.steps)
        self.schedule = make_schedule(self.optimizer, config.schedule, warmup, self.steps)
        self.checkpoint = Checkpoint(policy, self.optimizer, self.schedule, config)
        torch.manual_seed(config.seed)
        self.history, self.best = self.checkpoint.restore()
        self.accelerator = make_accelerator(policy, config)
        self.model = self.accelerator.prepare(policy.model)

    def step(self, step: int) -> None:
        """One optimiser step: gradients of the whole batch, clipped, applied, logged."""
        self.model.train()
        rows = self.batches[step - 1]
        total = self.objective.weight(rows)
        metrics: dict[str, float] = {}
        for micro in split(rows, self.config.micro_batch_size or len(rows)):
            with self.accelerator.autocast():
                loss, means = self.objective.loss(self.model, micro)
            self.accelerator.backward(loss / total)  # parts of the batch's mean: they add up to its gradient
            share = self.objective.weight(micro) / total
            for name, mean in means.items():
                metrics[name] = metrics.get(name, 0.0) + mean * share
        learning_rate = self.schedule.get_last_lr()[0]
        grad_norm = apply_gradients(self.optimizer, self.schedule, self.config.max_grad_norm)
        self.history.log(
            step,
            epoch=step * self.config.epochs / self.steps,
            **metrics,
            grad_norm=grad_norm,
            learning_rate=learning_rate,
        )

    def evaluated(self, step: int, metrics: dict[str, float]) -> None:
        """Log an evaluation; keep the weights if it is the best so far."""
        self.history.log(step, **{f"eval_{name}": value for name, value in metrics.items()})
        losses = self.history["eval_loss"]
        if self.config.patience is not None and losses[-1] == min(losses):
            self.best = {
                name: tensor.detach().cpu().clone() for name, tensor in self.policy.model.state_dict().items()
            }

    def done(self) -> bool:
        """Whether early stopping is on and has seen enough."""
        evaluated = self.config.patience is not None and "eval_loss" in self.history.names()
        return evaluated and out_of_patience(self.history["eval_loss"], self.config.patience)

    def save(self) -> None:
        self.checkpoint.save(self.history, self.best)

    def close(self, interrupted: bool) -> None:
        """Save, return to the best weights where early stopping asked for them, hand the model back as it came."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.policy.model.eval()
        if self.config.output_dir is not None:
            self.save()
        if interrupted:
            where = (
                ""
                if self.config.output_dir is None
                else f"; resume=True goes on from {self.checkpoint.folder}"
            )
            tqdm.write(f"stopped after step {len(self.history)} of {self.steps}{where}")
            return
        if self.best is not None:
            self.policy.model.load_state_dict(self.best)
        if self.config.output_dir is not None:
            self.checkpoint.save_policy()


@torch.no_grad()
def mean_metrics(objective: Objective, model: torch.nn.Module, batch_size: int) -> dict[str, float]:
    """An objective's metrics as means over all its rows, with dropout off; the model is left in eval mode."""
    model.eval()
    everything = list(range(objective.size))
    total = objective.weight(everything)
    means: dict[str, float] = {}
    for rows in split(everything, batch_size):
        for name, mean in objective.loss(model, rows)[1].items():
            means[name] = means.get(name, 0.0) + mean * objective.weight(rows) / total
    return means


def apply_gradients(
    optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, max_grad_norm: float
) -> float:
    """The second half of a training step, after `backward`: clip, move the weights, move the rate, clear the gradients.

    Clipping shrinks all gradients by one common factor, min(1, max_grad_norm / norm), where `norm` is the Euclidean
    norm of all of them taken as one long vector; so the direction stays (Pascanu et al. 2013).

    Args:
        optimizer: its parameters (`optimizer.param_groups`) hold the gradients in `.grad`.
        schedule: sets the optimiser's rate; one `schedule.step()` per optimiser step, after it.
        max_grad_norm: largest norm that is let through, > 0.

    Returns:
        The norm before clipping, as a float: that is what gets logged.

    Raises:
        FloatingPointError: the norm is not finite; the weights are then untouched.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    grad_norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm).item()
    if not math.isfinite(grad_norm):
        rate = schedule.get_last_lr()[0]
        raise FloatingPointError(
            f"the gradient norm is {grad_norm} at learning rate {rate:.3g}: lower the lr"
        )
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return grad_norm


def out_of_patience(eval_losses: list[float], patience: int) -> bool:
    """Whether training should stop: the best evaluation lies `patience` or more evaluations back.

    Args:
        eval_losses: held-out losses in the order in which they were measured.
        patience: how many evaluations without a lower loss are borne, >= 1.

    Returns:
        True from the evaluation on that is the `patience`-th in a row without a new lowest loss. An equal loss is not
        a lower one. False while there is no evaluation.

    Raises:
        ValueError: patience < 1.
    """
    if patience < 1:
        raise ValueError(f"patience must be at least 1 evaluation, got {patience}")
    if not eval_losses:
        return False
    best = eval_losses.index(min(eval_losses))
    return len(eval_losses) - 1 - best >= patience


def make_accelerator(policy: Policy, config: LoopConfig) -> Accelerator:
    """Accelerate on the policy's own device; bf16 only where it was asked for or a GPU has it."""
    # the state is global to the process: without a reset a second run could not choose another device or precision
    AcceleratorState._reset_state(reset_partial_state=True)
    on_cpu = policy.device.type == "cpu"
    auto = policy.device.type == "cuda" and torch.cuda.is_bf16_supported()
    use_bf16 = config.precision == "bf16" or (config.precision == "auto" and auto)
    return Accelerator(cpu=on_cpu, mixed_precision="bf16" if use_bf16 else "no")


def epoch_batches(size: int, epoch: int, config: LoopConfig) -> list[list[int]]:
    """The rows of each batch of an epoch: a shuffle that seed and epoch alone decide, so a resumed run has it too."""
    generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    return split(torch.randperm(size, generator=generator).tolist(), config.batch_size)


def split(rows: list[int], size: int) -> list[list[int]]:
    """Consecutive parts of at most `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@contextmanager
def finish_step_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C end the loop between two steps, so that weights and optimiser agree; a second one ends it at once."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may handle signals
        return

    def handle(number: int, frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
