"""The door of the gateway's RPCs: what :mod:`avikam.gateway.doors.http` is to REST.

key ─► receive ─► weigh ─► decode ─► method ─► status and avikam-* trailers, metrics, access log

Keys come as metadata, ``authorization: Bearer KEY`` or ``x-api-key``, and are checked before the
request is received; :mod:`.methods` says what a key needs. Nothing of a request reaches a log.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from avikam.gateway.access.gatekeeper import Gatekeeper
from avikam.gateway.beside import beside
from avikam.gateway.budget.room import NO_ROOM, Hold, Room
from avikam.gateway.budget.weights import message_weight
from avikam.gateway.doors.call import Call, by_name, request_id
from avikam.gateway.doors.grpc.methods import METHODS, UNDECLARED, Method
from avikam.gateway.doors.grpc.receiving import Receiving
from avikam.gateway.doors.http.body import too_slow
from avikam.gateway.doors.http.edge import CLIENT_GONE
from avikam.gateway.doors.internal_error import internal_error
from avikam.gateway.doors.wide_numbers import check_numbers
from avikam.gateway.log_fields import log_fields
from avikam.gateway.metrics import GatewayMetrics
from avikam.gateway.settings import GatewaySettings
from avikam.gateway.traces import Traces
from avikam.protocol.aborted_calls import leaving_nothing
from avikam.protocol.errors import ApiError, invalid, unavailable
from avikam.protocol.field_count import Inside, check_fields
from avikam.protocol.rpc_errors import status_code, trailers

_log = logging.getLogger(__name__)
_access = logging.getLogger("avikam.access")

Context = aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_INFERENCE = "/avikam.v1."
# A status travels in HTTP/2 headers, which have a bound.
_DETAILS_CHARS = 2000
# Calls whose message is received at the same time.
_RECEIVED_AT_ONCE = 32
_OK = 200

# The call that the current task serves, for the service's methods.
current_call: ContextVar[Call] = ContextVar("current_call")


class Interceptor(aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps every method of the server; ``busy`` is how many calls of the API it serves."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        metrics: GatewayMetrics,
        clock: Callable[[], float],
        room: Room,
        settings: GatewaySettings,
        context: Callable[[], int],
        tracing: Traces | None = None,
    ) -> None:
        self._room = room
        self._context = context
        self._receiving = Receiving(_RECEIVED_AT_ONCE)
        self._seconds = settings.body_timeout_seconds
        self._gatekeeper = gatekeeper
        self._metrics = metrics
        self._clock = clock
        self._log_all = settings.access_log
        self._tracing = tracing
        self._wrapped: dict[str, Handler] = {}
        self.busy = 0

    async def intercept_service(  # type: ignore[override]  # an unknown method has no handler
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """gRPC's hook: the method's handler, with the checks around it."""
        if details.method in self._wrapped:
            return self._wrapped[details.method]
        handler = await continuation(details)
        if handler is None:
            return None
        wrapped = self._wrap(handler, details.method)
        self._wrapped[details.method] = wrapped
        return wrapped

    def _wrap(self, handler: Handler, method: str) -> Handler:
        serialize = handler.response_serializer
        if handler.request_streaming:
            # Reflection: the one method that reads a stream.
            return grpc.stream_stream_rpc_method_handler(
                self._stream(handler.stream_stream, method),
                handler.request_deserializer,
                serialize,
            )
        streaming = handler.response_streaming
        behaviour = handler.unary_stream if streaming else handler.unary_unary
        call = self._call(behaviour, handler.request_deserializer, method)
        # As methods that read a stream, they begin before the request is received.
        if streaming:
            return grpc.stream_stream_rpc_method_handler(call, None, serialize)
        return grpc.stream_unary_rpc_method_handler(call, None, serialize)

    def _call(self, behaviour: Any, decode: Any, method: str) -> Any:
        inside = _declared(method).inside

        async def call(_: AsyncIterator[bytes], context: Context) -> Any:
            async with self._served(context, method):
                call = current_call.get()
                call.hold = Hold(self._room, call)
                try:
                    request = await self._request(context, call, decode, inside)
                    return await behaviour(request, context)
                finally:
                    self._room.give_back(call.held)

        return leaving_nothing(call)

    async def _request(
        self, context: Context, call: Call, decode: Any, inside: Inside | None
    ) -> Any:
        """The one message of a call; what it becomes is paid for before it is decoded."""
        data = await self._received(context, call.tenant)
        call.size = size = len(data)
        call.held = self._room.grow(0, size)
        most = self._context()
        found = await beside(size, lambda: check_fields(data, inside or {}, context=most))
        weight = message_weight(size, found.fields, found.ids)
        call.held = self._room.grow(call.held, weight)
        return await beside(size, lambda: _decoded(decode, data, numbers=inside is not None))

    async def _received(self, context: Context, tenant: str) -> bytes:
        """The bytes of a message; 408 when it does not come, 503 when its turn does not."""
        begun = False
        try:
            async with asyncio.timeout(self._seconds) as timer:
                async with self._receiving.place(tenant):
                    begun = True
                    timer.reschedule(asyncio.get_running_loop().time() + self._seconds)
                    data: object = await context.read()
        except TimeoutError:
            raise too_slow() if begun else _none_received() from None
        if not isinstance(data, bytes):
            raise invalid("The call has no request; send one.", None, "invalid_protobuf")
        return data

    def _stream(self, behaviour: Any, method: str) -> Any:
        async def stream(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            async with self._served(context, method):
                async for reply in behaviour(requests, context):
                    yield reply

        return stream

    @asynccontextmanager
    async def _served(self, context: Context, method: str) -> AsyncIterator[None]:
        """One call from its key to its status."""
        headers = _headers(context)
        call = Call(request_id(by_name(headers)), self._clock(), route=method, status=CLIENT_GONE)
        current_call.set(call)
        counted = method.startswith(_INFERENCE)
        if self._tracing is not None and counted:
            call.trace = self._tracing.begin(headers)
        self.busy += counted
        self._metrics.in_flight.inc()
        try:
            async with self._admitted(context, call, headers):
                yield
            call.status = _OK
            context.set_trailing_metadata(_standing(call))
        except aio.AbortError:
            raise
        except aio.InternalError:
            # gRPC's word for a write to a client that has gone.
            return
        except ApiError as error:
            await _abort(context, call, error)
        except Exception as error:  # the last door before the network
            _log_failure(error, call)
            await _abort(context, call, internal_error())
        finally:
            self._metrics.in_flight.dec()
            self.busy -= counted
            self._account(call)

    @asynccontextmanager
    async def _admitted(
        self, context: Context, call: Call, headers: list[tuple[bytes, bytes]]
    ) -> AsyncIterator[None]:
        """The key's check, and its limits for what has work done."""
        method = _declared(call.route)
        admitted = self._gatekeeper.admit(headers, _address(context), method.access)
        call.tenant, call.priority = admitted.tenant, admitted.priority
        if admitted.allowance is None or not method.works:
            yield
            return
        call.allowance = admitted.allowance
        async with admitted.allowance.entered():
            yield

    def _account(self, call: Call) -> None:
        elapsed = self._clock() - call.started
        self._metrics.count_request(call.route, call.status, elapsed)
        if call.trace is not None:
            call.trace.end(call, None)
        if (self._log_all or call.status >= 400) and not _declared(call.route).probe:
            fields = {
                **log_fields(call.id, call.trace),
                "route": call.route,
                "status": call.status,
                "ms": round(elapsed * 1000, 1),
                "tenant": call.tenant,
            }
            _access.info("gRPC", extra=fields)


async def _abort(context: Context, call: Call, error: ApiError) -> None:
    call.status = error.status
    if call.trace is not None:
        call.trace.fail(error)
    metadata = (*trailers(error), ("x-request-id", call.id), *_standing(call))
    await context.abort(status_code(error), error.message[:_DETAILS_CHARS], metadata)


def _standing(call: Call) -> tuple[tuple[str, str], ...]:
    """How the account's limits stand: the headers of REST, as trailers."""
    headers = call.allowance.headers() if call.allowance is not None else ()
    return tuple((name.decode(), value.decode()) for name, value in headers)


def _declared(method: str) -> Method:
    return METHODS.get(method, UNDECLARED)


def _none_received() -> ApiError:
    return unavailable("Other calls of yours send their messages; call again later.", NO_ROOM)


def _decoded(decode: Any, data: bytes, *, numbers: bool) -> Any:
    """The request, whose fields were counted; its own numbers are looked at if wanted."""
    try:
        request = decode(data)
    except DecodeError:
        raise invalid(
            "The request is not a message of this method; check the client's protocol.",
            None,
            "invalid_protobuf",
        ) from None
    if numbers:
        check_numbers(request, data)
    return request


def _headers(context: Context) -> list[tuple[bytes, bytes]]:
    """The metadata as HTTP headers; gRPC has its names in lower case."""
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in context.invocation_metadata() or ()
    ]


def _address(context: Context) -> str:
    """The client's address without its port: ``ipv4:127.0.0.1:5`` is ``ipv4:127.0.0.1``."""
    return context.peer().rpartition(":")[0]


def _log_failure(error: Exception, call: Call) -> None:
    """The exception's own text may quote the request: only its type and place are logged."""
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s\n%s", type(error).__name__, places, extra=log_fields(call.id, call.trace))
