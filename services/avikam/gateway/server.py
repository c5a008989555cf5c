"""The gateway as a server: listens, serves, drains.

start ──► serve ──► drain: unready, accept on ──► finish ──► stop
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from wsgiref.simple_server import WSGIServer

import uvicorn
import uvloop
from prometheus_client import make_wsgi_app, start_http_server

from avikam.common.allocator import give_back_large_blocks
from avikam.common.head import with_head
from avikam.common.logging import configure_logging
from avikam.common.named_hosts import with_hosts
from avikam.common.network import is_loopback
from avikam.common.tracing import TracingError
from avikam.gateway.access.key_file import KeyFileError
from avikam.gateway.app import Gateway
from avikam.gateway.doors.grpc.server import GrpcServer
from avikam.gateway.doors.http.server.acceptor import Acceptor
from avikam.gateway.doors.http.server.connection import connections_of
from avikam.gateway.doors.http.server.listener import Listener
from avikam.gateway.doors.http.server.self_check import SelfCheckError, check_door
from avikam.gateway.settings import GatewaySettings
from avikam.gateway.siblings import Siblings
from avikam.gateway.workers.discovery import AddressError
from avikam.gateway.workers.pool import Pool

_log = logging.getLogger(__name__)

_BACKLOG = 2048
# What the kernel takes of a reply beyond what it could send. By itself it takes megabytes for each
# client that does not read, and a stream that nobody reads would look as if somebody did.
_UNSENT_BYTES = 128 * 1024
# New containers, net, after which the collector looks at them: those of some hundred requests.
_YOUNG_OBJECTS = 20_000
# Threads for what is worth one, and how long one may keep the loop waiting.
_READERS = 1
_SWITCH_SECONDS = 0.001
# Seconds after which a task that should have ended is told so again.
_UNHEARD_SECONDS = 1.0


class StartError(Exception):
    """The gateway cannot start; the message is one line for the operator."""


class _Listener(uvicorn.Server):
    """uvicorn without its own idea of signals: the gateway drains by its own rules."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class GatewayServer:
    """One gateway behind its listeners. Usable in a process of its own and inside a test.

    ``listener`` is a bound socket that several gateways share; they share the gRPC port too, and
    ``siblings`` tell what they measure.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        listener: socket.socket | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        self.settings = settings
        self._siblings = siblings
        self._listener = listener
        self.port = 0
        self.grpc_port: int | None = None
        self._grpc: GrpcServer | None = None
        self._metrics_server: WSGIServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Where the REST API is."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen and look for workers. Raises :class:`StartError`."""
        _check_exposure(self.settings)
        listening = _listen(self.settings.host, self.settings.http_port, self._listener)
        self.port = int(listening.getsockname()[1])
        try:
            self.gateway = Gateway(self.settings, self._siblings)
            await check_door(connections_of(self._rest_listener()))
            if self._siblings is not None:
                await self._siblings.show(self.gateway.own_metrics)
            self._start_metrics()
            await self._start_grpc()
        except (
            AddressError,
            KeyFileError,
            OSError,
            SelfCheckError,
            StartError,
            TracingError,
        ) as error:
            listening.close()
            await self._stop_metrics()
            if isinstance(error, StartError):
                raise
            if isinstance(error, SelfCheckError | TracingError):
                raise StartError(str(error)) from error
            raise StartError(f"cannot use its settings: {error}") from error
        await self._start_http(listening)

    async def _start_http(self, listening: socket.socket) -> None:
        """uvicorn runs the connections; the acceptor makes them."""
        self._rest = self._rest_listener()
        config = self._http_config(self._rest)
        self._http = _Listener(config)

        def connection() -> asyncio.BaseProtocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self._http.server_state, app_state={}
            )

        self._acceptor = Acceptor(listening, connection, shared=self._siblings is not None)
        work = [*self.gateway.background(), self._http.serve(sockets=[])]
        self._tasks = [asyncio.create_task(each) for each in work]
        while not self._http.started:  # noqa: ASYNC110 - uvicorn tells in no other way
            await asyncio.sleep(0.005)
        self._acceptor.open()

    async def drain(self) -> None:
        """Be unready, accept on a while, then let requests finish."""
        drain = self.gateway.drain
        drain.signal()
        # Every reply from now on is its connection's last: clients come back elsewhere.
        self._rest.closing = True
        await drain.notice(self.settings.drain_notice_seconds)
        self._acceptor.close()
        self._http.should_exit = True
        finished = asyncio.create_task(self._finished())
        hurried = asyncio.create_task(drain.notice(self.settings.drain_seconds))
        await asyncio.wait({finished, hurried}, return_when=asyncio.FIRST_COMPLETED)
        for task in (finished, hurried):
            task.cancel()

    async def stop(self) -> None:
        """End everything now; requests that still run are cut."""
        if not self._tasks:
            return
        self._acceptor.close()
        self._http.should_exit = self._http.force_exit = True
        serving, *background = reversed(self._tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.shield(serving)
        await _end({serving, *background})
        if self._grpc is not None:
            await self._grpc.stop()
        await self._stop_metrics()
        if self._siblings is not None:
            await self._siblings.stop()
        if self.gateway.tracing is not None:
            await self.gateway.tracing.close()

    async def _finished(self) -> None:
        """Until the listeners have served their last requests."""
        closing = [asyncio.shield(self._tasks[-1])]
        if self._grpc is not None:
            closing.append(asyncio.ensure_future(self._grpc.finish()))
        await asyncio.gather(*closing)

    def _rest_listener(self) -> Listener:
        settings = self.settings
        return Listener(
            settings.max_connections,
            settings.max_connections_per_client,
            settings.header_timeout_seconds,
            settings.keep_alive_seconds,
            settings.slow_client_seconds,
            self.gateway.metrics.count_refusal,
        )

    def _http_config(self, listener: Listener) -> uvicorn.Config:
        return uvicorn.Config(
            self.gateway.asgi,
            http=connections_of(listener),
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )

    async def _start_grpc(self) -> None:
        host, port = self.settings.host, self.settings.grpc_port
        if port is None:
            return
        self._grpc = GrpcServer(self.gateway, shared=self._listener is not None)
        try:
            self.grpc_port = await self._grpc.start(host, port)
        except OSError as error:
            raise StartError(f"cannot serve gRPC on {host}:{port}: {error.strerror}") from error

    async def _stop_metrics(self) -> None:
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.shutdown)

    def _start_metrics(self) -> None:
        host, port = self.settings.host, self.settings.metrics_port
        if port is None:
            return
        try:
            registry = self.gateway.metrics.registry
            self._metrics_server, _ = start_http_server(port, host, registry)
            shown = with_head(make_wsgi_app(registry))
            self._metrics_server.set_app(with_hosts(shown, self.gateway.hosts.accept))
        except OSError as error:
            raise StartError(
                f"cannot serve metrics on {host}:{port}: {os.strerror(error.errno or 0)}"
            ) from error


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel until all have ended. A library that answers in the same moment may keep one
    cancellation to itself, and the gateway must not stay for that."""
    running = tasks
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_UNHEARD_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


def _check_exposure(settings: GatewaySettings) -> None:
    """Without keys, only this machine may ask."""
    if settings.keys is None and not is_loopback(settings.host):
        raise StartError(
            f"cannot listen on {settings.host} without a key file: anybody could use it. "
            "Set keys, or listen on 127.0.0.1"
        )


def _listen(host: str, port: int, bound: socket.socket | None) -> socket.socket:
    """A socket that listens: a new one, or the bound one that was inherited."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if bound is None:
            bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        else:
            bound.listen(_BACKLOG)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
        ) from error
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        # Connections inherit it.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return bound


def run(
    settings: GatewaySettings,
    listener: socket.socket | None = None,
    on_ready: Callable[[], None] | None = None,
    siblings: Siblings | None = None,
) -> int:
    """Serve until told to stop; returns the exit code. ``on_ready`` is called once it can serve.

    0: drained after SIGTERM or SIGINT (a second signal cuts what still runs). 2: it could not
    start (busy port, unusable settings).
    """
    configure_logging(settings)
    give_back_large_blocks()
    try:
        uvloop.run(_serve(GatewayServer(settings, listener, siblings), on_ready))
    except StartError as error:
        print(f"error: the gateway {error}", file=sys.stderr)  # noqa: T201 - the operator's one line
        return 2
    return 0


async def _serve(server: GatewayServer, on_ready: Callable[[], None] | None) -> None:
    await server.start()
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _received, server, told)
    _log.info("listening on %s:%d", server.settings.host, server.port)
    _spare_the_collector()
    _spare_the_loop(loop)
    telling = asyncio.create_task(_tell_ready(server.gateway.pool, on_ready))
    try:
        await told.wait()
        telling.cancel()
        _log.info("draining")
        await server.drain()
    finally:
        await server.stop()


def _spare_the_collector() -> None:
    """Look for cycles seldom, and never among what was loaded at the start.

    A look at everything stops the loop for some tenths of a second, and requests leave no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def _spare_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Let large bodies be read one after the other, and the loop go first.

    Each thread that computes in Python holds the interpreter for a switch interval before the loop
    gets it back: with six of them, every turn of the loop came thirty milliseconds late.
    """
    loop.set_default_executor(ThreadPoolExecutor(_READERS, "avikam-reader"))
    sys.setswitchinterval(_SWITCH_SECONDS)


async def _tell_ready(pool: Pool, on_ready: Callable[[], None] | None) -> None:
    while not pool.ready:
        await pool.wait_for_change(0.25)
    if on_ready is not None:
        on_ready()


def _received(server: GatewayServer, told: asyncio.Event) -> None:
    """The first signal begins the drain; every further one hurries it."""
    if told.is_set():
        server.gateway.drain.signal()
    told.set()
