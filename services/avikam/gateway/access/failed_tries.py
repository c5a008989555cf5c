"""Counts failed tries to get in, by address, in windows of a minute."""

from __future__ import annotations

from collections.abc import Callable

_PER_MINUTE = 20
_WINDOW = 60.0
# Addresses remembered at once; the oldest is forgotten first.
_ADDRESSES = 4096


class FailedTries:
    """Bounded in memory; one dictionary access a failure, none for a good key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Address: (start of its window, failures in it), oldest window first.
        self._tries: dict[str, tuple[float, int]] = {}

    def count(self, address: str) -> float | None:
        """Note a failure; seconds to wait once the address had too many, else None."""
        now = self._clock()
        start, failures = self._tries.get(address, (now, 0))
        if now - start >= _WINDOW:
            self._tries.pop(address)
            start, failures = now, 0
        self._tries[address] = start, failures + 1
        if len(self._tries) > _ADDRESSES:
            del self._tries[next(iter(self._tries))]
        return start + _WINDOW - now if failures >= _PER_MINUTE else None
