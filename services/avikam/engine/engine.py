"""The engine: its own thread, one step after another.

    caller threads                    engine thread
    --------------                    -------------
    submit / cancel --> inbox  --->   admit, expire, cancel
                                      schedule -> launch
    sink <---------------------       deltas  <-  land

A step lands at once, or, where the device chooses tokens, after the next one's launch: then host
and device work at the same time (:mod:`avikam.engine.device.runner`).
A sequence ends exactly once, in :meth:`TorchEngine._finish`, which frees all it held.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from avikam.engine.adapters import AdapterStore
from avikam.engine.admission import Admission
from avikam.engine.detokenizer import Detokenizer
from avikam.engine.flight import Flight
from avikam.engine.grammar import GrammarCompiler
from avikam.engine.interface import (
    AdapterInfo,
    EngineModel,
    EngineStats,
    FinishReason,
    SequenceSpec,
    Sink,
)
from avikam.engine.kv.prefix_cache import PrefixCache
from avikam.engine.rate import TokenRate
from avikam.engine.reuse import PrefixReuse
from avikam.engine.runner import ModelRunner
from avikam.engine.scheduler import Batch, Scheduler
from avikam.engine.sequence import Sequence
from avikam.model.parallel.group import RankLostError
from avikam.model.vocabulary.chat_template import TemplateRefusalError
from avikam.model.vocabulary.protocol import ModelTokenizer, TokenizerFacts
from avikam.protocol.errors import ApiError, context_overflow, invalid, unavailable
from avikam.protocol.sampling import SamplingParams

log = logging.getLogger(__name__)


# Ends after which a slot may hold anything.
_BROKEN = (FinishReason.ERROR, FinishReason.FAILED)


@dataclass(frozen=True, slots=True)
class _Flying:
    """A step that was launched, and when."""

    batch: Batch
    flight: Flight
    since: float


class TorchEngine:
    """The real engine behind :class:`avikam.engine.interface.Engine`."""

    def __init__(
        self,
        model: EngineModel,
        tokenizer: ModelTokenizer,
        runner: ModelRunner,
        adapters: AdapterStore,
        prefixes: PrefixCache | None = None,
        *,
        token_budget: int = 512,
        queue_requests: int = 256,
        queue_tokens: int = 262_144,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._runner = runner
        self._adapters = adapters
        self._grammars = GrammarCompiler(tokenizer)
        self._reuse = PrefixReuse(runner.store, prefixes)
        self._scheduler = Scheduler(
            runner.cache.slots, token_budget, runner.cache.longest_chunk, self._reuse.boundary
        )
        self._admission = Admission(runner.cache.slots, queue_requests, queue_tokens)
        self._live: dict[str, Sequence] = {}
        self._inbox: deque[Sequence] = deque()
        self._cancelled: set[str] = set()
        self._flying: _Flying | None = None
        self._closing = False
        self._wake = threading.Condition()
        self._steps = 0
        self._stepped_at = time.monotonic()
        self._rate = TokenRate()
        self._thread = threading.Thread(target=self._loop, name="avikam-engine", daemon=True)
        self._thread.start()

    @property
    def model(self) -> EngineModel:
        """What it runs."""
        return self._model

    def prepare(self, sampling: SamplingParams) -> None:
        """Compile the grammar of ``sampling``. Raises ApiError (400)."""
        self._grammars.grammar(sampling)

    def prepared(self, sampling: SamplingParams) -> bool:
        """Whether its grammar is known already; see the protocol."""
        return self._grammars.knows(sampling)

    def submit(self, spec: SequenceSpec, sink: Sink) -> None:
        """Queue a sequence. Raises ApiError: 400, 429, 503."""
        sequence = self._build(spec, sink)
        try:
            self._enqueue(sequence)
        except ApiError:
            self._give_back(sequence)
            raise

    def _enqueue(self, sequence: Sequence) -> None:
        with self._wake:
            self._check_room(sequence)
            self._reuse.begin(sequence, self._nudge)
            self._live[sequence.spec.request_id] = sequence
            self._admission.add(sequence)
            self._inbox.append(sequence)
            self._wake.notify()

    def _nudge(self) -> None:
        with self._wake:
            self._wake.notify()

    def cancel(self, request_id: str) -> None:
        """End a sequence within one step; unknown ids are ignored."""
        with self._wake:
            if request_id in self._live:
                self._cancelled.add(request_id)
                self._wake.notify()

    def encode(self, text: str, language: str | None = None) -> list[int]:
        """Ids of a document to continue, frame included."""
        return self._tokenizer.encode_prompt(text, language)

    def encode_plain(self, text: str) -> list[int]:
        """Ids of the text alone."""
        return self._tokenizer.encode(text)

    def encode_chat(self, messages: Seq[tuple[str, str]]) -> list[int]:
        """Ids of (role, content) turns up to where the assistant answers."""
        try:
            return self._tokenizer.encode_chat(messages)
        except TemplateRefusalError as error:
            raise invalid(str(error), "messages", "chat_template_refused") from error

    def spans(self, text: str, *, framed: bool) -> list[tuple[int, int, int]]:
        """Each token of the text with where it begins and ends, in characters."""
        return self._tokenizer.spans(text, framed=framed)

    def facts(self) -> TokenizerFacts:
        """What clients may know of the tokenizer."""
        return self._tokenizer.facts()

    def decode(self, tokens: Seq[int]) -> str:
        """Text of ids."""
        return self._tokenizer.decode(tokens)

    def piece(self, token: int) -> str:
        """Vocabulary entry of an id."""
        return self._tokenizer.piece(token)

    def token_bytes(self, token: int) -> bytes:
        """The bytes an id stands for; empty for control tokens."""
        return self._tokenizer.token_bytes[token]

    def load_adapter(self, name: str, path: str) -> AdapterInfo:
        """Make an adapter folder known as ``name``. Raises ApiError (400)."""
        return self._adapters.load(name, path)

    def unload_adapter(self, name: str) -> None:
        """Forget a name. Raises ApiError (404)."""
        self._adapters.unload(name)

    def stats(self) -> EngineStats:
        """How busy it is now, and what it has done so far."""
        with self._wake:
            live, running = len(self._live), self._scheduler.running
            busy_for = time.monotonic() - self._stepped_at if live else 0.0
            return EngineStats(
                slots_total=self._scheduler.slots,
                slots_used=running,
                waiting=max(0, live - running),
                load_tokens=self._admission.tokens,
                step=self._steps,
                stalled_seconds=busy_for,
                tokens_per_second=self._rate.per_second(time.monotonic()),
                queue_limit=self._admission.queue_requests,
                adapters=self._adapters.infos(),
                kv=self._reuse.stats(),
                alive=self._thread.is_alive() and self._runner.alive,
            )

    def close(self, timeout: float = 10.0) -> None:
        """Cancel what runs and end the thread, waiting so many seconds for it."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        self._reuse.close()
        self._runner.close()

    def _build(self, spec: SequenceSpec, sink: Sink) -> Sequence:
        """Check what needs the vocabulary and the context, and make the sequence."""
        if not spec.prompt:
            raise invalid("the prompt is empty; send at least one token", "prompt")
        self._check_ids(spec)
        most = self._model.max_model_len
        room = most - len(spec.prompt)
        wanted = spec.sampling.max_tokens
        if room < 1 or (wanted is not None and wanted > room):
            raise context_overflow(most, len(spec.prompt), wanted or 1)
        end_ids = set(spec.sampling.stop_token_ids)
        if not spec.sampling.ignore_eos:
            end_ids |= self._tokenizer.eos_ids
        stops = spec.sampling.stop
        grammar = self._grammars.grammar(spec.sampling)
        stream = self._tokenizer.stream(spec.prompt[-1], verbatim=grammar is not None)
        detokenizer = Detokenizer(stream, stops)
        adapter = self._adapters.acquire(spec.adapter) if spec.adapter else None
        limit, now = wanted or room, time.monotonic()
        return Sequence(spec, sink, detokenizer, frozenset(end_ids), limit, now, adapter, grammar)

    def _check_ids(self, spec: SequenceSpec) -> None:
        size = self._tokenizer.vocab_size
        named = (
            ("prompt", spec.prompt),
            ("generated", spec.generated),
            ("stop_token_ids", spec.sampling.stop_token_ids),
            ("logit_bias", tuple(spec.sampling.logit_bias)),
        )
        for param, ids in named:
            wrong = next((i for i in ids if not 0 <= i < size), None)
            if wrong is not None:
                raise invalid(f"token id {wrong} is outside 0..{size - 1}", param)

    def _check_room(self, sequence: Sequence) -> None:
        """Refuse what the bounded queue cannot hold; called with the lock held."""
        if self._closing:
            raise unavailable("the engine is shutting down", "draining")
        if sequence.spec.request_id in self._live:
            raise invalid(
                f"request id {sequence.spec.request_id!r} is already running", "request_id"
            )
        self._admission.check(sequence)

    def _loop(self) -> None:
        gc.freeze()
        while self._take_in():
            try:
                self._step()
            except RankLostError as error:
                log.critical("the engine ends: %s", error)
                return
            except Exception:
                log.exception("a step failed; its sequences are ended")
                self._fail_all()

    def _take_in(self) -> bool:
        """Wait for work, move the inbox to the scheduler; false when it is time to stop."""
        with self._wake:
            while not self._has_news(time.monotonic()):
                if self._closing:
                    return False
                self._wake.wait(self._scheduler.patience(time.monotonic()))
                self._stepped_at = time.monotonic()
            arrived, self._inbox = list(self._inbox), deque()
            cancelled, self._cancelled = self._cancelled, set()
            closing = self._closing
        for sequence in arrived:
            self._scheduler.add(sequence)
            over = sequence.already_over()
            if over is not None:
                self._finish(sequence, over)
        doomed = self._live.values() if closing else map(self._live.get, cancelled)
        for sequence in [s for s in doomed if s is not None]:
            self._finish(sequence, FinishReason.CANCELLED)
        return True

    def _has_news(self, now: float) -> bool:
        over = self._closing and self._live
        due = self._inbox or self._cancelled or over or self._flying
        return bool(due) or self._scheduler.has_work(now)

    def _step(self) -> None:
        now = time.monotonic()
        for sequence in [s for s in self._scheduler.sequences() if _expired(s, now)]:
            self._finish(sequence, FinishReason.DEADLINE)
        for sequence in self._scheduler.leavers(now):
            self._reuse.keep_place(sequence)
            self._scheduler.hand_back(sequence)
        for sequence in self._scheduler.admit(now, self._reuse.place):
            self._reuse.restore(sequence)
        batch = self._scheduler.next_batch()
        before, self._flying = self._flying, None
        launched = self._launch(batch, now) if batch.size else None
        if before is not None:
            self._land(before)
        if launched is not None and launched.flight.ahead:
            self._flying = launched
        elif launched is not None:
            self._land(launched)

    def _launch(self, batch: Batch, now: float) -> _Flying:
        flight = self._runner.launch(batch)
        self._reuse.keep_prompts(batch)
        return _Flying(batch, flight, now)

    def _land(self, flying: _Flying) -> None:
        """Give each sequence of a step that still lives its next token."""
        ready, choices = flying.flight.ready, flying.flight.land()
        now = time.monotonic()
        self._reuse.measured(flying.batch, now - max(flying.since, self._stepped_at))
        self._steps += 1
        self._stepped_at = now
        self._rate.add(len(ready), now)
        for sequence, chosen in zip(ready, choices, strict=True):
            if self._live.get(sequence.spec.request_id) is not sequence:
                continue
            if chosen is None:
                self._finish(sequence, FinishReason.ERROR, sequence.dead_end)
            elif sequence.append(chosen, now) is not None:
                self._reuse.keep_turn(sequence)
                self._forget(sequence)

    def _finish(self, sequence: Sequence, reason: FinishReason, error: str = "") -> None:
        if reason in _BROKEN and sequence.slot is not None:
            self._runner.store.clear(sequence.slot)
        self._forget(sequence)
        sequence.end(reason, time.monotonic(), error)

    def _forget(self, sequence: Sequence) -> None:
        """Free everything a sequence holds."""
        self._scheduler.remove(sequence)
        self._give_back(sequence)
        with self._wake:
            del self._live[sequence.spec.request_id]
            self._admission.remove(sequence)

    def _give_back(self, sequence: Sequence) -> None:
        if sequence.adapter is not None:
            self._adapters.release(sequence.adapter)

    def _fail_all(self) -> None:
        self._flying = None
        for sequence in list(self._scheduler.sequences()):
            self._finish(sequence, FinishReason.FAILED, "the engine failed in this step")


def _expired(sequence: Sequence, now: float) -> bool:
    return sequence.spec.deadline is not None and now >= sequence.spec.deadline
