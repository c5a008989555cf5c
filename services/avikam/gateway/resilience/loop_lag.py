"""How far behind the gateway itself is: the one thing in the path that no worker's load shows.

A gateway that has more to do than its core can carry answers everybody late, probes too. Its event
loop tells first: a timer fires as late as everything else is served.

    lag of each tick ─► the lowest of the last few > limit ─► busy: new work is refused
                        one late tick alone (a collection, a large body) is no sign of load

The lowest delay of an interval tells a standing queue from a burst (CoDel, RFC 8289 section 3.2).
"""

from __future__ import annotations

from collections import deque

from avikam.protocol.errors import ApiError, unavailable

# Seconds between two ticks, and how many of them must be late one after the other.
TICK = 0.05
_TICKS = 6


class LoopLag:
    """Judges the delays of an event loop's ticks; ``limit`` is in seconds, 0 for no limit."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._delays: deque[float] = deque(maxlen=_TICKS)

    def note(self, seconds: float) -> None:
        """A tick came so much later than it was due."""
        self._delays.append(max(0.0, seconds))

    @property
    def standing(self) -> float:
        """Seconds that everything waits at least; 0 until there were enough ticks."""
        return min(self._delays) if len(self._delays) == _TICKS else 0.0

    def refusal(self) -> ApiError | None:
        """Why new work cannot be taken now, if it cannot."""
        if not self._limit or self.standing <= self._limit:
            return None
        return unavailable(
            "This gateway is busy with other requests; send it again later.", "gateway_busy", 1.0
        )
