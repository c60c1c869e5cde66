"""The set-up: what stops it says why in words, and what is installed already is not installed again."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from dpo_lab import install


class FakeRun:
    """Stands in for subprocess.run: notes the commands, makes the interpreter that `-m venv` would make."""

    def __init__(self, root: Path, failing: str = "", says: bytes = b"") -> None:
        self.root, self.failing, self.says = root, failing, says
        self.commands: list[str] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess:
        line = " ".join(command)
        self.commands.append(line)
        if "-m venv" in line:
            python = install.venv_python(self.root)
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        failed = bool(self.failing) and self.failing in line
        return subprocess.CompletedProcess(command, int(failed), stdout=self.says)

    def count(self, part: str) -> int:
        return sum(part in line for line in self.commands)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course folder with the two files that matter, on a machine that has what a set-up needs."""
    monkeypatch.setattr(install, "check_disk", lambda folder: None)
    monkeypatch.setattr(install, "check_venv_module", lambda: None)
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "dpo-lab"\n')
    return tmp_path


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 15), (3, 9, 18), (3, 14, 0)])
def test_an_unsupported_python_is_refused(version: tuple[int, ...]) -> None:
    with pytest.raises(install.SetupError, match=r"needs Python 3\.10 to 3\.13.*PYTHON="):
        install.check_python(version)


@pytest.mark.parametrize("version", [(3, 10, 0), (3, 11, 7), (3, 12, 1), (3, 13, 9)])
def test_a_supported_python_passes(version: tuple[int, ...]) -> None:
    install.check_python(version)


def test_the_script_parses_under_python_3_6_and_is_plain_ascii() -> None:
    source = Path(install.__file__).read_bytes()
    ast.parse(source.decode("ascii"), feature_version=(3, 6))


def test_the_pythons_of_the_script_and_of_the_package_agree() -> None:
    text = (install.ROOT / "pyproject.toml").read_text()
    newest = (install.NEWEST[0], install.NEWEST[1] + 1)
    assert 'requires-python = ">={}.{},<{}.{}"'.format(*install.OLDEST, *newest) in text


def test_a_missing_venv_module_is_named_with_the_package_that_has_it() -> None:
    with pytest.raises(
        install.SetupError, match=r"lacks the module ensurepip.*apt install python3\.\d+-venv"
    ):
        install.check_venv_module(lambda name: None if name == "ensurepip" else object())


def test_too_little_disk_says_what_was_measured(tmp_path: Path) -> None:
    with pytest.raises(install.SetupError, match=r"1\.5 GB are free under .* needs about 4 GB"):
        install.check_disk(tmp_path, lambda folder: SimpleNamespace(free=1.5e9))
    install.check_disk(tmp_path, lambda folder: SimpleNamespace(free=5e9))


def test_no_network_quotes_pip(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    offline = FakeRun(root, failing="pip index", says=b"warning\nERROR: No matching distribution found\n")
    with pytest.raises(install.SetupError, match=r"No network: .*No matching distribution.*HTTPS_PROXY"):
        install.check_network(root, offline)


def test_local_wheels_need_no_network(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    install.check_network(root, FakeRun(root, failing="pip index"))


def test_a_second_set_up_installs_nothing(root: Path) -> None:
    run = FakeRun(root)
    assert install.set_up(root, run=run) is True
    assert (run.count("-m venv"), run.count("pip install")) == (1, 1)
    assert install.set_up(root, run=run) is False
    assert (run.count("-m venv"), run.count("pip install")) == (1, 1)


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_a_changed_requirement_is_installed_into_the_same_venv(root: Path, name: str) -> None:
    run = FakeRun(root)
    install.set_up(root, run=run)
    (root / name).write_text("# another content\n")
    assert install.set_up(root, run=run) is True
    assert (run.count("-m venv"), run.count("pip install")) == (1, 2)


def test_a_touched_but_equal_requirement_installs_nothing(root: Path) -> None:
    install.set_up(root, run=FakeRun(root))
    (root / "requirements.txt").write_bytes((root / "requirements.txt").read_bytes())
    assert install.set_up(root, run=FakeRun(root)) is False


def test_a_venv_whose_python_is_gone_is_made_anew(root: Path) -> None:
    install.set_up(root, run=FakeRun(root))
    install.venv_python(root).unlink()
    run = FakeRun(root)
    assert install.set_up(root, run=run) is True
    assert run.count("-m venv --clear") == 1


def test_only_the_first_set_up_needs_the_whole_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(install, "check_disk", asked.append)
    install.set_up(root, run=FakeRun(root))
    (root / "requirements.txt").write_text("torch==2.13.1\n")
    install.set_up(root, run=FakeRun(root))
    assert asked == [root]


def test_a_failed_pip_reports_the_free_space_and_is_tried_again(root: Path) -> None:
    with pytest.raises(install.SetupError, match=r"pip stopped with exit code 1.* GB are free"):
        install.set_up(root, run=FakeRun(root, failing="pip install"))
    assert install.set_up(root, run=FakeRun(root)) is True


def test_a_failed_update_does_not_count_as_installed(root: Path) -> None:
    install.set_up(root, run=FakeRun(root))
    before = (root / "requirements.txt").read_text()
    (root / "requirements.txt").write_text("torch==2.13.1\n")
    with pytest.raises(install.SetupError):
        install.set_up(root, run=FakeRun(root, failing="pip install"))
    (root / "requirements.txt").write_text(before)
    assert install.set_up(root, run=FakeRun(root)) is True


def test_torch_can_come_from_another_index(root: Path) -> None:
    run = FakeRun(root)
    install.set_up(root, "https://example.org/cpu", run)
    assert run.count("--extra-index-url https://example.org/cpu") == 1


def test_the_command_ends_with_code_1_and_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full_disk(**_: object) -> bool:
        raise install.SetupError("Too little disk: 1.5 GB are free")

    monkeypatch.setattr(install, "set_up", full_disk)
    assert install.main([]) == 1
    assert "1.5 GB are free" in capsys.readouterr().err
