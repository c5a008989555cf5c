"""A real cluster on this machine: gateways, proxies where asked for, workers; one process each.

gateway-0 ─┬─► (proxy) ─► worker-0
gateway-1 ─┘   (proxy) ─► worker-1 ...
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx

from avikam.v1 import worker_pb2, worker_pb2_grpc
from tests.engine.kv.redis_server import RedisServer
from tests.faults.chaos_proxy import ChaosProxy
from tests.faults.processes import START_SECONDS, GatewayService, WorkerService

PACE = "ttft=20ms,tpot=20ms"
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a cluster consists of. ``plans`` are the fake engines' scripts, by worker."""

    workers: int = 4
    gateways: int = 1
    plan: str = PACE
    plans: Mapping[int, str] = field(default_factory=dict)
    worker: Mapping[str, object] = field(default_factory=dict)
    gateway: Mapping[str, object] = field(default_factory=dict)
    # How many workers have a proxy before them. All proxies share the harness's own process: where
    # that gets too little of the machine, those links are late, and the others are not.
    proxied: int = 0
    # A Redis, and a proxy before it: "{redis}" and "{redis_proxy}" in flags are their URLs.
    redis: bool = False
    absent: Sequence[str] = ()
    launcher: Sequence[str] = ("-m", "avikam")
    environ: Mapping[str, str] = field(default_factory=dict)


class LocalCluster:
    """The running cluster; what it consists of may be killed and started again at will."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        self.layout = layout
        self.folder = folder
        self.proxies: list[ChaosProxy] = []
        self.workers: list[WorkerService] = []
        self.gateways: list[GatewayService] = []
        self._http = httpx.AsyncClient(trust_env=False, timeout=10)
        self._redis: RedisServer | None = None
        self._redis_proxy: ChaosProxy | None = None
        # In-process servers that a drill put before a worker.
        self.servers: list[grpc.aio.Server] = []

    @property
    def redis(self) -> RedisServer:
        """The Redis of the layout."""
        if self._redis is None:
            raise RuntimeError("the layout has no Redis")
        return self._redis

    @property
    def redis_proxy(self) -> ChaosProxy:
        """The proxy before it."""
        if self._redis_proxy is None:
            raise RuntimeError("the layout has no Redis")
        return self._redis_proxy

    def _filled(self, flags: Mapping[str, object]) -> dict[str, object]:
        """Flags with the addresses that are known by now."""
        if self._redis is None:
            return dict(flags)
        urls = {
            "{redis}": self._redis.url,
            "{redis_proxy}": f"redis://{self.redis_proxy.address}/0",
        }
        return {key: urls.get(str(value), value) for key, value in flags.items()}

    def _worker(self, number: int) -> WorkerService:
        layout = self.layout
        plan = layout.plans.get(number, layout.plan)
        flags = {"plan": plan, **self._filled(layout.worker)}
        return WorkerService(number, self.folder, flags, layout.launcher, layout.environ)

    def _gateway(self, number: int, addresses: Sequence[str]) -> GatewayService:
        return GatewayService(
            number,
            self.folder,
            addresses,
            self._filled(self.layout.gateway),
            self.layout.launcher,
            self.layout.environ,
        )

    @property
    def gateway(self) -> GatewayService:
        """The first gateway."""
        return self.gateways[0]

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Everything, until all workers are ready for all gateways."""
        if self.layout.redis:
            await self._start_redis(stack)
        self.workers = [self._worker(number) for number in range(self.layout.workers)]
        addresses = [worker.address for worker in self.workers]
        for number in range(min(self.layout.proxied, len(addresses))):
            proxy = await stack.enter_async_context(ChaosProxy(addresses[number]))
            self.proxies.append(proxy)
            addresses[number] = proxy.address
        addresses = [*self.layout.absent, *addresses]
        self.gateways = [self._gateway(n, addresses) for n in range(self.layout.gateways)]
        services = [*self.workers, *self.gateways]
        await asyncio.gather(*(service.start() for service in services))
        await asyncio.gather(*(worker.ready() for worker in self.workers))
        await self.all_ready()

    async def _start_redis(self, stack: contextlib.AsyncExitStack) -> None:
        self._redis = RedisServer(self.folder)
        stack.callback(self._redis.kill)
        target = self._redis.url.removeprefix("redis://").removesuffix("/0")
        self._redis_proxy = await stack.enter_async_context(ChaosProxy(target))

    async def all_ready(self, count: int | None = None) -> None:
        """Until every gateway sees so many ready workers; by default all."""
        wanted = len(self.workers) if count is None else count
        async with asyncio.timeout(START_SECONDS):
            while await self.ready_workers() < wanted:
                await asyncio.sleep(0.05)

    async def ready_workers(self) -> int:
        """Ready workers, as the least informed gateway counts them."""
        living = [gateway for gateway in self.gateways if gateway.alive]
        return min([await self._ready_at(gateway) for gateway in living], default=0)

    async def _ready_at(self, gateway: GatewayService) -> int:
        try:
            reply = await self._http.get(f"{gateway.url}/readyz")
        except httpx.HTTPError:
            return 0
        return int(reply.json().get("workers_ready", 0))

    async def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Wait for a condition; whether it came to hold."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    async def restart(self, number: int) -> None:
        """Start a worker that has ended, and wait until it serves."""
        await self.workers[number].ended()
        await self.workers[number].start()
        await self.workers[number].ready()

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of a gateway metric's samples that have these labels, over all gateways."""
        living = [gateway for gateway in self.gateways if gateway.alive]
        return sum([await self._samples(gateway, name, labels) for gateway in living])

    async def _samples(
        self, gateway: GatewayService, name: str, labels: Mapping[str, str]
    ) -> float:
        page = (await self._http.get(f"{gateway.url}/metrics")).text
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        total = 0.0
        for line in page.splitlines():
            match = _SAMPLE.match(line)
            if match and match[1] == name and wanted <= set((match[2] or "").split(",")):
                total += float(match[3])
        return total

    async def slots_used(self) -> int:
        """Sequences that live workers still have, waiting ones included."""
        living = [worker for worker in self.workers if worker.alive]
        return sum([await occupied(worker.address) for worker in living])

    async def leaked(self, patience: float = 15.0) -> int:
        """What does not go away when nobody asks any more: slots, and sequences in gateways."""
        left = -1
        try:
            async with asyncio.timeout(patience):
                while left:
                    left = await self._held()
                    await asyncio.sleep(0.1)
        except (TimeoutError, httpx.HTTPError, grpc.aio.AioRpcError):
            return max(left, 1)
        return 0

    async def _held(self) -> int:
        names = ("avikam_gateway_sequences_running", "avikam_gateway_queue_depth")
        held = [await self.metric(name) for name in names]
        return int(sum(held)) + await self.slots_used()

    async def stop(self) -> None:
        """End every process."""
        await self._http.aclose()
        await asyncio.gather(*(server.stop(None) for server in self.servers))
        await asyncio.gather(*(service.end() for service in [*self.workers, *self.gateways]))


@contextlib.asynccontextmanager
async def running(layout: Layout) -> AsyncIterator[LocalCluster]:
    """A cluster that is ready; nothing of it outlives the block."""
    with tempfile.TemporaryDirectory(prefix="avikam-faults-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            cluster = LocalCluster(layout, Path(folder))
            stack.push_async_callback(cluster.stop)
            await cluster.start(stack)
            yield cluster


async def occupied(address: str) -> int:
    """Sequences a worker has, running and waiting."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = worker_pb2_grpc.WorkerServiceStub(channel).WatchStatus(
            worker_pb2.WatchStatusRequest(), timeout=5
        )
        status = await call.read()
        call.cancel()
    if not isinstance(status, worker_pb2.WorkerStatus):
        return 1
    return int(status.slots_used + status.waiting)
