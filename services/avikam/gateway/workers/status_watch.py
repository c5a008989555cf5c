"""Follows one worker's status: a stream, opened again whenever it breaks."""

from __future__ import annotations

import asyncio
import logging
import random

import grpc

from avikam.gateway.workers.plausible import implausible
from avikam.gateway.workers.pool import Pool
from avikam.gateway.workers.worker import Worker
from avikam.v1 import worker_pb2

_log = logging.getLogger(__name__)

# A broken stream is opened again after this many seconds, times 0.5 to 1.5: gateways must not
# come back in step.
_REOPEN = 0.2
# The same of a worker whose status cannot be true: reading it may cost much.
_DOUBTED = 5.0


class _ImplausibleError(Exception):
    """A status that cannot be true; the message says why."""


class StatusWatch:
    """Keeps the pool's view of one worker at most a second old."""

    def __init__(self, pool: Pool, worker: Worker, rng: random.Random) -> None:
        self._pool = pool
        self._worker = worker
        self._rng = rng

    async def run(self) -> None:
        """Until cancelled. A silent worker stops being ready by the age of its status alone."""
        while True:
            pause = _REOPEN
            try:
                await self._follow()
            except _ImplausibleError as error:
                self._doubt(str(error))
                pause = _DOUBTED
            except grpc.aio.AioRpcError as error:
                self._lose(error.code().name.lower())
            else:
                self._lose("status stream ended")
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1.5))

    async def _follow(self) -> None:
        request = worker_pb2.WatchStatusRequest()
        call = self._worker.stub.WatchStatus(request, wait_for_ready=True)
        try:
            while isinstance(status := await call.read(), worker_pb2.WorkerStatus):
                self._take(status)
        finally:
            call.cancel()

    def _take(self, status: worker_pb2.WorkerStatus) -> None:
        wrong = implausible(status)
        if wrong:
            raise _ImplausibleError(wrong)
        worker = self._worker
        was_ready, had = worker.ready, worker.adapters
        busy_others = any(w is not worker and w.sequences for w in self._pool.ready)
        worker.update(status, slow_start=busy_others)
        if worker.ready != was_ready:
            _log.info("worker %s %s", worker.address, "ready" if worker.ready else "not ready")
        if worker.ready != was_ready or worker.adapters != had:
            self._pool.notify()

    def _doubt(self, wrong: str) -> None:
        """Send the worker nothing until its status is one that can be."""
        _log.warning("worker %s is not believed: it says %s", self._worker.address, wrong)
        if self._worker.status is not None:
            self._worker.lose()
            self._pool.notify()

    def _lose(self, why: str) -> None:
        worker = self._worker
        if worker.status is None:
            return
        if not worker.status.draining:
            self._pool.note_death(worker)
        worker.lose()
        _log.warning("worker %s lost: %s", worker.address, why)
        self._pool.notify()
