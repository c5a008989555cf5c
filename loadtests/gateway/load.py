"""Two ways to load a server: as fast as it answers, or at times of its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtests.gateway.connection import Connection, Reply

Address = tuple[str, int]
MakeRequest = Callable[[], bytes]


@dataclass(slots=True)
class Outcome:
    """What came back. ``lost`` counts connections that broke instead of a reply."""

    replies: list[Reply] = field(default_factory=list)
    lost: int = 0
    seconds: float = 0.0

    def with_status(self, *statuses: int) -> list[Reply]:
        """The replies of some kinds."""
        return [reply for reply in self.replies if reply.status in statuses]


async def closed_loop(
    address: Address, make: MakeRequest, connections: int, seconds: float
) -> Outcome:
    """Every connection sends its next request when it has its reply."""
    outcome = Outcome()
    started = time.monotonic()
    opened = [await Connection.open(*address) for _ in range(connections)]

    async def work(connection: Connection) -> None:
        while time.monotonic() < started + seconds:
            outcome.replies.append(await connection.ask(make()))

    await asyncio.gather(*[work(connection) for connection in opened])
    outcome.seconds = time.monotonic() - started
    for connection in opened:
        connection.close()
    return outcome


async def open_loop(
    address: Address, make: MakeRequest, rate: float, seconds: float, seed: int = 1
) -> Outcome:
    """Poisson arrivals at ``rate`` per second; nobody waits for anybody's reply."""
    outcome = Outcome()
    rng, idle, asked = random.Random(seed), list[Connection](), set[asyncio.Task[None]]()

    async def one() -> None:
        try:
            connection = _alive(idle) or await Connection.open(*address)
            outcome.replies.append(await connection.ask(make()))
            idle.append(connection)
        except OSError:
            outcome.lost += 1

    started = due = time.monotonic()
    while (due := due + rng.expovariate(rate)) < started + seconds:
        if (pause := due - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one())
        asked.add(task)
        task.add_done_callback(asked.discard)
    outcome.seconds = time.monotonic() - started
    await asyncio.gather(*asked)
    for connection in idle:
        connection.close()
    return outcome


def _alive(idle: list[Connection]) -> Connection | None:
    """The connection used last, of those that the server has not closed for idling."""
    while idle:
        connection = idle.pop()
        if connection.alive:
            return connection
    return None


def percentile(values: list[float], share: float) -> float:
    """The value that a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0
