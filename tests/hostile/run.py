"""A gateway and a worker under attack: the gateway's memory, and what an innocent tenant feels."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from avikam.engine import fake_text
from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from tests.faults.cluster import Layout, LocalCluster, running
from tests.hostile.attack import Outcomes
from tests.worker.harness import LOOPBACK, free_port

ROOT = Path(__file__).parents[2]
PACE = "ttft=5ms,tpot=10ms"
_TOKENS = 8
_PAUSE = 0.05


@dataclass(slots=True)
class Innocent:
    """What a tenant saw that only asks small things: seconds of each answer, and what was wrong."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Milliseconds below which this share of the answers came."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


@dataclass(slots=True)
class Figures:
    """One run. Memory is the gateway's resident set, MiB."""

    before: float
    peak: float
    after: float
    worker_peak: float
    alone: Innocent
    under_attack: Innocent
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class Stage:
    """A cluster, and keys of two tenants."""

    cluster: LocalCluster
    grpc_port: int
    hostile: str
    innocent: str


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """One gateway with its defaults, one worker of the fake engine."""
    secrets = {name: new_secret(name) for name in ("hostile", "innocent")}
    keys = [Key(id=n, sha256=digest(s), tenant=n) for n, s in secrets.items()]
    write_keys(folder / "keys.yaml", keys)
    grpc_port = free_port()
    # The attackers take the cores that the worker's heart needs: its silence is no finding here.
    flags = {"keys": folder / "keys.yaml", "grpc_port": grpc_port, "heartbeat_seconds": 60}
    layout = Layout(workers=1, plan=PACE, gateway=flags, worker={"slots": 32})
    async with running(layout) as cluster:
        yield Stage(cluster, grpc_port, secrets["hostile"], secrets["innocent"])


async def measure(
    stage: Stage, *, seconds: float, clients: int, names: Sequence[str] = (), alone: float = 3.0
) -> Figures:
    """Ask small things alone, then while hostile clients do their worst."""
    gateway, worker = stage.cluster.gateway, stage.cluster.workers[0]
    quiet = await _innocent(stage, alone)
    before = _mib(gateway.usage())
    watch = _Watch(gateway.usage(), worker.usage())
    watching = asyncio.create_task(watch.run())
    attackers = await _attackers(stage, seconds, clients, names)
    await attackers.stdout.readline()  # type: ignore[union-attr]
    reading = asyncio.create_task(attackers.stdout.read())  # type: ignore[union-attr]
    loud = await _innocent(stage, seconds)
    outcomes = json.loads((await reading).splitlines()[-1])
    await attackers.wait()
    await asyncio.sleep(1.0)
    watching.cancel()
    after = _mib(gateway.usage())
    return Figures(before, watch.gateway_peak, after, watch.worker_peak, quiet, loud, outcomes)


async def _attackers(
    stage: Stage, seconds: float, clients: int, names: Sequence[str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        # Elsewhere they would have cores of their own: here they get what the others leave.
        *("nice", "-n", "19", sys.executable, "-m", "tests.hostile.attack", LOOPBACK),
        *(str(stage.cluster.gateway.port), str(stage.grpc_port), stage.hostile),
        *(str(seconds), str(clients), *names),
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
        cwd=ROOT,
    )


async def _innocent(stage: Stage, seconds: float) -> Innocent:
    """One small question after the other, for so long."""
    seen = Innocent()
    until, seed = time.monotonic() + seconds, 0
    headers = {"authorization": f"Bearer {stage.innocent}"}
    url = f"{stage.cluster.gateway.url}/generate"
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as client:
        while time.monotonic() < until:
            seed += 1
            body = {"prompt": "Bonjour", "max_tokens": _TOKENS, "seed": seed}
            expected = fake_text.decode(fake_text.answer(seed, 0, _TOKENS))
            began = time.monotonic()
            try:
                reply = await client.post(url, json=body)
            except httpx.HTTPError as error:
                seen.wrong.append(type(error).__name__)
            else:
                if reply.status_code != 200 or reply.json()["text"] != expected:
                    seen.wrong.append(f"{reply.status_code} {reply.text[:200]}")
            seen.seconds.append(time.monotonic() - began)
            await asyncio.sleep(_PAUSE)
    return seen


class _Watch:
    """The most that gateway and worker took, MiB."""

    def __init__(self, gateway: psutil.Process, worker: psutil.Process) -> None:
        self._gateway, self._worker = gateway, worker
        self.gateway_peak = self.worker_peak = 0.0

    async def run(self) -> None:
        while True:
            self.gateway_peak = max(self.gateway_peak, _mib(self._gateway))
            self.worker_peak = max(self.worker_peak, _mib(self._worker))
            await asyncio.sleep(0.02)


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20
