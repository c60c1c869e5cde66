"""The walls around a child. Each is tried; what a machine doesn't allow is left out, and the report says so."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from dpo_lab.grading import linux

FIRST_UID = 61_000  # a child of slot n runs as 61000 + n when the grader is root
OPEN_FILES, PROCESSES = 64, 24
FILE_MIB, FOLDER_MIB = 16, 32
AUDITED = (
    "socket.",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.kill",
    "pty.",
)
ON_LINUX = sys.platform == "linux"


@dataclass(frozen=True)
class Limits:
    """What one child may use: seconds of wall clock for each exercise, MiB of memory beyond what it starts with."""

    seconds: float = 10.0
    memory_mib: int = 1024


@dataclass
class Walls:
    """Which walls stand on this machine, found out by trying."""

    namespaces: bool = False
    network: bool = False
    read_only: bool = False
    own_uid: bool = False
    missing: list[str] = field(default_factory=list)
    readable: list[str] = field(default_factory=list)  # folders that stay in sight, wherever they lie

    def words(self) -> list[str]:
        """What isolates the children, a line each."""
        found = ["wall clock: SIGKILL from the grader", "CPU, memory, file size, open files: rlimits"]
        found += ["processes: a PID namespace each; all that is left running ends with it"] * self.namespaces
        found += ["processes: new ones refused by an audit hook; what is left is found by parent or uid"] * (
            not self.namespaces
        )
        found += ["network: an empty network namespace"] * self.network
        found += ["network: sockets refused by an audit hook, which C code can pass by"] * (not self.network)
        found += ["disk: everything read-only, one small throw-away folder"] * self.read_only
        found += [f"user: its own uid, from {FIRST_UID}"] * self.own_uid
        return found + [f"missing: {each}" for each in self.missing]


def enclose_zygote(walls: Walls, hidden: list[str], needed: list[str]) -> None:
    """Put the zygote behind what its children share: network, IPC, a read-only disk with folders hidden.

    Args:
        hidden: files and folders that no child shall see.
        needed: folders that every child must be able to read, whatever its uid: Python's and the course's.
    """
    if not ON_LINUX:
        walls.missing.append(f"namespaces, own uid (no Linux: {sys.platform})")
        return
    with contextlib.suppress(OSError):
        linux.wipe_arguments_and_environment()
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    root = os.geteuid() == 0
    shared = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWNET
    try:
        _unshare(shared, root)
        walls.namespaces = walls.network = True
    except OSError as error:
        walls.missing.append(f"namespaces ({error})")
    walls.readable = _outermost(needed)
    if walls.namespaces:
        if root:
            _open_ways(walls.readable)
        _close_disk(walls, hidden)
    walls.own_uid = root and _readable_by_others()
    if not walls.own_uid:
        walls.missing.append("own uid (the grader is not root, or Python lies where others can't read it)")


def _unshare(flags: int, root: bool) -> None:
    if root:
        linux.unshare(flags)
    else:
        uid, gid = os.geteuid(), os.getegid()
        linux.unshare(flags | linux.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)


def _close_disk(walls: Walls, hidden: list[str]) -> None:
    """Hide folders behind empty ones and make the rest read-only; /tmp and its like become small and empty."""
    guard = f"size={FOLDER_MIB}m,nr_inodes=2000,mode=1777"
    try:
        for folder in hidden:
            if os.path.isdir(folder):
                linux.mount("none", folder, "tmpfs", 0, "size=4k,mode=000")
            elif os.path.exists(folder):
                linux.mount("/dev/null", folder, "", linux.MS_BIND)
        linux.everything_read_only()
        for folder in ("/tmp", "/var/tmp", "/dev/shm"):
            if os.path.isdir(folder) and not os.path.islink(folder):
                _empty_folder(folder, guard, walls.readable)
        walls.read_only = True
    except OSError as error:
        walls.missing.append(f"a read-only disk ({error})")


def _outermost(folders: Collection[str]) -> list[str]:
    """The folders, without those that lie in another of them."""
    kept: list[str] = []
    for folder in sorted({os.path.realpath(each) for each in folders if os.path.isdir(each)}):
        if not any(folder.startswith(f"{other}/") for other in kept):
            kept.append(folder)
    return kept


def _empty_folder(folder: str, options: str, readable: Collection[str]) -> None:
    """A small empty file system over a folder; Python or the course, if they lie in it, are mounted into it again."""
    held = [(path, os.open(path, os.O_PATH)) for path in readable if path.startswith(f"{folder}/")]
    linux.mount("none", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    before = os.umask(0o022)
    for path, number in held:
        os.makedirs(path)
        linux.mount(f"/proc/self/fd/{number}", path, "", linux.MS_BIND | linux.MS_REC)
        os.close(number)
    os.umask(before)


def _open_ways(readable: Collection[str]) -> None:
    """Let other uids reach folders inside a closed one, such as /root: an open, empty folder stands in for it.

    What else is in the closed folder is then out of sight for the children, which is as well.
    """
    closed = set()
    for folder in readable:
        above = [str(each) for each in reversed(Path(folder).parents)]
        closed.update([each for each in above if not os.stat(each).st_mode & 0o001][:1])
    with contextlib.suppress(OSError):
        for folder in sorted(closed):
            _empty_folder(folder, "size=1m,mode=755", readable)


def _readable_by_others() -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(*[FIRST_UID] * 3)
            os.setresuid(*[FIRST_UID] * 3)
            files = [os.__file__, sys.modules["torch"].__file__, __file__]
            for file in files:
                with open(file, "rb"):
                    pass
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def child_flags(walls: Walls) -> int:
    """Namespaces that each child gets for itself."""
    return linux.CLONE_NEWPID | linux.CLONE_NEWNS if walls.namespaces else 0


def enclose_child(walls: Walls, limits: Limits, slot: int, exercises: int, pipe: int) -> None:
    """In the child, before any code of a student's: limits, an empty folder, no input, no privileges."""
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.setsid()
    _only_pipe_open(pipe)
    _own_folder(walls, slot)
    _set_limits(limits, exercises)
    os.umask(0o077)
    if walls.own_uid:
        os.setgroups([])
        os.setresgid(*[FIRST_UID + slot] * 3)
        os.setresuid(*[FIRST_UID + slot] * 3)
    if ON_LINUX:
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
        linux.drop_capabilities()
    if not walls.network:
        sys.addaudithook(_refuse)


def _only_pipe_open(pipe: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    for number in range(3, 256):
        if number != pipe:
            with contextlib.suppress(OSError):
                os.close(number)


def _own_folder(walls: Walls, slot: int) -> None:
    if walls.namespaces:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV)
    if walls.read_only:
        options = f"size={FOLDER_MIB}m,nr_inodes=2000,mode=1777"
        for folder in ("/tmp", "/dev/shm"):
            if os.path.isdir(folder):
                _empty_folder(folder, options, walls.readable)
        os.chdir("/tmp")
    else:
        folder = folder_of(slot, os.getppid())
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, mode=0o700)
        if walls.own_uid:
            os.chown(folder, FIRST_UID + slot, FIRST_UID + slot)
        os.chdir(folder)
    os.environ.clear()
    os.environ.update(
        HOME=os.getcwd(), TMPDIR=os.getcwd(), PATH="/usr/bin:/bin", OMP_NUM_THREADS="1", LANG="C.UTF-8"
    )


def _set_limits(limits: Limits, exercises: int) -> None:
    import resource

    cpu = int(limits.seconds * exercises) + 2
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_FSIZE: FILE_MIB * 2**20,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_AS: _virtual_bytes() + limits.memory_mib * 2**20,
        resource.RLIMIT_NPROC: PROCESSES,
    }
    for which, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (value, value))


def _virtual_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 8 * 2**30


def _refuse(event: str, arguments: tuple) -> None:
    if event.startswith(AUDITED) and event != "socket.gethostname":
        raise PermissionError(f"{event} is not allowed while grading")


def folder_of(slot: int, zygote: int) -> str:
    """The throw-away folder of a slot where the disk can't be made read-only."""
    return os.path.join(tempfile.gettempdir(), f"dpo-lab-grade-{zygote}-{slot}")


def sweep(walls: Walls, slot: int, running: Collection[int]) -> None:
    """Without a PID namespace: kill what a child of this slot left running, by uid and by parent; clear its folder.

    Args:
        running: children that are still at work.
    """
    if walls.own_uid:
        pid = os.fork()
        if pid == 0:
            os.setresuid(*[FIRST_UID + slot] * 3)
            with contextlib.suppress(OSError):
                os.kill(-1, signal.SIGKILL)
            os._exit(0)
        os.waitpid(pid, 0)
    while orphans := [pid for pid in _own_children() if pid not in running]:
        for pid in orphans:  # their children become ours and are found in the next round
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    shutil.rmtree(folder_of(slot, os.getpid()), ignore_errors=True)


def _own_children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []
