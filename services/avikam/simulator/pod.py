"""A worker in virtual time: its running sequences share the engine's steps.

All running sequences advance together, one token per step, so progress is one number per pod:
``tokens`` counts steps, and a sequence that starts at ``tokens`` = v with n tokens ends at v + n.
A prompt's prefill stops that count for its own time.
"""

from __future__ import annotations

import heapq
import zlib
from collections import deque
from dataclasses import dataclass, field

from avikam.simulator.hardware import Hardware


@dataclass(slots=True)
class Job:
    """One request; times in seconds."""

    arrived: float
    prompt: int
    answer: int
    key: int
    pod: int = -1
    first_token: float = -1.0

    @property
    def cost(self) -> int:
        """Tokens that routing and admission count for it."""
        return self.prompt + self.answer // 2


@dataclass(slots=True)
class Pod:
    """One worker; what routing may know of it is hash, load and slots."""

    index: int
    hardware: Hardware
    # Tokens that a running sequence has on the average.
    context: int
    ready_at: float
    load: int = 0
    draining: bool = False
    waiting: deque[Job] = field(default_factory=deque)
    running: list[tuple[float, int, Job]] = field(default_factory=list)
    _tokens: float = 0.0
    _clock: float = 0.0
    _serial: int = 0

    @property
    def hash(self) -> int:
        """The number by which prefixes find their worker."""
        return zlib.crc32(b"10.0.0.%d:50051" % self.index)

    @property
    def slots(self) -> int:
        """Sequences it runs at once."""
        return self.hardware.slots

    @property
    def demand(self) -> int:
        """Running and waiting sequences."""
        return len(self.running) + len(self.waiting)

    def take(self, now: float, job: Job) -> None:
        """A job was routed here."""
        self._advance(now)
        job.pod = self.index
        self.load += job.cost
        self.waiting.append(job)
        self._fill()

    def finish(self, now: float) -> list[Job]:
        """Jobs that ended by now; their slots go to those that wait."""
        self._advance(now)
        done = []
        while self.running and self.running[0][0] <= self._tokens + 1e-6:
            job = heapq.heappop(self.running)[2]
            self.load -= job.cost
            done.append(job)
        self._fill()
        return done

    def next_finish(self) -> float | None:
        """When the next job ends if nothing else happens."""
        if not self.running:
            return None
        remaining = max(self.running[0][0] - self._tokens, 0.0)
        return self._clock + remaining * self._step()

    def _step(self) -> float:
        return self.hardware.step_seconds(len(self.running), self.context)

    def _advance(self, now: float) -> None:
        """Count the steps since the last event; prefills may have moved the clock ahead of now."""
        if now > self._clock:
            if self.running:
                self._tokens += (now - self._clock) / self._step()
            self._clock = now

    def _fill(self) -> None:
        while self.waiting and len(self.running) < self.slots:
            job = self.waiting.popleft()
            self._clock += self.hardware.prefill_seconds(job.prompt)
            self._serial += 1
            heapq.heappush(self.running, (self._tokens + job.answer, self._serial, job))
            job.first_token = self._clock + self._step()
