"""Gateways warn each other when a breaker opens: a hint, on which each decides by its own outcomes.

here: opened ──► Redis, until the open time is over ──► others: warned, a fifth of the outcomes is
                                                        enough to open there

Without Redis, or while it fails, nobody is warned and every breaker does as it would alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from avikam.gateway.resilience.breaker import Breaker, State
from avikam.gateway.shared_state.link import RedisLink

_LOOK_SECONDS = 1.0


class BreakerHint:
    """The hints about one breaker that gateways keep under the same ``name``."""

    def __init__(self, link: RedisLink, name: str) -> None:
        self._link = link
        self._key = link.name("breaker", name)
        # Tells our own hint from those of others.
        self._author = secrets.token_hex(8).encode()
        self._opened = asyncio.Event()

    def note(self, state: State) -> None:
        """The breaker here has changed its state."""
        if state is State.OPEN:
            self._opened.set()

    async def run(self, breaker: Breaker) -> None:
        """Tell of this breaker and listen to the others; until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._opened.wait()
            if self._opened.is_set():
                self._opened.clear()
                await self._tell(breaker.retry_after())
            else:
                await self._listen(breaker)

    async def _tell(self, seconds: float) -> None:
        client, milliseconds = self._link.client, max(int(seconds * 1000), 1)
        seal = self._link.seal
        hint = self._author if seal is None else seal.close(self._author, self._key)
        await self._link.ask(lambda: client.set(self._key, hint, px=milliseconds))

    async def _listen(self, breaker: Breaker) -> None:
        found = await self._link.ask(lambda: self._link.client.get(self._key))
        author = found.encode() if isinstance(found, str) else found
        if author is not None and self._link.seal is not None:
            author = self._link.seal.open(author, self._key)
        if author is not None and author != self._author:
            breaker.warn(2 * _LOOK_SECONDS)
