"""Stops a request's work at once when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive


class ClientGoneError(Exception):
    """The client closed the connection before it had its reply."""


@asynccontextmanager
async def cancelled_with_client(receive: Receive) -> AsyncIterator[None]:
    """Cancel the body of the block when the client leaves; it then raises ClientGoneError.

    The request's body must have been read. Works like :func:`asyncio.timeout`: a cancellation from
    elsewhere stays one.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("cancelled_with_client needs a running task")
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientGoneError from None
        raise
    finally:
        watcher.cancel()
