"""Refuses a generation that would not get a place in the queue before anything of it is parsed.

Under ten times what the workers bear, nine of ten requests end here, at some microseconds each; a
refusal after parsing would cost more than it takes to serve the tenth.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.doors.call import Call, call_of
from avikam.gateway.doors.http.router import match_of
from avikam.gateway.metrics import GatewayMetrics
from avikam.protocol.errors import ApiError


class Shedder:
    """ASGI middleware behind the key check; ``refusal`` tells why a call could not enter."""

    def __init__(
        self, app: ASGIApp, metrics: GatewayMetrics, refusal: Callable[[Call], ApiError | None]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it could enter the queue. Raises ApiError (429, 503)."""
        route = match_of(scope).route
        if route is not None and route.generates:
            call = call_of(scope)
            problem = self._refusal(call)
            if problem is not None:
                call.shed = True
                self._metrics.shed.labels(problem.code).inc()
                raise problem
        await self._app(scope, receive, send)
