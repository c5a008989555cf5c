"""One try of one sequence on one worker, from the ticket of its breaker to the outcome for it.

with Attempt(...) as attempt:        the worker computes, the watchdog looks
    async for frame in attempt:      frames that are news, entered into the journal
        ...
however the block ends: the worker is told to stop, its load is given back, its breaker and the
trace hear of the outcome
"""

from __future__ import annotations

from types import TracebackType

from avikam.gateway.resilience.breaker import Ticket
from avikam.gateway.resilience.watchdog import Watchdog
from avikam.gateway.resilience.window import Clock
from avikam.gateway.sequence.failure import Blame, Failure, Kind, deadline, of_ending
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.sequence.truth import Truth
from avikam.gateway.traces import AttemptTrace
from avikam.gateway.workers.ending import LineEnded
from avikam.gateway.workers.worker import Worker
from avikam.v1 import worker_pb2


class Attempt:
    """A sequence that runs on ``worker`` for ``timeout`` seconds at most.

    The watchdog calls :meth:`check` now and then, for a frozen worker says nothing. A client that
    reads slowly is not the worker's fault: time between a frame and the question for the next one
    does not count as silence.

    ``fingerprint`` is what the answer depends on, as the worker had it when the attempt began;
    ``adapter_digest`` the same of its adapter. ``heard_at`` is when the last frame came.
    """

    __slots__ = (
        "_clock",
        "_cost",
        "_deadline",
        "_engine_step",
        "_heard_at",
        "_inbox",
        "_journal",
        "_paused_at",
        "_request",
        "_ticket",
        "_timeout",
        "_trace",
        "_truth",
        "_watchdog",
        "adapter_digest",
        "begun",
        "fingerprint",
        "heard_at",
        "worker",
    )

    def __init__(
        self,
        worker: Worker,
        journal: Journal,
        request: worker_pb2.SequenceRequest,
        cost: int,
        timeout: float,
        watchdog: Watchdog,
        clock: Clock,
        trace: AttemptTrace | None,
    ) -> None:
        self.worker = worker
        self.begun = False
        self.fingerprint = worker.fingerprint
        self.adapter_digest = worker.adapter_digest(request.adapter)
        self._journal = journal
        self._request = request
        self._cost = cost
        self._watchdog = watchdog
        self._clock = clock
        self._trace = trace
        self._truth = Truth(request, worker.vocab_size, worker.context)
        self._engine_step = 0
        self.heard_at = self._heard_at = clock()
        self._timeout = timeout
        self._deadline = self._heard_at + timeout
        self._paused_at = 0.0
        self._ticket: Ticket | None = None

    def __enter__(self) -> Attempt:
        worker = self.worker
        self._ticket = worker.breaker.enter()
        self._inbox = worker.exchange.open(self._request, self._timeout)
        worker.begin(self._cost)
        self._watchdog.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        self._watchdog.discard(self)
        self.worker.exchange.close(self._inbox)
        self.worker.end(self._cost)
        failure = error if isinstance(error, Failure) else None
        if self._trace is not None:
            self._trace.end(self._journal.finish, failure)
        if failure is not None:
            self._blame(failure.meaning.worker)
        else:
            self.settle(True if error is None else None)

    def __aiter__(self) -> Attempt:
        return self

    async def __anext__(self) -> worker_pb2.SequenceFrame:
        """The next frame that is news; ends after the one with ``finish``. Raises Failure."""
        journal, inbox = self._journal, self._inbox
        if journal.finish is not None:
            raise StopAsyncIteration
        if self._paused_at:
            self._heard_at += self._clock() - self._paused_at
            self._paused_at = 0.0
        while True:
            try:
                frame = inbox.take() if inbox.frames else await inbox.read()
            except LineEnded as ended:
                raise of_ending(ended) from None
            now = self._clock()
            if frame.token_ids or frame.HasField("finish"):
                self._heard_at = now
                self._truth.check(frame, journal.accepted)
            else:
                self._hear_idle(frame, now)
            if journal.keep(frame):
                self.heard_at = self._paused_at = now
                if not self.begun and frame.token_ids:
                    self._begin()
                return frame

    def check(self, now: float, silence: float) -> bool:
        """Whether the attempt may go on; if not, its reader is told why."""
        if now >= self._deadline:
            self._inbox.end(deadline())
            return False
        if not self._paused_at and now - self._heard_at > silence:
            reason = f"no sign of the engine for {silence:g} s"
            self._inbox.end(Failure(Kind.SILENT, reason))
            return False
        return True

    def settle(self, ok: bool | None) -> None:
        """Tell the breaker the outcome, None for neither; only the first one counts, but that a
        failure does even after the success of the first token."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        if ok is None or (ok and self.begun):
            self.worker.breaker.release(ticket)
        else:
            self.worker.breaker.record(ticket, ok)

    def _blame(self, blame: Blame) -> None:
        match blame:
            case Blame.NOTHING:
                self.settle(None)
            case Blame.FAILURE:
                self.settle(False)
            case Blame.OPENS:
                self.settle(False)
                self.worker.breaker.trip()
            case Blame.IF_OTHERS_CAN:
                # The run settles it, once it is known whether they can.
                return

    def _hear_idle(self, frame: worker_pb2.SequenceFrame, now: float) -> None:
        """A frame without tokens shows progress if the engine's step counter moved, or the worker
        compiles what the sequence asks for: then it is its own deadline that ends it."""
        if frame.HasField("accepted"):
            self._truth.check_accepted(frame.accepted)
        if frame.preparing:
            self._heard_at = now
        elif frame.engine_step != self._engine_step:
            self._engine_step = frame.engine_step
            self._heard_at = now

    def _begin(self) -> None:
        """The first token is there: a long stream is a success for the breaker from now on."""
        self.begun = True
        if self._ticket is not None:
            self.worker.breaker.record(self._ticket, True)
