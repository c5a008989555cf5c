"""Refuses in microseconds what must not cost anything: before parsing, keys and the queue.

too many requests, too many connections     503
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.budget.room import Room
from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.presence import is_crowded
from avikam.gateway.doors.http.router import match_of
from avikam.gateway.metrics import GatewayMetrics
from avikam.protocol.errors import ApiError, unavailable


class Guard:
    """ASGI middleware; probes are served even when everything is full."""

    def __init__(
        self, app: ASGIApp, metrics: GatewayMetrics, max_requests: int, room: Room
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_requests = max_requests
        self._room = room
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while there is room. Raises ApiError (503)."""
        if match_of(scope).probe:
            await self._app(scope, receive, send)
            return
        problem = self._full(scope)
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


def _too_many_connections() -> ApiError:
    return ApiError(
        503,
        "There are too many connections; close some, or come back later.",
        "too_many_connections",
        retry_after=1.0,
        headers={"connection": "close"},
    )
