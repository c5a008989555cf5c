"""The same requests give the same tokens, whatever the engine does with them meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avikam.engine.engine import TorchEngine
from avikam.engine.kv.prefix_cache import KvOptions
from avikam.engine.kv.redis_tier import RedisOptions
from tests.effort import effort
from tests.engine.client import Answer, ask
from tests.engine.conftest import BuildEngine
from tests.engine.kv.conversations import cached, kv, prompt_of, until
from tests.engine.kv.redis_server import RedisServer

Make = Callable[..., TorchEngine]


@dataclass(frozen=True)
class Request:
    """One of the requests; half of them are sampled."""

    prompt: list[int]
    sampling: dict[str, Any]

    def ask(self, engine: TorchEngine, done: tuple[int, ...] = ()) -> Answer:
        return ask(engine, self.prompt, generated=done, **self.sampling)


@pytest.fixture
def asked(native: bool) -> list[Request]:
    """All 200; in a quick run a few of them for the slower path."""
    rng = random.Random(7)
    made = []
    for i in range(200 if native else effort(quick=24, full=200)):
        sampling: dict[str, Any] = {"max_tokens": rng.randint(4, 24), "seed": i}
        if i % 2:
            sampling |= {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.1}
        made.append(Request(prompt_of(rng.randint(20, 300), seed=i % 60), sampling))
    return made


@pytest.fixture(params=[True, False], ids=["native", "pytorch"])
def native(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def make(native: bool, build: BuildEngine, long_checkpoint: Path) -> Make:
    """Engines of int8 weights."""

    def engine(**options: object) -> TorchEngine:
        common = {"model": long_checkpoint, "native": native, "kv": None}
        return build(**(common | options))

    return engine


def alone(engine: TorchEngine, asked: list[Request]) -> list[list[int]]:
    return [request.ask(engine).wait().tokens for request in asked]


def together(engine: TorchEngine, asked: list[Request]) -> list[list[int]]:
    """All at once, in an order of its own."""
    order = random.Random(1).sample(range(len(asked)), len(asked))
    answers = {i: asked[i].ask(engine) for i in order}
    return [answers[i].wait(300).tokens for i in range(len(asked))]


@pytest.mark.timeout(1800)
def test_company_and_chunks_change_no_token(make: Make, asked: list[Request]) -> None:
    expected = alone(make(), asked)
    for slots, budget in ((24, 64), (5, 7), (8, 512)):
        crowded = make(slots=slots, token_budget=budget)
        assert together(crowded, asked) == expected, f"{slots} slots, {budget} tokens a step"


@pytest.mark.timeout(1800)
def test_resuming_at_a_random_token_changes_no_token(make: Make, asked: list[Request]) -> None:
    rng = random.Random(2)
    expected = alone(make(), asked)
    elsewhere = make(slots=6, token_budget=48)
    cuts = [tuple(tokens[: rng.randint(0, len(tokens))]) for tokens in expected]
    rests = [request.ask(elsewhere, cut) for request, cut in zip(asked, cuts, strict=True)]
    resumed = [[*cut, *rest.wait(300).tokens] for cut, rest in zip(cuts, rests, strict=True)]
    assert resumed == expected


@pytest.mark.timeout(1800)
def test_a_round_trip_through_the_exact_cold_tier_changes_no_token(
    make: Make, asked: list[Request], redis_server: RedisServer
) -> None:
    rng = random.Random(3)
    expected = alone(make(), asked)
    redis = RedisOptions(redis_server.url, timeout=5.0)
    options = KvOptions(chunk=16, break_even=1, redis=redis, redis_break_even=1, patience=30.0)
    writer = make(kv=options)
    for request in asked:
        beginning = request.prompt[: rng.randint(10, len(request.prompt) - 1)]
        ask(writer, beginning, max_tokens=1).wait()  # its end is exactly the prompt's
    until(lambda: not writer._reuse._prefixes._remote._unwritten, "everything is written")  # type: ignore[union-attr]
    reader = make(kv=options)
    answers = [request.ask(reader).wait() for request in asked]
    assert [answer.tokens for answer in answers] == expected
    assert kv(reader).remote_hits > 0
    assert sum(cached(answer) > 0 for answer in answers) > len(asked) // 2
