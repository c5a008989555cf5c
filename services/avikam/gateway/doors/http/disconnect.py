"""Stops a request's work at once when its client leaves."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Scope

from avikam.gateway.doors.http.presence import presence_of


class ClientGoneError(Exception):
    """The client closed the connection before it had its reply."""


class CancelledWithClient:
    """Cancels the body of its block when the client leaves; the block then raises ClientGoneError.

    Works like :func:`asyncio.timeout`: a cancellation from elsewhere stays one.
    """

    __slots__ = ("_gone", "_presence", "_task")

    def __init__(self, scope: Scope) -> None:
        self._presence = presence_of(scope)
        self._task: asyncio.Task[object] | None = None
        self._gone = False

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("CancelledWithClient needs a running task")
        self._presence.watch(self._leave)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._presence.unwatch(self._leave)
        left = self._gone and self._task is not None and self._task.uncancel() == 0
        if left and kind is asyncio.CancelledError:
            raise ClientGoneError from None

    def _leave(self) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()
