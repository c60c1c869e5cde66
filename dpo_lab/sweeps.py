"""Sweeps: one function over a grid of settings, cached, resumable, on all cores, into one table."""

from __future__ import annotations

import ast
import hashlib
import inspect
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from dpo_lab.download import cache_folder

PACKAGE = Path(__file__).parent


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of the values, the last name varying fastest: `grid(beta=[0.1, 1], seed=range(3))` has six."""
    return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]


def sweep(
    function: Callable[..., Mapping[str, Any]],
    settings: Iterable[Mapping[str, Any]],
    jobs: int | None = None,
    folder: str | Path | None = None,
    progress: str | None = "sweep",
) -> pd.DataFrame:
    """Call `function(**setting)` for each setting and gather what it returns, one row a setting.

    A finished run is kept at once, so an interrupted sweep goes on where it stopped and a second one costs nothing. A
    kept run counts only while the function, every module of this package that it uses, the setting, the shipped data
    and torch's version are what they were. On a CPU each run has one thread, however many run side by side: the
    numbers do not depend on `jobs`.

    Args:
        function: takes the setting's names and returns numbers, texts or lists of them by name. Defined at the top of
            a module or in a notebook. It seeds what it draws.
        settings: such as `grid(beta=[0.1, 1], seed=range(3))`, or any list of dicts; their values must survive JSON.
        jobs: processes side by side; None takes one a core on a CPU and one on a GPU.
        folder: where finished runs are kept; None takes the course's cache.
        progress: label of the progress bar; None shows none.

    Returns:
        A table in the order of the settings: a column for each setting's name, then one for each returned name.

    Raises:
        ValueError: no settings, a setting that JSON can't hold, or a result with the name of a setting.
    """
    rows = [dict(setting) for setting in settings]
    if not rows:
        raise ValueError("settings is empty: there is nothing to run")
    kept = Kept(function, Path(folder) if folder is not None else cache_folder() / "sweeps")
    missing = [row for row in rows if kept.read(row) is None]
    with tqdm(
        total=len(rows), initial=len(rows) - len(missing), desc=progress, disable=progress is None
    ) as bar:
        for row, result in run_all(function, missing, jobs or default_jobs(len(missing))):
            if clash := set(row) & set(result):
                raise ValueError(
                    f"{function.__name__} returned {', '.join(sorted(clash))}, a setting's own name"
                )
            kept.write(row, result)
            bar.update()
    return pd.DataFrame([{**row, **kept.read(row)} for row in rows])


def default_jobs(runs: int) -> int:
    """One process a core on a CPU, never more than there are runs; one where a GPU does the work."""
    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return 1 if on_gpu else max(1, min(os.cpu_count() or 1, runs))


def run_all(
    function: Callable[..., Mapping[str, Any]], settings: list[dict[str, Any]], jobs: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each setting with its result, in the order in which they are done."""
    if jobs == 1:
        for setting in settings:
            yield one_run(function, setting)
        return
    workers = Parallel(n_jobs=jobs, return_as="generator_unordered", backend="loky")
    yield from workers(delayed(one_run)(function, setting) for setting in settings)


def one_run(
    function: Callable[..., Mapping[str, Any]], setting: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run on one thread: the number of threads decides a sum's last digits, and so where training ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return setting, dict(function(**setting))
    finally:
        torch.set_num_threads(threads)


class Kept:
    """Finished runs of one function, a JSON file each, under a name that all that decides the result goes into."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self.fingerprint = fingerprint(function)
        self.folder = folder / function.__name__

    def path(self, setting: Mapping[str, Any]) -> Path:
        """The file of one setting's result."""
        try:
            text = json.dumps(setting, sort_keys=True)
        except TypeError as error:
            raise ValueError(f"a setting must hold plain values, got {dict(setting)}: {error}") from None
        return self.folder / f"{digest(self.fingerprint, text)}.json"

    def read(self, setting: Mapping[str, Any]) -> dict[str, Any] | None:
        """The kept result, or None."""
        path = self.path(setting)
        return json.loads(path.read_text(encoding="utf-8"))["result"] if path.exists() else None

    def write(self, setting: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keep a result; the file appears whole or not at all."""
        path = self.path(setting)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump({"setting": dict(setting), "result": dict(result)}, file)
        Path(file.name).replace(path)


def fingerprint(function: Callable[..., Any]) -> str:
    """A digest of all that a run's numbers depend on but the setting: code, shipped data, torch, kind of device."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if file is not None and Path(file).is_relative_to(PACKAGE):
        code = [
            *(path.read_text(encoding="utf-8") for path in imported_files(Path(file))),
            function.__qualname__,
        ]
    else:  # a notebook's function: what it uses of the notebook, and the whole library, any part of which it may call
        code = [
            *own_sources(function),
            *(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))),
        ]
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return digest(*code, assets_digest(), torch.__version__, device, os.environ.get("DPO_LAB_TIER", ""))


def own_sources(function: Callable[..., Any]) -> list[str]:
    """Text of a notebook's function, and of the functions and plain values of the same notebook that it uses."""
    found: dict[str, str] = {}
    waiting = [function]
    while waiting:
        current = waiting.pop()
        found[current.__qualname__] = inspect.getsource(current)
        for name in current.__code__.co_names:
            value = current.__globals__.get(name)
            if inspect.isfunction(value) and value.__module__ == function.__module__:
                waiting += [value] if value.__qualname__ not in found else []
            elif isinstance(value, bool | int | float | str | tuple | list | dict):
                found[name] = repr(value)
    return [f"{name}: {found[name]}" for name in sorted(found)]


@cache
def imported_files(path: Path) -> tuple[Path, ...]:
    """`path` and every module of this package that it imports, directly or through others, in a fixed order."""
    found, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        waiting += module_imports(current)
    return tuple(sorted(found))


def module_imports(path: Path) -> list[Path]:
    """Files of this package that one file imports anywhere in its text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    files = []
    for name in sorted(names):
        parts = name.split(".")
        if parts[0] == PACKAGE.name:
            base = PACKAGE.joinpath(*parts[1:])
            files += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
    return files


@cache
def assets_digest() -> str:
    """A digest of the shipped weights and pairs."""
    return digest(
        *(path.read_bytes().hex() for path in sorted((PACKAGE / "assets").rglob("*")) if path.is_file())
    )


def digest(*parts: str) -> str:
    """Twenty hex digits that change with any part."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(f"{len(part)}:".encode() + part.encode())
    return whole.hexdigest()[:20]
