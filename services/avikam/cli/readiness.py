"""Waiting for services that are starting: polled often, because a start takes seconds at most."""

from __future__ import annotations

import asyncio
import http.client
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from avikam.gateway.workers.channel import OpenChannel

POLL_SECONDS = 0.05


async def worker_answers(address: str, connect: OpenChannel, *, ready: bool) -> None:
    """Return once a worker's port is open, or once its model is ready to generate."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with connect(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        while True:
            try:
                answer = await check(health_pb2.HealthCheckRequest(), timeout=1.0)
            except grpc.aio.AioRpcError:
                pass
            else:
                if not ready or answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(POLL_SECONDS)


def http_status(url: str, path: str, timeout: float = 1.0) -> int | None:
    """Status of a GET, or None when nothing answers there."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
