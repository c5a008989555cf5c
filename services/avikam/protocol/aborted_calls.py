"""Calls that end with an error, so that nothing of them stays.

grpc.aio keeps the exception of ``context.abort`` in the state of the call, and the exception keeps
the frames it came through, the errors before it, and with them the request and the state: a circle
that no collector sees, for the state takes no part in collecting. Every refused call would leave
its whole message behind (grpcio 1.85).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from grpc import aio

Behaviour = Callable[[Any, Any], Awaitable[Any]]


def leaving_nothing(behaviour: Behaviour) -> Behaviour:
    """The same method; its failure takes nothing along but its own words."""

    async def call(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except aio.AbortError as end:
            del request, context
            end.__context__ = None
            raise end.with_traceback(None) from None

    return call
