"""The program ``avikam`` in a strange world: python -m tests.faults.strange gateway --http-port 0

FAULTS_CLOCK=FILE    time.time() is off by the seconds that the file holds, while it exists
FAULTS_RAISE=0.001   the gateway's inner parts raise at this share of their calls
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def shift_clock(file: Path) -> None:
    """Replace the wall clock; the monotonic one goes on."""
    real = time.time

    def shifted() -> float:
        try:
            return real() + float(file.read_text())
        except (OSError, ValueError):
            return real()

    time.time = shifted


def raise_at_random(share: float) -> None:
    """Wrap what a request passes through; every kind of place once."""
    from avikam.gateway.admission.admission import Admission
    from avikam.gateway.api.generate import GenerateDialect
    from avikam.gateway.sequence.journal import Journal
    from avikam.gateway.workers.pool import Pool
    from avikam.gateway.workers.status_watch import StatusWatch

    rng = random.Random(1)
    places: list[tuple[Any, str]] = [
        (Admission, "enter"),
        (GenerateDialect, "piece"),
        (GenerateDialect, "closing"),
        (Journal, "keep"),
        (Journal, "next_request"),
        (Pool, "pick"),
        (StatusWatch, "_take"),
    ]
    for owner, name in places:
        setattr(owner, name, _raising(getattr(owner, name), share, rng))


def _raising(function: Callable[..., Any], share: float, rng: random.Random) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **named: Any) -> Any:
        if rng.random() < share:
            raise RuntimeError("the drill raises here")
        return function(*args, **named)

    return wrapped


if __name__ == "__main__":
    if file := os.environ.get("FAULTS_CLOCK"):
        shift_clock(Path(file))
    if share := os.environ.get("FAULTS_RAISE"):
        raise_at_random(float(share))
    from avikam.cli.main import main

    main()
