"""A short way for the busiest routes: straight to their endpoint, past the framework's layers.

The same endpoints are registered with FastAPI, which documents them; the lane only saves its cost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.doors.call import call_of

Endpoint = Callable[[Request], Awaitable[Response]]


class FastLane:
    """ASGI middleware; ``endpoints`` are POST routes without parameters by path."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = None
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._endpoints.get(scope["path"])
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        call_of(scope).route = scope["path"]
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
