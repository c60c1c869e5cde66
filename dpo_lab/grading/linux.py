"""System calls that Python has no function for. Each says with an OSError that it is not allowed here."""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 4, 38, 36
PR_CAPBSET_DROP = 24
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
SYS_MOUNT_SETATTR = 442
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1

libc = ctypes.PyDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _checked(libc.unshare(flags), "unshare")


def fork_into(flags: int) -> int:
    """Fork like `os.fork`, with the child in new namespaces; with CLONE_NEWPID it is process 1 of its own."""
    if flags == 0:
        return os.fork()
    number = SYS_CLONE[os.uname().machine]
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = libc.syscall(ctypes.c_long(number), ctypes.c_long(flags | signal.SIGCHLD), 0, 0, 0, 0)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    return _checked(pid, "clone")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system."""
    texts = (source.encode(), target.encode(), kind.encode())
    _checked(libc.mount(*texts, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def everything_read_only() -> None:
    """Make all mounts of this mount namespace read-only."""

    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]

    wanted = Attributes(MOUNT_ATTR_RDONLY, 0, 0, 0)
    arguments = (AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(wanted), ctypes.sizeof(wanted))
    _checked(libc.syscall(ctypes.c_long(SYS_MOUNT_SETATTR), *arguments), "mount_setattr")


def prctl(option: int, value: int = 1) -> None:
    """`prctl(option, value)`."""
    _checked(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def drop_capabilities() -> None:
    """Give up every capability, for good."""
    prctl(PR_SET_NO_NEW_PRIVS)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    number = SYS_CAPSET[os.uname().machine]
    _checked(libc.syscall(ctypes.c_long(number), ctypes.byref(header), ctypes.byref(nothing)), "capset")


def wipe_arguments_and_environment() -> None:
    """Zero this process's command line and environment as /proc shows them: a seed or a token may stand there."""
    with open("/proc/self/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    arg_start, arg_end, env_start, env_end = map(int, fields[45:49])
    for start, end in ((arg_start, arg_end), (env_start, env_end)):
        if 0 < start < end:
            ctypes.memset(start, 0, end - start)
