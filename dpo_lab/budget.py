"""Memory, compute and cost of a DPO run before it is started, line by line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM

from dpo_lab.checks import check_positive
from dpo_lab.packing import CHUNK

Method = Literal["full", "lora", "qlora"]
Precision = Literal["fp32", "bf16", "zero"]

LOGIT_COPIES = 4  # the logits, and in the backward pass the gradients of gather and logsumexp and their sum
NF4_BYTES = (
    0.5 + 1 / 64 + 4 / (64 * 256)
)  # 4 bits, 8 for each block of 64, 32 for 256 of those (Dettmers et al. 2023)


@dataclass(frozen=True)
class Shape:
    """What of an architecture decides memory and compute; sizes in numbers, not bytes."""

    parameters: int
    layers: int
    hidden: int
    keys: int
    intermediate: int
    vocabulary: int
    linear: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape of a `transformers` config; no weight is allocated.

        `keys` is the width of all key heads together, `linear` the number of weights in linear layers without the head.
        """
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        head = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
        return cls(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            keys=width * (getattr(config, "num_key_value_heads", None) or heads),
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
            linear=sum(module.weight.numel() for module in linear),
        )

    def lora_parameters(self, rank: int) -> int:
        """Weights of adapters on every linear layer: rank · (inputs + outputs) of each."""
        attention = 2 * (self.hidden + self.hidden) + 2 * (self.hidden + self.keys)
        mlp = 3 * (self.hidden + self.intermediate)
        return rank * self.layers * (attention + mlp)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run to be budgeted.

    Args:
        pairs: pairs a forward pass, on each device; 0 leaves activations out.
        prompt: mean prompt length, in tokens.
        completion: mean completion length, in tokens.
        method: "full" trains all weights; "lora" adapters on frozen 16-bit weights (32-bit with "fp32"), whose
            reference is the model with its adapters off; "qlora" the same on 4-bit weights.
        precision: "fp32"; "bf16" is autocast, as our trainer does it: 32-bit weights, their 16-bit copies while a step
            lasts, 32-bit gradients; "zero" is 16-bit weights and gradients with 32-bit master weights, 16 bytes a
            parameter with Adam's moments (Rajbhandari et al. 2019, section 3.1).
        reference: "model" keeps it in memory; "cached" has its log-probs computed before, and drops it.
        checkpointing: keep each layer's input alone and compute the rest again in the backward pass.
        accumulate: gradients of earlier micro-batches are kept while the next one runs.
        rank: of the adapters.
        shards: devices over which weights, gradients, moments and reference are split (FSDP).
    """

    pairs: int = 4
    prompt: int = 128
    completion: int = 128
    method: Method = "full"
    precision: Precision = "bf16"
    reference: Literal["model", "cached"] = "cached"
    checkpointing: bool = False
    accumulate: bool = False
    rank: int = 16
    shards: int = 1

    def __post_init__(self) -> None:
        check_positive(prompt=self.prompt, completion=self.completion, rank=self.rank, shards=self.shards)
        choices = {
            "method": ("full", "lora", "qlora"),
            "precision": ("fp32", "bf16", "zero"),
            "reference": ("model", "cached"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.pairs < 0:
            raise ValueError(f"pairs must be >= 0, got {self.pairs}")

    @property
    def tokens(self) -> int:
        """Tokens of a packed forward pass: each prompt once, both completions behind it."""
        return self.pairs * (self.prompt + 2 * self.completion)


def memory(shape: Shape, plan: Plan) -> dict[str, float]:
    """Bytes on each device, by what they hold.

    Args:
        shape: of the model.
        plan: of the run.

    Returns:
        `frozen weights`, `policy weights`, `16-bit copies`, `master weights`, `gradients`, `adam moments`,
        `reference weights`, `activations` and `logits`, those that are 0 left out; and `peak`, their sum, in which
        only the larger of gradients and of activations with logits counts, unless gradients are accumulated: a
        backward pass frees the one as it fills the other.
    """
    lines = weight_lines(shape, plan)
    lines = {name: value / plan.shards for name, value in lines.items()}
    lines["activations"] = activation_bytes(shape, plan)
    scored = 2 * plan.completion * plan.pairs
    lines["logits"] = LOGIT_COPIES * 4 * min(CHUNK, scored * shape.vocabulary)
    passing = lines["activations"] + lines["logits"]
    standing = sum(lines.values()) - passing - lines["gradients"]
    both = passing + lines["gradients"] if plan.accumulate else max(passing, lines["gradients"])
    return {name: value for name, value in lines.items() if value} | {"peak": standing + both}


def weight_lines(shape: Shape, plan: Plan) -> dict[str, float]:
    """Bytes that do not depend on the batch, on one device without sharding."""
    trained = shape.parameters if plan.method == "full" else shape.lora_parameters(plan.rank)
    small = plan.precision == "zero"
    lines = {
        "policy weights": trained * (2 if small else 4),
        "16-bit copies": 2.0 * trained if plan.precision == "bf16" else 0.0,
        "master weights": 4.0 * trained if small else 0.0,
        "gradients": trained * (2 if small else 4),
        "adam moments": 8.0 * trained,
        "reference weights": 0.0,
    }
    wide = 4 if plan.precision == "fp32" else 2
    if plan.method == "full":
        lines["reference weights"] = shape.parameters * wide if plan.reference == "model" else 0.0
        return lines
    frozen = shape.parameters * wide
    if plan.method == "qlora":  # linear layers alone are quantised
        frozen = (shape.parameters - shape.linear) * wide + shape.linear * NF4_BYTES
    return {"frozen weights": frozen} | lines


def activation_bytes(shape: Shape, plan: Plan) -> float:
    """Bytes that a forward pass keeps for the backward one, and the latter's largest gradients.

    Counted for a Llama block: two residual streams, two norms with their inputs and outputs, queries, keys and values,
    the attention's output as it is and laid out anew; gate, up, their activation and their product.
    """
    size = 4 if plan.precision == "fp32" else 2
    layer = 9 * shape.hidden + 2 * shape.keys + 4 * shape.intermediate
    in_flight = shape.hidden + 3 * shape.intermediate
    kept = shape.layers * shape.hidden + layer if plan.checkpointing else shape.layers * layer
    return plan.tokens * size * (kept + in_flight)


def flops(shape: Shape, plan: Plan) -> float:
    """Floating-point operations of one forward and backward pass over `plan.pairs` pairs, and of the reference's.

    A weight costs 2 a token forward and 4 backward (2 where it is frozen), attention 4 · T · hidden a token and layer,
    causal mask and all counted as the kernel does it. Logits count at completion tokens alone.
    """
    scored = 2 * plan.completion * plan.pairs
    forward = 2.0 * (plan.tokens * shape.linear + scored * shape.hidden * shape.vocabulary)
    forward += 4.0 * shape.layers * shape.hidden * plan.tokens * (plan.prompt + 2 * plan.completion)
    passes = 3.0 if plan.method == "full" else 2.0
    passes += 1.0 if plan.checkpointing else 0.0
    return forward * (passes + 1.0)  # the reference's pass: at each step, or once before


@dataclass(frozen=True)
class Cost:
    """What a run takes: `flops` in all, `hours` of wall time, `price` in the currency that was given."""

    flops: float
    hours: float
    price: float


def cost(
    shape: Shape,
    plan: Plan,
    *,
    pairs: int,
    epochs: int = 1,
    peak_flops: float,
    utilisation: float = 0.4,
    hourly: float = 0.0,
) -> Cost:
    """Time and money for a whole run.

    Args:
        shape: of the model.
        plan: its `shards` devices all compute.
        pairs: in the data.
        epochs: passes over them.
        peak_flops: of one device, a second, in the precision used.
        utilisation: share of it that real runs reach, in (0, 1]; 0.3 to 0.5 is usual, measure yours.
        hourly: price of one device for an hour.

    Raises:
        ValueError: a value out of range, or a plan without pairs.
    """
    check_positive(pairs=pairs, epochs=epochs, peak_flops=peak_flops, utilisation=utilisation)
    if utilisation > 1:
        raise ValueError(f"utilisation is a share of the peak, in (0, 1], got {utilisation}")
    if not plan.pairs:
        raise ValueError("the plan has no pairs: nothing is computed")
    total = flops(shape, plan) * math.ceil(pairs * epochs / plan.pairs)
    hours = total / (peak_flops * utilisation * plan.shards) / 3600
    return Cost(total, hours, hours * hourly * plan.shards)
