"""How a gateway stops: unready at once, closed to new work after a moment, gone when done.

SIGTERM ─► /readyz 503, still accepting ─(notice)─► no new connections ─► last stream ends ─► 0
                                                         └─(drain_seconds)─► cut the rest
second signal: at once
"""

from __future__ import annotations

import asyncio


class Drain:
    """Whether and how urgently the gateway is to stop."""

    def __init__(self) -> None:
        self._started = asyncio.Event()
        self._hurried = asyncio.Event()

    @property
    def started(self) -> bool:
        """Whether the gateway is stopping."""
        return self._started.is_set()

    @property
    def hurried(self) -> bool:
        """Whether it is to stop without further notice."""
        return self._hurried.is_set()

    def signal(self) -> None:
        """First: stop in good order. Again: stop now."""
        if self._started.is_set():
            self._hurried.set()
        self._started.set()

    async def wait(self) -> None:
        """Until the gateway is to stop."""
        await self._started.wait()

    async def notice(self, seconds: float) -> None:
        """Give load balancers time to look elsewhere, unless it is urgent."""
        try:
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        except TimeoutError:
            return
