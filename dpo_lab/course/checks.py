"""`check`: grade the learner's own function in the notebook, and hand on a version that works."""

from __future__ import annotations

import ast
import dataclasses
import linecache
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from dpo_lab.course import exercises, judge, library
from dpo_lab.course.layout import Course, CourseError
from dpo_lab.course.report import Report

OWN = "Reading on with your own version."
FINISHED = "Reading on with the finished version."
UNCHANGED = "Nothing was graded; the notebook reads on with what you passed."


def check(function: Callable) -> Callable:
    """Grade a function of yours, show the verdict, and hand on your version if it is right, else the finished one.

    Use it as `dpo_loss = check(dpo_loss)`.

    Args:
        function: your function, under the exercise's name.

    Returns:
        `function` where it passes all tests, else the library's finished version, so that the notebook runs on.
    """
    frame = sys._getframe(1)
    report, result = examine(Course.default(), function, names_in_call(frame))
    show(report)
    return result


def examine(course: Course, function: Any, call_names: tuple[str, ...] = ()) -> tuple[Report, Any]:
    """What `check` shows and returns.

    Args:
        course: the course to look the exercise up in.
        function: what was passed, of whatever type.
        call_names: names in the call, `a = check(b)` gives ("a", "b"); they tell what was meant by a None.
    """
    try:
        known = exercises.test_files(course)
    except CourseError as error:
        return Report(
            _name_of(function), 0, "broken", f"The check could not start: {error}.", reading_on=UNCHANGED
        ), function
    own_name = _name_of(function)
    name = next((each for each in (*call_names, own_name) if each in known), own_name)
    refusal = _refusal(course, function, name, own_name, known)
    if refusal:
        return _without_grading(course, name, refusal, function, known)
    try:
        report = judge.grade_function(course, name, function)
    except KeyboardInterrupt:
        report = Report(
            name, _points(course, name), "error", "You interrupted the check: does a loop never end?"
        )
    if report.status == "passed":
        return dataclasses.replace(report, reading_on=OWN), function
    return _with_finished(course, report, function)


def _refusal(course: Course, function: Any, name: str, own_name: str, known: dict) -> str:
    """Why `function` can't be graded; empty when it can."""
    if name not in known:
        near = ", ".join(f"`{each}`" for each in sorted(known)[:12])
        return f"There is no exercise `{name}`. Pass a function by the name that its cell gives it; known are {near}."
    if isinstance(function, str):
        return f"Pass the function itself, without quotes: `{name} = check({name})`."
    if function is None:
        return f"You passed None. Run the cell that defines `{name}`, then `{name} = check({name})`."
    if not callable(function):
        kind = type(function).__name__
        return f"You passed an object of type {kind}, not a function. Write `{name} = check({name})`."
    if own_name == "<lambda>":
        return f"You passed a lambda. Write it with `def {name}(…)` as in the cell above."
    if own_name != name:
        return f"Your function is called `{own_name}`. The exercise is `{name}`: keep its name."
    if library.is_of_library(course, function):
        return "This is the course's finished version. Run the cell with your own function, then check again."
    return ""


def _without_grading(course: Course, name: str, words: str, function: Any, known: dict) -> tuple[Report, Any]:
    if name not in known:
        return Report(name, 0, "not written", words, reading_on=UNCHANGED), function
    return _with_finished(course, Report(name, _points(course, name), "not written", words), function)


def _with_finished(course: Course, report: Report, function: Any) -> tuple[Report, Any]:
    try:
        return dataclasses.replace(report, reading_on=FINISHED), library.find(course, report.exercise).load()
    except Exception as error:
        words = f"The finished version could not be loaded ({type(error).__name__}: {error}). {UNCHANGED}"
        return dataclasses.replace(report, reading_on=words), function


def _points(course: Course, name: str) -> int:
    try:
        return exercises.points_of(exercises.tests_of(course, name))
    except CourseError:
        return 0


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


def names_in_call(frame: FrameType) -> tuple[str, ...]:
    """The names around the call that a frame is at: `a = check(b)` gives ("a", "b")."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    try:
        statement = ast.parse(line).body[0]
    except (SyntaxError, IndexError):
        return ()
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    call = getattr(statement, "value", None)
    arguments = call.args if isinstance(call, ast.Call) else []
    return (*names, *(argument.id for argument in arguments if isinstance(argument, ast.Name)))


def show(report: Report) -> None:
    """Show a report where it is read: HTML in a notebook, text elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        print(report.text())
        return
    verdict = {
        "exercise": report.exercise,
        "status": report.status,
        "earned": report.earned,
        "points": report.points,
    }
    sys.modules["IPython"].display.display(
        {"text/plain": report.text(), "text/html": report._repr_html_()},
        raw=True,
        metadata={"dpo_lab": verdict},
    )
