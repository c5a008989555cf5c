"""How long fuzzers look: briefly in the suite, longer with FUZZ_EXAMPLES (see `make fuzz`)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))


def effort(share: float = 1.0) -> settings:
    """Settings for a test; ``share`` is lower where one example takes long."""
    return settings(
        max_examples=max(int(EXAMPLES * share), 5),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
