"""A scorecard as one HTML file that needs nothing else: figures inside, light and dark, no request to anywhere."""

from __future__ import annotations

import base64
import html
import io
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from dpo_lab.evaluation.measuring import Evaluation, Samples, prompt_text
from dpo_lab.evaluation.page import PAGE
from dpo_lab.evaluation.scorecard import FAIL, NOT_MEASURED, PASS, UNDECIDED, Row, Targets
from dpo_lab.history import History
from dpo_lab.plots import evaluation as plots

SAMPLES_SHOWN = 6
MARKS = {PASS: "✓", FAIL: "✗", UNDECIDED: "?", NOT_MEASURED: "–"}
INK, PAPER, LINES = "#d8dde3", "#171a1e", "#3a4047"
DARK = {
    **dict.fromkeys(("figure.facecolor", "savefig.facecolor", "axes.facecolor"), PAPER),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK),
    "axes.edgecolor": LINES,
    "grid.color": LINES,
}


class Picture(NamedTuple):
    """A figure of the report: how to draw it, what it shows, and the same for those who can't see it."""

    draw: Callable[[], Figure]
    caption: str
    alt: str


def write_report(
    path: str | Path,
    title: str,
    rows: Sequence[Row],
    found: Evaluation,
    facts: Mapping[str, str],
    targets: Targets | None = None,
    history: History | None = None,
) -> Path:
    """Write the report; its folder is made where it is missing.

    Args:
        path: of the HTML file.
        title: its heading.
        rows: what `scorecard` returned.
        found: what `evaluate_policy` measured.
        facts: how it was measured, name and value, for the last section.
        targets: as given to `scorecard`.
        history: of the training run, where there is one.

    Returns:
        The path.
    """
    pictures = choose_pictures(found, targets or Targets(), history)
    page = PAGE
    parts = {
        "title": html.escape(title),
        "summary": html.escape(summary(rows)),
        "rows": "\n".join(map(table_row, rows)),
        "figures": "\n".join(map(figure_html, pictures)),
        "samples": samples_html(found.samples),
        "facts": "\n".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items()),
    }
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def summary(rows: Sequence[Row]) -> str:
    """One sentence: how many criteria came out which way."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in MARKS}
    words = {PASS: "passed", FAIL: "failed", UNDECIDED: "undecided", NOT_MEASURED: "not measured"}
    return ", ".join(f"{counts[verdict]} {word}" for verdict, word in words.items() if counts[verdict])


def table_row(row: Row) -> str:
    """One criterion as a row of the table."""
    kind = row.verdict.replace(" ", "-")
    cells = [
        f'<th scope="row">{html.escape(row.criterion)}<small>{html.escape(row.target)}</small></th>',
        f"<td>{html.escape(row.measured)}<small>{html.escape(row.note)}</small></td>",
        f'<td class="verdict {kind}"><span aria-hidden="true">{MARKS[row.verdict]}</span> {row.verdict}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def choose_pictures(found: Evaluation, targets: Targets, history: History | None) -> list[Picture]:
    """The figures that this evaluation has data for."""
    pictures = []
    if found.win_rate is not None:
        won, rate = found.win_rate, found.win_rate
        pictures.append(
            Picture(
                lambda: plots.plot_win_rates({"policy": rate}, targets.win_rate),
                "Comparisons with the reference, each judged in both orders. Dashed: the target; dotted: 50 %.",
                f"{won.wins} comparisons won, {won.ties} tied, {won.losses} lost; win rate {won.rate}.",
            )
        )
    if found.samples.our_rewards:
        ours, theirs = found.samples.our_rewards, found.samples.their_rewards
        means = sum(ours) / len(ours), sum(theirs) / len(theirs)
        pictures.append(
            Picture(
                lambda: plots.plot_rewards(ours, theirs),
                f"True reward of single completions: mean {means[0]:.2f}, reference {means[1]:.2f}.",
                f"Two histograms of true rewards, policy with mean {means[0]:.2f}, reference with {means[1]:.2f}.",
            )
        )
    groups = "; ".join(f"{name} {interval.mean:.0%}" for name, interval in found.by_group.items())
    pictures += [
        Picture(
            lambda: plots.plot_group_accuracy(found.by_group, found.accuracy),
            "How often the implicit reward agrees with the label, by group. Dashed: all pairs; dotted: a coin.",
            f"Accuracy by group: {groups}.",
        ),
        Picture(
            lambda: plots.plot_reliability({"Are its forecasts right?": found.reliability}),
            "How often the favourite won, against how sure the implicit reward was. Below the diagonal: too sure. "
            "Larger dots hold more pairs.",
            f"Reliability diagram; the expected calibration error is {found.calibration_error:.3f}.",
        ),
    ]
    if history is not None and "loss" in history.names():
        pictures.append(
            Picture(
                lambda: plots.plot_run(history),
                "The training run that led here.",
                f"Loss over {len(history)} steps, from {history['loss'][0]:.3f} to {history['loss'][-1]:.3f}.",
            )
        )
    return pictures


def figure_html(picture: Picture) -> str:
    """A figure in both themes; the browser takes the one that it needs."""
    figure = picture.draw()
    width = round(
        96 * figure.get_figwidth()
    )  # one inch of every figure is as wide on the page: letters of one size
    light = data_uri(figure)
    with plt.rc_context(DARK):
        dark = data_uri(picture.draw())
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img width="{width}" src="{light}" alt="{html.escape(picture.alt)}"></picture>'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def data_uri(figure: Figure) -> str:
    """The figure as PNG inside the page; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def samples_html(samples: Samples) -> str:
    """A few prompts with both completions, drawn by a fixed seed and not picked."""
    count = len(samples.prompts)
    rows = []
    for number in sorted(random.Random(0).sample(range(count), min(SAMPLES_SHOWN, count))):
        cells = [html.escape(prompt_text(samples.prompts[number]))]
        sides = ((samples.theirs, samples.their_rewards), (samples.ours, samples.our_rewards))
        for texts, rewards in sides:
            worth = f"<small>true reward {rewards[number]:+.2f}</small>" if rewards else ""
            cells.append(f"{html.escape(texts[number].strip()) or '(empty)'}{worth}")
        rows.append(f'<tr><th scope="row">{cells[0]}</th><td>{cells[1]}</td><td>{cells[2]}</td></tr>')
    return "\n".join(rows)
