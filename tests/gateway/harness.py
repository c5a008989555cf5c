"""A gateway for tests: the real one, in this process, in front of real workers.

async with serving(plan="tpot=2ms") as gateway:                  # one worker, in this process
    reply = await gateway.post("/generate", prompt="Bonjour")

async with worker_process(plan="die@17#1") as first, running_worker() as second:
    async with gateway_to(first, second) as gateway:             # workers that may be killed
        stream = await gateway.stream("/generate", prompt="Bonjour")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from avikam.gateway.server import GatewayServer
from avikam.gateway.settings import GatewaySettings
from tests.worker.harness import LOOPBACK, PATIENCE, RunningWorker, eventually, running_worker

PROTOBUF = "application/x-protobuf"


class HasAddress(Protocol):
    """A worker, wherever it runs."""

    @property
    def address(self) -> str: ...


@dataclass(slots=True)
class Stream:
    """A finished event stream: the data of its events, and whether it had its end mark."""

    status: int
    headers: httpx.Headers
    events: list[Any] = field(default_factory=list)
    done: bool = False

    @property
    def text(self) -> str:
        """The pieces of ``/generate``, joined."""
        return "".join(event.get("text", "") for event in self.events)

    def text_of(self, index: int) -> str:
        """The pieces of one of several answers of ``/generate``, joined."""
        return "".join(e["text"] for e in self.events if e.get("index") == index)

    @property
    def finish_reason(self) -> str | None:
        """How ``/generate`` ended; None for a stream that broke off."""
        reasons = [event["finish_reason"] for event in self.events if event.get("finish_reason")]
        return reasons[0] if len(reasons) == 1 else None

    @property
    def error(self) -> dict[str, Any] | None:
        """The error event, if there is one."""
        return next((event["error"] for event in self.events if "error" in event), None)


@dataclass(slots=True)
class RunningGateway:
    """A running gateway and a client that talks to it."""

    server: GatewayServer
    client: httpx.AsyncClient
    workers: tuple[HasAddress, ...] = ()

    @property
    def worker(self) -> RunningWorker:
        """The only worker, which runs in this process."""
        (worker,) = self.workers
        assert isinstance(worker, RunningWorker)
        return worker

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return LOOPBACK, self.server.port

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return await self.client.get(path, **options)

    async def post(self, path: str, **body: Any) -> httpx.Response:
        """POST of a JSON object."""
        return await self.client.post(path, json=body)

    async def send(self, path: str, body: bytes | str, **headers: str) -> httpx.Response:
        """POST of raw bytes; ``content_type="..."`` and such are headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=body, headers=named)

    async def stream(self, path: str = "/generate", **body: Any) -> Stream:
        """POST, and the whole event stream that comes back."""
        async with self.client.stream("POST", path, json={"stream": True, **body}) as response:
            stream = Stream(response.status_code, response.headers)
            async for line in response.aiter_lines():
                if line == "data: [DONE]":
                    stream.done = True
                elif line.startswith("data: "):
                    stream.events.append(json.loads(line.removeprefix("data: ")))
            return stream

    async def text(self, **body: Any) -> str:
        """What ``/generate`` answers."""
        reply = await self.post("/generate", **body)
        assert reply.status_code == 200, reply.text
        text: str = reply.json()["text"]
        return text

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare TCP connection."""
        return await asyncio.open_connection(*self.address)

    async def raw(self, request: bytes) -> bytes:
        """Everything that comes back for some bytes until the gateway closes."""
        reader, writer = await self.connect()
        writer.write(request)
        await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the gateway's own metrics; 0 before the first."""
        registry = self.server.gateway.metrics.registry
        return registry.get_sample_value(f"avikam_gateway_{name}", labels) or 0.0

    async def ready(self, count: int = 1) -> None:
        """Wait until so many workers are ready."""
        await eventually(lambda: len(self.server.gateway.pool.ready) >= count)

    async def idle(self) -> None:
        """Wait until neither the gateway nor its worker has anything to do."""
        admission = self.server.gateway.admission
        await eventually(lambda: not admission.running and not admission.waiting)
        await eventually(lambda: not self.worker.engine.stats().slots_used)


@contextlib.asynccontextmanager
async def gateway_at(*addresses: str, **settings: Any) -> AsyncIterator[RunningGateway]:
    """A gateway for worker addresses, which need not be there. ``settings`` are the gateway's."""
    values: dict[str, Any] = {
        "http_port": 0,
        "workers": addresses,
        "drain_notice_seconds": 0.0,
        "log_level": "warning",
    }
    server = GatewayServer(GatewaySettings(**{**values, **settings}))
    await server.start()
    try:
        async with _client(server) as client:
            yield RunningGateway(server, client)
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def gateway_to(*workers: HasAddress, **settings: Any) -> AsyncIterator[RunningGateway]:
    """A gateway in front of workers that run, all of them ready."""
    async with gateway_at(*(worker.address for worker in workers), **settings) as gateway:
        gateway.workers = workers
        await gateway.ready(len(workers))
        yield gateway


@contextlib.asynccontextmanager
async def serving(
    plan: str = "", worker: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[RunningGateway]:
    """A gateway in front of one worker of this process."""
    async with (
        running_worker(plan=plan, **(worker or {})) as running,
        gateway_to(running, **settings) as gateway,
    ):
        yield gateway


def _client(server: GatewayServer) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
    return httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, limits=limits, trust_env=False)
