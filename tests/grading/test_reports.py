"""Reports: the field lists of those who read them, and that a student's text stays text."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from xml.etree import ElementTree

import pytest
from test_grades import small, small_class  # noqa: F401  (fixtures)

from dpo_lab.course.layout import CourseError
from dpo_lab.course.report import Report
from dpo_lab.grading import formats
from dpo_lab.grading.command import write_reports
from dpo_lab.grading.page import class_page
from dpo_lab.grading.results import ClassResult, ExerciseResult, StudentResult
from dpo_lab.grading.rules import Rules

EVIL = '=HYPERLINK("x")<script>alert(1)</script>|`\n::error::x%'


@pytest.fixture
def evil():
    report = Report("gap", 4, "wrong", headline=EVIL, passed_tests=1, tests=2)
    fine = Report("sum", 2, "passed", passed_tests=1, tests=1)
    student = StudentResult(EVIL, "/tmp", [ExerciseResult(report, "01_a"), ExerciseResult(fine, "01_a")])
    return ClassResult([student], 7, ["a wall"], 1.0)


def test_gradescope_has_its_fields(evil):
    data = json.loads(formats.as_gradescope(evil.students[0]))
    assert data["score"] == 2 and [test["max_score"] for test in data["tests"]] == [4, 2]
    assert {test["status"] for test in data["tests"]} == {"passed", "failed"}


def test_classroom50_has_its_fields(evil):
    environment = {
        "CLASSROOM": "c",
        "ASSIGNMENT": "a",
        "SUBMISSION_TAG": "submit/1",
        "COMMIT_URL": "u",
        "RELEASE_URL": "r",
    }
    data = json.loads(formats.as_classroom50(evil.students[0], environment))
    wanted = "schema classroom assignment submission commit release review datetime score max-score tests"
    assert set(data) == set(wanted.split()) and data["schema"] == "classroom50/result/v1"
    assert dt.datetime.strptime(data["datetime"], "%Y-%m-%dT%H:%M:%SZ")
    assert (data["score"], data["max-score"], data["review"]) == (2, 6, "u")
    assert all(set(test) == {"test-name", "passed", "score", "max-score"} for test in data["tests"])
    assert sum(test["score"] for test in data["tests"]) == data["score"]


def test_junit_is_xml_with_its_counts(small):  # noqa: F811
    suites = ElementTree.fromstring(formats.as_junit(small))
    assert [suite.get("tests") for suite in suites] == ["2"] * 4
    assert [suite.get("failures") for suite in suites] == ["0", "1", "0", "1"]


def test_a_students_text_stays_text(evil):
    assert "<script>" not in class_page(evil) and "<script>" not in formats.as_markdown(evil)
    assert all(line.startswith(("::warning ", "::notice ")) for line in formats.as_github(evil).splitlines())
    rows = list(csv.reader(io.StringIO(formats.as_csv(evil))))
    assert rows[1][0].startswith("'=")
    assert ElementTree.fromstring(formats.as_junit(evil)) is not None


def test_all_reports_are_written(small, tmp_path, capsys):  # noqa: F811
    write_reports(small, tmp_path, "csv")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"grades.json", "grades.csv", "junit.xml", "annotations.txt", "grades.md", "class.html"} < found
    assert {"students/ann/results.json", "students/ann/result.json"} < found
    assert capsys.readouterr().out.startswith(
        "student,earned,points,scaled_gap,gap_report,flags\nann,5,5,3,2,"
    )


def test_rules_for_late_and_partial_work(evil, tmp_path):
    (tmp_path / "rules.yaml").write_text(
        "late: {deadlines: {all: 2026-01-01T00:00:00+00:00}, per_day: 0.1, least: 0.5, "
        "handed_in: in.csv}\npartial: 0.5\n"
    )
    student = evil.students[0]
    student.student = "ann"
    (tmp_path / "in.csv").write_text("student,time\nann,2026-01-02T12:00:00+00:00\n")
    Rules.load(tmp_path / "rules.yaml").apply(student)
    assert [each.earned for each in student.exercises] == [0.8, 1.6]  # half of a half of 4, two days late
    assert student.notes == ["01_a: 2 days late, 80% counts"]


@pytest.mark.parametrize("text", ["lat: {}", "late: {per_day: 2}", "late: [1]", "a: ["])
def test_rules_that_make_no_sense_are_refused(tmp_path, text):
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(CourseError, match=r"rules\.yaml"):
        Rules.load(tmp_path / "rules.yaml")
