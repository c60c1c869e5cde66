"""A sweep runs each setting once, keeps what it ran, and never serves a stale result."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from dpo_lab import sweeps
from dpo_lab.experiments.command import parse_grid
from dpo_lab.presets import by_preset
from dpo_lab.sweeps import fingerprint, grid, imported_files, sweep

CALLS = deque()  # not a plain value, so a sweep does not take it for a constant of the function
FACTOR = 2


def double(x, seed=0):
    CALLS.append((x, seed))
    return {"y": FACTOR * x + seed}


def clashing(x):
    return {"x": x}


def fails_at_two(x):
    if x == 2:
        raise RuntimeError("stop here")
    CALLS.append((x,))
    return {"y": x}


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def run(function, settings, folder, **options):
    return sweep(function, settings, folder=folder, progress=None, **{"jobs": 1, **options})


def test_one_tidy_row_a_setting_in_the_order_of_the_grid(tmp_path):
    table = run(double, grid(x=[3, 1], seed=range(2)), tmp_path)
    assert list(table.columns) == ["x", "seed", "y"]
    assert table.values.tolist() == [[3, 0, 6], [3, 1, 7], [1, 0, 2], [1, 1, 3]]


def test_a_second_sweep_runs_only_what_is_new(tmp_path):
    run(double, grid(x=[1, 2]), tmp_path)
    CALLS.clear()
    table = run(double, grid(x=[1, 2, 3]), tmp_path)
    assert list(CALLS) == [(3, 0)]
    assert table["y"].tolist() == [2, 4, 6]


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(RuntimeError, match="stop here"):
        run(fails_at_two, grid(x=[0, 1, 2, 3]), tmp_path)
    assert list(CALLS) == [(0,), (1,)]
    with pytest.raises(RuntimeError, match="stop here"):
        run(fails_at_two, grid(x=[0, 1, 2, 3]), tmp_path)
    assert list(CALLS) == [(0,), (1,)]


def test_jobs_do_not_change_the_table(tmp_path):
    settings = grid(x=[1, 2, 3], seed=[0, 1])
    alone = run(double, settings, tmp_path / "one")
    together = run(double, settings, tmp_path / "two", jobs=2)
    assert alone.equals(together)


def test_a_changed_constant_or_setting_is_another_run(tmp_path, monkeypatch):
    run(double, grid(x=[1]), tmp_path)
    monkeypatch.setitem(globals(), "FACTOR", 3)
    assert run(double, grid(x=[1]), tmp_path)["y"].tolist() == [3]
    assert len(CALLS) == 2


def test_a_library_function_is_another_when_a_module_it_uses_changes(tmp_path, monkeypatch):
    package = tmp_path / "dpo_lab"
    (package / "assets").mkdir(parents=True)
    for name, text in {"top": "from dpo_lab.low import f", "low": "f = 1", "other": "g = 1"}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(sweeps, "PACKAGE", package)
    imported_files.cache_clear()
    assert {file.name for file in imported_files(package / "top.py")} == {"top.py", "low.py"}
    imported_files.cache_clear()


def test_the_fingerprint_of_a_run_covers_the_trainer_but_not_the_plots():
    from dpo_lab.experiments.language import dpo_run

    files = imported_files(Path(sweeps.PACKAGE) / "experiments" / "language.py")
    names = {file.relative_to(sweeps.PACKAGE).as_posix() for file in files}
    assert {
        "trainer.py",
        "losses/dpo.py",
        "packing.py",
        "loop.py",
        "logprobs.py",
        "worlds/review.py",
    } <= names
    assert not any(name.startswith(("plots", "widgets", "course")) for name in names)
    assert fingerprint(dpo_run) == fingerprint(dpo_run)


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (double, [], "empty"),
        (clashing, [{"x": 1}], "a setting's own name"),
        (double, [{"x": {1}}], "plain values"),
    ],
)
def test_bad_sweeps_are_refused(tmp_path, function, settings, message):
    with pytest.raises(ValueError, match=message):
        run(function, settings, tmp_path)


def test_the_command_line_names_what_it_does_not_know():
    assert parse_grid(["beta=0.1,1", "loss=ipo"]) == {"beta": [0.1, 1], "seed": [0], "loss": ["ipo"]}
    with pytest.raises(ValueError, match="no setting 'betas'"):
        parse_grid(["betas=1"])
    with pytest.raises(ValueError, match="NAME=VALUE"):
        parse_grid(["beta"])


def test_presets(monkeypatch):
    monkeypatch.delenv("DPO_LAB_PRESET", raising=False)
    assert by_preset(full=3, fast=1) == 3
    monkeypatch.setenv("DPO_LAB_PRESET", "fast")
    assert by_preset(full=3, fast=1) == 1
    monkeypatch.setenv("DPO_LAB_PRESET", "quick")
    with pytest.raises(ValueError, match="DPO_LAB_PRESET must be one of full, fast"):
        by_preset(full=3, fast=1)
