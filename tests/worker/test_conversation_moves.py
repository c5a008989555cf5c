"""A conversation moves from worker to worker: real gRPC, real Redis, nothing computed twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from avikam.engine.interface import KvStats
from avikam.v1 import generation_pb2, worker_pb2
from tests.engine.kv.redis_server import RedisServer
from tests.model.builders import tiny_checkpoint
from tests.worker.harness import Answer, OpenStream, RunningWorker, eventually, running_worker

TURNS, ANSWER = 10, 8


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.client.close()
    server.kill()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("moving"), max_positions=768)


async def say(worker: RunningWorker, tokens: list[int], turn: int) -> Answer:
    request = worker_pb2.SequenceRequest(
        request_id=f"turn-{turn}",
        attempt=1,
        prompt=generation_pb2.Prompt(tokens=generation_pb2.TokenIds(ids=tokens)),
        sampling=generation_pb2.SamplingParams(max_tokens=ANSWER, ignore_eos=True),
        tenant="somebody",
    )
    return await OpenStream(worker.stub, request, deadline=60).rest()


def kv(worker: RunningWorker) -> KvStats:
    stats = worker.engine.stats().kv
    assert stats is not None
    return stats


async def test_ten_turns_on_two_workers_compute_each_token_once(
    model: Path, redis_server: RedisServer
) -> None:
    common = {"engine": "real", "model": model, "slots": 4, "token_budget": 64, "threads": 1}
    shared = common | {
        "kv_redis": redis_server.url,
        "kv_redis_break_even": 8,
        "kv_redis_timeout_seconds": 5.0,
        "kv_load_seconds": 10.0,
        "kv_break_even": 8,
    }
    async with (
        running_worker(**common, kv_host_bytes=0) as alone,
        running_worker(**shared) as here,
        running_worker(**shared) as there,
    ):
        tokens: list[int] = []
        for turn in range(TURNS):
            tokens += random.Random(turn).choices(range(10, 300), k=40)
            worker = (here, there)[turn % 2]
            known = len(tokens) - 40 - 1 if turn else 0
            answer = await say(worker, tokens, turn)
            expected = await say(alone, tokens, turn)
            assert answer.text == expected.text
            assert answer.tokens == expected.tokens
            assert answer.finish.timings.cached_tokens == known
            tokens += answer.tokens
            await eventually(lambda: kv(here).remote_writes + kv(there).remote_writes > turn)  # noqa: B023
        assert kv(here).remote_hits + kv(there).remote_hits == TURNS - 1
        assert kv(here).remote_corrupt + kv(there).remote_corrupt == 0
