"""In a child: the finished function of the exercise that is being graded answers nobody."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator

calls = 0  # how often a submission asked for the finished function; in the child only


class LibraryAnswer(RuntimeError):
    """A submission asked the library for the answer."""


@contextlib.contextmanager
def locked(function: Callable) -> Iterator[None]:
    """Take the code out of a finished function, wherever it has been imported to, for the length of a block."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if not isinstance(function, types.FunctionType) or function.__code__.co_freevars:
        yield
        return
    code, defaults = function.__code__, (function.__defaults__, function.__kwdefaults__)
    function.__code__ = _locked.__code__
    function.__defaults__, function.__kwdefaults__ = None, None
    try:
        yield
    finally:
        function.__code__ = code
        function.__defaults__, function.__kwdefaults__ = defaults


def _locked(*arguments: object, **named: object) -> None:
    from dpo_lab.grading.trap import refuse  # runs with the globals of the library's module

    refuse()


def refuse() -> None:
    """Count the call, and give no answer.

    Raises:
        LibraryAnswer: always.
    """
    global calls
    calls += 1
    raise LibraryAnswer("this asks the course's finished function for the answer: write your own")
