"""How long a worker's process takes to answer, however busy its engine is.

A process that the system starves (its CPU limit throttles it, it swaps, it is stopped now and then)
keeps its pace on average and is late every time. Its load does not show that, and a first token has
to be late before its own time does. So every worker is asked for its health several times a second,
and who is late is passed over while others are not.

    late   the longest answer of the last seconds, or the question that is open now, is above
           50 ms and four times the median of all
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Sequence
from statistics import median_low
from typing import Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avikam.gateway.resilience.window import Clock

# Seconds that no healthy process on a busy machine stays away for long.
_TOLERATED = 0.05
_TIMES_THE_OTHERS = 4.0
# A late answer is forgotten at this pace: to a third after so many seconds. A starved process also
# answers in time now and then, and must not be believed at once.
_MEMORY = 10.0
# Each worker is asked this often, in seconds; all together at most so many times a second.
_INTERVAL = 0.1
_QUESTIONS_A_SECOND = 40
# Silence is the watchdog's business, and the status watch's; one that came back from it is not to
# be passed over for longer than its slow start.
_PATIENCE = 3.0
_WORST = 0.15


class Pulse:
    """What is remembered of one worker's answers: the slowest, fading (a peak-sensitive moving
    average, as in Finagle's "Peak EWMA" load balancer)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._peak = 0.0
        self._peak_at = clock()
        self._asked_at: float | None = None

    @property
    def asked(self) -> bool:
        """Whether a question is open."""
        return self._asked_at is not None

    @property
    def seconds(self) -> float:
        """How late the worker answers, as far as is known now."""
        now = self._clock()
        open_for = 0.0 if self._asked_at is None else now - self._asked_at
        return max(self._faded(now), open_for)

    def ask(self) -> None:
        """A question leaves."""
        self._asked_at = self._clock()

    def answered(self) -> None:
        """Its answer came, or will not be waited for any longer."""
        if self._asked_at is not None:
            self._peak, self._peak_at = min(self.seconds, _WORST), self._clock()
            self._asked_at = None

    def _faded(self, now: float) -> float:
        return self._peak * math.exp((self._peak_at - now) / _MEMORY)


class Asked(Protocol):
    """A worker as this module sees it. ``late`` is for routing."""

    pulse: Pulse
    channel: grpc.aio.Channel
    late: bool


def judge(workers: Sequence[Asked]) -> None:
    """Say of each of the workers that share the traffic whether it is late."""
    seconds = [worker.pulse.seconds for worker in workers]
    limit = max(_TOLERATED, _TIMES_THE_OTHERS * median_low(seconds))
    for worker, late_by in zip(workers, seconds, strict=True):
        worker.late = late_by > limit


class PulseWatch:
    """Asks the ``ready`` workers, as long as there is a choice between them."""

    def __init__(self, ready: Callable[[], Sequence[Asked]], rng: random.Random) -> None:
        self._ready = ready
        self._rng = rng
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                workers = self._ready()
                if len(workers) > 1:
                    judge(workers)
                    self._ask(workers)
                pause = max(_INTERVAL, len(workers) / _QUESTIONS_A_SECOND)
                # Not in step with a limit that throttles ten times a second.
                await asyncio.sleep(pause * self._rng.uniform(0.5, 1.5))
        finally:
            for asking in self._asking:
                asking.cancel()

    def _ask(self, workers: Sequence[Asked]) -> None:
        for worker in workers:
            if not worker.pulse.asked:
                asking = asyncio.create_task(_ask(worker))
                self._asking.add(asking)
                asking.add_done_callback(self._asking.discard)


async def _ask(worker: Asked) -> None:
    """Any answer is one, also that the service is not there."""
    check = health_pb2_grpc.HealthStub(worker.channel).Check
    worker.pulse.ask()
    try:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await check(health_pb2.HealthCheckRequest(), timeout=_PATIENCE)
    finally:
        worker.pulse.answered()
