"""Makes .venv and installs the course into it: the pinned requirements and the package, editable.

    python3 dpo_lab/install.py [--torch-index URL]

`make` runs this before every other target. A stamp in .venv holds a hash of everything that decides what is
installed, so a second run installs nothing. The script runs before there is anything to import, hence the
standard library only; and Pythons that are too old for the course read it, hence plain ASCII and no syntax
newer than 3.6.
"""

import argparse
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)
NEEDED_GB = 4.0
ROOT = Path(__file__).resolve().parents[1]
# A Python before 3.6 stops at the next line and prints it, which is why it holds a whole sentence.
WRONG_PYTHON = f"DPO Lab needs Python 3.10 to 3.13, and {sys.executable} is {platform.python_version()}."


class SetupError(Exception):
    """The set-up can't go on. The text says why and what to do."""


def check_python(version=sys.version_info) -> None:
    """Raises SetupError unless `version` (major, minor, ...) is one that the pinned packages support."""
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        raise SetupError(
            f"{WRONG_PYTHON} Install one of those (https://www.python.org/downloads/, or 'conda create -n "
            "dpo python=3.12'), then name it: make lab PYTHON=python3.12"
        )


def check_venv_module(find_spec=importlib.util.find_spec) -> None:
    """Raises SetupError where Python came without venv or without the pip for it (Debian, Ubuntu)."""
    missing = [name for name in ("venv", "ensurepip") if find_spec(name) is None]
    if missing:
        raise SetupError(
            f"This Python ({sys.executable}) lacks the module {' and '.join(missing)}, so it can't make a "
            "virtual environment. On Debian and Ubuntu: sudo apt install "
            f"python{sys.version_info[0]}.{sys.version_info[1]}-venv. Elsewhere, take a Python from "
            "python.org or conda and name it: make lab PYTHON=/path/to/python"
        )


def free_gb(folder: Path, disk_usage=shutil.disk_usage) -> float:
    """Free space of the disk that holds `folder`, in GB (1e9 bytes)."""
    return disk_usage(str(folder)).free / 1e9


def check_disk(folder: Path, disk_usage=shutil.disk_usage) -> None:
    """Raises SetupError when the disk under `folder` has less than NEEDED_GB free."""
    free = free_gb(folder, disk_usage)
    if free < NEEDED_GB:
        raise SetupError(
            f"Too little disk: {free:.1f} GB are free under {folder}, and the set-up needs about "
            f"{NEEDED_GB:.0f} GB (about 10 GB where torch comes with CUDA, the default on Linux). Free some "
            "space, or clone the course on a larger disk. On Linux without an NVIDIA GPU, the small build of "
            "torch is enough: make lab TORCH_INDEX=https://download.pytorch.org/whl/cpu"
        )


def check_network(python: Path, run=subprocess.run) -> None:
    """Raises SetupError when pip, with this user's own settings, can't list one package of the index."""
    if os.environ.get("PIP_NO_INDEX"):
        return  # the user installs from local files on purpose
    command = [str(python), "-m", "pip", "index", "versions", "numpy", "--retries", "1", "--timeout", "15"]
    asked = run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if asked.returncode != 0:
        last_line = (asked.stdout or b"").decode(errors="replace").strip().split("\n")[-1]
        raise SetupError(
            f"No network: pip can't reach its package index (it says: {last_line!r}). Connect and run the "
            "same command again. Behind a proxy, set HTTPS_PROXY; where your institution has a mirror, set "
            "PIP_INDEX_URL."
        )


def fingerprint(root: Path) -> str:
    """A hash of what decides the installation: two files, and the folder, whose path .venv remembers."""
    digest = hashlib.sha256(str(root).encode())
    for name in ("requirements.txt", "pyproject.toml"):
        digest.update(name.encode() + b"\0" + (root / name).read_bytes())
    return digest.hexdigest()


def stamp_file(root: Path) -> Path:
    """Where the fingerprint of the last complete installation is kept."""
    return root / ".venv" / "dpo-lab-installed"


def venv_python(root: Path) -> Path:
    """The interpreter inside .venv."""
    return root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_works(root: Path, run=subprocess.run) -> bool:
    """Whether .venv holds a Python that starts, is of a supported version and has pip."""
    python = venv_python(root)
    if not python.exists():
        return False
    probe = f"import sys, pip; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    return (
        run([str(python), "-c", probe], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    )


def is_current(root: Path, run=subprocess.run) -> bool:
    """Whether .venv already holds exactly what the requirement files ask for."""
    stamp = stamp_file(root)
    return stamp.exists() and stamp.read_text() == fingerprint(root) and venv_works(root, run)


def make_venv(root: Path, run=subprocess.run) -> None:
    """Makes .venv, or makes it anew where its Python is gone or of the wrong version."""
    if venv_works(root, run):
        return
    made = run([sys.executable, "-m", "venv", "--clear", str(root / ".venv")], stdin=subprocess.DEVNULL)
    if made.returncode != 0:
        raise SetupError(
            f"'{sys.executable} -m venv .venv' failed; its own words stand above. Delete the folder .venv in "
            f"{root} and try again, or name another Python: make lab PYTHON=/path/to/python"
        )


def pip_install(root: Path, torch_index: str = "", run=subprocess.run) -> None:
    """Installs requirements.txt and the package; raises SetupError with the free space when pip stops."""
    command = [str(venv_python(root)), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    command += ["-r", str(root / "requirements.txt"), "-e", str(root)]
    if torch_index:  # its torch 2.13.0+cpu counts as newer than the 2.13.0 of PyPI, so pip prefers it
        command += ["--extra-index-url", torch_index]
    done = run(command, cwd=str(root), stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SetupError(
            f"pip stopped with exit code {done.returncode}; its own words stand above. "
            f"{free_gb(root):.1f} GB are free under {root}. Run the same command again: what is downloaded "
            "already is kept."
        )


def set_up(root: Path = ROOT, torch_index: str = "", run=subprocess.run) -> bool:
    """Brings .venv up to date.

    Args:
        root: the course's folder, which holds requirements.txt and pyproject.toml.
        torch_index: a further package index to take torch from, for instance the CPU builds'; empty for none.
        run: what starts programs, in the form of subprocess.run.

    Returns:
        True where something was installed, False where nothing was to do.

    Raises:
        SetupError: an unsupported Python, no venv module, too little disk, no network, or pip failed.
    """
    if is_current(root, run):
        return False
    check_python()
    check_venv_module()
    if not stamp_file(root).exists():  # an update of a complete .venv needs far less
        check_disk(root)
    print(f"Setting up .venv with Python {platform.python_version()} (once, some minutes)", flush=True)
    make_venv(root, run)
    check_network(venv_python(root), run)
    stamp_file(root).unlink(missing_ok=True)  # until pip is through, whatever stops it
    pip_install(root, torch_index, run)
    stamp_file(root).write_text(fingerprint(root))
    return True


def main(arguments=None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make .venv and install the course into it.")
    parser.add_argument("--torch-index", default="", metavar="URL", help="a further index to take torch from")
    options = parser.parse_args(arguments)
    try:
        set_up(torch_index=options.torch_index)
    except SetupError as error:
        words = textwrap.fill(str(error), width=100, break_long_words=False, break_on_hyphens=False)
        print("\n" + words, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
