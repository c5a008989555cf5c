"""Leave a remote store alone while it fails.

closed ──5 failures in a row──► open 1 s, 2 s, 4 s ... 30 s ──► the next call is the probe
   ▲                                                                       │
   └───────────────────────────────success─────────────────────────────────┘
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_FAILURES = 5
_LONGEST_SECONDS = 30.0


class Breaker:
    """Counts failures in a row; thread-safe."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_at = 0.0

    def is_open(self) -> bool:
        """Whether calls are to be left out now."""
        with self._lock:
            return self._failures >= _FAILURES and self._clock() < self._closed_at

    def succeeded(self) -> None:
        """The other side has answered: it is asked again at once."""
        with self._lock:
            recovered, self._failures = self._failures >= _FAILURES, 0
        if recovered:
            log.info("%s answers again", self._name)

    def failed(self, error: Exception) -> None:
        """It has not: after some failures in a row it is left alone, longer each time."""
        with self._lock:
            self._failures += 1
            over = self._failures - _FAILURES
            if over >= 0:
                pause = min(_LONGEST_SECONDS, 2.0 ** min(over, 10))
                self._closed_at = self._clock() + pause
        if over == 0:
            log.warning("%s fails and is left out for now: %s", self._name, error)
