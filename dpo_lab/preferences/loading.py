"""Read preference pairs from a file, from the package or from the hub, and check every row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow
from datasets import Dataset, DatasetDict, DownloadConfig

from dpo_lab.preferences.rows import COLUMNS, bad_rows, with_explicit_prompt

SHIPPED = Path(__file__).parents[1] / "assets" / "pairs"
BUILDERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
LISTED = 5


def load_pairs(source: str | Path, split: str | None = None, drop_bad: bool = False) -> Dataset:
    """Load preference pairs and check every row.

    Args:
        source: a .jsonl, .json or .parquet file; a name from `shipped_pairs()`; or a data set on the hub,
            `owner/name`.
        split: the hub's split, or a slice of a file such as "train[:100]" (a file is one split, "train").
        drop_bad: leave bad rows out and print how many and which, instead of raising.

    Returns:
        Rows in the source's order, columns `prompt`, `chosen`, `rejected`, then whatever else there is.
        Completions that hold the whole conversation are split: what they share becomes the prompt.

    Raises:
        FileNotFoundError: `source` names a file that is not there, or is neither a file, a shipped name nor a
        hub id. ValueError: the file can't be parsed, a column is missing, a row is bad, or `split` is needed.
        ConnectionError: the hub can't be reached.
    """
    path = Path(source)
    if str(source) in shipped_pairs():
        path = SHIPPED / f"{source}.jsonl"
    if path.is_file():
        loaded = _read_file(path, split or "train")
    elif path.suffix in BUILDERS or str(source).count("/") != 1:
        raise FileNotFoundError(
            f"no file {str(source)!r}, and no shipped set of that name (there are: "
            f"{', '.join(shipped_pairs()) or 'none'}); a data set on the hub is named owner/name"
        )
    else:
        loaded = _read_hub(str(source), split)
    return check_pairs(loaded, drop_bad=drop_bad, name=str(source))


def check_pairs(
    pairs: Dataset | Sequence[Mapping[str, Any]], drop_bad: bool = False, name: str = "pairs"
) -> Dataset:
    """Check rows that are in memory already, as `load_pairs` does with a file's.

    Args:
        pairs: a data set or a list of rows.
        drop_bad: leave bad rows out and print how many and which, instead of raising.
        name: what messages call the rows.

    Returns:
        Rows in the order given; columns `prompt`, `chosen`, `rejected` first.

    Raises:
        ValueError: a column is missing from every row, a row is bad, or no good row is left.
    """
    given = list(pairs)
    rows = [with_explicit_prompt(row) for row in given]
    columns = list(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row))
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise ValueError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(columns) or 'no rows'}"
        )
    problems = bad_rows(rows)
    if problems and not drop_bad:
        raise ValueError(
            f"{_report(problems, len(rows), name)}\nMend them, or pass drop_bad=True to leave them out"
        )
    if problems:
        print(f"{_report(problems, len(rows), name)}\nLeft out: {len(problems)}")
    kept = [number for number in range(len(rows)) if number not in problems]
    if not kept:
        raise ValueError(f"{name} has no good row left")
    if isinstance(pairs, Dataset) and rows == given:
        checked = pairs.select(kept)  # stays memory-mapped
    else:
        checked = Dataset.from_list([dict(rows[number]) for number in kept], on_mixed_types="use_json")
    others = [column for column in checked.column_names if column not in COLUMNS]
    return checked.select_columns([*COLUMNS, *others])


def shipped_pairs() -> list[str]:
    """Names of the preference sets that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.jsonl"))


def _report(problems: Mapping[int, str], total: int, name: str) -> str:
    """The count of bad rows, the first few of them, and how many more there are."""
    lines = [f"{len(problems)} of {total} rows of {name} are not preference pairs (rows count from 0):"]
    lines += [f"  row {number}: {problem}" for number, problem in list(problems.items())[:LISTED]]
    if len(problems) > LISTED:
        lines.append(f"  and {len(problems) - LISTED} more: rows {list(problems)[LISTED:]}")
    return "\n".join(lines)


def _read_file(path: Path, split: str) -> Dataset:
    """Read one file with `datasets`; ValueError, with the line where there is one, if it can't be parsed."""
    if path.suffix not in BUILDERS:
        raise ValueError(f"can't read {path.name}: its name must end in {', '.join(BUILDERS)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    if path.suffix == ".jsonl":
        _check_lines(path)
    with _quiet():
        try:
            return datasets.load_dataset(BUILDERS[path.suffix], data_files=str(path), split=split)
        except (datasets.exceptions.DatasetGenerationError, pyarrow.ArrowInvalid) as error:
            raise ValueError(f"can't read {path} as {path.suffix[1:]}: {error.__cause__ or error}") from error


def _check_lines(path: Path) -> None:
    """Raise ValueError at the first line of a JSONL file that is not one JSON object."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line) if line.strip() else {}
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(
                    f"{path}, line {number}: a {type(row).__name__}; each line must be a JSON object"
                )


def _read_hub(name: str, split: str | None) -> Dataset:
    """Fetch a data set from the hub; ValueError if it has several splits and none is named."""
    try:
        loaded = datasets.load_dataset(name, split=split, download_config=DownloadConfig(max_retries=1))
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise ConnectionError(
            f"no file {name!r} here, and the hub gave no data set of that name: {error}"
        ) from error
    if not isinstance(loaded, DatasetDict):
        return loaded
    if len(loaded) > 1:
        raise ValueError(f"{name} has the splits {', '.join(loaded)}: pass one as split=")
    return next(iter(loaded.values()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar that `datasets` draws even for a file of ten rows."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
