"""What a gateway tells about a request: one span of its own, and one per attempt on a worker.

    POST /v1/chat/completions      route, status, model, tokens
      └─ attempt                   worker, outcome; the next one is a retry or a resume
           └─ llm_request          the worker's own span, see avikam.worker.sequence_trace

Imported only once tracing is switched on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from avikam.common import span_attributes as names
from avikam.common.span_export import Tracing
from avikam.gateway.api import accounts
from avikam.gateway.doors.call import Call
from avikam.gateway.sequence.failure import Again, Failure
from avikam.protocol.errors import ApiError
from avikam.protocol.rpc_errors import code_of_status
from avikam.v1 import generation_pb2, worker_pb2

if TYPE_CHECKING:
    from avikam.gateway.generation import Generation

_CONTEXT = (b"traceparent", b"tracestate")
# Other words would make names of spans that a client chooses.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"})
_UNKNOWN = "unknown"
_OK = 200

_KINDS = {"chat": "chat", "text": "text_completion", "tokens": "text_completion"}


class GatewayTracing:
    """Begins the traces of a gateway's requests."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> RequestTrace:
        """The trace of a request that has come; it continues the client's, if there is one."""
        parent = self._tracing.parent_from(_carrier(headers))
        return RequestTrace(self._tracing, self._tracing.start("request", SpanKind.SERVER, parent))

    async def close(self) -> None:
        """Send what waits, for a bounded time."""
        await self._tracing.close()


class RequestTrace:
    """One request's span. ``generation`` is what it became, if it generates."""

    __slots__ = ("_error", "_span", "_tracing", "generation")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span
        self._error: ApiError | None = None
        self.generation: Generation | None = None

    @property
    def id(self) -> str:
        """The trace's id, in hexadecimal; empty when it is not recorded."""
        context = self._span.get_span_context()
        return f"{context.trace_id:032x}" if context.trace_flags.sampled else ""

    def attempt(self, request: worker_pb2.SequenceRequest, address: str) -> AttemptTrace:
        """A try on the worker at ``address`` begins; the request takes its context along."""
        parent = self._tracing.child_of(self._span)
        span = self._tracing.start("attempt", SpanKind.CLIENT, parent)
        carrier = self._tracing.carrier_of(span)
        request.traceparent = carrier["traceparent"]
        request.tracestate = carrier.get("tracestate", "")
        if span.is_recording():
            span.set_attributes(_about_attempt(request, address))
        return AttemptTrace(span)

    def fail(self, error: ApiError) -> None:
        """What the client is told instead of an answer, or at the end of one."""
        self._error = error

    def end(self, call: Call, method: str | None) -> None:
        """The request has ended. ``method`` is HTTP's; None for an RPC."""
        span = self._span
        if span.is_recording():
            name, about = _about_rpc(call) if method is None else _about_http(call, method)
            span.update_name(name)
            span.set_attributes({**about, names.REQUEST_ID: call.id, **_tenant(call)})
            if self.generation is not None:
                span.set_attributes(_about_generation(self.generation, call))
            self._end_with_error(call.status)
        span.end()

    def _end_with_error(self, status: int) -> None:
        error = self._error
        if error is not None:
            self._span.set_attribute(names.ERROR_TYPE, error.code)
        elif status >= 500:
            self._span.set_attribute(names.ERROR_TYPE, str(status))
        # What a client did wrong is no error of a server's span.
        if max(status, error.status if error is not None else 0) >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


class AttemptTrace:
    """The span of one try on a worker."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def end(self, finish: worker_pb2.Finish | None, failure: Failure | None) -> None:
        """It finished, failed, or nobody waits for it any more."""
        span = self._span
        if failure is None:
            span.set_attribute(names.OUTCOME, _reason(finish) if finish else "cancelled")
        elif failure.meaning.again is Again.NO:
            _end_badly(span, failure.error.code)
            if failure.error.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        else:
            _end_badly(span, failure.kind.value)
            # Our own words about the connection or the worker.
            span.set_status(Status(StatusCode.ERROR, str(failure)))
        span.end()


def _end_badly(span: Span, reason: str) -> None:
    span.set_attributes({names.OUTCOME: reason, names.ERROR_TYPE: reason})


def _carrier(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The trace context among the headers; names that came twice are joined, as HTTP has it."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name in _CONTEXT:
            key, text = name.decode(), value.decode("latin-1")
            found[key] = f"{found[key]},{text}" if key in found else text
    return found


def _about_http(call: Call, method: str) -> tuple[str, dict[str, str | int]]:
    """The span's name, and what it says of the exchange."""
    known = method if method in _METHODS else "_OTHER"
    about: dict[str, str | int] = {names.HTTP_METHOD: known, names.HTTP_STATUS: call.status}
    name = known if known != "_OTHER" else "HTTP"
    if call.route == _UNKNOWN:
        return name, about
    return f"{name} {call.route}", {**about, names.HTTP_ROUTE: call.route}


def _about_rpc(call: Call) -> tuple[str, dict[str, str | int]]:
    """The same for an RPC."""
    method = call.route.removeprefix("/")
    status = "OK" if call.status == _OK else code_of_status(call.status).name
    about: dict[str, str | int] = {
        names.RPC_SYSTEM: "grpc",
        names.RPC_METHOD: method,
        names.RPC_STATUS: status,
    }
    return method, about


def _tenant(call: Call) -> Mapping[str, str]:
    if not call.tenant:
        return {}
    return {names.TENANT: hashlib.sha256(call.tenant.encode()).hexdigest()[:16]}


def _about_generation(generation: Generation, call: Call) -> dict[str, str | int | float | bool]:
    """Sizes, times and names; nothing of what was said."""
    request, journals = generation.request, generation.journals
    form = request.prompts[0].WhichOneof("form")
    about: dict[str, str | int | float | bool] = {
        names.PROVIDER: "avikam",
        names.OPERATION: _KINDS[form] if form is not None else "text_completion",
        names.PROMPTS: len(request.prompts),
        names.REQUEST_STREAM: generation.streamed,
        names.INPUT_TOKENS: accounts.prompt_tokens(journals),
        names.OUTPUT_TOKENS: accounts.completion_tokens(journals),
        names.CACHED_TOKENS: accounts.cached_tokens(journals),
        names.REQUEST_MODEL: request.model,
        names.RESPONSE_MODEL: generation.model,
    }
    if request.n > 1:
        about[names.CHOICE_COUNT] = request.n
    for field, name in names.REQUEST_SAMPLING.items():
        if request.sampling.HasField(field):
            about[name] = getattr(request.sampling, field)
    first = min((j.first_token_at for j in journals if j.first_token_at), default=0.0)
    if first:
        about[names.TIME_TO_FIRST_CHUNK] = first - call.started
    return {name: value for name, value in about.items() if value != ""}


def _about_attempt(request: worker_pb2.SequenceRequest, address: str) -> dict[str, str | int]:
    host, _, port = address.rpartition(":")
    resumed = len(request.generated)
    kind = "first" if request.attempt == 1 else "resume" if resumed else "retry"
    return {
        names.SERVER_ADDRESS: host,
        names.SERVER_PORT: int(port),
        names.REQUEST_ID: request.request_id,
        names.ATTEMPT: request.attempt,
        names.ATTEMPT_KIND: kind,
        names.RESUMED_TOKENS: resumed,
    }


def _reason(finish: worker_pb2.Finish) -> str:
    name = generation_pb2.FinishReason.Name(finish.reason)
    return name.removeprefix("FINISH_REASON_").lower()
