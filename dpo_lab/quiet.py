"""Keeps the chatter of `transformers` out of notebooks without hiding errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def quiet_transformers(bars: bool = False) -> Iterator[None]:
    """No warnings from `transformers` inside, and no progress bars unless `bars`; errors are raised as ever."""
    verbosity, bars_were_on = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars_were_on and not bars:
            logging.enable_progress_bar()
