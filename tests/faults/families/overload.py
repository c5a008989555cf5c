"""F40-F42: more than the cluster can do. The clients wait five seconds and no longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

from tests.faults.cluster import Layout
from tests.faults.drill import Drill, Stage, percentile
from tests.faults.streams import Answer, End

# 4 workers of 4 slots; an answer of 10 tokens takes 0.5 s of a slot: 32 a second at most.
_SLOTS = {"slots": 4, "queue_requests": 4}
_PLAN = "ttft=50ms,tpot=50ms"
_CAPACITY = 32.0
_PATIENCE_MS = {"x-request-timeout-ms": "5000"}


async def herd(stage: Stage) -> None:
    """All workers have just restarted; 300 clients at once."""
    for number, worker in enumerate(stage.cluster.workers):
        worker.kill()
        await stage.cluster.restart(number)
    await stage.cluster.all_ready()
    # Their deaths opened breakers; it is the herd that must open none.
    ejected = await _ejections(stage)
    began = time.monotonic()
    stage.load.burst(300)
    await stage.sleep(5)
    burst = [answer for answer in stage.load.answers if answer.due >= began]
    whole = sum(answer.end is End.WHOLE for answer in burst)
    stage.figures["missing_in_5_seconds_share"] = 1 - whole / len(burst)
    stage.figures["ejections"] = await _ejections(stage) - ejected


async def _ejections(stage: Stage) -> float:
    return await stage.cluster.metric("avikam_gateway_breaker_transitions_total", to="open")


async def overload(stage: Stage) -> None:
    """Ten times what it can do for 60 s, then 0.8 times."""
    await _overload(stage, seconds=60, calm=0.8)


async def overload_and_death(stage: Stage) -> None:
    """The same for 30 s, and one of four workers dies in the middle."""

    async def die() -> None:
        await stage.sleep(15)
        stage.cluster.workers[0].kill()

    dying = asyncio.create_task(die())
    await _overload(stage, seconds=30, calm=0.6)
    await dying


async def _overload(stage: Stage, seconds: float, calm: float) -> None:
    """Goodput is answers a second that came whole within the clients' patience."""
    load, rss = stage.load, stage.cluster.gateway.usage().memory_info
    load.rate = 1.2 * _CAPACITY
    await stage.sleep(8)
    peak = _goodput(stage.load.answers, time.monotonic() - 5 * stage.pace)
    memory = rss().rss
    began = time.monotonic()
    load.rate = 10 * _CAPACITY
    await stage.sleep(seconds)
    under = _goodput(load.answers, began + 2 * stage.pace)
    refused = [a for a in stage.answers(since=began) if a.end is End.REFUSED]
    times = [answer.ended - answer.due for answer in refused]
    load.rate = calm * _CAPACITY
    over = time.monotonic()
    await stage.sleep(8)
    later = [a for a in stage.answers(since=over + 5 * stage.pace) if a.ended]
    bad = sum(a.end is not End.WHOLE for a in later)
    stage.figures |= {
        "goodput_peak": peak,
        "goodput_10x": under,
        "goodput_lost_share": max(0.0, 1 - under / peak),
        "reject_p50_s": percentile(times, 50),
        "reject_p99_s": percentile(times, 99),
        "rejected": len(refused),
        "rss_more_share": rss().rss / memory - 1,
        "not_whole_after_5_s_share": bad / max(len(later), 1),
    }


def _goodput(answers: Sequence[Answer], since: float) -> float:
    whole = [a for a in answers if a.end is End.WHOLE and a.ended >= since]
    return len(whole) / (time.monotonic() - since)


def drills() -> Iterator[Drill]:
    """This family's lines."""
    exact = {"cut": 0, "lost": 0, "duplicated": 0, "leaked": 0}
    busy = Layout(plan=_PLAN, worker=_SLOTS, gateway={"queue_requests": 32})
    promised = {
        **exact,
        "goodput_lost_share": 0.05,
        "reject_p99_s": 0.05,
        "rss_more_share": 0.1,
        "not_whole_after_5_s_share": 0.01,
    }
    yield Drill(
        "F40",
        "thundering herd: 300 clients at once after all workers restarted",
        {**exact, "missing_in_5_seconds_share": 0.2, "ejections": 0},
        herd,
        Layout(),
        tokens=20,
        before=1,
        after=1,
    )
    yield Drill(
        "F41",
        "10x overload for 60 s",
        promised,
        overload,
        busy,
        rate=_CAPACITY / 2,
        tokens=10,
        before=1,
        after=1,
        load={"headers": _PATIENCE_MS},
    )
    yield Drill(
        "F42",
        "10x overload for 30 s and the death of one of four",
        {**promised, "goodput_lost_share": 0.1 + 0.25 / 2},
        overload_and_death,
        busy,
        rate=_CAPACITY / 2,
        tokens=10,
        before=1,
        after=1,
        load={"headers": _PATIENCE_MS},
    )
