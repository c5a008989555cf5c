"""The pool: which workers could take a sequence, and whether any is ready at all."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from avikam.gateway.resilience.breaker import WORKER_RULES, Breaker, State
from avikam.gateway.routing.hint import Hint, Policy
from avikam.gateway.workers.channel import OpenChannel, open_channel
from avikam.gateway.workers.worker import Clock, Worker
from avikam.v1 import generation_pb2 as pb

BreakerListener = Callable[[str, State], None]


@dataclass(frozen=True, slots=True)
class Target:
    """What a sequence needs of a worker."""

    model: str
    adapter: str = ""
    key: int = 0
    cost: int = 0
    # A continuation needs what its answer depends on to be the same, its adapter included.
    fingerprint: str = ""
    adapter_digest: str = ""


class Pool:
    """All workers by address. Holds no request; changes wake those who wait for readiness."""

    # How long a lost worker counts towards "half the pool died".
    DEATH_WINDOW = 10.0
    # So many outcomes of the others tell whether a worker alone fails; one in fifty may be bad.
    PEERS_OUTCOMES = 10

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        rng: random.Random,
        on_breaker: BreakerListener = lambda address, state: None,
        connect: OpenChannel = open_channel,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._on_breaker = on_breaker
        self._connect = connect
        self._workers: dict[str, Worker] = {}
        self._deaths: dict[str, float] = {}
        self._turn = 0
        self._changed = asyncio.Event()
        # Every request looks at the ready workers several times; they change once a second.
        self._view: _View | None = None

    def __iter__(self) -> Iterator[Worker]:
        return iter(tuple(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def ready(self) -> Sequence[Worker]:
        """Workers that may be sent new sequences."""
        return self._look().ready

    @property
    def room(self) -> int:
        """Sequences that all ready workers take at once."""
        return self._look().room

    @property
    def models(self) -> Mapping[str, pb.ModelInfo]:
        """Models of the ready workers by id."""
        return self._look().models

    @property
    def adapters(self) -> dict[str, pb.Adapter]:
        """Adapters that some ready worker has, by name."""
        statuses = (worker.status for worker in self.ready)
        return {a.name: a for status in statuses if status is not None for a in status.adapters}

    def add(self, address: str) -> Worker:
        """A worker from discovery; not ready before its first status."""

        def changed(state: State) -> None:
            self._on_breaker(address, state)

        def peers_well() -> bool:
            return self._well_but_for(address)

        breaker = Breaker(WORKER_RULES, self._clock, self._rng, changed, peers_well)
        worker = Worker(address, self._clock, breaker, self._connect, self._forget_view)
        self._workers[address] = worker
        self._forget_view()
        return worker

    def remove(self, address: str) -> Worker | None:
        """Forget a worker; the caller closes it when its sequences are done."""
        self._forget_view()
        return self._workers.pop(address, None)

    def _look(self) -> _View:
        """What the workers' last statuses say, until one of them is too old to say it."""
        view = self._view
        if view is None or self._clock() >= view.until:
            view = self._view = _view([w for w in self._workers.values() if w.ready])
        return view

    def _forget_view(self) -> None:
        self._view = None

    def notify(self) -> None:
        """Wake everyone in :meth:`wait_for_change`."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for_change(self, seconds: float) -> None:
        """Until some worker's readiness or adapters changed, or the time is up."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def note_death(self, worker: Worker) -> None:
        """An attempt or a status stream found the worker gone."""
        self._deaths[worker.address] = self._clock()

    @property
    def half_died(self) -> bool:
        """Whether more than half of the pool was lost in the last seconds."""
        since = self._clock() - self.DEATH_WINDOW
        self._deaths = {a: t for a, t in self._deaths.items() if t > since}
        return 2 * len(self._deaths) > len(self._workers)

    def _well_but_for(self, address: str) -> bool:
        """Whether the other workers had enough to do lately, and hardly failed at it."""
        others = [w.breaker.outcomes() for a, w in self._workers.items() if a != address]
        good, bad = (sum(counts) for counts in zip(*others, strict=True)) if others else (0, 0)
        return good + bad >= self.PEERS_OUTCOMES and bad <= max(1, (good + bad) // 50)

    def pick(self, target: Target, avoid: Collection[str] = ()) -> Worker | None:
        """The policy's choice for a sequence, or None when no worker can take it."""
        candidates = self._candidates(target, avoid)
        if not candidates:
            return None
        if len(candidates) == 1:
            return candidates[0]
        self._turn += 1
        hint = Hint(target.key, target.cost, self._turn, self._rng.random())
        chosen: Worker = self._policy(candidates, hint)
        return chosen

    def _candidates(self, target: Target, avoid: Collection[str]) -> Sequence[Worker]:
        """Fitting workers, narrowed by each preference that leaves at least one."""
        fitting: Sequence[Worker] = self._look().by_model.get(target.model, ())
        if target.fingerprint:
            fitting = [w for w in fitting if w.fingerprint == target.fingerprint]
        if target.adapter:
            fitting = [worker for worker in fitting if _has_adapter(worker, target)]
        if len(fitting) < 2:
            return fitting
        closed = [worker for worker in fitting if worker.breaker.permits()]
        # Never eject more than half: a breaker on most of the pool says more about the requests.
        if 2 * len(closed) >= len(fitting):
            fitting = closed
        quick = [worker for worker in fitting if not worker.late]
        if 2 * len(quick) >= len(fitting):
            fitting = quick
        if avoid:
            fitting = [worker for worker in fitting if worker.address not in avoid] or fitting
        fitting = [worker for worker in fitting if worker.sequences < worker.room] or fitting
        return [worker for worker in fitting if self._has_turn(worker)] or fitting

    def _has_turn(self, worker: Worker) -> bool:
        """Workers that start slowly are left out more often than not."""
        weight = worker.weight
        return weight >= 1.0 or self._rng.random() < weight


@dataclass(frozen=True, slots=True)
class _View:
    """The ready workers, until (monotonic clock) the first of their statuses is too old."""

    ready: Sequence[Worker]
    room: int
    models: Mapping[str, pb.ModelInfo]
    by_model: Mapping[str, Sequence[Worker]]
    until: float


def _view(ready: Sequence[Worker]) -> _View:
    by_model: dict[str, list[Worker]] = {}
    for worker in ready:
        by_model.setdefault(worker.model, []).append(worker)
    return _View(
        ready=tuple(ready),
        room=sum(worker.room for worker in ready),
        models={w.status.model.id: w.status.model for w in ready if w.status is not None},
        by_model=by_model,
        until=min((worker.ready_until for worker in ready), default=math.inf),
    )


def _has_adapter(worker: Worker, target: Target) -> bool:
    digest = worker.adapter_digest(target.adapter)
    return bool(digest) and target.adapter_digest in ("", digest)
