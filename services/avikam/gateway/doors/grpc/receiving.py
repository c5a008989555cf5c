"""Who may have a message received now: gRPC tells how long it is only when all of it is there.

Each call that receives may take as much memory as the largest message, so they are few at once.
Most messages arrive together with their call, and nobody notices. A tenant may hold as many places
as are free beside its own: one that sends slowly, or nothing at all, leaves half of them to others,
two leave a third, and so on (dynamic thresholds, Choudhury & Hahne 1998).
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_Waiter = asyncio.Future[None]


class Receiving:
    """``most`` places. Those of a tenant that find none wait in the order they came."""

    def __init__(self, most: int) -> None:
        self.free = most
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """A place while the block runs."""
        await self._enter(tenant)
        try:
            yield
        finally:
            self._leave(tenant)

    async def _enter(self, tenant: str) -> None:
        if tenant not in self._waiting and self._permits(tenant):
            self._take(tenant)
            return
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._leave(tenant)
            raise

    def _permits(self, tenant: str) -> bool:
        return self._held[tenant] < self.free

    def _take(self, tenant: str) -> None:
        self._held[tenant] += 1
        self.free -= 1

    def _leave(self, tenant: str) -> None:
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self.free += 1
        self._let_in()

    def _let_in(self) -> None:
        """Give free places to those that wait, whoever waits longest for one first."""
        for tenant, waiters in list(self._waiting.items()):
            while waiters and (waiters[0].done() or self._permits(tenant)):
                waiter = waiters.popleft()
                if not waiter.done():
                    self._take(tenant)
                    self._waiting.move_to_end(tenant)
                    waiter.set_result(None)
            if not waiters:
                del self._waiting[tenant]
