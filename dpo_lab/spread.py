"""From many runs to one row a setting: the mean over seeds, and how far the seeds lie apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def summarise_runs(runs: Sequence[Mapping[str, Any]], by: str, over: str = "seed") -> list[dict[str, Any]]:
    """Mean and sample standard deviation over seeds, a row for each value of a setting.

    s = √( Σ (x − x̄)² / (n − 1) ): what one more seed would typically differ by, not the error of the mean.

    Args:
        runs: one dict a run, all with the same names: the setting `by`, the seed `over`, and measured numbers.
        by: name of the setting that varies, such as "beta".
        over: name that tells the runs of one setting apart; it is not summarised.

    Returns:
        One dict for each value of `by`, in the order in which the values first occur: `by` itself, `runs` (how many),
        and for each measured name its mean under that name and its standard deviation under "name ±", NaN where there
        is one run only. A run that measured NaN makes both NaN: it is not left out.
    """
    summary = []
    for value in dict.fromkeys(run[by] for run in runs):
        group = [run for run in runs if run[by] == value]
        row: dict[str, Any] = {by: value, "runs": len(group)}
        for name in group[0]:
            if name not in (by, over):
                measured = [float(run[name]) for run in group]
                mean = sum(measured) / len(measured)
                squares = sum((value - mean) ** 2 for value in measured)
                row[name] = mean
                row[f"{name} ±"] = math.sqrt(squares / (len(group) - 1)) if len(group) > 1 else math.nan
        summary.append(row)
    return summary
