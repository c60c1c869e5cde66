"""Who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dpo_lab"
APPARATUS = "dpo_lab.course"
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
    if PACKAGE / "course" in path.parents:
        assert all(within(module, APPARATUS) for module in own), (
            f"{path.name} imports from the library: {own}"
        )
    elif path.name not in ABOVE_BOTH:
        assert not any(within(module, APPARATUS) for module in own), f"{path.name} imports the apparatus"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_trl_is_never_imported(path):
    assert not any(within(module, "trl") for module in imports_of(path))
