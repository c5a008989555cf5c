"""A collector for tests: takes OTLP over HTTP, as protobuf, and keeps every span it is sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.worker.harness import LOOPBACK, PATIENCE

ERROR = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True)
class SentSpan:
    """A span as the collector got it; ids in hexadecimal, ``parent`` empty for a root."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    tracestate: str
    failed: bool
    attributes: dict[str, Any]
    events: tuple[str, ...]
    resource: dict[str, Any]


class Collector:
    """Listens while the block runs. ``raw`` is everything that came, ``headers`` the last ones'."""

    def __init__(self) -> None:
        self.raw = b""
        self.headers: dict[str, str] = {}
        self.spans: list[SentSpan] = []
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """What ``tracing_endpoint`` is to be."""
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def trace(self, trace: str) -> list[SentSpan]:
        """Spans of one trace, so far."""
        return [span for span in self.spans if span.trace == trace]

    async def wait(self, trace: str, count: int) -> list[SentSpan]:
        """Spans of one trace, once there are so many."""
        async with asyncio.timeout(PATIENCE):
            while len(self.trace(trace)) < count:
                await asyncio.sleep(0.02)
        return self.trace(trace)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """A request has come."""
        assert path == "/v1/traces", path
        assert headers["content-type"] == "application/x-protobuf"
        self.headers = headers
        self.raw += body
        self.spans += _spans(ExportTraceServiceRequest.FromString(body))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                named = {name.lower(): value for name, value in self.headers.items()}
                collector.take(self.path, named, body)
                reply = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler


def _spans(request: ExportTraceServiceRequest) -> Iterator[SentSpan]:
    for each in request.resource_spans:
        resource = _values(each.resource.attributes)
        for scope in each.scope_spans:
            for span in scope.spans:
                yield SentSpan(
                    service=resource["service.name"],
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    tracestate=span.trace_state,
                    failed=span.status.code == ERROR,
                    attributes=_values(span.attributes),
                    events=tuple(event.name for event in span.events),
                    resource=resource,
                )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind is not None else None
