"""One sequence from admission to its last frame, over as many workers as it takes.

admit ─► pick a worker ─► attempt ─► frame ─► journal ─► client ─► ... ─► finish
              ▲               │
              └── judged: retry, fail over, resume or give up ──┘
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace

from avikam.gateway.admission.admission import Admission
from avikam.gateway.errors import (
    model_changed,
    no_worker_ready,
    request_quarantined,
    stream_interrupted,
)
from avikam.gateway.log_fields import log_fields
from avikam.gateway.metrics import GatewayMetrics
from avikam.gateway.resilience.quarantine import Case, Quarantine
from avikam.gateway.resilience.watchdog import Watchdog
from avikam.gateway.sequence.attempt import Attempt
from avikam.gateway.sequence.failure import Again, Blame, Failure, Kind, deadline
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.sequence.recovery import NextTry, Recovery, turns
from avikam.gateway.traces import RequestTrace
from avikam.gateway.workers.pool import Pool, Target
from avikam.gateway.workers.worker import Worker
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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all runs of a gateway share.

    ``first_worker_seconds`` is how long a sequence waits for a worker to begin on,
    ``same_weights_seconds`` how long one that has begun waits for a worker with its weights while
    others are ready.
    """

    pool: Pool
    admission: Admission
    recovery: Recovery
    watchdog: Watchdog
    quarantine: Quarantine
    metrics: GatewayMetrics
    clock: Callable[[], float]
    first_worker_seconds: float
    same_weights_seconds: float


class Run:
    """One sequence on its way. ``deadline`` is on the monotonic clock, in seconds; ``trace`` is
    there when requests are traced."""

    __slots__ = (
        "_accused",
        "_attempt",
        "_avoid",
        "_batch",
        "_case",
        "_deadline",
        "_last_token_at",
        "_moved_begun",
        "_shared",
        "_target",
        "_tenant",
        "_trace",
        "journal",
    )

    def __init__(
        self,
        shared: Surroundings,
        journal: Journal,
        target: Target,
        tenant: str,
        deadline: float,
        batch: Batch,
        trace: RequestTrace | None = None,
    ) -> None:
        self.journal = journal
        self._shared = shared
        self._target = target
        self._tenant = tenant
        self._deadline = deadline
        self._batch = batch
        self._trace = trace
        self._case = Case()
        self._avoid: set[str] = set()
        self._attempt: Attempt | None = None
        # Attempts that failed by what may be the sequence's doing: others will tell.
        self._accused: list[Attempt] = []
        # After a failure, until the next frame: whether the answer had begun.
        self._moved_begun: bool | None = None
        self._last_token_at = 0.0

    async def news(self) -> AsyncGenerator[News, None]:
        """Frames that are news to the client, the last one with ``finish``.

        Raises Failure, and the ApiError of a sequence that was not admitted.
        """
        shared, journal = self._shared, self.journal
        if shared.quarantine.holds(journal.request):
            raise Failure(Kind.QUARANTINED, "its like killed workers", request_quarantined())
        await shared.admission.enter(
            self._tenant,
            self._target.cost,
            self._deadline,
            begun=self._batch.begun,
            priority=journal.request.priority,
        )
        journal.started_at = shared.clock()
        failed = None
        try:
            try:
                with await self._open() as attempt:
                    async for frame in attempt:
                        self._note(attempt, frame)
                        yield journal, frame
            except Failure as failure:
                failed = failure
            if failed is not None:
                async with aclosing(self._rest(failed)) as rest:
                    async for news in rest:
                        yield news
        finally:
            self._leave()

    async def _rest(self, failure: Failure) -> AsyncGenerator[News, None]:
        """What other attempts bring after the first one failed."""
        await asyncio.sleep(self._judge(failure))
        async for turn in turns():
            with turn, self._judged(), await self._open() as attempt:
                async for frame in attempt:
                    self._note(attempt, frame)
                    yield self.journal, frame

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """A failure in the block asks for another try, or ends the sequence."""
        try:
            yield
        except Failure as failure:
            raise NextTry(self._judge(failure)) from failure

    async def _open(self) -> Attempt:
        """The next attempt; whoever gets it enters it. Raises Failure."""
        self._attempt = None
        if self._case.suspect:
            await self._enter_lane()
        shared = self._shared
        worker = await self._pick()
        timeout = self._deadline - shared.clock() - _MARGIN
        if timeout <= 0:
            raise deadline()
        request = self.journal.next_request()
        trace = self._trace.attempt(request, worker.address) if self._trace is not None else None
        self._attempt = Attempt(
            worker,
            self.journal,
            request,
            self._target.cost,
            timeout,
            shared.watchdog,
            shared.clock,
            trace,
        )
        return self._attempt

    async def _enter_lane(self) -> None:
        """Wait until no other suspect runs."""
        try:
            async with asyncio.timeout(self._deadline - self._shared.clock()):
                await self._shared.quarantine.enter(self._case)
        except TimeoutError:
            raise deadline() from None

    async def _pick(self) -> Worker:
        """A worker for the next attempt; waits for one when none is ready. Raises Failure."""
        pool, since = self._shared.pool, None
        while (worker := pool.pick(self._target, self._avoid)) is None:
            since = self._shared.clock() if since is None else since
            await pool.wait_for_change(min(self._patience(since), 1.0))
        if worker.address in self._avoid:
            await asyncio.sleep(_BREATH)
        return worker

    def _patience(self, since: float) -> float:
        """Seconds that are left to wait for a worker, when there is none ``since``. Raises Failure
        when none are."""
        shared, now = self._shared, self._shared.clock()
        if now >= self._deadline:
            raise deadline()
        remaining = self._deadline - now
        if not self.journal.tokens:
            remaining = min(remaining, since + shared.first_worker_seconds - now)
            if remaining <= 0:
                raise Failure(Kind.NO_WORKER, "no worker is ready", no_worker_ready())
        elif shared.pool.ready:
            # Where nobody is ready, all may be about to come back as they were.
            remaining = min(remaining, since + shared.same_weights_seconds - now)
            if remaining <= 0:
                raise Failure(Kind.STRANDED, "nobody has its weights", model_changed())
        return remaining

    def _judge(self, failure: Failure) -> float:
        """Seconds until the next try. Raises the failure when it is the sequence's end."""
        begun = bool(self.journal.tokens)
        if self._attempt is not None:
            self._hold_against(self._attempt, failure)
        if failure.meaning.again is Again.NO:
            raise failure
        after = self._shared.recovery.after(failure, self.journal, self._deadline)
        if after is None:
            self._shared.metrics.count_recovery(begun, "failed")
            if begun:
                failure.error = stream_interrupted()
            raise failure
        self._moved_begun = begun
        return after

    def _hold_against(self, attempt: Attempt, failure: Failure) -> None:
        """Remember what a failed attempt says about its worker, or about the sequence. Raises
        Failure when it is settled that workers die of the sequence."""
        meaning = failure.meaning
        if meaning.again is Again.NO:
            return
        self._avoid.add(attempt.worker.address)
        self._shared.metrics.attempts_failed.labels(failure.kind.value).inc()
        if meaning.worker is Blame.IF_OTHERS_CAN:
            self._accused.append(attempt)
        if meaning.lost:
            self._shared.pool.note_death(attempt.worker)
        if meaning.suspect:
            self._suspect()

    def _suspect(self) -> None:
        """A worker was lost under the sequence."""
        journal = self.journal
        if self._shared.quarantine.note_death(self._case, len(journal.tokens), journal.request):
            _log.warning("quarantined", extra=log_fields(journal.request.request_id, self._trace))
            raise Failure(Kind.QUARANTINED, "workers die of it", request_quarantined()) from None

    def _note(self, attempt: Attempt, frame: worker_pb2.SequenceFrame) -> None:
        """Measure progress."""
        if self._moved_begun is not None:
            self._shared.metrics.count_recovery(self._moved_begun, "done")
            self._moved_begun = None
        count = len(frame.token_ids)
        if not count:
            return
        now, metrics = attempt.heard_at, self._shared.metrics
        metrics.generated_tokens.inc(count)
        if self._case.in_lane:
            self._shared.quarantine.progress(self._case, len(self.journal.tokens))
        if self._last_token_at:
            metrics.token_gap.observe((now - self._last_token_at) / count)
        else:
            self._begin(attempt)
        if self._accused:
            self._settle_accused(False)
        self._last_token_at = now

    def _begin(self, attempt: Attempt) -> None:
        """The first token is there: from here on only the very same weights may continue."""
        journal, metrics = self.journal, self._shared.metrics
        self._batch.begun = True
        self._target = replace(
            self._target,
            fingerprint=attempt.fingerprint,
            adapter_digest=attempt.adapter_digest,
        )
        journal.first_token_at = attempt.heard_at
        metrics.first_token.observe(attempt.heard_at - journal.started_at)
        if journal.accepted is not None:
            metrics.prompt_tokens.inc(journal.accepted.prompt_tokens)

    def _settle_accused(self, ok: bool | None) -> None:
        """It is known whether what the accused failed at can be done."""
        for attempt in self._accused:
            attempt.settle(ok)
        self._accused.clear()

    def _leave(self) -> None:
        self._settle_accused(None)
        self._shared.quarantine.leave(self._case)
        self._shared.admission.leave()
