"""Execute a notebook, with a sign of life for each cell."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from dpo_lab.course.layout import CourseError

CELL_TIMEOUT_S = 300
LOG_EVERY_S = 10
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
INTERACTIVE = "[an interactive: run this cell in Jupyter to use it]"
PERCENT = re.compile(r"\d+%\|")
THREADS = "2"  # the same on every machine: a matrix product's last digits depend on the number of threads


def execute(notebook: NotebookNode, folder: Path, label: str) -> None:
    """Run all cells in place, in a fresh kernel whose working directory is `folder`.

    Raises:
        CourseError: a cell failed or took too long, or the kernel died.
    """
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    progress = _Progress(label, total)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        extra_arguments=[
            "--log-level=ERROR"
        ],  # a kernel's remarks on its own transport tell an author nothing
        on_cell_start=progress,
    )
    with _environment(OMP_NUM_THREADS=THREADS, OMP_WAIT_POLICY="PASSIVE", PYTHONPATH=_python_path()):
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise CourseError(f"{label}: code cell {progress.started} of {total} failed\n{error}") from error
    settle_widgets(notebook)


def settle_widgets(notebook: NotebookNode) -> None:
    """Make a page of what lives only in a kernel.

    A saved progress bar would stand for ever at the 0 % at which it began: it is left out. Another widget would be a
    line of Python: it becomes a sentence.
    """
    for cell in notebook.cells:
        kept = [output for output in cell.get("outputs", []) if not is_progress_bar(output)]
        for output in kept:
            if WIDGET_VIEW in output.get("data", {}):
                output.data = {"text/plain": INTERACTIVE}
        if "outputs" in cell:
            cell.outputs = kept


def is_progress_bar(output: NotebookNode) -> bool:
    """Whether an output is a tqdm bar."""
    data = output.get("data", {})
    return WIDGET_VIEW in data and PERCENT.search(data.get("text/plain", "")) is not None


def require_all_passed(notebook: NotebookNode, label: str) -> None:
    """CourseError unless every check in an executed notebook passed."""
    failed = [verdict["exercise"] for verdict in verdicts(notebook) if verdict["status"] != "passed"]
    if failed:
        raise CourseError(f"{label}: turned down by their own checks: {', '.join(failed)}")


def verdicts(notebook: NotebookNode) -> list[dict]:
    """The verdicts that `check` left in a notebook's outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["metadata"]["dpo_lab"] for output in outputs if "dpo_lab" in output.get("metadata", {})]


class _Progress:
    """A line that counts cells: kept up to date on a terminal, repeated now and then in a log."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.started, self._printed = label, total, 0, time.monotonic()

    def __call__(self, cell: NotebookNode, cell_index: int, **_: object) -> None:
        if cell.cell_type != "code":
            return
        self.started += 1
        line = f"{self.label}: cell {self.started} of {self.total}"
        if sys.stdout.isatty():
            print(f"\x1b[2K{line}", end="\r", flush=True)
        elif time.monotonic() - self._printed > LOG_EVERY_S:
            print(line, flush=True)
            self._printed = time.monotonic()


def _python_path() -> str:
    """The kernel finds the package that runs this, installed or not."""
    package_root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH", "")]))


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
