"""`dpo-lab budget`: what a run will take, as a table in the terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `dpo-lab --help` must not wait for torch
    from dpo_lab.budget import Plan, Shape

WELL_KNOWN = {
    "llama-7b": {},
    "llama-13b": {"hidden_size": 5120, "intermediate_size": 13824, "layers": 40, "heads": 40},
    "llama-70b": {"hidden_size": 8192, "intermediate_size": 28672, "layers": 80, "heads": 64, "key_heads": 8},
}
"""Llama 2's sizes (Touvron et al. 2023, table 1), for which nothing has to be fetched."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options; those of the plan have the names of `Plan`'s fields."""
    parser.add_argument(
        "--model", default="smollm2", help=f"{', '.join(WELL_KNOWN)}, tiny, smollm2, a folder or a hub id"
    )
    parser.add_argument("--batch", type=int, default=4, help="pairs a forward pass and device (default: 4)")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt (default: 128)")
    parser.add_argument("--completion", type=int, default=128, help="tokens of a completion (default: 128)")
    parser.add_argument("--method", choices=["full", "lora", "qlora"], default="full")
    parser.add_argument("--precision", choices=["fp32", "bf16", "zero"], default="bf16")
    parser.add_argument("--reference", choices=["model", "cached"], default="cached")
    parser.add_argument("--rank", type=int, default=16, help="of LoRA's adapters (default: 16)")
    parser.add_argument("--checkpointing", action="store_true", help="compute activations twice, keep few")
    parser.add_argument("--accumulate", action="store_true", help="keep gradients between micro-batches")
    parser.add_argument(
        "--devices", type=int, default=1, help="GPUs that share all weights (FSDP, default: 1)"
    )
    parser.add_argument("--pairs", type=int, default=10_000, help="preference pairs (default: 10000)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--tflops", type=float, default=312.0, help="a device's peak (default: 312, an A100's)"
    )
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of it (default: 0.4)")
    parser.add_argument("--hourly", type=float, default=0.0, help="price of a device for an hour")


def budget_command(options: argparse.Namespace) -> int:
    """Print the table; 1 where a setting or the model's name is no good."""
    from rich.console import Console

    from dpo_lab.budget import Shape, cost, memory

    try:
        shape = Shape.of(config_of(options.model))
        plan = plan_of(options)
        lines = memory(shape, plan)
        spent = cost(
            shape,
            plan,
            pairs=options.pairs,
            epochs=options.epochs,
            peak_flops=options.tflops * 1e12,
            utilisation=options.utilisation,
            hourly=options.hourly,
        )
    except (ValueError, OSError) as error:
        print(f"dpo-lab budget: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(memory_table(options, shape, lines))
    console.print(
        f"{options.pairs:,} pairs, {options.epochs} epoch(s): {spent.flops:.3g} floating-point operations, "
        f"{spent.hours:.2f} h at {options.utilisation:.0%} of {options.tflops:g} TFLOP/s on {options.devices} "
        f"device(s)" + (f", price {spent.price:,.2f}" if options.hourly else "")
    )
    return 0


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options spell out."""
    from dpo_lab.budget import Plan

    return Plan(
        pairs=options.batch,
        prompt=options.prompt,
        completion=options.completion,
        method=options.method,
        precision=options.precision,
        reference=options.reference,
        checkpointing=options.checkpointing,
        accumulate=options.accumulate,
        rank=options.rank,
        shards=options.devices,
    )


def config_of(model: str) -> Any:
    """The `transformers` config of a well-known size, a course model, a folder or a hub id."""
    from transformers import AutoConfig, LlamaConfig

    if model not in WELL_KNOWN:
        from dpo_lab.policies import locate

        return AutoConfig.from_pretrained(locate(model))
    names = {
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "key_heads": "num_key_value_heads",
    }
    return LlamaConfig(**{names.get(key, key): value for key, value in WELL_KNOWN[model].items()})


def memory_table(options: argparse.Namespace, shape: Shape, lines: dict[str, float]) -> Any:
    """One row for what memory holds, in bytes a parameter of the model and in GB."""
    from rich.table import Table

    table = Table(
        title=f"{options.model}, {shape.parameters / 1e9:.3g}B parameters, {options.method} {options.precision}",
        caption="GB = 10⁹ bytes, on each device; peak is what PyTorch holds, without the CUDA context",
    )
    table.add_column("what")
    table.add_column("bytes a parameter", justify="right")
    table.add_column("GB", justify="right")
    for name, value in lines.items():
        if name == "peak":
            table.add_section()
        table.add_row(name, f"{value / shape.parameters:.2f}", f"{value / 1e9:.2f}")
    return table
