"""One sequence from admission to its last frame, over as many workers as it takes.

admit ─► pick a worker ─► attempt ─► frame ─► journal ─► client ─► ... ─► finish
              ▲               │
              └── retry, fail over or resume: see retry_policy ──┘
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace

from avikam.gateway.admission.admission import Admission
from avikam.gateway.errors import (
    deadline_exceeded,
    is_of_the_request,
    no_worker_ready,
    request_quarantined,
    row_failed,
    stream_interrupted,
)
from avikam.gateway.log_fields import log_fields
from avikam.gateway.metrics import GatewayMetrics
from avikam.gateway.resilience.breaker import Ticket
from avikam.gateway.resilience.quarantine import Case, Quarantine
from avikam.gateway.resilience.watchdog import Watchdog
from avikam.gateway.sequence.attempt import Attempt
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.sequence.retry_policy import RetryPolicy
from avikam.gateway.traces import RequestTrace
from avikam.gateway.workers.failures import AttemptError, Kind
from avikam.gateway.workers.pool import Pool, Target
from avikam.gateway.workers.worker import Worker
from avikam.protocol.errors import ApiError
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import worker_pb2

_log = logging.getLogger(__name__)

# The worker gives up this much before the client's deadline, so that its answer arrives.
_MARGIN = 0.05
# Before a worker that just failed is asked again because there is no other.
_BREATH = 0.5

News = tuple[Journal, worker_pb2.SequenceFrame]


@dataclass(slots=True, eq=False)
class Batch:
    """What the sequences of one request know of each other: whether any has a token."""

    begun: bool = False


@dataclass(slots=True, eq=False)
class Run:
    """One sequence on its way. ``deadline`` is on the monotonic clock, in seconds; ``trace`` is
    there when requests are traced."""

    journal: Journal
    target: Target
    tenant: str
    deadline: float
    batch: Batch = field(default_factory=Batch)
    trace: RequestTrace | None = None
    attempt: Attempt | None = None
    ticket: Ticket | None = None
    last_token_at: float = 0.0
    # Whether the attempt was recorded as a success, at its first token; it is not again at its end.
    counted: bool = False
    avoid: set[str] = field(default_factory=set)
    case: Case = field(default_factory=Case)

    @property
    def running_attempt(self) -> Attempt:
        """The attempt, which must be open."""
        if self.attempt is None:
            raise RuntimeError("the sequence has no open attempt")
        return self.attempt


class SequenceRunner:
    """Shared by all sequences of a gateway; what it knows of each is in its :class:`Run`."""

    def __init__(
        self,
        pool: Pool,
        admission: Admission,
        policy: RetryPolicy,
        watchdog: Watchdog,
        quarantine: Quarantine,
        metrics: GatewayMetrics,
        clock: Callable[[], float],
        first_worker_seconds: float,
    ) -> None:
        self._pool = pool
        self._admission = admission
        self._policy = policy
        self._watchdog = watchdog
        self._quarantine = quarantine
        self._metrics = metrics
        self._clock = clock
        self._first_worker_seconds = first_worker_seconds

    async def news(self, run: Run) -> AsyncGenerator[News, None]:
        """Frames that are news to the client, the last one with ``finish``. Raises ApiError."""
        journal = run.journal
        self._quarantine.check(journal.request)
        await self._admission.enter(
            run.tenant,
            run.target.cost,
            run.deadline,
            begun=run.batch.begun,
            priority=journal.request.priority,
        )
        journal.started_at = self._clock()
        try:
            frame = await self._first_frame(run)
            while True:
                self._note(run, frame)
                yield journal, frame
                if journal.finish is not None:
                    return
                frame = await self._next_frame(run)
        except ApiError as error:
            self._settle(run, ok=_verdict(error), error=error)
            raise
        finally:
            self._settle(run, ok=None if journal.finish is None or run.counted else True)
            self._quarantine.leave(run.case)
            self._admission.leave()

    async def _first_frame(self, run: Run) -> worker_pb2.SequenceFrame:
        try:
            return await self._open(run)
        except AttemptError as failure:
            return await self._recover(run, failure)

    async def _next_frame(self, run: Run) -> worker_pb2.SequenceFrame:
        try:
            return await self._read(run)
        except AttemptError as failure:
            return await self._recover(run, failure)

    async def _recover(self, run: Run, failure: AttemptError) -> worker_pb2.SequenceFrame:
        """The first frame of the attempt that replaces a failed one."""
        failures = [failure]
        started = bool(run.journal.tokens)

        async def again() -> worker_pb2.SequenceFrame:
            # The policy judges the failure that brought us here like those of its own tries.
            if failures:
                raise failures.pop()
            return await self._open(run)

        try:
            retrying = self._policy.retrying(run.journal, run.deadline)
            frame: worker_pb2.SequenceFrame = await retrying(again)
        except AttemptError as last:
            self._metrics.count_recovery(started, "failed")
            raise stream_interrupted() if started else last.error from None
        self._metrics.count_recovery(started, "done")
        return frame

    async def _open(self, run: Run) -> worker_pb2.SequenceFrame:
        """Start an attempt; returns its first frame."""
        if run.case.suspect:
            await self._enter_lane(run)
        worker = await self._pick(run)
        timeout = run.deadline - self._clock() - _MARGIN
        if timeout <= 0:
            raise deadline_exceeded()
        run.ticket = worker.breaker.enter()
        run.counted = False
        request = run.journal.next_request()
        trace = run.trace.attempt(request, worker.address) if run.trace is not None else None
        run.attempt = Attempt(worker, request, run.target.cost, timeout, self._clock, trace)
        self._watchdog.add(run.attempt)
        frame = await self._read(run)
        if worker.status is not None:
            # From here on only the very same weights may continue.
            run.target = replace(
                run.target,
                digest=worker.status.model.digest,
                adapter_digest=worker.adapter_digest(run.target.adapter),
            )
        return frame

    async def _enter_lane(self, run: Run) -> None:
        """Wait until no other suspect runs."""
        try:
            async with asyncio.timeout(run.deadline - self._clock()):
                await self._quarantine.enter(run.case)
        except TimeoutError:
            raise deadline_exceeded() from None

    async def _pick(self, run: Run) -> Worker:
        """A worker for the next attempt; waits for one when none is ready."""
        patience = run.deadline
        if not run.journal.tokens:
            patience = min(patience, self._clock() + self._first_worker_seconds)
        while (worker := self._pool.pick(run.target, run.avoid)) is None:
            remaining = patience - self._clock()
            if remaining <= 0:
                raise no_worker_ready() if patience < run.deadline else deadline_exceeded()
            await self._pool.wait_for_change(min(remaining, 1.0))
        if worker.address in run.avoid:
            await asyncio.sleep(_BREATH)
        return worker

    async def _read(self, run: Run) -> worker_pb2.SequenceFrame:
        """The next frame that is news."""
        attempt = run.running_attempt
        try:
            while True:
                frame = await attempt.read()
                _check_end(frame)
                if run.journal.keep(frame):
                    attempt.pause()
                    return frame
        except AttemptError as failure:
            self._give_up(run, attempt.worker, failure)
            raise

    def _give_up(self, run: Run, worker: Worker, failure: AttemptError) -> None:
        """Close a failed attempt, and tell breaker and pool what it says about the worker."""
        run.avoid.add(worker.address)
        self._metrics.attempts_failed.labels(failure.kind.value).inc()
        unfit = failure.kind in (Kind.FULL, Kind.UNSUPPORTED)
        self._settle(run, ok=None if unfit else False, error=failure)
        if failure.kind is Kind.LOST:
            self._pool.note_death(worker)
        if failure.silent:
            worker.breaker.trip()
        if failure.fatal:
            self._suspect(run)

    def _suspect(self, run: Run) -> None:
        """A worker was lost under the sequence. Raises when it is the sequence's doing."""
        journal = run.journal
        if self._quarantine.note_death(run.case, len(journal.tokens), journal.request):
            _log.warning("quarantined", extra=log_fields(journal.request.request_id, run.trace))
            raise request_quarantined() from None

    def _settle(
        self, run: Run, ok: bool | None, error: AttemptError | ApiError | None = None
    ) -> None:
        """End the attempt if one runs; ``ok`` is its outcome for the breaker, None for neither."""
        attempt, ticket = run.attempt, run.ticket
        if attempt is None:
            return
        run.attempt = run.ticket = None
        self._watchdog.discard(attempt)
        attempt.close()
        if attempt.trace is not None:
            attempt.trace.end(run.journal.finish, error)
        if ticket is not None and ok is None:
            attempt.worker.breaker.release(ticket)
        elif ticket is not None:
            attempt.worker.breaker.record(ticket, bool(ok))

    def _note(self, run: Run, frame: worker_pb2.SequenceFrame) -> None:
        """Measure progress. A long stream is a success for the breaker from its first token on."""
        count = len(frame.token_ids)
        if not count:
            return
        run.batch.begun = True
        self._quarantine.progress(run.case, len(run.journal.tokens))
        now = self._clock()
        self._metrics.generated_tokens.inc(count)
        if run.journal.first_token_at:
            self._metrics.token_gap.observe((now - run.last_token_at) / count)
        else:
            run.journal.first_token_at = now
            if run.journal.accepted is not None:
                self._metrics.prompt_tokens.inc(run.journal.accepted.prompt_tokens)
            self._metrics.first_token.observe(now - run.journal.started_at)
            if run.ticket is not None and run.attempt is not None:
                run.attempt.worker.breaker.record(run.ticket, True)
                run.counted = True
        run.last_token_at = now


def _verdict(error: ApiError) -> bool | None:
    """What an error says of its worker: False against it, None nothing.

    Deadlines are the client's to choose; an engine that is really stuck is the watchdog's to find.
    """
    nothing = error.status < 500 or error.status == 504 or is_of_the_request(error)
    return None if nothing else False


def _check_end(frame: worker_pb2.SequenceFrame) -> None:
    """Ends that are not the client's: the sequence goes on elsewhere, or its error is raised."""
    if not frame.HasField("finish"):
        return
    match frame.finish.reason:
        case pb.FINISH_REASON_CANCELLED:
            # Not by us: the worker stops and hands over.
            raise AttemptError(Kind.LOST, "cancelled by the worker")
        case pb.FINISH_REASON_ERROR:
            raise row_failed(frame.finish.error)
        case pb.FINISH_REASON_DEADLINE:
            raise deadline_exceeded()
