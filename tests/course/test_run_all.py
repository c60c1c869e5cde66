"""Run All on every untouched learner's notebook: it completes, and each check answers kindly."""

from __future__ import annotations

import pytest

from dpo_lab.course import notebooks
from dpo_lab.course.execution import execute, verdicts
from dpo_lab.course.layout import Course
from dpo_lab.course.lesson import lessons

COURSE = Course.default()
LESSONS = {lesson.name: lesson for lesson in lessons(COURSE)}


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_run_all_completes(name):
    notebook = notebooks.learner_notebook(COURSE, LESSONS[name])
    execute(notebook, COURSE.notebooks, name)
    told = {verdict["exercise"]: verdict["status"] for verdict in verdicts(notebook)}
    assert told == {cell.name: "not written" for cell in LESSONS[name].exercises}
