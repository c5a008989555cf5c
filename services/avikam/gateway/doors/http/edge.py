"""The outermost layer: gives a request its id and its route, lets no exception out, measures, logs.

Nothing of a request's body, key or query reaches a log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avikam.gateway.doors.call import Call, by_name, put_call, request_id
from avikam.gateway.doors.http.disconnect import ClientGoneError
from avikam.gateway.doors.http.errors import ANTHROPIC_PREFIX, error_response
from avikam.gateway.doors.http.fixed_headers import FIXED_HEADERS
from avikam.gateway.doors.http.router import Router, match_of, put_match
from avikam.gateway.doors.internal_error import internal_error, log_failure
from avikam.gateway.log_fields import log_fields
from avikam.gateway.metrics import GatewayMetrics
from avikam.gateway.traces import Traces
from avikam.protocol.errors import ApiError

_access = logging.getLogger("avikam.access")

# Probes and scrapes come every few seconds; a trace of each would hide the others.
_UNTRACED = frozenset({"open", "metrics"})
# Nobody waits for this status: the client has left.
CLIENT_GONE = 499


class Edge:
    """ASGI middleware; see the module. No request to a probe is logged or traced, nor is a scrape
    traced."""

    def __init__(
        self,
        app: ASGIApp,
        router: Router,
        metrics: GatewayMetrics,
        clock: Callable[[], float],
        log_all: bool,
        tracing: Traces | None = None,
    ) -> None:
        self._app = app
        self._router = router
        self._metrics = metrics
        self._clock = clock
        self._log_all = log_all
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and account for it; only a broken reply raises."""
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway speaks HTTP, not {scope['type']}")
        headers = by_name(scope["headers"])
        call = Call(request_id(headers), self._clock(), headers=headers)
        match = self._router.match(scope["method"], scope["path"])
        put_match(scope, match)
        if self._tracing is not None and match.access not in _UNTRACED:
            call.trace = self._tracing.begin(scope["headers"])
        put_call(scope, call)
        reply = _Reply(call, send, self._clock, match.path)
        self._metrics.in_flight.inc()
        try:
            await self._serve(scope, receive, reply)
        finally:
            self._metrics.in_flight.dec()
            self._account(call, scope)

    async def _serve(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        call = reply.call
        try:
            await self._app(scope, receive, reply.send)
        except ClientGoneError:
            call.status = CLIENT_GONE
        except ApiError as error:
            await self._reply_error(error, scope, receive, reply)
        except Exception as error:
            log_failure(error, call.id, call.trace)
            await self._reply_error(internal_error(), scope, receive, reply)

    async def _reply_error(
        self, error: ApiError, scope: Scope, receive: Receive, reply: _Reply
    ) -> None:
        if reply.call.trace is not None:
            reply.call.trace.fail(error)
        if reply.call.status:
            # Half a reply is out. Ending without its last chunk is what tells the client.
            raise ConnectionAbortedError(error.code) from None
        await error_response(error, scope["path"], reply.call.id)(scope, receive, reply.send)

    def _account(self, call: Call, scope: Scope) -> None:
        elapsed = self._clock() - call.started
        self._metrics.count_request(call.route, call.status, elapsed)
        if call.trace is not None:
            call.trace.end(call, scope["method"])
        failed = call.status >= 400 and not call.shed
        if (self._log_all or failed) and not match_of(scope).probe:
            fields = {
                **log_fields(call.id, call.trace),
                "route": call.route,
                "status": call.status,
                "ms": round(elapsed * 1000, 1),
                "tenant": call.tenant,
            }
            _access.info("%s", scope["method"], extra=fields)


class _Reply:
    """Adds the headers that every reply has, and notes its status."""

    __slots__ = ("_clock", "_path", "_send", "call")

    def __init__(self, call: Call, send: Send, clock: Callable[[], float], path: str) -> None:
        self.call = call
        self._send = send
        self._clock = clock
        self._path = path

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            call = self.call
            call.status = message["status"]
            waited = (self._clock() - call.started) * 1000
            headers = [
                *message.get("headers", ()),
                (b"x-request-id", call.id.encode("ascii")),
                (b"server-timing", b"gateway;dur=%.1f" % waited),
                *FIXED_HEADERS,
                *call.cors,
            ]
            if call.allowance is not None:
                headers += call.allowance.headers()
            if self._path.startswith(ANTHROPIC_PREFIX):
                headers.append((b"request-id", call.id.encode("ascii")))
            message["headers"] = headers
        await self._send(message)
