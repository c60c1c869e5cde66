"""The graders' own test: every known mistake is turned down and named, every accepted answer passes."""

from __future__ import annotations

import pytest

from dpo_lab.course import exercises
from dpo_lab.course.judge import grade_function
from dpo_lab.course.layout import Course

COURSE = Course.default()
NAMES = list(exercises.test_files(COURSE))
SEEDS = (1, 2, 3)  # a mistake must be told by any inputs, not by lucky ones
MINIMUM_MISTAKES = 3
MINIMUM_ACCEPTED = 3


def accepted_answers() -> dict[str, list]:
    """ACCEPTED of every accepted_NN_topic.py."""
    found: dict[str, list] = {}
    for path in sorted(COURSE.autograders.glob("accepted_*.py")):
        found.update(exercises.load_autograder(COURSE, path).ACCEPTED)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_exercise_knows_enough_mistakes(name):
    mistakes = exercises.mistakes_of(COURSE, name)
    assert len(mistakes) >= MINIMUM_MISTAKES, f"{name} knows {len(mistakes)} mistakes"
    assert (
        len({mistake.name for mistake in mistakes})
        == len({mistake.hint for mistake in mistakes})
        == len(mistakes)
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_mistake_is_turned_down_with_its_own_hint(name):
    for mistake in exercises.mistakes_of(COURSE, name):
        for seed in SEEDS:
            report = grade_function(COURSE, name, mistake.function, seed)
            assert report.status == "wrong", f"{name}, {mistake.name!r}, seed {seed}: {report.text()}"
            assert report.mistake == mistake.name, f"{mistake.name!r} was taken for: {report.text()}"
            assert report.hint == mistake.hint


@pytest.mark.parametrize("name", NAMES)
def test_differently_written_right_answers_pass(name):
    answers = accepted_answers().get(name, [])
    assert len(answers) >= MINIMUM_ACCEPTED, (
        f"{name} has {len(answers)} accepted answers in accepted_NN_topic.py"
    )
    for answer in answers:
        for seed in SEEDS:
            report = grade_function(COURSE, name, answer, seed)
            assert report.status == "passed", f"{answer.__name__}, seed {seed}: {report.text()}"
