"""The listener of the public gRPC API: its services, its health, its end."""

from __future__ import annotations

import asyncio
import socket
import time

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from avikam.gateway.app import Gateway
from avikam.gateway.doors.grpc.interceptor import Interceptor
from avikam.gateway.doors.grpc.reflection import add_reflection
from avikam.gateway.doors.grpc.service import InferenceService
from avikam.protocol.limits import LIMITS
from avikam.v1 import inference_pb2, inference_pb2_grpc

INFERENCE_SERVICE = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
_HEALTH_SECONDS = 0.25
_PAUSE_SECONDS = 0.05
# A grace that is longer than any request; who waits decides when to cut.
_FOREVER = 24 * 3600.0

_OPTIONS = (
    ("grpc.max_receive_message_length", LIMITS.grpc_request_bytes),
    # Messages come as they are, as bodies do over HTTP: a compressed one would be a thousand times
    # its size before anybody could count it. UNIMPLEMENTED says so, and what is understood.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # A connection that says nothing is not one.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_send_message_length", LIMITS.grpc_message_bytes),
    ("grpc.max_metadata_size", LIMITS.header_bytes),
    # A client that is gone without a word is noticed, so that its sequences end.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A client that pings every second keeps its channel, also while it has no call.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
)


class GrpcServer:
    """InferenceService, grpc.health.v1 and reflection on one port.

    A second gateway on the same port is to fail, unless they are meant to share it.
    """

    def __init__(self, gateway: Gateway, shared: bool = False) -> None:
        settings = gateway.settings
        self._shared = shared
        self._door = Interceptor(
            gateway.gatekeeper,
            gateway.metrics,
            time.monotonic,
            gateway.room,
            settings,
            lambda: gateway.catalog.longest_context,
            gateway.tracing,
        )
        self._gateway = gateway
        self._server = aio.server(
            interceptors=[self._door],
            options=(
                *_OPTIONS,
                ("grpc.so_reuseport", int(shared)),
                ("grpc.max_allowed_incoming_connections", settings.max_connections),
            ),
            maximum_concurrent_rpcs=settings.max_requests,
        )
        self._health = health_aio.HealthServicer()
        service = InferenceService(gateway)
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_reflection((inference_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR), self._server)
        self._following: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises OSError."""
        _try_to_bind(host, port, self._shared)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            taken = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(0, "the port could not be taken") from error
        await self._tell()
        await self._server.start()
        self._following = asyncio.create_task(self._follow())
        return taken

    async def finish(self) -> None:
        """Take no new calls; return when the last of the API has ended.

        Those who watch health or talk to reflection would stay for ever and are not waited for.
        """
        farewell = asyncio.create_task(self._server.stop(_FOREVER))
        try:
            await asyncio.sleep(_PAUSE_SECONDS)
            while self._door.busy:  # noqa: ASYNC110 - calls end rarely, and this only at the end
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            farewell.cancel()

    async def stop(self) -> None:
        """End everything now."""
        if self._following is not None:
            self._following.cancel()
        await self._server.stop(None)

    async def _follow(self) -> None:
        while True:
            await self._gateway.pool.wait_for_change(_HEALTH_SECONDS)
            await self._tell()

    async def _tell(self) -> None:
        """Health is what /readyz says."""
        ready = bool(self._gateway.pool.ready) and not self._gateway.drain.started
        answer = health_pb2.HealthCheckResponse
        for name in ("", INFERENCE_SERVICE):
            await self._health.set(name, answer.SERVING if ready else answer.NOT_SERVING)


def _try_to_bind(host: str, port: int, shared: bool) -> None:
    """Raise the operating system's own words, before gRPC says it in its own many lines.

    It does not listen: a client that came to this socket would be turned away with it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        attempt.bind((host, port))
