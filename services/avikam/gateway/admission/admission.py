"""Lets a sequence start when some worker has room; else it waits, in bounded numbers.

room > 0 and free   ->  starts
room > 0, all taken ->  waits its tenant's turn; 429 when the queue is full or too slow:
                        when what waits already would take longer than anyone should wait
no worker ready     ->  waits for the first one; 503 when none comes

Of those that wait, a lower priority goes first, whoever's it is. Into a full queue comes what is
more urgent than the last that wait there, in the place of one of them. A tenant that has less than
its share of a full queue gets its place from the one that has most: the newest of the least urgent
that one has there is refused. So nobody can fill the queue for the others.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from avikam.gateway.admission.urgent_queue import UrgentQueue
from avikam.gateway.errors import deadline_exceeded, no_worker_ready
from avikam.gateway.resilience.window import RollingWindow
from avikam.protocol.errors import ApiError, overloaded

Clock = Callable[[], float]

# Seconds of waiting below which nobody is told how long it will be.
_SHORTEST_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How much may wait, and how long (seconds): for a turn, and for a first worker."""

    requests: int = 1024
    tokens: int = 1_000_000
    first_worker: float = 30.0
    turn: float = 30.0


class Admission:
    """``room`` tells how many sequences all ready workers take at once."""

    def __init__(self, room: Callable[[], int], limits: AdmissionLimits, clock: Clock) -> None:
        self._room = room
        self._limits = limits
        self._clock = clock
        self._queue: UrgentQueue[asyncio.Future[None]] = UrgentQueue()
        self._ended = RollingWindow(clock)
        self._busy_since = 0.0
        self.running = 0

    @property
    def waiting(self) -> int:
        """Sequences in the queue."""
        return len(self._queue)

    async def enter(
        self, tenant: str, cost: int, deadline: float, begun: bool = False, priority: int = 0
    ) -> None:
        """Returns when the sequence may start; every return needs a :meth:`leave`.

        One of a request that has ``begun`` only waits: refused, it would take with it what the
        others have come to.
        """
        if not self._queue and self.running < self._room():
            self.running += 1
            return
        if not begun:
            self._make_room(tenant, cost, deadline, priority)
        await self._wait(tenant, cost, deadline, priority)

    def leave(self) -> None:
        """A sequence ended."""
        self.running -= 1
        self._ended.add(True)
        if self._queue:
            self.let_in()

    def let_in(self) -> None:
        """Start whoever has room now; called when a sequence ends or the pool changes."""
        room = self._room()
        while self.running < room and (turn := self._queue.pop()) is not None:
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    def refusal(
        self, tenant: str, patience: float = math.inf, cost: int = 1, priority: int = 0
    ) -> ApiError | None:
        """Why the tenant could not enter now with something that can wait ``patience`` seconds;
        None also where it could only in another's place."""
        if not self._queue:
            return None
        wait = self.expected_wait(tenant, priority)
        # What is less urgent gives its place.
        if self._full(cost, *self._queue.not_behind(priority)) and not self._has_share(
            tenant, cost
        ):
            return self._overloaded(wait)
        return self._overloaded(wait) if wait > min(patience, self._limits.turn) else None

    def expected_wait(self, tenant: str, priority: int = 0) -> float:
        """Seconds until one of the tenant's that comes now would start, at the pace since somebody
        waits, of the last seconds; 0 while that is too short a time to tell a pace from."""
        self._ended.advance()
        busy = min(self._clock() - self._busy_since, self._ended.seconds)
        if not self._queue or not self._ended.total or busy < _SHORTEST_LOOK:
            return 0.0
        return self._queue.before(tenant, priority) * busy / self._ended.total

    def _overloaded(self, wait: float = 0.0) -> ApiError:
        again = min(max(wait, 1.0), self._limits.turn)
        waiting = len(self._queue)
        return overloaded(f"{waiting} sequences are waiting; send it again later.", again)

    def _full(self, cost: int, waiting: int, tokens: int) -> bool:
        """Whether one more is too much for a queue of so many, of so many tokens."""
        return waiting >= self._limits.requests or tokens + cost > self._limits.tokens

    def _has_share(self, tenant: str, cost: int) -> bool:
        """Whether the tenant, with one more, has no more than its share of the queue."""
        requests, tokens = self._queue.of(tenant)
        tenants = len(self._queue.tenants() | {tenant})
        fits = tenants * (requests + 1) <= self._limits.requests
        return fits and tenants * (tokens + cost) <= self._limits.tokens

    def _make_room(self, tenant: str, cost: int, deadline: float, priority: int) -> None:
        """Raise when the queue has no place for it; make one where it is due."""
        if self._limits.requests == 0:
            raise overloaded("Every worker is busy; send it again later.")
        problem = self.refusal(tenant, deadline - self._clock(), cost, priority)
        if problem is not None:
            raise problem
        while self._queue and self._full(cost, len(self._queue), self._queue.cost):
            tenants = self._queue.less_urgent(priority) or self._queue.tenants()
            self._push_out(max(tenants, key=self._taken))

    def _taken(self, tenant: str) -> float:
        """The part of the queue that a tenant takes."""
        requests, tokens = self._queue.of(tenant)
        return max(requests / self._limits.requests, tokens / max(self._limits.tokens, 1))

    def _push_out(self, tenant: str) -> None:
        turn = self._queue.drop(tenant)
        if not turn.done():
            turn.set_exception(self._overloaded())

    async def _wait(self, tenant: str, cost: int, deadline: float, priority: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._queue:
            self._busy_since = self._clock()
        self._queue.push(tenant, cost, turn, priority)
        try:
            async with asyncio.timeout(self._patience(deadline)):
                await turn
        except BaseException as error:
            self._give_up(tenant, turn, priority)
            if isinstance(error, TimeoutError):
                raise self._too_late(deadline) from None
            raise

    def _patience(self, deadline: float) -> float:
        remaining = deadline - self._clock()
        return remaining if self._room() else min(remaining, self._limits.first_worker)

    def _give_up(self, tenant: str, turn: asyncio.Future[None], priority: int) -> None:
        """Leave the queue; a turn that came in the same moment goes to the next one."""
        self._queue.remove(tenant, turn, priority)
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self.leave()

    def _too_late(self, deadline: float) -> ApiError:
        if not self._room():
            return no_worker_ready()
        return (
            deadline_exceeded() if self._clock() >= deadline else overloaded("The queue is slow.")
        )
