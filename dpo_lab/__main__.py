"""`python -m dpo_lab …` is the same as the command `dpo-lab …`."""

from __future__ import annotations

import sys

from dpo_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
