"""What the worker says of itself: to health checks, to gateways that watch, to the scraper.

LOADING ──engine built──► READY ◄──steps again──┐
   │                        │ │                 │
   │                        │ └─no step / dead─► FAILED
   └────────────────────────┴──────stop────────► DRAINING   (final)
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from enum import Enum

from avikam.engine.interface import Engine, EngineModel, EngineStats
from avikam.protocol.errors import unavailable
from avikam.v1 import generation_pb2, worker_pb2

# The longest silence of a status stream.
_STATUS_SECONDS = 1.0


class WorkerState(Enum):
    """Where a worker is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


_STATES = {
    WorkerState.LOADING: worker_pb2.WORKER_STATE_LOADING,
    WorkerState.READY: worker_pb2.WORKER_STATE_READY,
    WorkerState.DRAINING: worker_pb2.WORKER_STATE_DRAINING,
    WorkerState.FAILED: worker_pb2.WORKER_STATE_FAILED,
}
_NO_ENGINE = EngineStats(0, 0, 0, 0, 0, 0.0, 0.0, 0)


class StatusBoard:
    """The worker's state and load, for many watchers at the price of one look per tick."""

    def __init__(self, worker_id: str, version: str, stall_seconds: float) -> None:
        self.worker_id = worker_id
        self.state = WorkerState.LOADING
        self._version = version
        self._incarnation = secrets.token_hex(8)
        self._stall_seconds = stall_seconds
        self._engine: Engine | None = None
        self._accepting = True
        self.closed = asyncio.Event()
        self._news = asyncio.Event()
        self._shown: tuple[object, ...] = ()

    def ready(self, engine: Engine) -> None:
        """The engine is there."""
        self._engine = engine
        if self.state is WorkerState.LOADING:
            self.state = WorkerState.READY
        self.refresh()

    def drain(self) -> None:
        """The worker stops; there is no way back."""
        self._become(WorkerState.DRAINING)

    def stop_accepting(self) -> None:
        """From now on :meth:`engine_for_new_work` refuses."""
        self._accepting = False

    def close(self) -> None:
        """End the watches and the exchanges."""
        self.closed.set()
        self._tell()

    @property
    def engine(self) -> Engine | None:
        """The engine, once its model is loaded."""
        return self._engine

    def engine_or_refuse(self) -> Engine:
        """The engine; 503 while there is none."""
        if self._engine is None:
            raise unavailable("The worker is still loading its model.", "loading")
        return self._engine

    def engine_for_new_work(self) -> Engine:
        """The engine, when it may be given work."""
        engine = self.engine_or_refuse()
        if not self._accepting:
            raise unavailable("The worker is stopping.", "draining")
        if self.state is WorkerState.FAILED:
            raise unavailable("The worker's engine stands still.", "engine_stalled")
        return engine

    def refresh(self) -> None:
        """Look at the engine; tell the watchers when something changed."""
        stats = self._stats()
        self._judge(stats)
        shown = (self.state, stats.slots_used, stats.waiting, stats.load_tokens, stats.adapters)
        if shown != self._shown:
            self._shown = shown
            self._tell()

    def _judge(self, stats: EngineStats) -> None:
        steps = stats.alive and stats.stalled_seconds < self._stall_seconds
        if self.state is WorkerState.READY and not steps:
            self._become(WorkerState.FAILED)
        elif self.state is WorkerState.FAILED and steps:
            self._become(WorkerState.READY)

    def _become(self, state: WorkerState) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def watch(self) -> AsyncIterator[worker_pb2.WorkerStatus]:
        """The status at once, then on every change or second; the last one as the worker closes."""
        while not self.closed.is_set():
            news = self._news
            yield self.status()
            await _wait(news, _STATUS_SECONDS)
        yield self.status()

    def status(self) -> worker_pb2.WorkerStatus:
        """The status now."""
        stats = self._stats()
        return worker_pb2.WorkerStatus(
            worker_id=self.worker_id,
            version=self._version,
            incarnation=self._incarnation,
            model=None if self._engine is None else model_info(self._engine.model),
            slots_total=stats.slots_total,
            slots_used=stats.slots_used,
            waiting=stats.waiting,
            queue_limit=stats.queue_limit,
            load_tokens=stats.load_tokens,
            draining=self.state is WorkerState.DRAINING,
            state=_STATES[self.state],
            adapters=[
                generation_pb2.Adapter(name=a.name, digest=a.digest, bytes=a.bytes)
                for a in stats.adapters
            ],
            engine_step=stats.step,
            stalled_seconds=stats.stalled_seconds,
            tokens_per_second=stats.tokens_per_second,
            numerics="" if self._engine is None else self._engine.model.numerics,
        )

    def most_lines(self) -> int:
        """Sequences that one gateway may have here: as many as the engine ever lets in, twice its
        queue and slots."""
        stats = self._stats()
        return 2 * (stats.slots_total + stats.queue_limit)

    def _stats(self) -> EngineStats:
        return _NO_ENGINE if self._engine is None else self._engine.stats()


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(news.wait(), seconds)
    except TimeoutError:
        return


def model_info(model: EngineModel) -> generation_pb2.ModelInfo:
    """What an engine runs, as a message."""
    return generation_pb2.ModelInfo(
        id=model.id,
        max_model_len=model.max_model_len,
        vocab_size=model.vocab_size,
        parameters=model.parameters,
        weights=model.weights,
        digest=model.digest,
        attention_backend=model.attention_backend,
        source=model.source,
        revision=model.revision,
        licence=model.licence,
        quantisation=model.quantisation,
        end_ids=model.end_ids,
        device=model.device,
        created=model.created,
    )
