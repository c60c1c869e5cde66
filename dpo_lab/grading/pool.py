"""The parent's side of the zygote: jobs go out to a few slots, frames come in, deadlines are kept."""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dpo_lab.course.observing import Observation
from dpo_lab.grading import zygote
from dpo_lab.grading.sandbox import Limits
from dpo_lab.grading.values import Malformed, decode_observation

MOST_BYTES = 16 * 2**20  # that a child may send for one exercise
START_SECONDS = 10.0  # for the fork, before the first exercise begins


@dataclass
class Claims:
    """What a child says about one exercise."""

    seen: dict[str, Observation] = field(default_factory=dict)
    again: dict[str, Observation] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    library: int = 0
    begun: bool = False
    ended: bool = False
    problem: str = ""
    seconds: float = 0.0


@dataclass
class Job:
    """One child's work: cells of a notebook, and the exercises to answer, each with the digests of its drives."""

    cells: list[dict]
    file: str
    exercises: dict[str, list[str]]
    owner: Any = None
    extra: dict[str, dict] = field(default_factory=dict)
    claims: dict[str, Claims] = field(default_factory=dict)
    trouble: str = ""

    def message(self) -> dict:
        """What the zygote is told."""
        return {"cells": self.cells, "file": self.file, "exercises": self.exercises, "extra": self.extra}


class _Running:
    """A job in a slot."""

    def __init__(self, job: Job, slot: int, pipe: int, limits: Limits) -> None:
        self.job, self.slot, self.pipe = job, slot, pipe
        self._limits = limits
        self.pid: int | None = None
        self.status: int | None = None
        self.closed = False
        self.dead = False
        self._buffer = bytearray()
        self._bytes = 0
        self._waiting = list(job.exercises)
        self._current: str | None = None
        self._began = time.monotonic()
        self.deadline = self._began + START_SECONDS + limits.seconds
        job.claims = {name: Claims() for name in job.exercises}

    def fail(self, words: str) -> None:
        """End the exercise that is being answered, with a reason."""
        name = self._current or (self._waiting[0] if self._waiting else None)
        if name is not None and not self.job.claims[name].problem:
            claims = self.job.claims[name]
            claims.problem, claims.begun = words, True
            claims.seconds = time.monotonic() - self._began
        self.dead = True

    def read(self) -> None:
        """Take in what the child wrote."""
        part = os.read(self.pipe, 2**18)
        if not part:
            self.closed = True
            return
        self._bytes += len(part)
        if self._bytes > MOST_BYTES:
            self.fail("Your code sends more than the grader takes.")
            return
        self._buffer += part
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            if not self.dead:
                self._frame(bytes(line))

    def _frame(self, line: bytes) -> None:
        try:
            frame = json.loads(line)
            if "trouble" in frame and self._current is None and len(self._waiting) == len(self.job.exercises):
                self.job.trouble = str(frame["trouble"])
                self.fail("The sandbox could not be set up.")
            elif "begin" in frame:
                self._begin(frame["exercise"])
            else:
                self._take(self.job.claims[self._current], frame)
        except (ValueError, KeyError, TypeError, RecursionError, AttributeError, IndexError):
            self.fail("What your code sends is not what the grader's own frames look like.")

    def _begin(self, name: str) -> None:
        if self._current is not None or not self._waiting or name != self._waiting[0]:
            raise Malformed("out of order")
        self._current = self._waiting.pop(0)
        self.job.claims[name].begun = True
        self._began, self._bytes = time.monotonic(), 0
        self.deadline = self._began + self._limits.seconds

    def _take(self, claims: Claims, frame: dict) -> None:
        if frame["exercise"] != self._current:
            raise Malformed("of another exercise")
        if "end" in frame:
            claims.library = int(frame["library"])
            if set(claims.seen) != set(self.job.exercises[self._current]):
                raise Malformed("answers are missing")
            claims.ended, claims.seconds = True, time.monotonic() - self._began
            self._current, self._began = None, time.monotonic()
            self.deadline = self._began + START_SECONDS
            return
        digest, store = frame["digest"], claims.again if frame.get("again") else claims.seen
        if digest in store or digest not in self.job.exercises[self._current]:
            raise Malformed("answered already, or never asked")
        store[digest] = decode_observation(frame["seen"])
        claims.left = sorted(str(each)[:40] for each in frame.get("left", [])[:5]) or claims.left


class Pool:
    """Runs jobs side by side.

    Args:
        channel: to the zygote.
        limits: of each child.
        slots: how many children at a time.
    """

    def __init__(self, channel: socket.socket, limits: Limits, slots: int) -> None:
        self._channel, self._limits = channel, limits
        self._free = list(range(slots))
        self._running: dict[int, _Running] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)

    def run(self, jobs: list[Job], done: Callable[[Job], list[Job]]) -> None:
        """Run all jobs; `done` is called with each that has ended, and may give more."""
        waiting = list(reversed(jobs))
        while waiting or self._running:
            while waiting and self._free:
                self._start(waiting.pop())
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._channel:
                    self._hear()
                else:
                    self._read(key.data)
            self._keep_deadlines()
            for running in [each for each in self._running.values() if each.status is not None]:
                self._finish(running)
                waiting += reversed(done(running.job))

    def _start(self, job: Job) -> None:
        slot = self._free.pop(0)
        reader, writer = os.pipe()
        zygote.send(self._channel, {"job": job.message(), "slot": slot}, writer)
        os.close(writer)
        running = self._running[slot] = _Running(job, slot, reader, self._limits)
        self._selector.register(reader, selectors.EVENT_READ, running)

    def _patience(self) -> float:
        soonest = min((each.deadline for each in self._running.values()), default=0)
        return min(1.0, max(0.0, soonest - time.monotonic()))

    def _hear(self) -> None:
        received = zygote.receive(self._channel)
        if received is None:
            raise RuntimeError("the zygote is gone: the machine may be out of memory")
        message = received[0]
        running = self._running.get(message.get("slot"))
        if "started" in message and running is not None:
            running.pid = message["started"]
        elif "ended" in message and running is not None:
            running.status = message["status"]

    def _read(self, running: _Running) -> None:
        if running.closed:
            return
        running.read()
        if running.closed:
            self._selector.unregister(running.pipe)
            running.deadline = min(running.deadline, time.monotonic() + 2)
        elif running.dead:
            self._kill(running)

    def _keep_deadlines(self) -> None:
        now = time.monotonic()
        for running in self._running.values():
            if now > running.deadline and running.pid is not None and running.status is None:
                if not running.closed:
                    running.fail(f"Stopped after {self._limits.seconds:g} s: does a loop never end?")
                self._kill(running)

    def _kill(self, running: _Running) -> None:
        running.deadline = time.monotonic() + 5
        if running.pid is not None:
            zygote.send(self._channel, {"kill": running.pid})
        else:
            running.deadline = 0.0

    def _finish(self, running: _Running) -> None:
        if not running.closed:
            self._selector.unregister(running.pipe)
        while not running.closed and not running.dead:
            running.read()
        os.close(running.pipe)
        if any(not claims.ended for claims in running.job.claims.values()) and not running.dead:
            running.fail(how_it_died(running.status))
        del self._running[running.slot]
        self._free.append(running.slot)
        self._free.sort()


def how_it_died(status: int) -> str:
    """A child's end in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        words = {11: "a segmentation fault", 9: "SIGKILL: out of memory or of CPU time?", 6: "an abort"}
        return f"Your code ended the process: {words.get(number, f'signal {number}')}."
    return "Your code ended the process."
