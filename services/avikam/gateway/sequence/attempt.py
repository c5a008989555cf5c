"""One try of one sequence on one worker: frames in, or the reason why there are none."""

from __future__ import annotations

from avikam.gateway.errors import deadline_exceeded
from avikam.gateway.traces import AttemptTrace
from avikam.gateway.workers.failures import AttemptError, Kind
from avikam.gateway.workers.worker import Clock, Worker
from avikam.v1 import worker_pb2


class Attempt:
    """A sequence that runs on a worker. Whoever opened it must :meth:`close` it.

    A watchdog calls :meth:`check` now and then, for a frozen worker says nothing. A client that
    reads slowly is not the worker's fault: time between :meth:`pause` and the next read does not
    count as silence.
    """

    def __init__(
        self,
        worker: Worker,
        request: worker_pb2.SequenceRequest,
        cost: int,
        timeout: float,
        clock: Clock,
        trace: AttemptTrace | None = None,
    ) -> None:
        self.worker = worker
        self.trace = trace
        self._cost = cost
        self._clock = clock
        self._deadline = clock() + timeout
        self._inbox = worker.exchange.open(request, timeout)
        self._engine_step = 0
        self._heard_at = clock()
        self._paused_at = 0.0
        worker.begin(cost)

    async def read(self) -> worker_pb2.SequenceFrame:
        """The next frame; raises :class:`AttemptError` or the worker's ApiError."""
        if self._paused_at:
            self._heard_at += self._clock() - self._paused_at
            self._paused_at = 0.0
        frame = await self._inbox.read()
        self._hear(frame)
        return frame

    def pause(self) -> None:
        """The reader is busy with its client: silence means nothing now."""
        self._paused_at = self._clock()

    def check(self, now: float, silence: float) -> bool:
        """Whether the attempt may go on; if not, its reader is told why."""
        if now >= self._deadline:
            self._inbox.fail(deadline_exceeded())
            return False
        if not self._paused_at and now - self._heard_at > silence:
            reason = f"no sign of the engine for {silence:g} s"
            self._inbox.fail(AttemptError(Kind.LOST, reason, silent=True))
            return False
        return True

    def close(self) -> None:
        """Stop the sequence, also in the engine."""
        self.worker.exchange.close(self._inbox)
        self.worker.end(self._cost)

    def _hear(self, frame: worker_pb2.SequenceFrame) -> None:
        """Tokens show progress; an idle frame does if the engine's step counter moved."""
        if frame.token_ids or frame.HasField("finish"):
            self._heard_at = self._clock()
        elif frame.engine_step != self._engine_step:
            self._engine_step = frame.engine_step
            self._heard_at = self._clock()
