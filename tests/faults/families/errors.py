"""F13-F17, F25: workers that are slow, fail some requests, or number their frames wrongly."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterator

from avikam.gateway.resilience.breaker import POOL_RULES, Breaker, State
from tests.faults.cluster import PACE, Layout
from tests.faults.drill import Drill, Stage, Z, percentile

# The load asks with this word from the moment of the fault on; plans know it.
_WORD = "GREY"


async def starved(stage: Stage) -> None:
    """One worker runs a tenth of the time only."""
    worker = stage.cluster.workers[0]
    until = time.monotonic() + 8 * stage.pace
    while time.monotonic() < until:
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(0.09)
        worker.send(signal.SIGCONT)
        await asyncio.sleep(0.01)
    stage.struck_until = time.monotonic()


async def one_grey(stage: Stage) -> None:
    """One worker answers UNAVAILABLE to 30 % of its sequences."""
    stage.load.prompt = _WORD
    address = stage.cluster.workers[0].address
    stage.figures["open_s"] = await _until_open(stage, address, 20)
    await stage.sleep(4)


async def all_failing(stage: Stage) -> None:
    """Every worker fails 30 % of its sequences; the gateway is told to try nothing again.

    From the first request on: after calm seconds a fifth of the window's ten takes longer to fill,
    up to two thirds of it, by the rule's own arithmetic.
    """
    stage.load.prompt = _WORD
    wait = await _until_open(stage, "pool", 20)
    opened = time.monotonic()
    stage.figures["stayed_closed"] = int(wait == float("inf"))
    since = stage.answers(since=stage.struck_at, until=opened)
    # From the outcome that made the breaker's minimum complete, fault or not.
    fiftieth = sorted(answer.ended for answer in since if answer.ended)[49:50]
    stage.figures["opened_s"] = opened - max([stage.struck_at, *fiftieth])
    await stage.sleep(3)
    closed = [a for a in stage.answers(since=opened) if a.code == "circuit_open"]
    stage.figures["reject_p99_s"] = percentile([a.ended - a.due for a in closed], 99)
    stage.figures["rejected"] = len(closed)


async def _until_open(stage: Stage, breaker: str, seconds: float) -> float:
    """Seconds until the breaker opened; infinite when it did not."""
    began = time.monotonic()
    name = "avikam_gateway_breaker_transitions_total"
    while time.monotonic() < began + seconds:
        if await stage.cluster.metric(name, breaker=breaker, to="open"):
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    return float("inf")


class _Clock:
    """Time of the state machine drills."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def boundary(stage: Stage) -> None:
    """The pool breaker alone: 100 evenly spread outcomes a second for 10 minutes."""
    stage.figures["opens_at_19_percent"] = _opens(19)
    stage.figures["closed_at_21_percent"] = int(_opens(21) == 0)


def _opens(percent: int) -> int:
    """How often the breaker opened; the first time ends the run."""
    clock = _Clock()
    breaker = Breaker(POOL_RULES, clock, random.Random(1))
    for number in range(60_000):
        clock.now = number / 100
        ticket = breaker.enter()
        if ticket is None:
            return 1
        # The k-th of every hundred fails when k * percent passes the next hundred.
        bad = (number + 1) * percent // 100 > number * percent // 100
        breaker.record(ticket, not bad)
    return 0


async def half_open(stage: Stage) -> None:
    """500 requests at the moment the open time is over, none of which ends soon."""
    clock = _Clock()
    breaker = Breaker(POOL_RULES, clock, random.Random(1))
    breaker.trip()
    while breaker.state is State.OPEN:
        clock.now += 0.01
    stage.figures["probes"] = sum(breaker.enter() is not None for _ in range(500))


async def misnumbered(stage: Stage) -> None:
    """Frames come twice or with an index of the future, on one worker of two."""
    stage.load.prompt = _WORD
    await stage.sleep(6)


def drills() -> Iterator[Drill]:
    """This family's lines."""
    yield Drill(
        "F13",
        "a worker at a tenth of its speed (SIGSTOP 90 % of the time)",
        {**Z, "ttft_ratio": 2.0},
        starved,
        Layout(),
        after=3,
    )
    yield Drill(
        "F14",
        "one worker answers UNAVAILABLE to 30 %",
        {**Z, "open_s": 2.0},
        one_grey,
        Layout(plans={0: f"{PACE},error@0%30~{_WORD},seed=3"}, gateway={"routing": "round_robin"}),
        rate=20,
        tokens=20,
        after=2,
    )
    yield Drill(
        "F15",
        "all workers fail 30 % from the start, and nothing is tried again",
        {
            "cut": 0,
            "lost": 0,
            "duplicated": 0,
            "leaked": 0,
            "stayed_closed": 0,
            "opened_s": 1.0,
            "reject_p99_s": 0.05,
        },
        all_failing,
        Layout(plan=f"ttft=5ms,tpot=5ms,error@0%30~{_WORD}", gateway={"retries": 0}),
        rate=40,
        tokens=5,
        before=0,
        after=1,
    )
    yield Drill(
        "F16",
        "19 % and 21 % errors (the breaker alone, exact)",
        {"opens_at_19_percent": 0, "closed_at_21_percent": 0},
        boundary,
        None,
        quick=True,
    )
    yield Drill(
        "F17",
        "500 requests when the open time ends (the breaker alone)",
        {"probes": 5},
        half_open,
        None,
        quick=True,
    )
    yield Drill(
        "F25",
        "frames twice or from the future, half of all streams",
        Z,
        misnumbered,
        Layout(plans={0: f"{PACE},garble@30%50~{_WORD},repeat@50%50~{_WORD}"}),
        after=2,
        quick=True,
    )
