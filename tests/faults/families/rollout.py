"""F44-F49: restarts on purpose, twins, stale lists, and versions that differ."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator

from tests.faults.cluster import Layout
from tests.faults.drill import Drill, Stage, Z
from tests.faults.processes import WorkerService
from tests.faults.streams import End
from tests.worker.harness import LOOPBACK


async def rolling_restart(stage: Stage) -> None:
    """SIGTERM to each worker in turn; the next when the last is ready again."""
    for number, worker in enumerate(stage.cluster.workers):
        worker.send(signal.SIGTERM)
        await stage.cluster.restart(number)
        await stage.cluster.all_ready()


async def gateway_drained(stage: Stage) -> None:
    """SIGTERM to one of two gateways; clients that find it closed go to the other."""
    gateway = stage.cluster.gateways[0]
    gateway.send(signal.SIGTERM)
    stage.figures["exit_code"] = abs(await gateway.ended())


async def gateway_killed(stage: Stage) -> None:
    """SIGKILL of one of two gateways: its workers must notice."""
    stage.cluster.gateways[0].kill()
    killed = time.monotonic()
    stage.load.urls = [stage.cluster.gateways[1].url]
    await stage.load.stop()
    cut = [a.end in (End.CUT, End.FAILED) for a in stage.load.answers]
    stage.figures["broken_streams"] = sum(cut)
    while await stage.cluster.slots_used():
        await asyncio.sleep(0.05)
    stage.figures["freed_s"] = time.monotonic() - max(
        [killed, *(a.ended for a in stage.load.answers if a.end is End.WHOLE)]
    )


async def twins(stage: Stage) -> None:
    """A second process wants a worker's port; then that worker dies and another takes its place."""
    cluster = stage.cluster
    twin = WorkerService(9, cluster.folder, {"plan": cluster.layout.plan, "worker_id": "twin"})
    twin.flags["port"] = cluster.workers[0].port
    await twin.start()
    stage.figures["twins_that_started"] = int(await twin.ended() == 0)
    cluster.workers[0].kill()
    await cluster.workers[0].ended()
    await twin.start()
    await cluster.all_ready()
    await stage.sleep(3)
    await twin.end()


async def stale_list(stage: Stage) -> None:
    """Two of the listed workers are not there, and never were; one more dies."""
    await stage.sleep(3)
    stage.cluster.workers[0].kill()


def drills() -> Iterator[Drill]:
    """This family's lines."""
    two = Layout(gateways=2)
    yield Drill(
        "F44",
        "rolling restart of all workers",
        {**Z, "refused": 0, "ttft_ratio": 2.0},
        rolling_restart,
        Layout(),
        after=2,
    )
    yield Drill(
        "F45",
        "one of two gateways drained under live streams",
        {**Z, "exit_code": 0},
        gateway_drained,
        two,
        after=2,
    )
    yield Drill(
        "F46",
        "one of two gateways SIGKILLed: its clients are cut, its workers are freed",
        {"lost": 0, "duplicated": 0, "leaked": 0, "freed_s": 3.0},
        gateway_killed,
        two,
        after=0,
    )
    yield Drill(
        "F47",
        "a twin wants a worker's port, then takes a dead one's address",
        {**Z, "twins_that_started": 0},
        twins,
        Layout(worker={"worker_id": "twin"}),
        after=2,
    )
    yield Drill(
        "F48",
        "a stale list: two absent workers, a third dies",
        Z,
        stale_list,
        Layout(workers=3, absent=(f"{LOOPBACK}:1", f"{LOOPBACK}:2")),
        after=3,
    )
