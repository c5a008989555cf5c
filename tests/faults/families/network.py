"""F18-F22, F26: the network between the gateway and one of four workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from tests.faults.chaos_proxy import Toxics
from tests.faults.cluster import Layout
from tests.faults.drill import Drill, Stage, Z


async def blackhole(stage: Stage) -> None:
    """Nothing passes in either direction for ten seconds."""
    stage.cluster.proxies[0].blackhole()
    await stage.sleep(10)
    stage.cluster.proxies[0].heal()


async def one_way(stage: Stage) -> None:
    """What the worker says does not arrive; what it is told does."""
    stage.cluster.proxies[0].blackhole(up=False)
    await stage.sleep(10)
    stage.cluster.proxies[0].heal()


async def half_open(stage: Stage) -> None:
    """The old connection is dead without a word; new ones work."""
    proxy = stage.cluster.proxies[0]
    gateway = stage.cluster.gateway.usage()
    before = gateway.num_fds() - stage.load.in_flight
    proxy.blackhole()
    await stage.sleep(5)
    proxy.reset()
    proxy.heal()
    await stage.sleep(4)
    await stage.cluster.all_ready()
    await stage.load.stop()
    await asyncio.sleep(1)
    stage.figures["descriptors_more"] = max(gateway.num_fds() - before, 0)


async def reset(stage: Stage) -> None:
    """RST, five times, one second apart, in the middle of whatever is on its way."""
    proxy = stage.cluster.proxies[0]
    proxy.down.slice_bytes = 7
    for _ in range(5):
        proxy.reset()
        await stage.sleep(1)
    proxy.heal()


async def lossy(stage: Stage) -> None:
    """200 ms ± 100 each way, and a fifth of the segments again 200 ms later."""
    proxy = stage.cluster.proxies[0]
    proxy.up = proxy.down = Toxics(latency=0.2, jitter=0.1, loss=0.2)
    await stage.sleep(8)
    proxy.heal()
    charged = await stage.cluster.metric("avikam_gateway_charged_retries_total")
    stage.figures["charged_retries"] = charged


async def flapping(stage: Stage) -> None:
    """Two seconds gone, two seconds there, four times."""
    proxy = stage.cluster.proxies[0]
    began = time.monotonic()
    for _ in range(4):
        proxy.blackhole()
        await asyncio.sleep(2)
        proxy.heal()
        await asyncio.sleep(2)
    opened = await stage.cluster.metric(
        "avikam_gateway_breaker_transitions_total", breaker=proxy.address, to="open"
    )
    stage.figures["flaps_in_5_seconds"] = 5 * opened / (time.monotonic() - began)


def drills() -> Iterator[Drill]:
    """This family's lines."""
    proxied = Layout(proxied=1)
    gap = {**Z, "gap_p99_s": 4.0}
    yield Drill("F18", "blackhole to one worker for 10 s", gap, blackhole, proxied)
    yield Drill("F19", "one worker's answers vanish for 10 s", gap, one_way, proxied)
    yield Drill(
        "F20",
        "half-open connection to one worker",
        {**gap, "descriptors_more": 2},
        half_open,
        proxied,
        after=0,
    )
    yield Drill("F21", "RST in mid-frame, five times", Z, reset, proxied, after=3, quick=True)
    yield Drill(
        "F22",
        "20 % of segments sent again, 200 ms ± 100 each way",
        {**Z, "charged_retries": 10},
        lossy,
        proxied,
        after=3,
    )
    yield Drill(
        "F26",
        "link to one worker flaps, 2 s gone and 2 s there",
        {**Z, "flaps_in_5_seconds": 1},
        flapping,
        proxied,
        after=3,
    )
