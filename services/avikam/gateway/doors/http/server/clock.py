"""An alarm that is set again for every request, at hardly any cost.

A timer of the loop is not moved: it stays where it is, and when it goes off it looks whether it is
late already. Only an earlier alarm than the one that waits needs a new timer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Clock:
    """Calls ``on_late`` once when the time set last has passed."""

    __slots__ = ("_deadline", "_loop", "_on_late", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, whatever was set before."""
        self._deadline = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._wait(seconds)

    def clear(self) -> None:
        """Do not ring."""
        self._deadline = math.inf

    def stop(self) -> None:
        """Do not ring, and let go of the timer: the connection is gone."""
        self._deadline = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline == math.inf:
            return
        left = self._deadline - self._loop.time()
        if left > 0:
            self._wait(left)
        else:
            self._deadline = math.inf
            self._on_late()
