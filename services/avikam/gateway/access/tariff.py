"""Which limits a key has.

A limit in the key's own entry counts this key alone. Where the entry says nothing, the settings'
limit counts all such keys of the tenant together.
"""

from __future__ import annotations

from collections.abc import Callable

from avikam.gateway.access.keys import Key
from avikam.gateway.limits.allowance import Allowance, Limit, Limits
from avikam.gateway.limits.counters import Counters
from avikam.gateway.limits.places import Places
from avikam.gateway.limits.rates import Rates


class Tariff:
    """Makes the allowances of calls; shared by HTTP and gRPC."""

    def __init__(self, defaults: Rates, counters: Counters, clock: Callable[[], float]) -> None:
        self._defaults = defaults
        self._counters = counters
        self._places = Places()
        self._clock = clock
        self._unlimited = not defaults.limited

    def allowance(self, key: Key | None) -> Allowance | None:
        """For a call with this key; None when nothing limits it."""
        if self._unlimited and (key is None or not key.limited):
            return None
        limits = Limits(
            self._limit(key, "requests_per_minute"),
            self._limit(key, "tokens_per_minute"),
            self._limit(key, "concurrent_requests"),
        )
        return Allowance(limits, self._counters, self._places, self._clock)

    def _limit(self, key: Key | None, name: str) -> Limit | None:
        own = getattr(key, name) if key is not None else None
        if key is not None and own is not None:
            return Limit(f"key/{key.id}", own)
        shared = getattr(self._defaults, name)
        if shared is None:
            return None
        return Limit(f"tenant/{key.tenant if key is not None else ''}", shared)
