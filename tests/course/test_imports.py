"""Who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dpo_lab"
APPARATUS = ("dpo_lab.course", "dpo_lab.grading")  # the second stands on the first
ABOVE_BOTH = {"cli.py", "__main__.py"}
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, inside functions too; relative imports made absolute."""
    package = ".".join(path.relative_to(PACKAGE.parent).parent.parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_apparatus_and_the_library_do_not_import_each_other(path):
    own = {module for module in imports_of(path) if within(module, "dpo_lab") and module != "dpo_lab"}
    of_apparatus = {module for module in own if any(within(module, part) for part in APPARATUS)}
    if path.relative_to(PACKAGE).parts[0] in ("course", "grading"):
        assert own <= of_apparatus | {"dpo_lab.course"}, (
            f"{path.name} imports the library: {own - of_apparatus}"
        )
    elif path.name not in ABOVE_BOTH:
        assert not of_apparatus, f"{path.name} imports the apparatus"
    if path.relative_to(PACKAGE).parts[0] == "course":
        assert not any(within(module, "dpo_lab.grading") for module in own), f"{path.name} imports the grader"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_trl_is_never_imported(path):
    assert not any(within(module, "trl") for module in imports_of(path))
