"""The class on one page: how each exercise went, what to teach again, where to look."""

from __future__ import annotations

import html
from collections import Counter

from dpo_lab.grading.results import ClassResult, ExerciseResult

STATES = {
    "passed": "#2e8540",
    "wrong": "#d1495b",
    "error": "#c77700",
    "not written": "#9aa5b1",
    "broken": "#000000",
}
COMMONEST = 12
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;color:#1d2733}"
    "table{border-collapse:collapse}td,th{padding:.25em .6em;text-align:left;border-bottom:1px solid #dde3ea}"
    "td.n{text-align:right}.bar{display:flex;height:1em;width:24em}.bar span{display:block;height:1em}"
)


def class_page(result: ClassResult) -> str:
    """The page, as HTML without scripts; all text from outside is escaped."""
    head = f"<meta charset='utf-8'><title>Grades</title><style>{STYLE}</style>"
    legend = " ".join(f"<span style='color:{colour}'>■</span> {state}" for state, colour in STATES.items())
    parts = [
        f"<h1>{len(result.students)} submissions</h1><p>Seed of the inputs: {result.seed}.</p>",
        f"<h2>Exercises</h2><p>{legend}</p>{_exercises(result)}",
        f"<h2>Commonest mistakes</h2>{_mistakes(result)}",
        f"<h2>Places to look</h2>{_places(result)}",
        f"<h2>Students</h2>{_students(result)}",
        "<h2>Sandbox</h2><ul>" + "".join(f"<li>{_text(wall)}</li>" for wall in result.walls) + "</ul>",
    ]
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _by_exercise(result: ClassResult) -> dict[str, list[ExerciseResult]]:
    found: dict[str, list[ExerciseResult]] = {}
    for student in result.students:
        for each in student.exercises:
            found.setdefault(each.name, []).append(each)
    return found


def _exercises(result: ClassResult) -> str:
    rows = []
    for name, graded in _by_exercise(result).items():
        counts = Counter(each.report.status for each in graded)
        bar = "".join(
            f"<span style='width:{100 * counts[state] / len(graded):.1f}%;background:{colour}' "
            f"title='{state}: {counts[state]}'></span>"
            for state, colour in STATES.items()
            if counts[state]
        )
        share = f"{counts['passed']} of {len(graded)}"
        rows.append(
            f"<tr><td>{_text(graded[0].lesson)}</td><td><code>{_text(name)}</code></td><td class='n'>{share}</td>"
            f"<td><div class='bar'>{bar}</div></td></tr>"
        )
    return f"<table><tr><th>lesson<th>exercise<th>passed<th>how it went</tr>{''.join(rows)}</table>"


def _mistakes(result: ClassResult) -> str:
    every = (each for student in result.students for each in student.exercises if each.report.mistake)
    counts = Counter((each.name, each.report.mistake, each.report.hint) for each in every)
    rows = "".join(
        f"<tr><td class='n'>{count}</td><td><code>{_text(name)}</code></td><td>{_text(mistake)}</td>"
        f"<td>{_text(hint)}</td></tr>"
        for (name, mistake, hint), count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[
            :COMMONEST
        ]
    )
    if not rows:
        return "<p>No known mistake was made.</p>"
    return f"<table><tr><th>times<th>exercise<th>mistake<th>hint</tr>{rows}</table>"


def _places(result: ClassResult) -> str:
    lines = [
        f"<code>{_text(name)}</code> has the same shape at {_text(', '.join(who))}"
        for name, who in result.alike
    ]
    for student in result.students:
        for each in student.exercises:
            told = [*each.flags, *each.notes]
            lines += [
                f"{_text(student.student)}, <code>{_text(each.name)}</code>: {_text(note)}" for note in told
            ]
        lines += [f"{_text(student.student)}: {_text(note)}" for note in student.notes]
    body = "".join(f"<li>{line}</li>" for line in lines)
    return (
        f"<p>Reasons to read an answer, no proof of anything.</p><ul>{body}</ul>" if lines else "<p>None.</p>"
    )


def _students(result: ClassResult) -> str:
    rows = "".join(
        f"<tr><td>{_text(student.student)}</td><td class='n'>{student.earned:g}</td>"
        f"<td class='n'>{student.points}</td></tr>"
        for student in result.students
    )
    return f"<table><tr><th>student<th>earned<th>points</tr>{rows}</table>"


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
