"""What a worker tells Prometheus: its own ``avikam_worker_*`` series, and vLLM's beside them.

Gauges are read when somebody scrapes; counters and histograms are fed as sequences go by, once per
frame and once per finish.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    make_wsgi_app,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from avikam.common.head import with_head
from avikam.engine.interface import Delta, EngineModel, EngineStats, Finish, SequenceSpec
from avikam.worker.kv_series import kv_series
from avikam.worker.vllm_series import VllmGauges, VllmSeries

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# A boundary exactly at 0.1 s makes that objective a ratio of two counters.
_LATENCY = """
    .001 .0025 .005 .01 .02 .03 .04 .05 .06 .075 .09 .1 .125 .15 .2 .3 .5 .8
    1 2.5 5 10 30 60 120 300
"""


class WorkerMetrics:
    """The series of one worker, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._own = _OwnSeries(self.registry)
        self._vllm: VllmSeries | None = None

    def serve(
        self, host: str, port: int, probes: Mapping[str, Callable[[], bool]]
    ) -> MetricsServer:
        """Answer scrapes, and at the paths of ``probes`` 200 or 503.

        Raises ``OSError`` when the port cannot be had.
        """
        server, thread = start_http_server(port, host, self.registry)
        app = with_head(_plain_text(make_wsgi_app(self.registry)))
        server.set_app(_with_probes(app, probes))
        return MetricsServer(server, thread)

    def watch_worker(self, state: Callable[[], str], streams: Callable[[], int]) -> None:
        """Add the worker's own gauges."""
        self.registry.register(_WorkerGauges(state, streams))

    def watch_engine(self, model: EngineModel, stats: Callable[[], EngineStats]) -> None:
        """Add the series that need an engine, once it is there."""
        self._own.describe(self.registry, model)
        self._vllm = VllmSeries(self.registry, model)
        self.registry.register(VllmGauges(model, stats))
        self.registry.register(_EngineGauges(stats))

    def count_refusal(self, code: str) -> None:
        """A call ended with an error of ours."""
        self._own.refusals.labels(code).inc()

    def account(self, spec: SequenceSpec) -> Account:
        """Follow one admitted sequence."""
        if spec.generated:
            self._own.resumed.inc()
        return Account(self._own, self._vllm, spec)


def _plain_text(app: WSGIApplication) -> WSGIApplication:
    """Answer in Prometheus' text format whatever the scraper prefers.

    In OpenMetrics the client library writes ``vllm:x`` as ``vllm_x`` for scrapers that do not ask
    for the colon (Prometheus 2), and autoscaling would read nothing.
    """

    def plain(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        return app({**environ, "HTTP_ACCEPT": "text/plain; version=0.0.4"}, start)

    return plain


def _with_probes(app: WSGIApplication, probes: Mapping[str, Callable[[], bool]]) -> WSGIApplication:
    """Health for those who cannot ask the gRPC port: the kubelet has no certificate."""

    def probed(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        probe = probes.get(environ["PATH_INFO"])
        if probe is None:
            return app(environ, start)
        start("200 OK" if probe() else "503 Service Unavailable", [("Content-Length", "0")])
        return []

    return probed


class MetricsServer:
    """The scrapers' own small HTTP server, in a thread."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread
        self.port = server.server_port

    def stop(self) -> None:
        """Close the port; blocks for as long as a scrape takes."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Account:
    """What one sequence adds to the series, frame by frame."""

    __slots__ = ("_last", "_own", "_spec", "_started", "_vllm")

    def __init__(self, own: _OwnSeries, vllm: VllmSeries | None, spec: SequenceSpec) -> None:
        self._own, self._vllm, self._spec = own, vllm, spec
        self._started = time.monotonic()
        self._last: float | None = None

    def add(self, deltas: Sequence[Delta]) -> bool:
        """Count what one frame tells; whether it ends the sequence."""
        tokens = sum(len(delta.tokens) for delta in deltas)
        if tokens:
            self._count_tokens(tokens)
        finish = deltas[-1].finish
        if finish is not None:
            self._count_finish(finish)
        return finish is not None

    def _count_tokens(self, tokens: int) -> None:
        now = time.monotonic()
        self._own.tokens.inc(tokens)
        if self._last is None:
            self._own.first_token.observe(now - self._started)
            if self._vllm is not None:
                self._vllm.first_token.observe(now - self._started)
        elif self._vllm is not None:
            # Tokens that came in one frame share the time since the frame before.
            self._vllm.inter_token.observe((now - self._last) / tokens)
        self._last = now

    def _count_finish(self, finish: Finish) -> None:
        seconds = time.monotonic() - self._started
        self._own.finishes.labels(finish.reason.value).inc()
        self._own.seconds.observe(seconds)
        if self._vllm is not None:
            self._vllm.count(self._spec, finish, seconds)


class _OwnSeries:
    """``avikam_worker_*`` counters and histograms."""

    def __init__(self, registry: CollectorRegistry) -> None:
        buckets = [float(bound) for bound in _LATENCY.split()]
        self.finishes = Counter(
            "avikam_worker_finishes", "Sequences ended, by reason.", ["reason"], registry=registry
        )
        self.refusals = Counter(
            "avikam_worker_refusals",
            "Calls ended with an error, by its code.",
            ["code"],
            registry=registry,
        )
        self.resumed = Counter(
            "avikam_worker_resumed", "Sequences taken over in mid-stream.", registry=registry
        )
        self.tokens = Counter("avikam_worker_tokens", "Tokens streamed.", registry=registry)
        self.first_token = Histogram(
            "avikam_worker_time_to_first_token_seconds",
            "From admission to the first token on its way.",
            registry=registry,
            buckets=buckets,
        )
        self.seconds = Histogram(
            "avikam_worker_sequence_seconds",
            "From admission to the end of a sequence.",
            registry=registry,
            buckets=buckets,
        )

    def describe(self, registry: CollectorRegistry, model: EngineModel) -> None:
        Info("avikam_worker_model", "What the worker runs.", registry=registry).info(
            {
                "model_name": model.id,
                "digest": model.digest,
                "weights": model.weights,
                "device": model.device,
                "attention_backend": model.attention_backend,
            }
        )


class _WorkerGauges(Collector):
    """State and live streams."""

    _STATES = ("loading", "ready", "draining", "failed")

    def __init__(self, state: Callable[[], str], streams: Callable[[], int]) -> None:
        self._state = state
        self._streams = streams

    def collect(self) -> Iterable[Metric]:
        state = GaugeMetricFamily(
            "avikam_worker_state", "1 for the state the worker is in.", labels=["state"]
        )
        for name in self._STATES:
            state.add_metric([name], float(name == self._state()))
        yield state
        yield _gauge("streams", "Generate calls on their way.", self._streams())


class _EngineGauges(Collector):
    """The engine's own figures, read at each scrape."""

    def __init__(self, stats: Callable[[], EngineStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        yield _gauge("slots", "Sequences that can run at the same time.", stats.slots_total)
        yield _gauge("slots_used", "Sequences that run.", stats.slots_used)
        yield _gauge("queue_depth", "Sequences that wait for a slot.", stats.waiting)
        yield _gauge("queue_limit", "Sequences that may wait.", stats.queue_limit)
        yield _gauge("load_tokens", "Prompt + max_tokens / 2 over all.", stats.load_tokens)
        yield _gauge(
            "stalled_seconds", "Since the last step while there is work.", stats.stalled_seconds
        )
        yield _gauge("tokens_per_second", "Tokens generated lately.", stats.tokens_per_second)
        yield CounterMetricFamily(
            "avikam_worker_engine_steps", "Steps of the engine loop.", value=stats.step
        )
        if stats.kv is not None:
            yield from kv_series(stats.kv)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"avikam_worker_{name}", text, value=value)
