"""Makes spans and sends them over OTLP/HTTP. Imported only once tracing is switched on.

span ends ──► bounded queue ──► batches, by a thread of its own ──► collector
                  └── full: the oldest span is lost, and a line in the log says so

Whoever serves never waits for the collector. What is not here is OpenTelemetry's own to read from
the environment: ``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_BSP_*``, ``OTEL_RESOURCE_ATTRIBUTES`` ...
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

import avikam

# What a stopping service gives a collector to take the last spans. It is part of what is added to
# the time that a drain may take.
FLUSH_SECONDS = 3.0
_PATH = "/v1/traces"


class Tracing:
    """The spans of one service.

    It sets none of OpenTelemetry's globals, and a span's parent is always told: what runs beside it
    in the process neither sees nor changes its traces.
    """

    def __init__(self, endpoint: str, sample_ratio: float, service: str, instance: str) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=_resource(service, instance),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=traces_url(endpoint))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("avikam", avikam.__version__)
        self._propagator = TraceContextTextMapPropagator()

    def start(
        self,
        name: str,
        kind: SpanKind,
        parent: Context,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> Span:
        """A span that begins now; whoever started it ends it."""
        return self._tracer.start_span(name, parent, kind, attributes, record_exception=False)

    def parent_from(self, carrier: Mapping[str, str]) -> Context:
        """The parent that ``traceparent`` and ``tracestate`` name; none when they are not valid."""
        return self._propagator.extract(carrier, Context())

    def child_of(self, span: Span) -> Context:
        """The context of what happens within ``span``."""
        return set_span_in_context(span, Context())

    def carrier_of(self, span: Span) -> dict[str, str]:
        """``traceparent``, and ``tracestate`` where the client sent one."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self.child_of(span))
        return carrier

    async def close(self) -> None:
        """Send what waits, for some seconds at most; a collector that is slower loses it."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(sent.set)

        # Not the loop's executor, whose threads the process would wait for at its end.
        threading.Thread(target=flush, name="flush-spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), FLUSH_SECONDS)


def traces_url(endpoint: str) -> str:
    """Where spans are posted: a collector's own path for them unless the address has another."""
    return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH


def _resource(service: str, instance: str) -> Resource:
    """Who makes the spans; the environment may say otherwise."""
    own = {
        "service.name": service,
        "service.version": avikam.__version__,
        "service.instance.id": instance,
    }
    return Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())
