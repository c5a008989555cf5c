"""How much a test does: enough for every run, or all that was promised (make soak)."""

from __future__ import annotations

import os


def effort(quick: int, full: int) -> int:
    """``quick`` runs, or ``full`` ones when AVIKAM_TEST_FULL is set."""
    return full if os.environ.get("AVIKAM_TEST_FULL") else quick
