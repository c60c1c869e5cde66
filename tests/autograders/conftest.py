"""pytest's side of the autograders.

pytest tests/autograders                            the library
pytest tests/autograders --submission solutions     the solution notebooks
pytest tests/autograders --submission notebooks     the learner's notebooks
pytest tests/autograders -k dpo_loss                one exercise
"""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from fixtures import Fresh

from dpo_lab.course.layout import Course
from dpo_lab.course.pytest_support import PointsTable, kind_words, target_driver
from dpo_lab.course.submission import Submission


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dpo-lab")
    group.addoption(
        "--submission",
        default="library",
        help="what to grade: library, or a folder of notebooks (default: library)",
    )
    group.addoption("--fresh-seed", type=int, default=None, help="seed of the fresh inputs, to repeat a run")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(PointsTable(Path(__file__).parent), "dpo-lab-points")


@pytest.fixture(scope="session")
def course() -> Course:
    """The course that these autograders belong to."""
    return Course.default()


@pytest.fixture(scope="session")
def driver(request: pytest.FixtureRequest, course: Course):
    """Drives the functions of the chosen target."""
    return target_driver(course, request.config.getoption("--submission", "library"))


@pytest.fixture
def submission(course: Course, driver) -> Submission:
    """The functions under test."""
    return Submission(course, driver)


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Fresh:
    """Fresh inputs; the seed is in the report of a failure."""
    given = request.config.getoption("--fresh-seed", None)
    seed = secrets.randbelow(2**31) if given is None else given
    request.node.user_properties.append(("fresh seed", seed))
    return Fresh(seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    kind_words(item, call, report)
    return report
