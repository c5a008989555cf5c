"""Finds attempts whose engine went silent, e.g. behind a frozen process that still answers pings.

One periodic look at all attempts instead of a timer per frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Watched(Protocol):
    """Something that may fall silent."""

    @property
    def silent_since(self) -> float | None: ...

    def lose(self, why: str) -> None: ...


class Watchdog:
    """Loses what has been silent for ``limit`` seconds."""

    LOOK_EVERY = 0.25

    def __init__(self, clock: Callable[[], float], limit: float) -> None:
        self._clock = clock
        self._limit = limit
        self._watched: set[Watched] = set()

    def add(self, watched: Watched) -> None:
        """Watch from now on."""
        self._watched.add(watched)

    def discard(self, watched: Watched) -> None:
        """Watch no more."""
        self._watched.discard(watched)

    def look(self) -> None:
        """Lose what is silent now."""
        horizon = self._clock() - self._limit
        for watched in tuple(self._watched):
            since = watched.silent_since
            if since is not None and since < horizon:
                self._watched.discard(watched)
                watched.lose(f"no sign of the engine for {self._limit:g} s")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self.LOOK_EVERY)
            self.look()
