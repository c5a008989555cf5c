"""How many extra attempts a pool may cause: a tenth of its requests, and never a storm.

Google SRE's rule. Under total failure the workers see 1.1 times the requests instead of 4.
"""

from __future__ import annotations

from collections.abc import Callable

from avikam.gateway.resilience.window import Clock, RollingWindow


class RetryBudget:
    """A rolling budget of ``max(floor, ratio x requests)`` retries per window of seconds.

    ``on_take`` hears of every retry that is charged.
    """

    def __init__(
        self,
        clock: Clock,
        ratio: float = 0.1,
        floor: int = 10,
        seconds: float = 10.0,
        on_take: Callable[[], None] = lambda: None,
    ) -> None:
        self._requests = RollingWindow(clock, seconds)
        self._retries = RollingWindow(clock, seconds)
        self._ratio = ratio
        self._floor = floor
        self._on_take = on_take

    def count_request(self) -> None:
        """A request came: the budget grows with traffic."""
        self._requests.add(True)

    @property
    def remaining(self) -> int:
        """Retries allowed right now."""
        self._requests.advance()
        self._retries.advance()
        allowed = max(self._floor, int(self._ratio * self._requests.total))
        return max(allowed - self._retries.total, 0)

    def take(self) -> bool:
        """Spend one retry; False when none is left."""
        if self.remaining == 0:
            return False
        self._retries.add(True)
        self._on_take()
        return True
