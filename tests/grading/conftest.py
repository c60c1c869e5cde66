"""Fixtures of the grader's tests; `harness` makes them."""

from __future__ import annotations

from harness import course, hostile

__all__ = ["course", "hostile"]
