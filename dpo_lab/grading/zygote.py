"""The zygote: it holds inputs, no answers, and forks a child for each job that the parent sends."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import traceback

from dpo_lab.course import exercises, library
from dpo_lab.course.layout import Course
from dpo_lab.course.observing import Drive
from dpo_lab.grading import sandbox
from dpo_lab.grading.child import run_job
from dpo_lab.grading.packing import Unpacker
from dpo_lab.grading.sandbox import Limits, Walls


def send(channel: socket.socket, message: dict, pipe: int | None = None) -> None:
    """Send a message, and with it perhaps a file descriptor."""
    data = json.dumps(message).encode()
    socket.send_fds(channel, [struct.pack("!Q", len(data))], [] if pipe is None else [pipe])
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[dict, int | None] | None:
    """The next message and its descriptor; None when the other side is gone."""
    head, pipes, _, _ = socket.recv_fds(channel, 8, 1)
    while head and len(head) < 8:
        head += channel.recv(8 - len(head))
    if not head:
        return None
    (size,), parts = struct.unpack("!Q", head), []
    while size:
        part = channel.recv(min(size, 2**20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return json.loads(b"".join(parts)), pipes[0] if pipes else None


class Zygote:
    """The zygote's own side.

    Args:
        course: where finished functions are found.
        channel: to the parent.
        limits: of each child.
    """

    def __init__(self, course: Course, channel: socket.socket, limits: Limits) -> None:
        self._course, self._channel, self._limits = course, channel, limits
        self._walls = Walls()
        self._unpacker = Unpacker()
        self._drives: dict[str, Drive] = {}
        self._slots: dict[int, int] = {}

    def serve(self) -> None:
        """Answer the parent until it goes."""
        wake, alarm = socket.socketpair()
        wake.setblocking(False)
        alarm.setblocking(False)
        signal.set_wakeup_fd(alarm.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        library.find = functools.cache(library.find)  # the course doesn't change while it grades
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is wake:
                        wake.recv(4096)
                        self._reap()
                    elif not self._answer():
                        return

    def _answer(self) -> bool:
        received = receive(self._channel)
        if received is None:
            return False
        message, pipe = received
        if "job" in message:
            self._start(message["job"], message["slot"], pipe)
        elif "kill" in message:
            if message["kill"] in self._slots:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(message["kill"], signal.SIGKILL)
        else:
            self._prepare(message)
        return True

    def _prepare(self, message: dict) -> None:
        """Import what the lessons import, unpack the inputs, then close the walls."""
        for statement in message["imports"]:
            with contextlib.suppress(Exception):
                exec(statement, {})
        self._unpacker.table = message["table"]
        self._drives = {digest: self._unpacker.drive(packed) for digest, packed in message["drives"].items()}
        for name in message["names"]:
            library.find(self._course, name).load()
        os.environ.clear()
        sandbox.enclose_zygote(self._walls, message["hidden"], message["needed"])
        gc.collect()
        gc.freeze()
        send(self._channel, {"ready": vars(self._walls)})

    def _start(self, job: dict, slot: int, pipe: int) -> None:
        for digest, packed in job.pop("extra", {}).items():
            self._drives.setdefault(digest, self._unpacker.drive(packed))
        pid = sandbox.linux.fork_into(sandbox.child_flags(self._walls))
        if pid == 0:
            self._be_child(job, slot, pipe)
        os.close(pipe)
        self._slots[pid] = slot
        send(self._channel, {"started": pid, "slot": slot})

    def _be_child(self, job: dict, slot: int, pipe: int) -> None:
        status = 1
        try:
            sandbox.enclose_child(self._walls, self._limits, slot, len(job["exercises"]), pipe)
            course, drives = self._course, self._drives
            del self._channel
            status = 0
            run_job(job, course, drives, pipe)
        except BaseException:
            if status:  # a wall fell, not the student's code
                os.write(pipe, json.dumps({"trouble": traceback.format_exc()[-800:]}).encode() + b"\n")
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._slots:
                slot = self._slots.pop(pid)
                if not self._walls.namespaces:
                    sandbox.sweep(self._walls, slot, self._slots)
                send(self._channel, {"ended": pid, "slot": slot, "status": status})


def fork_zygote(course: Course, limits: Limits) -> tuple[int, socket.socket]:
    """Fork the zygote; its process id and the parent's end of the channel.

    Call it before any test, expected answer or mistake is in memory. Where this process has graded before, the zygote
    forgets what was loaded then.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    ours.close()
    try:
        exercises.forget_loaded()
        gc.collect()
        Zygote(course, theirs, limits).serve()
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(0)
