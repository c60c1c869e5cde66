"""Reference log-probs on disk, keyed by what they depend on: a second run skips the pass, nothing stale is found."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from dpo_lab.encoding import Encoded
from dpo_lab.policies import Policy


class ReferenceCache:
    """log π_ref of encoded rows under one model, in a file named after the model's content.

    A row's key is its token ids and where its completion starts, so it holds whatever text, template or truncation gave
    these ids, and no other. The model's is a digest of its config and of every weight: another reference, or the same
    after one more step, has another file.
    """

    def __init__(self, folder: str | Path, reference: Policy) -> None:
        """
        Args:
            folder: where the files are; made if it is not there.
            reference: the model whose log-probs are kept.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.path = Path(folder) / f"{fingerprint(reference)}.sqlite"
        with closing(self.connect()) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS logps (row BLOB PRIMARY KEY, value REAL NOT NULL)")

    def connect(self) -> sqlite3.Connection:
        """Processes that train side by side may share the file: one waits for the other's short write."""
        return sqlite3.connect(self.path, timeout=60)

    def read(self, rows: Sequence[Encoded]) -> Tensor:
        """(N,) float32: what is known of the rows, NaN elsewhere."""
        with closing(self.connect()) as database:
            found = [
                database.execute("SELECT value FROM logps WHERE row = ?", (row_key(row),)).fetchone()
                for row in rows
            ]
        return torch.tensor([float("nan") if hit is None else hit[0] for hit in found])

    def write(self, rows: Sequence[Encoded], logps: Tensor) -> None:
        """Keep the (N,) log-probs of the rows."""
        values = [(row_key(row), value) for row, value in zip(rows, logps.tolist(), strict=True)]
        with closing(self.connect()) as database, database:
            database.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?)", values)

    def fill(self, rows: Sequence[Encoded], score: Callable[[Sequence[Encoded]], Tensor]) -> Tensor:
        """(N,) log-probs of the rows; `score` is called with those alone that are not there yet, then they are."""
        logps = self.read(rows)
        missing = [index for index, unknown in enumerate(logps.isnan().tolist()) if unknown]
        if missing:
            fresh = [rows[index] for index in missing]
            scored = score(fresh)
            self.write(fresh, scored)
            logps[missing] = scored.to(logps.dtype)
        return logps


def row_key(row: Encoded) -> bytes:
    """A digest of a row's ids and of the place where its completion starts."""
    start = row.completion_mask.index(True)
    return hashlib.sha256(json.dumps([start, row.input_ids]).encode()).digest()


def fingerprint(policy: Policy) -> str:
    """A digest of the model's config and weights, of their dtype too: bf16 gives other log-probs than float32."""
    digest = hashlib.sha256()
    config = policy.model.config.to_dict()
    config.pop("_name_or_path", None)  # where it was loaded from changes nothing
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(policy.model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
