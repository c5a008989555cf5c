"""Ends attempts that nothing else would: overdue ones, and those whose engine went silent, e.g.
behind a frozen process that still answers pings.

One periodic look at all attempts instead of a timer per frame. While the gateway itself stood
still, it could hear nobody: that time is added to everybody's patience.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol


class Watched(Protocol):
    """Something that may be overdue or fall silent."""

    def check(self, now: float, silence: float) -> bool:
        """Whether it may go on; if not, it has been told."""


class Watchdog:
    """Checks what it watches; ``silence`` is how many seconds without a sign of life are fine."""

    LOOK_EVERY = 0.25

    def __init__(self, clock: Callable[[], float], silence: float) -> None:
        self._clock = clock
        self._silence = silence
        self._lags: deque[tuple[float, float]] = deque()
        self._watched: set[Watched] = set()

    def add(self, watched: Watched) -> None:
        """Watch from now on."""
        self._watched.add(watched)

    def discard(self, watched: Watched) -> None:
        """Watch no more."""
        self._watched.discard(watched)

    def look(self, lag: float = 0.0) -> None:
        """Check everything now, which is ``lag`` seconds later than was meant."""
        now = self._clock()
        silence = self._silence + self._recent_lag(now, lag)
        ended = [watched for watched in self._watched if not watched.check(now, silence)]
        self._watched.difference_update(ended)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            meant = self._clock() + self.LOOK_EVERY
            await asyncio.sleep(self.LOOK_EVERY)
            self.look(self._clock() - meant)

    def _recent_lag(self, now: float, lag: float) -> float:
        """Seconds that the gateway stood still within the time of silence that is looked at."""
        self._lags.append((now, max(lag, 0.0)))
        while now - self._lags[0][0] > self._silence:
            self._lags.popleft()
        return sum(lag for _, lag in self._lags)
