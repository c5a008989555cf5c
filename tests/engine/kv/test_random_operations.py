"""Whatever callers do, answers are those without a cache, and nothing is left behind."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from avikam.engine.engine import TorchEngine
from avikam.engine.interface import FinishReason
from avikam.engine.kv.prefix_cache import KvOptions
from avikam.engine.kv.redis_tier import RedisOptions
from tests.engine.client import Answer, ask
from tests.engine.conftest import BuildEngine
from tests.engine.kv.conversations import hits, kv, prompt_of
from tests.engine.kv.redis_server import RedisServer

STEPS = 250


class Crowd:
    """Callers who ask, change their mind, and come back with what they were told."""

    def __init__(self, engine: TorchEngine, seed: int) -> None:
        self._engine = engine
        self._rng = random.Random(seed)
        self._open: list[tuple[list[int], int, Answer]] = []
        self._histories = [prompt_of(35)]
        self.ended: list[tuple[list[int], int, Answer]] = []

    def act(self) -> None:
        action = self._rng.choices(("ask", "cancel", "wait"), (5, 1, 4))[0]
        if action == "ask" or not self._open:
            self._ask()
        elif action == "cancel":
            self._engine.cancel(self._rng.choice(self._open)[2].request_id)
        else:
            self._end(self._rng.randrange(len(self._open)))

    def finish(self) -> None:
        while self._open:
            self._end(0)

    def _ask(self) -> None:
        rng = self._rng
        history = rng.choice(self._histories)
        known = rng.randint(1, len(history))
        prompt = history[:known] + prompt_of(rng.randint(0, 12), seed=rng.randint(0, 3))
        deadline = 0.0 if rng.random() < 0.05 else None
        length = rng.randint(1, 8)
        tenant = rng.choice(("", "a"))
        answer = ask(
            self._engine, prompt, tenant=tenant, deadline=deadline, max_tokens=length, seed=1
        )
        self._open.append((prompt, length, answer))

    def _end(self, index: int) -> None:
        prompt, length, answer = self._open.pop(index)
        told = [*prompt, *answer.wait().tokens]
        if len(told) < 60:
            self._histories.append(told)
        self.ended.append((prompt, length, answer))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("far", [False, True], ids=["host", "redis"])
def test_random_callers_are_answered_as_without_a_cache(
    build: BuildEngine, request: pytest.FixtureRequest, far: bool, seed: int
) -> None:
    options = KvOptions(host_bytes=150_000, chunk=16, break_even=1, redis_break_even=4)
    if far:
        server: RedisServer = request.getfixturevalue("redis_server")
        redis = RedisOptions(server.url, timeout=1.0)
        options = replace(options, redis=redis, patience=0.02)
    warm, cold = build(kv=options), build(kv=None)
    crowd = Crowd(warm, seed)
    for _ in range(STEPS):
        crowd.act()
        assert kv(warm).host_bytes <= options.host_bytes
    crowd.finish()
    whole = [ask(cold, prompt, max_tokens=length, seed=1) for prompt, length, _ in crowd.ended]
    for (_, _, answer), expected in zip(crowd.ended, whole, strict=True):
        told = expected.wait().tokens
        if answer.finish.reason in (FinishReason.CANCELLED, FinishReason.DEADLINE):
            assert answer.tokens == told[: len(answer.tokens)]
        else:
            assert answer.tokens == told
    assert hits(warm) > 0
    assert kv(warm).host_evictions > 0
