"""The way to the Redis that gateways share: quick or not at all.

up ──5 failures in a row──► down 1 s, 2 s, 4 s ... 30 s ──a test write succeeds──► up

Every question has one short time limit for everything, is never repeated and never raises: without
an answer the asker goes on alone. While the link is down nobody waits: a task of its own looks
whether Redis takes writes again, so that no request has to find out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from redis.asyncio import Redis

_log = logging.getLogger(__name__)

T = TypeVar("T")

_FAILURES = 5
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_CONNECTIONS = 32


class RedisLink:
    """``url`` may hold a password and is never logged. ``on_change`` hears whether it is up."""

    def __init__(
        self,
        url: str,
        seconds: float,
        prefix: str = "avikam:gateway",
        on_change: Callable[[bool], None] = lambda up: None,
    ) -> None:
        self._seconds = seconds
        self._prefix = prefix
        self._on_change = on_change
        self.client = _client(url, seconds)
        self._trouble = _trouble()
        self._failures = 0
        self._down = asyncio.Event()
        on_change(True)

    @property
    def up(self) -> bool:
        """Whether questions are asked at all."""
        return not self._down.is_set()

    def name(self, *parts: str) -> str:
        """A key of ours."""
        return ":".join((self._prefix, *parts))

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, or None when there is none in time. A question's own None is none either."""
        if self._down.is_set():
            return None
        try:
            answer = await self._in_time(question)
        except self._trouble as error:
            self._failed(error)
            return None
        self._failures = 0
        return answer

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
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                # A Redis that is full or a replica answers a ping, and takes no writes.
                await self._in_time(lambda: self.client.set(self.name("probe"), 1, px=1000))
            except self._trouble:
                continue
            break
        self._failures = 0
        self._down.clear()
        self._on_change(True)
        _log.info("Redis answers again")

    async def _in_time(self, question: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(self._seconds):
            return await question()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures < _FAILURES or self._down.is_set():
            return
        self._down.set()
        self._on_change(False)
        # The error's own words may hold the address.
        _log.warning("Redis fails (%s); going on without it", type(error).__name__)


# Most gateways have no Redis, and start quicker without its client.


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
