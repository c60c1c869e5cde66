"""The real lessons: whole, in step with their tests, and up to date on disk."""

from __future__ import annotations

import pytest

from dpo_lab.course import exercises, library
from dpo_lab.course.layout import Course
from dpo_lab.course.lesson import lessons, problems

COURSE = Course.default()
LESSONS = {lesson.name: lesson for lesson in lessons(COURSE)}


@pytest.mark.parametrize("name", LESSONS)
def test_nothing_is_wrong_with_a_lesson(name):
    assert problems(COURSE, LESSONS[name]) == []


def test_each_exercise_has_one_lesson_and_each_test_an_exercise():
    taught = [cell.name for lesson in LESSONS.values() for cell in lesson.exercises]
    assert sorted(taught) == sorted(exercises.test_files(COURSE))


@pytest.mark.parametrize("name", list(exercises.test_files(COURSE)))
def test_each_exercise_is_a_function_of_the_library(name):
    assert library.find(COURSE, name).load().__name__ == name
