"""The doctor's table with longer runs and more seeds: `python tests/library/doctor_table.py [SEED ...]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from doctor_runs import examine_all, report

if __name__ == "__main__":
    seeds = [int(argument) for argument in sys.argv[1:]] or [11, 12, 13]
    with tempfile.TemporaryDirectory() as folder:
        print(report(examine_all(seeds, Path(folder), jobs=2, steps=24, batch_size=16)))
