"""Counts of good and bad outcomes over the last seconds, in a ring of buckets."""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], float]


class RollingWindow:
    """Outcomes of the last ``seconds``, forgotten one bucket at a time.

    Sums are kept as outcomes come and buckets go, so reading them costs nothing.
    """

    def __init__(self, clock: Clock, seconds: float = 10.0, buckets: int = 10) -> None:
        self._clock = clock
        self.seconds = seconds
        self._width = seconds / buckets
        self._good = [0] * buckets
        self._bad = [0] * buckets
        self._head = int(clock() / self._width)
        self.good = 0
        self.bad = 0

    @property
    def total(self) -> int:
        """Outcomes in the window."""
        return self.good + self.bad

    def add(self, ok: bool) -> None:
        """Count one outcome now."""
        self.advance()
        slot = self._head % len(self._good)
        if ok:
            self._good[slot] += 1
            self.good += 1
        else:
            self._bad[slot] += 1
            self.bad += 1

    def advance(self) -> None:
        """Forget buckets that have left the window."""
        head = int(self._clock() / self._width)
        for step in range(min(head - self._head, len(self._good))):
            slot = (self._head + 1 + step) % len(self._good)
            self.good -= self._good[slot]
            self.bad -= self._bad[slot]
            self._good[slot] = self._bad[slot] = 0
        self._head = max(head, self._head)

    def clear(self) -> None:
        """Forget everything."""
        self._good = [0] * len(self._good)
        self._bad = [0] * len(self._bad)
        self.good = self.bad = 0
