"""Where a learner's progress with the flashcards is kept: a small JSON file of their own.

Nothing in it is ever dropped: cards of questions that a later bank lacks stay in the file, a file that can't be read
is never written over, and each write replaces the file in one step.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

VARIABLE = "DPO_LAB_PROGRESS"
FILE = "flashcards.json"
VERSION = 1


class ProgressError(ValueError):
    """A progress file can't be read; it is left as it is."""


@dataclass(frozen=True)
class Card:
    """What is known of one question.

    Args:
        box: 1 to 5, how well it is known.
        last: the day of the last answer.
        knew: how often it was known.
        missed: how often it was not.
    """

    box: int
    last: date
    knew: int = 0
    missed: int = 0


def default_path() -> Path:
    """`$DPO_LAB_PROGRESS`, else a file in the platform's folder for a user's data."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    try:
        from platformdirs import user_data_dir
    except ImportError:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        return base / "dpo-lab" / FILE
    return Path(user_data_dir("dpo-lab", appauthor=False)) / FILE


def read_progress(path: str | Path) -> dict[str, Card]:
    """The cards by question id; empty where there is no file yet.

    Raises:
        ProgressError: the file is no JSON, of a newer version, or an entry is not whole.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ProgressError(f"{path} is not JSON ({error}). {kept(path)}") from None
    if not isinstance(content, dict) or not isinstance(content.get("cards"), dict):
        raise ProgressError(f"{path} has no cards. {kept(path)}")
    if content.get("version") != VERSION:
        raise ProgressError(
            f"{path} has version {content.get('version')}, this dpo_lab reads {VERSION}. {kept(path)}"
        )
    return {key: read_card(path, key, entry) for key, entry in content["cards"].items()}


def read_card(path: Path, key: str, entry: Any) -> Card:
    """One entry of the file."""
    try:
        card = Card(**{**entry, "last": date.fromisoformat(entry["last"])})
    except (TypeError, KeyError, ValueError):
        raise ProgressError(f"{path}, card {key!r} is not whole: {entry!r}. {kept(path)}") from None
    if not (isinstance(card.box, int) and 1 <= card.box <= 5):
        raise ProgressError(f"{path}, card {key!r}: box {card.box!r} must be 1 to 5. {kept(path)}")
    return card


def kept(path: Path) -> str:
    """What a learner can do about a file that can't be read."""
    return (
        f"It was left as it is: mend it, or move it away to start anew (the state before is {path.name}.bak)"
    )


def write_progress(path: str | Path, cards: Mapping[str, Card]) -> None:
    """Replace the file in one step; the state before is kept beside it with the ending .bak."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {key: {**asdict(card), "last": card.last.isoformat()} for key, card in sorted(cards.items())}
    text = json.dumps({"version": VERSION, "cards": rows}, indent=1, ensure_ascii=False) + "\n"
    if path.exists():
        replace_file(path.with_name(path.name + ".bak"), path.read_text(encoding="utf-8"))
    replace_file(path, text)


def replace_file(path: Path, text: str) -> None:
    """Write beside `path`, then rename: a reader sees the old or the new file, never half of one."""
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
