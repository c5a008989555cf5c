"""Whoever goes away, nothing of them stays."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import aio

from avikam.v1 import generation_pb2
from tests.worker.harness import (
    OpenStream,
    RunningWorker,
    connected,
    eventually,
    generate,
    running_worker,
    sequence_request,
    worker_stub,
)


@pytest.fixture
async def slow_worker() -> AsyncIterator[RunningWorker]:
    """Two slots, and a token every 10 ms."""
    async with running_worker(plan="tpot=10ms", slots=2, queue_requests=1000) as worker:
        yield worker


def is_empty(worker: RunningWorker) -> bool:
    """No slot taken, nobody waiting, no stream open."""
    stats = worker.engine.stats()
    held = stats.slots_used or stats.waiting or stats.load_tokens
    return not (held or len(worker.server.streams))


async def test_a_cancelled_stream_frees_its_slot(slow_worker: RunningWorker) -> None:
    stream = OpenStream(slow_worker.stub, sequence_request(max_tokens=1000))
    await stream.until(lambda answer: answer.tokens)
    assert slow_worker.engine.stats().slots_used == 1

    stream.cancel()

    await eventually(lambda: is_empty(slow_worker), within=1)


async def test_a_cancelled_request_leaves_the_queue(slow_worker: RunningWorker) -> None:
    running = [OpenStream(slow_worker.stub, sequence_request(max_tokens=1000)) for _ in range(2)]
    for stream in running:
        await stream.until(lambda answer: answer.tokens)
    waiting = OpenStream(slow_worker.stub, sequence_request(max_tokens=1000))
    await waiting.until(lambda answer: answer.frames)
    assert slow_worker.engine.stats().waiting == 1

    waiting.cancel()

    await eventually(lambda: slow_worker.engine.stats().waiting == 0, within=1)
    assert slow_worker.engine.stats().slots_used == 2
    for stream in running:
        stream.cancel()
    await eventually(lambda: is_empty(slow_worker), within=1)


async def test_a_lost_connection_cancels_all_its_streams(slow_worker: RunningWorker) -> None:
    async with connected(slow_worker.address) as channel:
        streams = [
            OpenStream(worker_stub(channel), sequence_request(max_tokens=1000)) for _ in range(5)
        ]
        for stream in streams:
            await stream.until(lambda answer: answer.frames)
        assert len(slow_worker.server.streams) == 5

    await eventually(lambda: is_empty(slow_worker), within=1)


async def test_a_passed_deadline_ends_the_sequence(slow_worker: RunningWorker) -> None:
    stream = OpenStream(slow_worker.stub, sequence_request(max_tokens=1000), deadline=0.2)

    # The engine and the RPC see the same deadline: whoever is first says so.
    try:
        answer = await stream.rest()
        assert answer.finish.reason == generation_pb2.FINISH_REASON_DEADLINE
    except aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    await eventually(lambda: is_empty(slow_worker), within=1)


async def test_a_deadline_in_the_queue_ends_the_wait(slow_worker: RunningWorker) -> None:
    running = [OpenStream(slow_worker.stub, sequence_request(max_tokens=1000)) for _ in range(2)]
    for stream in running:
        await stream.until(lambda answer: answer.tokens)
    waiting = OpenStream(slow_worker.stub, sequence_request(max_tokens=5), deadline=0.2)
    try:
        assert not (await waiting.rest()).tokens
    except aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    await eventually(lambda: slow_worker.engine.stats().waiting == 0, within=1)
    for stream in running:
        stream.cancel()


async def test_a_thousand_clients_that_disconnect_anywhere_leave_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = random.Random(11)
    async with running_worker(plan="ttft=5ms,tpot=1ms", slots=32, queue_requests=1000) as worker:
        await generate(worker.stub, max_tokens=3)
        before = _tasks()

        async def come_and_go(moment: float, abruptly: bool) -> None:
            async with connected(worker.address) as channel:
                stub = worker_stub(channel) if abruptly else worker.stub
                stream = OpenStream(stub, sequence_request(max_tokens=40))
                reading = asyncio.create_task(_read(stream))
                await asyncio.sleep(moment)
                if not abruptly:
                    stream.cancel()
            await reading

        for _ in range(10):
            await asyncio.gather(
                *(come_and_go(chance.uniform(0, 0.15), n % 5 == 0) for n in range(100))
            )

        await eventually(lambda: is_empty(worker))
        await eventually(lambda: not _tasks() - before)
        answer = await generate(worker.stub, max_tokens=3)
        assert len(answer.tokens) == 3
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def _read(stream: OpenStream) -> None:
    try:
        await stream.rest()
    except (asyncio.CancelledError, aio.AioRpcError):
        return


def _tasks() -> Counter[str]:
    """How many tasks run of each coroutine."""
    return Counter(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
