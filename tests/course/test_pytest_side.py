"""`pytest tests/autograders --submission …`, run on the miniature course in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dpo_lab.course.build import write_learner_notebook
from dpo_lab.course.lesson import lessons

REAL = Path(__file__).parents[1] / "autograders"
REPOSITORY = REAL.parents[1]


@pytest.fixture
def run(mini):
    """Run pytest on the miniature's autograders with the real conftest, pointed at the miniature."""
    text = (
        (REAL / "conftest.py")
        .read_text()
        .replace(
            "Course.default()", "Course(Path(__file__).parents[2] / 'minicourse', Path(__file__).parents[2])"
        )
    )
    (mini.autograders / "conftest.py").write_text(text)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/autograders",
            *arguments,
        ]
        paths = os.pathsep.join([str(mini.root), str(REPOSITORY)])
        environment = os.environ | {"PYTHONPATH": paths}
        return subprocess.run(command, cwd=mini.root, env=environment, capture_output=True, text=True)

    return run


def test_the_library_passes(run):
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "points: 5 of 5" in done.stdout


def test_a_learners_folder_gets_kind_words(run, mini):
    write_learner_notebook(mini, lessons(mini)[0])
    path = mini.notebooks / "01_gap.ipynb"
    stub = 'raise NotImplementedError(\\"write me\\")'
    text = path.read_text()
    path.write_text(text.replace(stub, "return scale * (low - high)", 1))
    shutil.rmtree(mini.root / "tests" / "autograders" / "__pycache__", ignore_errors=True)
    done = run("--submission", "notebooks")
    assert done.returncode == 1
    assert "this mistake: order swapped" in done.stdout and "gap_report is not written yet" in done.stdout
    assert "repeat with --fresh-seed" in done.stdout and "Traceback" not in done.stdout
    assert "submission.py" not in done.stdout and "points: 0 of 5" in done.stdout
