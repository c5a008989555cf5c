"""The way to the Redis that gateways share: quick or not at all.

up ──a question fails──► down ──a test write succeeds: at once, after 1 s, 2 s, 4 s ... 30 s──► up

Every question has one short time limit for everything, is never repeated and never raises: without
an answer the asker goes on alone. While the link is down nobody waits: a task of its own looks
whether Redis takes writes again, so that only those who ask as it goes find out. What failed for
once, such as a lost packet, leaves the link down for as long as the test write takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from avikam.gateway.shared_state.seal import Seal

_log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_CONNECTIONS = 32


class RedisLink:
    """``url`` may hold a password and is never logged. ``secret`` is what gateways share to seal
    what they keep there; without one nothing that must be sealed is kept. ``on_change`` hears
    whether it is up."""

    def __init__(
        self,
        url: str,
        seconds: float,
        prefix: str = "avikam:gateway",
        on_change: Callable[[bool], None] = lambda up: None,
        secret: str = "",
    ) -> None:
        self.seal = _seal(secret) if secret else None
        self._seconds = seconds
        self._prefix = prefix
        self._on_change = on_change
        self.client = _client(url, seconds)
        self._trouble = _trouble()
        self._down = asyncio.Event()
        on_change(True)

    @property
    def up(self) -> bool:
        """Whether questions are asked at all."""
        return not self._down.is_set()

    def name(self, *parts: str) -> str:
        """A key of ours."""
        return ":".join((self._prefix, *parts))

    def hide(self, text: str) -> str:
        """The text as a part of a key's name: a hash, which without a secret can be guessed."""
        if self.seal is not None:
            return self.seal.hide(text)
        return blake2b(text.encode(), digest_size=16).hexdigest()

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, or None when there is none in time. A question's own None is none either."""
        if self._down.is_set():
            return None
        try:
            return await self._in_time(question)
        except self._trouble:
            self._go_down()
            return None

    async def run(self) -> None:
        """Look for a Redis that was lost; until cancelled."""
        try:
            while True:
                await self._down.wait()
                await self._wait_until_up()
        finally:
            await self.client.aclose()
            await self.client.connection_pool.disconnect()

    async def _wait_until_up(self) -> None:
        pause = _FIRST_PAUSE
        while (error := await self._test()) is not None:
            if pause == _FIRST_PAUSE:
                # The error's own words may hold the address.
                _log.warning("Redis fails (%s); going on without it", type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._down.clear()
        self._on_change(True)
        if pause > _FIRST_PAUSE:
            _log.info("Redis answers again")

    async def _test(self) -> Exception | None:
        """What is wrong. A Redis that is full or a replica answers a ping, and takes no writes."""
        try:
            await self._in_time(lambda: self.client.set(self.name("probe"), 1, px=1000))
        except self._trouble as error:
            return error
        return None

    async def _in_time(self, question: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(self._seconds):
            return await question()

    def _go_down(self) -> None:
        if not self._down.is_set():
            self._down.set()
            self._on_change(False)


# Most gateways have no Redis, and start quicker without its client and ciphers.


def _seal(secret: str) -> Seal:
    from avikam.gateway.shared_state.seal import Seal

    return Seal(secret)


def _client(url: str, seconds: float) -> Redis:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=seconds,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis(connection_pool=pool)


def _trouble() -> tuple[type[Exception], ...]:
    """What a question may raise; the asker goes on without its answer."""
    from redis.exceptions import RedisError

    return RedisError, OSError, TimeoutError
