"""Says that a stream lives when nothing else was said for long, e.g. while it waits for a worker
that continues it: clients and proxies close what is silent."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from starlette.types import Send


class Pinger:
    """Sends ``ping`` after every ``seconds`` of silence while its block runs.

    One timer per stream, which looks at when the last words were said; nothing is started or
    stopped for a piece.
    """

    def __init__(self, send: Send, ping: bytes, seconds: float) -> None:
        self._send = send
        self._ping = ping
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._spoke_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def spoke(self) -> None:
        """Something was said just now."""
        self._spoke_at = self._loop.time()

    async def __aenter__(self) -> Pinger:
        if self._ping:
            self._wait(self._seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sending

    def _wait(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        silent = self._loop.time() - self._spoke_at
        if silent < self._seconds:
            self._wait(self._seconds - silent)
            return
        if self._sending is None or self._sending.done():
            self._sending = self._loop.create_task(self._say())
        self._wait(self._seconds)

    async def _say(self) -> None:
        await self._send({"type": "http.response.body", "body": self._ping, "more_body": True})
        self.spoke()
