"""What a check tells the learner: as text for a terminal, as HTML for a notebook."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from dpo_lab.course.submission import Diagnosis

SYMBOLS = {"passed": "✓", "wrong": "✗", "error": "✗", "not written": "○", "broken": "!"}
# JupyterLab's own colours where they are defined (light and dark), else ones that read on white and on near-black.
COLOURS = {
    "passed": "var(--jp-success-color1, #2e8540)",
    "wrong": "var(--jp-error-color1, #d1495b)",
    "error": "var(--jp-error-color1, #d1495b)",
    "not written": "var(--jp-info-color1, #3d7fc1)",
    "broken": "var(--jp-warn-color1, #c77700)",
}
BOX = (
    "border-left:4px solid {colour};padding:0.5em 1em;margin:0.4em 0;max-width:60em;line-height:1.5;"
    "background:var(--jp-layout-color1, transparent);color:var(--jp-content-font-color1, inherit);"
    "font-family:var(--jp-content-font-family, system-ui, sans-serif);font-size:var(--jp-content-font-size1, 14px)"
)
CODE = "font-family:var(--jp-code-font-family, monospace);font-size:0.93em"
MUTED = "color:var(--jp-content-font-color2, inherit)"
PRINTED_LINES = 8


@dataclass(frozen=True)
class Report:
    """The verdict on one exercise.

    Args:
        exercise: its name.
        points: what it is worth; earned: all of that, or 0.
        status: "passed", "wrong", "error", "not written", or "broken" (the check itself failed).
        headline, hint, mistake, inputs, expected, yours, printed: see `Diagnosis`; of the first test that rejected.
        passed_tests, tests: how many of its tests passed, and how many there are.
        seconds: how long the check took.
        reading_on: which version the notebook uses from here; empty outside notebooks.
    """

    exercise: str
    points: int
    status: str
    headline: str = ""
    hint: str = ""
    mistake: str | None = None
    inputs: str = ""
    expected: str = ""
    yours: str = ""
    printed: str = ""
    passed_tests: int = 0
    tests: int = 0
    seconds: float = 0.0
    reading_on: str = ""

    @classmethod
    def of(cls, exercise: str, points: int, diagnosis: Diagnosis, **counts: float) -> Report:
        """A report of a rejection."""
        told = {key: value for key, value in vars(diagnosis).items() if key != "candidates"}
        return cls(exercise, points, **told, **counts)

    @property
    def earned(self) -> int:
        """Points: all or nothing."""
        return self.points if self.status == "passed" else 0

    @property
    def score(self) -> str:
        """Points in words, e.g. "0 of 4 points"."""
        return f"{self.earned} of {self.points} point{'s' * (self.points != 1)}"

    @property
    def tally(self) -> str:
        """Tests in words, empty where none ran."""
        if self.status in ("not written", "broken") or not self.tests:
            return ""
        return f"{self.passed_tests} of {self.tests} tests passed"

    def facts(self) -> list[tuple[str, str]]:
        """The case that was rejected, as label and value; empty ones are left out."""
        rows = [("inputs", self.inputs), ("expected", self.expected), ("yours", self.yours)]
        printed = self.printed.strip().splitlines()
        if printed:
            rows.append(
                ("printed", "\n".join(printed[:PRINTED_LINES] + ["…"] * (len(printed) > PRINTED_LINES)))
            )
        return [(label, value) for label, value in rows if value] if self.status in ("wrong", "error") else []

    def text(self) -> str:
        """The report for a terminal."""
        head = f"{SYMBOLS[self.status]} {self.exercise}"
        head += f"   {self.score}" if self.points else ""
        lines = [f"{head}   {self.tally}".rstrip()]
        lines += [line.replace("`", "") for part in (self.headline, self.hint) for line in part.splitlines()]
        lines += [f"{label + ':':<10}{value}" for label, value in self.facts()]
        if self.reading_on:
            lines.append(self.reading_on)
        return "\n".join([lines[0], *(f"  {line}" for block in lines[1:] for line in block.splitlines())])

    def _repr_html_(self) -> str:
        colour = COLOURS[self.status]
        score = f" &nbsp;<b>{self.score}</b>" if self.points else ""
        tally = f' &nbsp;<span style="{MUTED}">{self.tally}</span>' if self.tally else ""
        parts = [
            f'<div><b style="color:{colour}" aria-hidden="true">{SYMBOLS[self.status]}</b> '
            f'<b style="{CODE}">{html.escape(self.exercise)}</b>{score}{tally}</div>'
        ]
        parts += [f"<div>{_inline(part)}</div>" for part in (self.headline, self.hint) if part]
        if self.facts():
            cells = "".join(
                f'<span style="{MUTED}">{label}</span>'
                f'<span style="{CODE};white-space:pre-wrap;overflow-wrap:anywhere">{html.escape(value)}</span>'
                for label, value in self.facts()
            )
            grid = "display:grid;grid-template-columns:max-content 1fr;column-gap:1em;margin:0.3em 0"
            parts.append(f'<div style="{grid}">{cells}</div>')
        if self.reading_on:
            parts.append(f'<div style="{MUTED}">{_inline(self.reading_on)}</div>')
        label = html.escape(f"{self.exercise}: {self.status}, {self.score}", quote=True)
        return f'<div role="status" aria-label="{label}" style="{BOX.format(colour=colour)}">{"".join(parts)}</div>'

    def __repr__(self) -> str:
        return self.text()


def _inline(text: str) -> str:
    """Escaped text in which `code` is set as code and line breaks stay."""
    escaped = html.escape(text, quote=False)
    return re.sub(r"`([^`]+)`", rf'<code style="{CODE}">\1</code>', escaped).replace("\n", "<br>")
