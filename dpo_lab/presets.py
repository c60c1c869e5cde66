"""Full size for the page that a reader sees, fast for the tests: one environment variable decides."""

from __future__ import annotations

import os
from typing import TypeVar

VARIABLE = "DPO_LAB_PRESET"
PRESETS = ("full", "fast")
T = TypeVar("T")


def preset() -> str:
    """ "full", unless the environment variable DPO_LAB_PRESET says "fast".

    Raises:
        ValueError: it says anything else.
    """
    name = os.environ.get(VARIABLE) or "full"
    if name not in PRESETS:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(PRESETS)}, got {name!r}")
    return name


def by_preset(full: T, fast: T) -> T:
    """The value for this run's preset: the cells stay the same, with fewer seeds or steps in the fast one."""
    return full if preset() == "full" else fast
