"""One try of one sequence on one worker: frames in, or the reason why there are none."""

from __future__ import annotations

import asyncio

import grpc

from avikam.gateway.resilience.failures import AttemptError, Kind, diagnose
from avikam.gateway.workers.worker import Clock, Worker
from avikam.v1 import worker_pb2


class Attempt:
    """A running call. Whoever opened it must :meth:`close` it.

    ``silent_since`` is when the engine was last heard of, while someone waits for it; a client that
    reads slowly is not the worker's fault, so between reads nobody counts.
    """

    def __init__(
        self,
        worker: Worker,
        request: worker_pb2.SequenceRequest,
        cost: int,
        timeout: float,
        clock: Clock,
    ) -> None:
        self.worker = worker
        self._cost = cost
        self._clock = clock
        self._call = worker.stub.Generate(request, timeout=timeout)
        self._accepted = False
        self._lost = ""
        self._engine_step = 0
        self._heard_at = clock()
        self._paused_at = 0.0
        worker.begin(cost)

    @property
    def silent_since(self) -> float | None:
        """See the class; None while nobody waits."""
        return None if self._paused_at else self._heard_at

    async def read(self) -> worker_pb2.SequenceFrame:
        """The next frame; raises :class:`AttemptError` or the worker's ApiError."""
        if self._paused_at:
            self._heard_at += self._clock() - self._paused_at
            self._paused_at = 0.0
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise diagnose(error, self._accepted) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._lost and not (task is not None and task.cancelling()):
                raise AttemptError(Kind.LOST, self._lost, silent=True) from None
            raise
        if not isinstance(frame, worker_pb2.SequenceFrame):
            raise AttemptError(Kind.LOST, "stream ended without a finish")
        self._hear(frame)
        self._accepted = True
        return frame

    def pause(self) -> None:
        """The reader is busy with its client: silence means nothing now."""
        self._paused_at = self._clock()

    def lose(self, why: str) -> None:
        """Give the worker up; the reader gets :class:`AttemptError`."""
        self._lost = why
        self._call.cancel()

    def close(self) -> None:
        """End the call, also in the engine."""
        self._call.cancel()
        self.worker.end(self._cost)

    def _hear(self, frame: worker_pb2.SequenceFrame) -> None:
        """Tokens show progress; an idle frame does if the engine's step counter moved."""
        if frame.token_ids or frame.HasField("finish"):
            self._heard_at = self._clock()
        elif frame.engine_step != self._engine_step:
            self._engine_step = frame.engine_step
            self._heard_at = self._clock()
