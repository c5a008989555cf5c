"""A gateway and workers as processes of their own, that send their spans to a collector."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.faults.processes import GatewayService, Service, WorkerService
from tests.worker.harness import LOOPBACK, PATIENCE, free_port

# Spans leave after this many milliseconds instead of five seconds.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
NEVER = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}


@dataclass(frozen=True, slots=True)
class TracedCluster:
    """The processes, and a client of the gateway."""

    gateway: GatewayService
    workers: tuple[WorkerService, ...]
    client: httpx.AsyncClient
    grpc_address: str

    async def post(self, path: str, headers: Mapping[str, str], **body: Any) -> httpx.Response:
        """POST of a JSON object."""
        return await self.client.post(path, json=body, headers=dict(headers))


@contextlib.asynccontextmanager
async def traced_cluster(
    folder: Path,
    endpoint: str,
    *plans: str,
    gateway: Mapping[str, object] | None = None,
    environ: Mapping[str, str] = SOON,
) -> AsyncIterator[TracedCluster]:
    """A gateway before one worker for each of ``plans``, all of them ready."""
    flags = {"tracing_endpoint": endpoint}
    workers = tuple(
        WorkerService(number, folder, {"plan": plan, **flags}, environ=environ)
        for number, plan in enumerate(plans)
    )
    grpc_port = free_port()
    options = {"grpc_port": grpc_port, "drain_notice_seconds": 0, **flags, **(gateway or {})}
    door = GatewayService(0, folder, [w.address for w in workers], options, environ=environ)
    services: tuple[Service, ...] = (*workers, door)
    try:
        for service in services:
            await service.start()
        for worker in workers:
            await worker.ready()
        async with httpx.AsyncClient(base_url=door.url, trust_env=False, timeout=60) as client:
            await _ready(client, len(workers))
            yield TracedCluster(door, workers, client, f"{LOOPBACK}:{grpc_port}")
    finally:
        for service in services:
            await service.end()


async def stopped(service: Service) -> int:
    """Tell a service to stop, and wait; its exit status."""
    service.send(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        return await service.ended()


async def _ready(client: httpx.AsyncClient, workers: int) -> None:
    """Wait until the gateway would send sequences to every worker."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/readyz")).json().get("workers_ready") == workers:
                    return
            await asyncio.sleep(0.05)
