"""Refuses in microseconds what must not cost anything: before parsing, keys and the queue.

too many requests, connections     503    no Host, two Hosts, odd Host      400
headers too many or too big        431    two content lengths               400
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.budget.room import Room
from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.presence import is_crowded
from avikam.gateway.metrics import GatewayMetrics
from avikam.protocol.errors import ApiError, unavailable
from avikam.protocol.limits import LIMITS

_HOST = re.compile(rb"[A-Za-z0-9._~-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


class Guard:
    """ASGI middleware; ``unguarded`` paths (probes) are served even when everything is full."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: GatewayMetrics,
        max_requests: int,
        room: Room,
        unguarded: frozenset[str],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_requests = max_requests
        self._room = room
        self._unguarded = unguarded
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._unguarded:
            await self._app(scope, receive, send)
            return
        problem = self._full(scope) or check_headers(scope["headers"])
        if problem is not None:
            self._metrics.shed.labels(problem.code).inc()
            raise problem
        self._requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1
            self._room.give_back(call_of(scope).held)

    def _full(self, scope: Scope) -> ApiError | None:
        if is_crowded(scope):
            return _too_many_connections()
        if self._requests < self._max_requests:
            return None
        return unavailable("The gateway is full; send it again later.", "gateway_full")


def check_headers(headers: list[tuple[bytes, bytes]]) -> ApiError | None:
    """What is wrong with the headers as a whole, if anything."""
    if len(headers) > LIMITS.header_count:
        return _headers_too_large(f"{len(headers)} headers, at most {LIMITS.header_count}")
    size, hosts, lengths = 0, 0, 0
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1 if _HOST.fullmatch(value) else 2
        elif name == b"content-length":
            lengths += 1
    if size > LIMITS.header_bytes:
        return _headers_too_large(f"{size} bytes of headers, at most {LIMITS.header_bytes}")
    if hosts != 1:
        return _bad_request("send exactly one valid Host header")
    if lengths > 1:
        return _bad_request("send one Content-Length header")
    return None


def _too_many_connections() -> ApiError:
    return ApiError(
        503,
        "There are too many connections; close some, or come back later.",
        "too_many_connections",
        retry_after=1.0,
        headers={"connection": "close"},
    )


def _headers_too_large(message: str) -> ApiError:
    return ApiError(431, message, "headers_too_large", headers={"connection": "close"})


def _bad_request(message: str) -> ApiError:
    return ApiError(400, message, "invalid_headers", headers={"connection": "close"})
