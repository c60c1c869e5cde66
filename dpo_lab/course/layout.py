"""Where a course keeps its parts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "DPO_LAB_HOME"


class CourseError(Exception):
    """The course's own files are missing or disagree: a matter for its authors, said in words."""


@dataclass(frozen=True)
class Course:
    """A library and the folders around it.

    Args:
        package: folder of the finished library; its name is the name that it is imported by.
        root: folder that holds `tests/autograders`, `solutions` and `notebooks`.
    """

    package: Path
    root: Path

    @classmethod
    def default(cls) -> Course:
        """This course: the package that this file belongs to, and the checkout around it or $DPO_LAB_HOME."""
        package = Path(__file__).resolve().parents[1]
        return cls(package, Path(os.environ.get(HOME_VARIABLE) or package.parent).resolve())

    @property
    def autograders(self) -> Path:
        """Folder of the autograders; CourseError if it isn't there."""
        folder = self.root / "tests" / "autograders"
        if not folder.is_dir():
            raise CourseError(
                f"no autograders in {folder}. Checks need a checkout of the course: install it with "
                f"`pip install -e .`, or set {HOME_VARIABLE} to the folder of the checkout"
            )
        return folder

    @property
    def solutions(self) -> Path:
        """Folder of the authored lessons and their executed notebooks."""
        return self.root / "solutions"

    @property
    def notebooks(self) -> Path:
        """Folder of the learner's notebooks."""
        return self.root / "notebooks"
