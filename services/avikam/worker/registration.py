"""Announces the worker in Redis as long as it takes sequences; see protocol.worker_registry."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from avikam.common.worker_registry import announce, withdraw

_log = logging.getLogger(__name__)

# A worker that died is forgotten after this long; an announcement may fail twice before that.
_LIFETIME = 9.0
_REDIS_SECONDS = 1.0
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - to tell them from addresses that others can use


class Registration:
    """``url`` may hold a password and is never logged. A Redis that fails is asked again."""

    def __init__(self, url: str, address: str) -> None:
        self._address = address
        self._client = Redis.from_url(
            url,
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._failing = False

    async def run(self) -> None:
        """Announce until cancelled; then withdraw."""
        try:
            while True:
                await self._announce()
                await asyncio.sleep(_LIFETIME / 3)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await withdraw(self._client, self._address)
            await self._client.aclose()

    async def _announce(self) -> None:
        try:
            await announce(self._client, self._address, _LIFETIME)
        except (RedisError, OSError) as error:
            if not self._failing:
                _log.warning("cannot register in Redis (%s)", type(error).__name__)
            self._failing = True
            return
        self._failing = False


def reachable_address(host: str, port: int) -> str:
    """Where others find a worker that listens on ``host``."""
    if host in _WILDCARDS:
        host = socket.gethostbyname(socket.gethostname())
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
