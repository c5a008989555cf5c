"""What the tiers count, from any thread."""

from __future__ import annotations

import threading
from collections import Counter

from avikam.engine.interface import KvStats


class KvCounters:
    """Sums by the field names of :class:`~avikam.engine.interface.KvStats`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: Counter[str] = Counter()
        self._spared_seconds = 0.0

    def add(self, **amounts: int) -> None:
        """Add to sums by name; any thread may."""
        with self._lock:
            self._sums.update(amounts)

    def spare(self, tokens: int, seconds: float) -> None:
        """A hit spared the computing of ``tokens``, about ``seconds`` of it."""
        with self._lock:
            self._sums["spared_tokens"] += tokens
            self._spared_seconds += seconds

    def stats(self, **levels: int) -> KvStats:
        """The sums, together with the present ``levels``."""
        with self._lock:
            return KvStats(spared_seconds=self._spared_seconds, **self._sums, **levels)
