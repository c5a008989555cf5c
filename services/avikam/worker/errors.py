"""The door of the worker's RPCs: what may be asked, and what a failure looks like from outside.

bytes that are no message   INVALID_ARGUMENT, code invalid_protobuf
ApiError                    its mapped code, message and trailers (see protocol.rpc_errors)
anything else               INTERNAL with a fixed text; the log has the request id, the type and
                            the place, never the exception's own text, which may quote a prompt
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from avikam.common.tracing import recorded_trace
from avikam.protocol.aborted_calls import leaving_nothing
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.field_count import (
    DETOKENIZE,
    EXCHANGE,
    SEQUENCE,
    TOKENIZE,
    Inside,
    check_fields,
)
from avikam.protocol.rpc_errors import status_code, trailers
from avikam.worker.trust import Trust

_log = logging.getLogger(__name__)

Context = aio.ServicerContext[Any, Any]
_Behaviour = Callable[[Any, Context], Awaitable[Any]]

# A status travels in HTTP/2 headers, which have a bound.
_DETAILS_CHARS = 2000
# Token ids that one message may hold, of all its sequences.
_MOST_IDS = 2**21
INTERNAL_TEXT = "The worker failed on this request; its log has the request id."


class ErrorInterceptor(aio.ServerInterceptor):  # type: ignore[type-arg]
    """Decodes requests and ends failed calls, for every method of ours.

    Reflection is no coroutine and stays as it is.
    """

    def __init__(self, on_refusal: Callable[[str], None], trust: Trust) -> None:
        self._on_refusal = on_refusal
        self._trust = trust
        self._stranger = grpc.stream_stream_rpc_method_handler(self._turn_away)
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(  # type: ignore[override]  # an unknown method has no handler
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """gRPC's hook: the method's handler, whose errors become statuses."""
        if not self._trust.admits(details.method, details.invocation_metadata or ()):
            return self._stranger
        if details.method in self._guarded:
            return self._guarded[details.method]
        handler = await continuation(details)
        if handler is None or inspect.isasyncgenfunction(handler.stream_stream):
            return handler
        guarded = self._guard(handler, details.method)
        self._guarded[details.method] = guarded
        return guarded

    def _guard(
        self, handler: grpc.RpcMethodHandler[Any, Any], method: str
    ) -> grpc.RpcMethodHandler[Any, Any]:
        inside = DETOKENIZE if method.endswith("/Detokenize") else TOKENIZE
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._guarded_call(handler.stream_stream, lambda requests: requests),
                _counted(handler.request_deserializer, EXCHANGE),
                handler.response_serializer,
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._guarded_call(
                    handler.unary_stream, _counted(handler.request_deserializer, SEQUENCE)
                ),
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._guarded_call(handler.unary_unary, _counted(handler.request_deserializer, inside)),
            response_serializer=handler.response_serializer,
        )

    def _guarded_call(self, behaviour: Any, deserialize: Any) -> Any:
        async def call(data: bytes, context: Context) -> Any:
            request = None
            try:
                request = deserialize(data)
                return await behaviour(request, context)
            except aio.AbortError:
                raise
            except aio.InternalError:
                # gRPC's word for a write to a client that has gone.
                return None
            except DecodeError:
                await self._abort(context, _NOT_A_MESSAGE)
            except ApiError as error:
                await self._abort(context, error)
            except Exception as error:  # the last door before the network
                log_failure(error, request)
                await self._abort(context, ApiError(500, INTERNAL_TEXT, "internal_error"))

        return leaving_nothing(call)

    async def _turn_away(self, _: object, context: Context) -> None:
        await self._abort(context, _STRANGER)

    async def _abort(self, context: Context, error: ApiError) -> None:
        self._on_refusal(error.code)
        metadata = (*trailers(error), *error.headers.items())
        await context.abort(status_code(error), error.message[:_DETAILS_CHARS], metadata)


def _counted(deserialize: Any, inside: Inside) -> Any:
    """The same, once it is known that the message becomes nothing huge."""

    def counted(data: bytes) -> Any:
        check_fields(data, inside, most_ids=_MOST_IDS)
        return deserialize(data)

    return counted


_STRANGER = ApiError(
    401,
    "This worker serves gateways that show its token; set worker_token at the gateway.",
    "invalid_token",
)

_NOT_A_MESSAGE = invalid(
    "The request is not a message of this method; check the client's protocol.",
    None,
    "invalid_protobuf",
)


def log_failure(error: Exception, request: object) -> None:
    """Log where an unexpected exception came from, and not its words."""
    places = "".join(traceback.format_tb(error.__traceback__))
    extra = {"request_id": getattr(request, "request_id", "")}
    if trace_id := recorded_trace(getattr(request, "traceparent", "")):
        extra["trace_id"] = trace_id
    _log.error("%s while serving a request\n%s", type(error).__name__, places, extra=extra)
