"""DPO Lab: Direct Preference Optimization, built from its parts and trained for real.

Every function that a learner writes in a notebook of the course exists here, finished, and may be read. The
modules follow the data: `preferences`, `encoding`, `logprobs`, `bradley_terry`, `losses`, `policies`, `trainer`,
`evaluation`. `worlds` holds places where the true reward is known, `plots` and `widgets` draw, and `course` is
the apparatus of exercises and checks, which knows nothing of DPO. Importing `dpo_lab` imports none of them.
"""

from __future__ import annotations

__version__ = "0.1.0"
