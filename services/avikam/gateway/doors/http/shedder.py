"""Refuses a generation that would not get a place in the queue before anything of it is parsed.

Under ten times what the workers bear, nine of ten requests end here, at some microseconds each; a
refusal after parsing would cost more than it takes to serve the tenth.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.doors.call import call_of
from avikam.gateway.metrics import GatewayMetrics
from avikam.protocol.errors import ApiError


class Shedder:
    """ASGI middleware behind the key check; ``busy`` are the POST routes that generate, ``refusal``
    tells why a tenant could not enter."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: GatewayMetrics,
        busy: Collection[str],
        refusal: Callable[[str], ApiError | None],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._busy = frozenset(busy)
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in self._busy and scope["method"] == "POST":
            call = call_of(scope)
            problem = self._refusal(call.tenant)
            if problem is not None:
                call.route, call.shed = scope["path"], True
                self._metrics.shed.labels(problem.code).inc()
                raise problem
        await self._app(scope, receive, send)
