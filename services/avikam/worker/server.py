"""The worker as a server: opens its port, loads its engine, serves, drains.

    start ──► load ──► serve ──► drain: accept on ──► finish ──► hand over the rest ──► stop

The port opens before the model is there, so that health checks and gateways see a worker that
loads instead of nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from grpc import ServerCredentials, aio
from grpc_reflection.v1alpha import reflection

import avikam
from avikam.common.logging import configure_logging
from avikam.common.tls import certificate_files
from avikam.common.tracing import TracingError, open_tracing
from avikam.engine.interface import Engine
from avikam.protocol.limits import LIMITS
from avikam.v1 import worker_pb2_grpc
from avikam.worker.engines import build_engine
from avikam.worker.errors import ErrorInterceptor
from avikam.worker.file_work import in_thread
from avikam.worker.health import HEALTH_SERVICE, WORKER_SERVICE, Health
from avikam.worker.metrics import MetricsServer, WorkerMetrics
from avikam.worker.service import WorkerService
from avikam.worker.settings import WorkerSettings
from avikam.worker.status import StatusBoard, WorkerState
from avikam.worker.streams import Streams
from avikam.worker.tls import server_credentials
from avikam.worker.trust import Trust

if TYPE_CHECKING:
    from avikam.worker.sequence_trace import WorkerTracing

_log = logging.getLogger(__name__)

# How often the worker looks at its engine and at streams that owe a heartbeat.
_PULSE_SECONDS = 0.1
# After this long without a look, the server itself is stuck.
_DEAD_SECONDS = 10.0
# How long streams get to say goodbye when they are handed over.
_GOODBYE_SECONDS = 5.0
# How long the last status has to reach those who watch; a client that holds its call open gets
# no more than this.
_LAST_WORD_SECONDS = 0.5

# Connections, and calls of one: a gateway has one connection, and a handful of calls on it.
_MOST_CONNECTIONS = 1000
_MOST_CALLS = 1000

_OPTIONS = (
    ("grpc.max_receive_message_length", LIMITS.worker_message_bytes),
    # Gateways send messages as they are; a compressed one could be a thousand times its size.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.max_allowed_incoming_connections", _MOST_CONNECTIONS),
    ("grpc.max_concurrent_streams", _MOST_CALLS),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_send_message_length", LIMITS.grpc_message_bytes),
    # A second worker on the same port is to fail, not to share it.
    ("grpc.so_reuseport", 0),
    # Gateways ping every two seconds to notice a frozen worker; by default that is punished.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    # And the worker notices a gateway that is gone without a word, so that its slots come free.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class StartError(Exception):
    """The worker cannot start; the message is one line for the operator."""


class WorkerServer:
    """One engine behind gRPC. Usable in a process of its own and inside a test."""

    def __init__(
        self,
        settings: WorkerSettings,
        build: Callable[[WorkerSettings], Engine] = build_engine,
    ) -> None:
        self.settings = settings
        self.metrics = WorkerMetrics()
        self.port = 0
        self.engine_died = asyncio.Event()
        self._build = build
        self._metrics_server: MetricsServer | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._registering: asyncio.Task[None] | None = None
        self._tracing: WorkerTracing | None = None
        self._beat_at = time.monotonic()

    @property
    def metrics_port(self) -> int | None:
        """Where /metrics is; none when it is off."""
        return None if self._metrics_server is None else self._metrics_server.port

    async def start(self) -> None:
        """Listen, and say that the worker is loading. Raises :class:`StartError`."""
        loop = asyncio.get_running_loop()
        self.streams = Streams(loop)
        self._trust = _trust(self.settings)
        self._server = aio.server(
            options=_OPTIONS,
            interceptors=[ErrorInterceptor(self.metrics.count_refusal, self._trust)],
        )
        self.port = self._listen()
        self.board = StatusBoard(self._worker_id(), avikam.__version__, self.settings.stall_seconds)
        self._tracing = _tracing(self.settings, self._worker_id())
        self._add_services()
        self.metrics.watch_worker(lambda: self.board.state.value, lambda: len(self.streams))
        self._start_metrics()
        await self._health.follow()
        await self._server.start()
        self._pulse = loop.create_task(self._beat())

    async def load(self) -> None:
        """Build the engine and begin to serve. Raises :class:`StartError`."""
        try:
            engine = await in_thread(lambda: self._build(self.settings))
        except (OSError, ValueError, RuntimeError) as error:
            raise StartError(f"cannot load the engine: {' '.join(str(error).split())}") from error
        self.metrics.watch_engine(engine.model, engine.stats)
        self.board.ready(engine)
        await self._health.follow()
        self._register()

    async def drain(self) -> None:
        """Be unready, accept on a while, let streams finish, hand over the rest."""
        await self._leave()
        await asyncio.sleep(self.settings.drain_accept_seconds)
        self.board.stop_accepting()
        # Sends GOAWAY, so that gateways go elsewhere before they ask; streams go on.
        farewell = asyncio.create_task(self._server.stop(self.settings.drain_seconds + 60))
        try:
            await self.streams.wait_idle(self.settings.drain_seconds)
            await self._hand_over()
        finally:
            farewell.cancel()

    async def stop(self) -> None:
        """End everything now: streams are handed over, watches end, the engine closes."""
        await self._leave()
        self.board.stop_accepting()
        await self._hand_over()
        self.board.close()
        await self._server.stop(_LAST_WORD_SECONDS)
        if self._pulse is not None:
            self._pulse.cancel()
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.stop)
        if self.board.engine is not None:
            await asyncio.to_thread(self.board.engine.close)
        if self._tracing is not None:
            await self._tracing.close()

    def _register(self) -> None:
        url = self.settings.registry
        if url is not None:
            from avikam.worker.registration import Registration, reachable_address

            given = self.settings.registry_address
            address = given or reachable_address(self.settings.host, self.port)
            registration = Registration(url.get_secret_value(), address)
            self._registering = asyncio.create_task(registration.run())

    async def _leave(self) -> None:
        if self._registering is not None:
            self._registering.cancel()
            await asyncio.gather(self._registering, return_exceptions=True)
        self.board.drain()
        await self._health.follow()

    async def _hand_over(self) -> None:
        self.streams.hand_over()
        await self.streams.wait_idle(_GOODBYE_SECONDS)

    def _listen(self) -> int:
        host, port = self.settings.host, self.settings.port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = _credentials(self.settings)
        try:
            _try_to_bind(host, port)
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except (OSError, RuntimeError) as error:
            raise StartError(f"cannot listen on {address}: {_reason(error)}") from error

    def _add_services(self) -> None:
        self._health = Health(self.board)
        self._health.add_to(self._server)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self._service(), self._server)
        names = (WORKER_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def _service(self) -> WorkerService:
        if self.settings.engine == "fake":
            from avikam.worker.fault_injection import FaultyWorkerService

            return FaultyWorkerService(*self._served(), self._tracing)
        return WorkerService(*self._served(), self._tracing)

    def _served(self) -> tuple[StatusBoard, Streams, WorkerMetrics, Trust]:
        return self.board, self.streams, self.metrics, self._trust

    def _worker_id(self) -> str:
        return self.settings.worker_id or f"{socket.gethostname()}:{self.port}"

    def _start_metrics(self) -> None:
        host, port = self.settings.host, self.settings.metrics_port
        if port is None:
            return
        try:
            probes = {"/livez": self._alive, "/readyz": self._ready}
            self._metrics_server = self.metrics.serve(host, port, probes)
        except OSError as error:
            reason = _reason(error)
            raise StartError(f"cannot serve metrics on {host}:{port}: {reason}") from error

    def _alive(self) -> bool:
        return time.monotonic() - self._beat_at < _DEAD_SECONDS

    def _ready(self) -> bool:
        return self._alive() and self.board.state is WorkerState.READY

    async def _beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(_PULSE_SECONDS)
            self.board.refresh()
            await self._health.follow()
            self.streams.beat()
            if self.board.engine is not None and not self.board.engine.stats().alive:
                self.engine_died.set()
                return


def _trust(settings: WorkerSettings) -> Trust:
    try:
        trust = Trust(settings)
    except ValueError as error:
        raise StartError(str(error)) from error
    if not trust.believes:
        _log.warning(
            "open to whoever reaches %s: no token, no certificates; tenants and priorities that "
            "callers name do not count",
            settings.host,
        )
    return trust


def _credentials(settings: WorkerSettings) -> ServerCredentials | None:
    files = certificate_files(settings.tls_key, settings.tls_certificate, settings.tls_authority)
    try:
        return None if files is None else server_credentials(files)
    except OSError as error:
        raise StartError(f"cannot read its certificate: {error}") from error


def _tracing(settings: WorkerSettings, worker_id: str) -> WorkerTracing | None:
    try:
        tracing = open_tracing(settings, "avikam-worker", worker_id)
    except TracingError as error:
        raise StartError(str(error)) from error
    if tracing is None:
        return None
    from avikam.worker.sequence_trace import WorkerTracing

    return WorkerTracing(tracing)


def _try_to_bind(host: str, port: int) -> None:
    """Raise the operating system's own words, before gRPC says it in its own many lines."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        pass


def _reason(error: Exception) -> str:
    """The operating system's words; Python adds the address, which our line names already."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else str(error)


def run(settings: WorkerSettings) -> int:
    """Serve until told to stop; returns the exit code.

    0: drained after SIGTERM or SIGINT (a second signal hands everything over at once).
    1: the engine died. 2: it could not start (busy port, unusable checkpoint).
    """
    configure_logging(settings)
    try:
        return asyncio.run(_serve(settings))
    except StartError as error:
        print(f"error: the worker {error}", file=sys.stderr)  # noqa: T201 - the operator's one line
        return 2


async def _serve(settings: WorkerSettings) -> int:
    signals = _Signals()
    server = WorkerServer(settings)
    await server.start()
    try:
        if not await _finishes_before(server.load(), signals.first):
            return 0
        _log.info("listening on %s:%d", settings.host, server.port)
        if await _finishes_before(server.engine_died.wait(), signals.first):
            _log.error("the engine has died")
            return 1
        _log.info("draining %d streams", len(server.streams))
        await _finishes_before(server.drain(), signals.second)
        return 0
    finally:
        await server.stop()


class _Signals:
    """The first and the second request to stop."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received)

    def _received(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def _finishes_before(work: Coroutine[Any, Any, object], event: asyncio.Event) -> bool:
    """Whether ``work`` ends before ``event`` happens; raises what it raises, cancels it if not."""
    task, waiter = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        return task.done()
    finally:
        task.cancel()
        waiter.cancel()
