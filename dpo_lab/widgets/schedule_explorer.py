"""Set a run's peak rate, length and warm-up, and see the learning rate of every step."""

from __future__ import annotations

from matplotlib.figure import Figure

from dpo_lab.plots.training import plot_schedules
from dpo_lab.schedules import SCHEDULES
from dpo_lab.widgets.sliders import follow, slider


def schedule_explorer() -> None:
    """Sliders for pairs, batch size, epochs, warm-up and peak rate; the three schedules that follow from them."""
    follow(
        draw_run,
        alt="Learning rate against the optimiser step for a cosine, a linear and a constant schedule after warm-up.",
        pairs=slider("pairs", 2048, 64, 4096, 64),
        batch_size=slider("batch size", 64, 8, 128, 8),
        epochs=slider("epochs", 2, 1, 5, 1),
        warmup_ratio=slider("warm-up ratio", 0.1, 0.0, 0.5, 0.05),
        peak=slider("peak rate / 1e-5", 30.0, 0.5, 100.0, 0.5),
    )


def draw_run(pairs: float, batch_size: float, epochs: float, warmup_ratio: float, peak: float) -> Figure:
    """The schedules of a run of that size."""
    total_steps = -(-int(pairs) // int(batch_size)) * int(epochs)
    warmup_steps = min(-(-int(100 * warmup_ratio * total_steps) // 100), total_steps - 1)
    return plot_schedules(list(SCHEDULES), peak * 1e-5, warmup_steps, total_steps)
