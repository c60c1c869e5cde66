"""What a method holds in memory while it trains, and how often its models run: measured, not estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


def training_memory(
    models: Iterable[torch.nn.Module], optimizers: Iterable[torch.optim.Optimizer]
) -> dict[str, int]:
    """Bytes held by parameters, their gradients, and what the optimisers remember; activations are not in it.

    Args:
        models: every model that has to be in memory, trained or frozen. Two of them may share parameters.
        optimizers: each with its `state`: for every parameter a dict that holds tensors, and perhaps plain numbers.

    Returns:
        `parameters`, `gradients` (those that exist) and `optimizer`, in bytes. A tensor that occurs several times is
        counted once.
    """
    parameters = {id(parameter): parameter for model in models for parameter in model.parameters()}
    states = {
        id(value): value
        for optimizer in optimizers
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    }
    gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
    held = {"parameters": parameters.values(), "gradients": gradients, "optimizer": states.values()}
    return {name: sum(t.numel() * t.element_size() for t in tensors) for name, tensors in held.items()}


@contextmanager
def count_passes(models: Mapping[str, torch.nn.Module]) -> Iterator[dict[str, dict[str, int]]]:
    """Count each model's passes while the context lasts, with hooks on its trunk.

    Args:
        models: by name; `transformers` models, or any module with a `base_model`.

    Yields:
        By name: `forward` and `backward` passes, and `forward tokens` and `backward tokens`, the positions that went
        through them, padding included.
    """
    kinds = ("forward", "forward tokens", "backward", "backward tokens")
    counts = {name: dict.fromkeys(kinds, 0) for name in models}
    handles = [
        model.base_model.register_forward_hook(counter(counts[name])) for name, model in models.items()
    ]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def counter(count: dict[str, int]) -> Callable[..., None]:
    """A forward hook that counts, and hangs one on the output that counts the pass back."""

    def forward(module: torch.nn.Module, inputs: object, output: Any) -> None:
        hidden = output.last_hidden_state
        tokens = hidden.shape[0] * hidden.shape[1]
        count["forward"] += 1
        count["forward tokens"] += tokens

        def backward(gradient: torch.Tensor) -> None:
            count["backward"] += 1
            count["backward tokens"] += tokens

        if hidden.requires_grad:
            hidden.register_hook(backward)

    return forward
