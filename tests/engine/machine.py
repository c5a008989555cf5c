"""A machine that does whatever callers may do, in any order, and looks inside after each act.

The engine is real, but its thread never starts: the machine makes its steps.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from avikam.engine.build import EngineOptions, build_engine
from avikam.engine.engine import TorchEngine
from avikam.engine.interface import FinishReason
from avikam.engine.scheduler import slot_of
from avikam.protocol.errors import ApiError
from tests.engine.client import Answer, ask

NAMES = ("x", "y")
CONTENTS = ("a0", "a1")
_NATURAL = (FinishReason.STOP, FinishReason.LENGTH)
_Question = tuple[tuple[int, ...], str, int, float]  # prompt, adapter digest, tokens, temperature


class _NeverStarted(threading.Thread):
    """Stands in for the engine's thread."""

    def start(self) -> None:
        """The machine steps instead."""

    def join(self, timeout: float | None = None) -> None:
        """There is nothing to wait for."""


def engine_by_hand(monkeypatch: pytest.MonkeyPatch, **options: Any) -> TorchEngine:
    """An engine that stands still until :func:`step` is called."""
    with monkeypatch.context() as patched:
        patched.setattr("avikam.engine.engine.threading.Thread", _NeverStarted)
        return build_engine(EngineOptions(threads=1, **options))


def step(engine: TorchEngine) -> bool:
    """What the engine's loop does once; false when there was nothing to do."""
    if not engine._has_news(time.monotonic()):
        return False
    engine._take_in()
    engine._step()
    return True


class Oracle:
    """What each question is answered alone, without any reuse."""

    def __init__(self, engine: TorchEngine) -> None:
        self._engine = engine
        self._known: dict[_Question, list[int]] = {}
        self.names = {engine.load_adapter(name, name).digest: name for name in CONTENTS} | {"": ""}

    def answer(self, question: _Question) -> list[int]:
        if question not in self._known:
            prompt, digest, tokens, temperature = question
            answer = ask(
                self._engine, list(prompt), adapter=self.names[digest],
                max_tokens=tokens, temperature=temperature, seed=1,
            )  # fmt: skip
            while step(self._engine):
                pass
            self._known[question] = answer.tokens
        return self._known[question]


class Machine:
    """Random callers of one engine."""

    def __init__(self, engine: TorchEngine, oracle: Oracle, seed: int) -> None:
        self._engine = engine
        self._oracle = oracle
        self._rng = random.Random(seed)
        self._asked: list[tuple[_Question, Answer]] = []

    def run(self, acts: int) -> None:
        """Act at random, then let everything end."""
        doing = (self._ask, self._step, self._cancel, self._load, self._unload, self._fail)
        for _ in range(acts):
            self._rng.choices(doing, (6, 10, 1, 0.6, 0.3, 0.1))[0]()
            self.check()
        while step(self._engine):
            self.check()
        self.check_idle()
        self._check_answers()

    def check(self) -> None:
        """Nothing is lost, held twice, or counted wrong."""
        engine = self._engine
        scheduler, live = engine._scheduler, list(engine._live.values())
        running = list(scheduler._running.values())
        held = [slot_of(sequence) for sequence in running]
        assert sorted(held + scheduler._free) == list(range(scheduler.slots))
        queued = [*scheduler.sequences(), *engine._inbox]
        assert Counter(map(id, queued)) == Counter(map(id, live))
        assert engine._admission.requests == len(live)
        assert engine._admission.tokens == sum(sequence.cost for sequence in live)
        for sequence in running:
            assert 0 <= sequence.cached <= sequence.computed <= len(sequence.tokens)
        self._check_adapters()
        self._check_host()

    def check_idle(self) -> None:
        """Nothing is left at the end."""
        stats = self._engine.stats()
        assert (stats.slots_used, stats.waiting, stats.load_tokens) == (0, 0, 0)
        assert self._engine._admission.tenants == 0
        assert all(not lease.users for lease in self._engine._adapters._loaded.values())
        assert not self._engine._adapters._leaving
        assert all(answer.done.is_set() for _, answer in self._asked)

    def _check_adapters(self) -> None:
        users = Counter(id(s.adapter) for s in self._engine._live.values() if s.adapter is not None)
        store = self._engine._adapters
        held = [*store._loaded.values(), *store._leaving]
        for lease in held:
            assert lease.users == users.pop(id(lease), 0)
        assert not users
        assert all(lease.users for lease in store._leaving)
        assert sum(lease.applied.bytes for lease in held) <= store._budget

    def _check_host(self) -> None:
        prefixes = self._engine._reuse._prefixes
        assert prefixes is not None
        host, entries = prefixes._host, prefixes._host.entries()
        by_tenant: Counter[str] = Counter()
        tails: Counter[tuple[bytes, int]] = Counter()
        for entry in entries:
            by_tenant[entry.tenant] += entry.size
            tails[entry.parent, entry.snapshot.seen] += 1
        assert host._used == by_tenant
        assert by_tenant.total() <= host._budget
        counted = {(p, n): count for p, ends in host._tails.items() for n, count in ends.items()}
        assert counted == dict(tails)

    def _check_answers(self) -> None:
        for question, answer in self._asked:
            expected = self._oracle.answer(question)
            whole = answer.finish.reason in _NATURAL
            assert answer.tokens == (expected if whole else expected[: len(answer.tokens)])

    def _ask(self) -> None:
        rng = self._rng
        text = random.Random(rng.randrange(3)).choices(range(10, 300), k=44)
        prompt = text[: rng.randint(1, 40)]
        adapter = rng.choice(("", *NAMES))
        tokens, temperature = rng.randint(1, 4), rng.choice((0.0, 0.8))
        deadline = time.monotonic() - 1 if rng.random() < 0.03 else None
        try:
            answer = ask(
                self._engine, prompt, adapter=adapter, tenant=rng.choice(("", "a", "b")),
                priority=rng.randint(0, 1), deadline=deadline,
                max_tokens=tokens, temperature=temperature, seed=1,
            )  # fmt: skip
        except ApiError as refusal:
            assert refusal.status in (404, 429), refusal
            return
        digest = self._engine._live[answer.request_id].digest
        self._asked.append(((tuple(prompt), digest, tokens, temperature), answer))

    def _step(self) -> None:
        step(self._engine)

    def _cancel(self) -> None:
        if self._asked:
            self._engine.cancel(self._rng.choice(self._asked)[1].request_id)

    def _load(self) -> None:
        try:
            self._engine.load_adapter(self._rng.choice(NAMES), self._rng.choice(CONTENTS))
        except ApiError as refusal:
            assert refusal.code == "adapters_busy", refusal

    def _unload(self) -> None:
        try:
            self._engine.unload_adapter(self._rng.choice(NAMES))
        except ApiError as refusal:
            assert refusal.status == 404, refusal

    def _fail(self) -> None:
        """A step that throws ends all that the scheduler knows."""
        self._engine._fail_all()


def adapter_root(folder: Path, checkpoint: Path) -> Path:
    """The contents that the machine loads."""
    from avikam.model.checkpoint import load_checkpoint
    from tests.model.adapters import factors, write_adapter

    config = load_checkpoint(checkpoint).config
    for seed, name in enumerate(CONTENTS):
        write_adapter(folder / name, factors(config, seed=seed))
    return folder
