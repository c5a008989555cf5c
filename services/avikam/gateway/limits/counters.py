"""Counts of the present minute, by account, in this process or in the Redis of all gateways.

A minute begins with the first count and ends sixty seconds later (the fixed windows of the library
``limits``), so what was taken too much can be given back as long as the minute lasts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from limits.aio.storage import MemoryStorage, RedisStorage, Storage

from avikam.gateway.shared_state.link import RedisLink

MINUTE = 60


@dataclass(frozen=True, slots=True)
class Count:
    """What an account has used of its minute, and the seconds until the next one."""

    used: int
    resets_in: float


class Counters(Protocol):
    """Counts by name."""

    async def add(self, name: str, amount: int) -> Count:
        """Count ``amount`` more, or less when it is negative."""


class LocalCounters:
    """The counts of this process."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()

    async def add(self, name: str, amount: int) -> Count:
        """See :class:`Counters`."""
        return await _add(self._storage, name, amount)


class SharedCounters:
    """The counts of all gateways that share a Redis; those of this process while it is away. Names
    of accounts are not told to it."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._local = LocalCounters()
        self._storage = RedisStorage(
            "redis://",
            implementation="redispy",
            key_prefix=link.name("limits"),
            connection_pool=link.client.connection_pool,  # type: ignore[arg-type]
        )

    async def add(self, name: str, amount: int) -> Count:
        """See :class:`Counters`."""
        hidden = self._link.hide(name)
        count = await self._link.ask(lambda: _add(self._storage, hidden, amount))
        return await self._local.add(name, amount) if count is None else count


async def _add(storage: Storage, name: str, amount: int) -> Count:
    used = await storage.incr(name, MINUTE, amount)
    resets_in = await storage.get_expiry(name) - time.time()
    if resets_in > MINUTE + 1:
        # The machine's clock was set back; nobody is to wait for it.
        await storage.clear(name)
        return Count(amount, float(MINUTE))
    return Count(used, max(resets_in, 0.0))
