"""How much a test does: enough for every run, or all that was promised (make test-long)."""

from __future__ import annotations

import os


def effort(quick: int, full: int) -> int:
    """``quick`` runs, or ``full`` ones when FULL_TESTS is set.

    Not AVIKAM_FULL_TESTS: tests do not see that prefix (conftest.py).
    """
    return full if os.environ.get("FULL_TESTS") else quick
