"""An engine without a model: text = f(seed, index), pace and faults by plan.

It stands behind the real worker wherever the hardware or the time for a model is missing: tests of
the gateway, load tests, fault drills. Everything but the arithmetic is an engine's: its own thread,
slots, a bounded queue, tenants' shares, deadlines, cancellation, stop strings, resume, one finish
per sequence.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import threading
import time
from collections import deque

from avikam.engine import fake_text
from avikam.engine.fake_reader import Passage, reader_for
from avikam.engine.fake_sequence import FakeSequence, made_up_choices
from avikam.engine.fake_vocabulary import FakeVocabulary, describe
from avikam.engine.fault_plan import INJECTED, Fault, FaultKind, FaultPlan
from avikam.engine.interface import (
    AdapterInfo,
    Delta,
    EngineModel,
    EngineStats,
    Finish,
    FinishReason,
    SequenceSpec,
    Sink,
)
from avikam.engine.rate import TokenRate
from avikam.engine.shares import TURN, Shares
from avikam.engine.waiting import WaitingQueue
from avikam.protocol.errors import ApiError, context_overflow, invalid, overloaded, unavailable
from avikam.protocol.sampling import SamplingParams

# Sequences due within one tick are served together.
_TICK = 0.001
# The loop counts a step at least this often while it has work.
_PULSE = 0.1
_NOTHING = Passage((), "")
# An injected end: what was held back stays unsaid, the next engine will say it.
_ABANDONED = Passage((), "", stopped=True)


class FakeEngine(FakeVocabulary):
    """Implements :class:`avikam.engine.interface.Engine` without a model."""

    def __init__(
        self,
        plan: FaultPlan | None = None,
        *,
        slots: int = 64,
        queue_requests: int = 256,
        queue_tokens: int = 1_000_000,
        max_model_len: int = 2048,
        model_id: str = "avikam1-fake",
    ) -> None:
        self._plan = plan or FaultPlan()
        self._slots = slots
        self._queue_requests = queue_requests
        self._queue_tokens = queue_tokens
        self._model = describe(model_id, max_model_len)
        self._wake = threading.Condition()
        # Guarded by _wake: who exists, who waits, and when somebody is due.
        self._sequences: dict[str, FakeSequence] = {}
        self._waiting: WaitingQueue[FakeSequence] = WaitingQueue()
        self._waiting_count = 0
        self._running = 0
        self._shares = Shares(slots)
        self._load = 0
        self._alarms: list[tuple[float, int, FakeSequence]] = []
        self._closing = False
        self._serial = itertools.count()
        self._arrivals = itertools.count()
        self._ordinals = itertools.count(1)
        self._steps = 0
        self._made = 0
        self._last_step = time.monotonic()
        self._rate = TokenRate()
        self._thread = threading.Thread(target=self._loop, name="fake-engine", daemon=True)
        self._thread.start()

    # What the engine is asked.

    @property
    def model(self) -> EngineModel:
        """A model without weights."""
        return self._model

    def load_adapter(self, name: str, path: str) -> AdapterInfo:
        """Raises ApiError (501): there are no weights to adapt."""
        raise ApiError(501, "The fake engine has no adapters.", "unsupported", "name")

    def unload_adapter(self, name: str) -> None:
        """Raises ApiError (501)."""
        raise ApiError(501, "The fake engine has no adapters.", "unsupported", "name")

    def stats(self) -> EngineStats:
        """How busy it is now, and what it has done so far."""
        with self._wake:
            now, busy = time.monotonic(), bool(self._sequences)
            return EngineStats(
                slots_total=self._slots,
                slots_used=self._running,
                waiting=self._waiting_count,
                load_tokens=self._load,
                step=self._steps,
                stalled_seconds=now - self._last_step if busy else 0.0,
                tokens_per_second=self._rate.per_second(now),
                queue_limit=self._queue_requests,
                alive=self._thread.is_alive(),
            )

    def prepared(self, sampling: SamplingParams) -> bool:
        """Always; see the protocol."""
        return True

    def prepare(self, sampling: SamplingParams) -> None:
        """Nothing takes long here."""

    def submit(self, spec: SequenceSpec, sink: Sink) -> None:
        """Queue a sequence, with the faults that the plan has for it. Raises ApiError."""
        self._refuse_what_cannot_run(spec)
        prompt = fake_text.decode(spec.prompt) if self._plan.faults else ""
        faults = self._plan.draw(next(self._ordinals), prompt)
        if any(fault.kind is FaultKind.REFUSE for fault in faults):
            raise unavailable("The fault plan refuses this request.")
        sequence = self._sequence(spec, sink, faults)
        with self._wake:
            if self._closing or not self._thread.is_alive():
                raise unavailable("The engine is closing.", "closing")
            self._refuse_what_cannot_wait(sequence)
            self._enter(sequence)
            self._wake.notify()

    def cancel(self, request_id: str) -> None:
        """End a sequence at once; unknown ids are ignored."""
        with self._wake:
            sequence = self._sequences.get(request_id)
            if sequence is not None:
                self._finish(sequence, FinishReason.CANCELLED)
                self._wake.notify()

    def close(self, timeout: float = 10.0) -> None:
        """Cancel what runs and end the thread, waiting so many seconds for it."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        with self._wake:
            for sequence in list(self._sequences.values()):
                self._finish(sequence, FinishReason.CANCELLED)

    # Admission.

    def _refuse_what_cannot_run(self, spec: SequenceSpec) -> None:
        limit, sampling = self._model.max_model_len, spec.sampling
        wanted = sampling.max_tokens or 1
        if len(spec.prompt) + max(wanted, len(spec.generated)) > limit:
            raise context_overflow(limit, len(spec.prompt), max(wanted, len(spec.generated)))
        if sampling.json_schema is not None or sampling.regex is not None:
            field = "regex" if sampling.json_schema is None else "json_schema"
            raise invalid("The fake engine knows no grammars; leave it out.", field)
        if spec.adapter:
            message = f"adapter {spec.adapter!r} is not loaded"
            raise ApiError(404, message, "model_not_found", "model")

    def _refuse_what_cannot_wait(self, sequence: FakeSequence) -> None:
        if self._running < self._slots:
            return
        if self._waiting_count >= self._queue_requests:
            raise overloaded(f"The queue is full: {self._waiting_count} requests wait.")
        if self._load + sequence.cost > self._queue_tokens:
            raise overloaded(f"The queue is full: {self._load} tokens are promised.")

    def _sequence(self, spec: SequenceSpec, sink: Sink, faults: tuple[Fault, ...]) -> FakeSequence:
        room = self._model.max_model_len - len(spec.prompt)
        end = min(spec.sampling.max_tokens or room, room)
        start = len(spec.generated)
        return FakeSequence(
            spec=spec,
            sink=sink,
            index=start,
            end=end,
            reader=reader_for(spec.sampling),
            faults=deque(fault for fault in faults if fault.at >= start),
            tpot=self._plan.tpot,
            cost=len(spec.prompt) + end // 2,
            submitted=time.monotonic(),
        )

    def _enter(self, sequence: FakeSequence) -> None:
        self._sequences[sequence.spec.request_id] = sequence
        sequence.arrival = next(self._arrivals)
        self._load += sequence.cost
        if self._running < self._slots:
            self._admit(sequence, sequence.submitted)
        else:
            self._wait(sequence)

    def _wait(self, sequence: FakeSequence) -> None:
        self._waiting.push(sequence.arrival, sequence)
        self._waiting_count += 1
        if sequence.spec.deadline is not None:
            self._set_alarm(sequence, sequence.spec.deadline)

    def _admit(self, sequence: FakeSequence, now: float) -> None:
        self._running += 1
        self._shares.take(sequence.spec.tenant)
        sequence.running = True
        sequence.turn_from = sequence.index
        sequence.admitted = sequence.admitted or now
        sequence.due = now + self._plan.ttft
        self._set_alarm(sequence, sequence.due)

    def _set_alarm(self, sequence: FakeSequence, when: float) -> None:
        if sequence.spec.deadline is not None:
            when = min(when, sequence.spec.deadline)
        heapq.heappush(self._alarms, (when, next(self._serial), sequence))

    # The loop. Sinks do not block, so they may be called while the lock is held.

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._sleep()
                if self._closing:
                    return
                self._step()
            time.sleep(0)  # let the threads that wait for the interpreter run

    def _sleep(self) -> None:
        while not self._closing:
            now = time.monotonic()
            pause = self._alarms[0][0] - now if self._alarms else None
            if pause is not None and pause <= 0:
                return
            if pause is None:
                self._wake.wait(_PULSE if self._sequences else None)
            else:
                self._wake.wait(min(max(pause, _TICK), _PULSE))
            self._count_step()

    def _count_step(self) -> None:
        self._steps += 1
        self._last_step = time.monotonic()

    def _step(self) -> None:
        now = time.monotonic()
        due: list[FakeSequence] = []
        while self._alarms and self._alarms[0][0] <= now:
            due.append(heapq.heappop(self._alarms)[2])
        for sequence in due:
            if not sequence.ended:
                self._advance(sequence, now)
        self._rate.add(self._made, now)
        self._made = 0
        self._count_step()

    def _advance(self, sequence: FakeSequence, now: float) -> None:
        deadline = sequence.spec.deadline
        if deadline is not None and now >= deadline:
            self._finish(sequence, FinishReason.DEADLINE)
        elif sequence.running and sequence.due <= now:
            self._run(sequence, now)

    def _run(self, sequence: FakeSequence, now: float) -> None:
        if not sequence.first:
            sequence.first = now
            if not self._replay(sequence):
                return
        while sequence.faults and sequence.faults[0].at == sequence.index:
            self._meet(sequence, sequence.faults.popleft())
            if sequence.ended:
                return
        self._emit(sequence, now)
        if sequence.ended:
            return
        if self._is_to_leave(sequence):
            self._stop(sequence)
            self._wait(sequence)
            self._admit_next()
        else:
            self._set_alarm(sequence, sequence.due)

    def _is_to_leave(self, sequence: FakeSequence) -> bool:
        """Whether its tenant has more than its share and another, below its own, waits."""
        waiting, spec = self._waiting, sequence.spec
        if self._running < self._slots or not waiting or waiting.urgency > spec.priority:
            return False
        if sequence.index - sequence.turn_from < TURN:
            return False
        tenants = waiting.tenants
        needy = self._shares.needy(waiting.first, tenants)
        return bool(needy) and spec.tenant in self._shares.overdrawn(tenants)

    def _replay(self, sequence: FakeSequence) -> bool:
        """Read the resumed tokens; whether there is anything left to generate."""
        passage = sequence.reader.read(sequence.spec.generated)
        nothing = Passage((), "", passage.stopped, passage.stop_match)
        if passage.stopped:
            self._finish(sequence, FinishReason.STOP, nothing)
        elif sequence.index >= sequence.end:
            self._finish(sequence, FinishReason.LENGTH, nothing)
        return not sequence.ended

    def _emit(self, sequence: FakeSequence, now: float) -> None:
        sampling, start = sequence.spec.sampling, sequence.index
        stop = start + sequence.tokens_due(now)
        passage = sequence.reader.read(fake_text.answer(sampling.seed or 0, start, stop))
        count = len(passage.tokens)
        sequence.index += count
        sequence.due += count * sequence.tpot
        self._made += count
        if passage.stopped:
            self._finish(sequence, FinishReason.STOP, passage)
        elif sequence.index >= sequence.end:
            self._finish(sequence, FinishReason.LENGTH, passage)
        else:
            choices = made_up_choices(passage.tokens, sampling.logprobs)
            sequence.sink(Delta(start, passage.tokens, passage.text, choices))

    def _finish(
        self,
        sequence: FakeSequence,
        reason: FinishReason,
        last: Passage = _NOTHING,
        error: str = "",
    ) -> None:
        self._leave(sequence)
        sampling = sequence.spec.sampling
        finish = Finish(
            reason=reason,
            prompt_tokens=len(sequence.spec.prompt),
            completion_tokens=sequence.index,
            timings=sequence.timings(),
            stop_match=last.stop_match,
            error=error,
            prompt_choices=made_up_choices(sequence.spec.prompt, sampling.prompt_logprobs),
        )
        text = last.text if last.stopped else last.text + sequence.reader.flush()
        first = sequence.index - len(last.tokens)
        choices = made_up_choices(last.tokens, sampling.logprobs)
        sequence.sink(Delta(first, last.tokens, text, choices, finish))
        self._admit_next()

    def _leave(self, sequence: FakeSequence) -> None:
        sequence.ended = True
        del self._sequences[sequence.spec.request_id]
        self._load -= sequence.cost
        if sequence.running:
            self._stop(sequence)
        else:
            self._waiting.remove(sequence)
            self._waiting_count -= 1

    def _stop(self, sequence: FakeSequence) -> None:
        sequence.running = False
        self._running -= 1
        self._shares.give_back(sequence.spec.tenant)

    def _admit_next(self) -> None:
        waiting = self._waiting
        while waiting and self._running < self._slots:
            sequence = waiting.pop(self._shares.needy(waiting.first, waiting.tenants))
            self._waiting_count -= 1
            self._admit(sequence, time.monotonic())

    # Faults.

    def _meet(self, sequence: FakeSequence, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.SLOW:
                sequence.tpot = fault.seconds
            case FaultKind.FREEZE:
                ctypes.PyDLL(None).usleep(int(fault.seconds * 1e6))  # keeps the interpreter's lock
            case FaultKind.HANG:
                self._hang()
            case FaultKind.CRASH:
                raise RuntimeError("the fault plan crashes the engine loop")
            case FaultKind.GARBLE | FaultKind.REPEAT:
                self._misnumber(sequence, fault.kind)
            case FaultKind.NAN:
                self._finish(sequence, FinishReason.ERROR, error="the logits are not numbers")
            case _:
                error = INJECTED + fault.kind.value
                self._finish(sequence, FinishReason.ERROR, _ABANDONED, error)

    def _hang(self) -> None:
        """Stop the loop, not the callers: submitting and looking go on, steps do not."""
        while not self._closing:
            self._wake.wait()

    def _misnumber(self, sequence: FakeSequence, kind: FaultKind) -> None:
        """Say the next token with an index of the future, or the one before it again."""
        seed = sequence.spec.sampling.seed or 0
        index = sequence.index - (kind is FaultKind.REPEAT)
        if index < 0:
            return
        tokens = tuple(fake_text.answer(seed, index, index + 1))
        sequence.sink(Delta(index + 3 * (kind is FaultKind.GARBLE), tokens))
