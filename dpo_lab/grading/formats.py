"""Reports for machines: JSON, CSV, Gradescope, Classroom 50, JUnit, GitHub, Markdown. Students' text is escaped."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from dpo_lab.grading.results import ClassResult, ExerciseResult, StudentResult

CLASSROOM50 = "classroom50/result/v1"
NAMED = ("CLASSROOM", "ASSIGNMENT", "SUBMISSION_TAG", "COMMIT_URL", "RELEASE_URL")


def as_json(result: ClassResult) -> str:
    """Everything; the same bytes for the same submissions and seed, whatever the number of jobs."""
    students = [
        {
            "student": student.student,
            "earned": student.earned,
            "points": student.points,
            "notes": student.notes,
            "exercises": [_exercise(each) for each in student.exercises],
        }
        for student in result.students
    ]
    alike = [{"exercise": name, "students": who} for name, who in result.alike]
    whole = {"schema": "dpo-lab/grades/v1", "seed": result.seed, "sandbox": result.walls}
    return _dump({**whole, "students": students, "alike": alike})


def _exercise(each: ExerciseResult) -> dict[str, Any]:
    report = each.report
    return {
        "exercise": each.name,
        "lesson": each.lesson,
        "earned": each.earned,
        "points": report.points,
        "status": report.status,
        "mistake": report.mistake,
        "advice": each.advice,
        "tests_passed": report.passed_tests,
        "tests": report.tests,
        "notes": each.notes,
        "flags": each.flags,
    }


def as_csv(result: ClassResult) -> str:
    """A line a student, a column an exercise."""
    names = list(dict.fromkeys(each.name for student in result.students for each in student.exercises))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["student", "earned", "points", *names, "flags"])
    for student in result.students:
        earned = {each.name: each.earned for each in student.exercises}
        flags = "; ".join(f"{each.name}: {flag}" for each in student.exercises for flag in each.flags)
        cells = [f"{earned[name]:g}" if name in earned else "" for name in names]
        writer.writerow([_cell(student.student), f"{student.earned:g}", student.points, *cells, _cell(flags)])
    return out.getvalue()


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_gradescope(student: StudentResult) -> str:
    """Gradescope's results.json."""
    tests = [
        {
            "name": each.name,
            "score": each.earned,
            "max_score": each.report.points,
            "status": "passed" if each.report.status == "passed" else "failed",
            "output": "\n".join([each.report.text(), *each.notes]),
            "output_format": "text",
            "visibility": "visible",
            "tags": [each.lesson],
        }
        for each in student.exercises
    ]
    output = "\n".join(student.notes) or f"{student.earned:g} of {student.points} points"
    return _dump({"score": student.earned, "output": output, "stdout_visibility": "hidden", "tests": tests})


def as_classroom50(student: StudentResult, environment: dict[str, str] | None = None) -> str:
    """Classroom 50's result.json; the runner's environment names classroom, assignment, commit and release."""
    known = os.environ if environment is None else environment
    classroom, assignment, tag, commit, release = (known.get(name) or "local" for name in NAMED)
    tests = [
        {
            "test-name": each.name,
            "passed": each.report.status == "passed",
            "score": _number(each.earned),
            "max-score": each.report.points,
        }
        for each in student.exercises
    ]
    now = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    whole = {
        "schema": CLASSROOM50,
        "classroom": classroom,
        "assignment": assignment,
        "submission": tag,
        "commit": commit,
        "release": release,
        "review": known.get("REVIEW_URL") or commit,
        "datetime": now,
        "score": _number(student.earned),
        "max-score": student.points,
        "tests": tests,
    }
    return _dump(whole)


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def as_junit(result: ClassResult) -> str:
    """JUnit XML: a suite a student, a case an exercise."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<testsuites>"]
    for student in result.students:
        cases = student.exercises
        failures = sum(each.report.status in ("wrong", "error", "broken") for each in cases)
        skipped = sum(each.report.status == "not written" for each in cases)
        counts = f'tests="{len(cases)}" failures="{failures}" skipped="{skipped}"'
        lines.append(f"  <testsuite name={quoteattr(student.student)} {counts}>")
        for each in cases:
            head = f"    <testcase classname={quoteattr(each.lesson)} name={quoteattr(each.name)}"
            if each.report.status == "passed":
                lines.append(f"{head}/>")
            elif each.report.status == "not written":
                lines.append(f'{head}><skipped message="not written"/></testcase>')
            else:
                text = f"<failure message={quoteattr(each.advice)}>{escape(each.report.text())}</failure>"
                lines.append(f"{head}>{text}</testcase>")
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>"]) + "\n"


def as_github(result: ClassResult) -> str:
    """Workflow commands that annotate a run on GitHub."""
    lines = []
    for student in result.students:
        for each in student.exercises:
            if each.report.status in ("wrong", "error", "broken"):
                title = _property(f"{each.name}: {each.report.score}")
                file = _property(f"notebooks/{each.lesson}.ipynb")
                lines.append(f"::warning file={file},title={title}::{_message(each.advice)}")
        words = f"{student.student}: {student.earned:g} of {student.points} points"
        lines.append(f"::notice title=points::{_message(words)}")
    return "\n".join(lines) + "\n"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def as_markdown(result: ClassResult) -> str:
    """Tables for a job summary."""
    lines = []
    for student in result.students:
        lines += [f"## {_md(student.student)}: {student.earned:g} of {student.points} points", ""]
        lines += ["| exercise | points | verdict | what to look at |", "|---|---:|---|---|"]
        for each in student.exercises:
            advice = each.advice if each.report.status not in ("passed", "not written") else ""
            told = "; ".join(filter(None, [advice, *each.notes, *each.flags]))
            points = f"{each.earned:g} / {each.report.points}"
            lines.append(f"| `{each.name}` | {points} | {each.report.status} | {_md(told)} |")
        lines += ["", *(f"- {_md(note)}" for note in student.notes), ""]
    return "\n".join(lines)


def _md(text: str) -> str:
    plain = text.replace("\n", " ").replace("|", "\\|").replace("`", "'")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace("[", "\\[").replace("![", "\\!\\[")


def _dump(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


OF_CLASS: dict[str, tuple[str, Callable[[ClassResult], str]]] = {
    "json": ("grades.json", as_json),
    "csv": ("grades.csv", as_csv),
    "junit": ("junit.xml", as_junit),
    "github": ("annotations.txt", as_github),
    "markdown": ("grades.md", as_markdown),
}
OF_STUDENT: dict[str, tuple[str, Callable[[StudentResult], str]]] = {
    "gradescope": ("results.json", as_gradescope),
    "classroom50": ("result.json", as_classroom50),
}
