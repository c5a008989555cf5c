"""A worker that is told to stop: unready, accepting, finishing, handing over, gone."""

from __future__ import annotations

import asyncio
import signal

import grpc
import pytest
from grpc import aio

from avikam.engine import fake_text
from avikam.v1 import worker_pb2
from tests.worker.harness import (
    OpenStream,
    WorkerProcess,
    api_error,
    eventually,
    generate,
    running_worker,
    sequence_request,
    trailer,
    worker_process,
)
from tests.worker.test_status import NOT_SERVING, health

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def draining(worker: WorkerProcess) -> None:
    """Wait until the worker's status says that it drains."""
    async for status in worker.stub.WatchStatus(worker_pb2.WatchStatusRequest()):
        if status.draining:
            assert status.state == worker_pb2.WORKER_STATE_DRAINING
            return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_draining_worker_accepts_on_and_finishes_what_runs(number: signal.Signals) -> None:
    async with worker_process(plan="tpot=10ms", drain_accept_seconds=0.5) as worker:
        early = OpenStream(worker.stub, sequence_request(max_tokens=100, seed=1))
        await early.until(lambda answer: answer.tokens)

        worker.send(number)
        await draining(worker)
        assert await health(worker.channel) == NOT_SERVING
        late = await generate(worker.stub, max_tokens=10, seed=2)

        assert late.tokens == fake_text.answer(2, 0, 10)
        assert (await early.rest()).tokens == fake_text.answer(1, 0, 100)
        assert await worker.exit_code() == 0
        assert not [line for line in worker.log if "Traceback" in line]


async def test_after_the_grace_new_work_is_refused_while_old_work_runs() -> None:
    async with worker_process(plan="tpot=10ms") as worker:
        early = OpenStream(worker.stub, sequence_request(max_tokens=100, seed=1))
        await early.until(lambda answer: answer.tokens)

        worker.send(signal.SIGTERM)
        while True:
            try:
                await generate(worker.stub, max_tokens=1)
            except aio.AioRpcError as error:
                # Which one depends on how far gRPC's goodbye has come; gateways take both alike.
                assert error.code() in (UNAVAILABLE, grpc.StatusCode.CANCELLED)
                break

        assert (await early.rest()).tokens == fake_text.answer(1, 0, 100)
        assert await worker.exit_code() == 0


async def test_what_outlives_the_drain_is_handed_over_and_resumes_elsewhere() -> None:
    length = 300
    async with (
        worker_process(plan="tpot=10ms", drain_seconds=0.5) as leaving,
        running_worker() as staying,
    ):
        streams = [
            OpenStream(leaving.stub, sequence_request(max_tokens=length, seed=seed))
            for seed in range(8)
        ]
        for stream in streams:
            await stream.until(lambda answer: answer.tokens)
        leaving.send(signal.SIGTERM)

        for seed, stream in enumerate(streams):
            with pytest.raises(aio.AioRpcError) as handed_over:
                await stream.rest()
            assert handed_over.value.code() == UNAVAILABLE
            assert trailer(handed_over.value, "x-migrate") == "1"
            assert api_error(handed_over.value).code == "migrate"

            said = stream.answer
            assert 10 < len(said.tokens) < length
            rest = await generate(staying.stub, max_tokens=length, seed=seed, generated=said.tokens)
            assert said.tokens + rest.tokens == fake_text.answer(seed, 0, length)
            assert said.text + rest.text == fake_text.decode(fake_text.answer(seed, 0, length))

        assert await leaving.exit_code() == 0


async def test_a_second_signal_hands_over_at_once() -> None:
    async with worker_process(plan="tpot=10ms", drain_accept_seconds=60.0) as worker:
        stream = OpenStream(worker.stub, sequence_request(max_tokens=1000))
        await stream.until(lambda answer: answer.tokens)

        worker.send(signal.SIGTERM)
        await draining(worker)
        worker.send(signal.SIGTERM)

        with pytest.raises(aio.AioRpcError) as handed_over:
            await stream.rest()
        assert trailer(handed_over.value, "x-migrate") == "1"
        assert await worker.exit_code() == 0


async def test_an_idle_worker_with_watchers_drains_without_waiting_for_them() -> None:
    async with worker_process(drain_seconds=60.0) as worker:
        watch = worker.stub.WatchStatus(worker_pb2.WatchStatusRequest())
        await watch.read()
        worker.send(signal.SIGTERM)
        assert await worker.exit_code() == 0


async def test_stopping_twice_is_stopping_once() -> None:
    async with running_worker(plan="tpot=10ms") as worker:
        stream = OpenStream(worker.stub, sequence_request(max_tokens=1000))
        await stream.until(lambda answer: answer.tokens)
        await asyncio.gather(worker.server.stop(), worker.server.stop())
        with pytest.raises(aio.AioRpcError) as handed_over:
            await stream.rest()
    assert trailer(handed_over.value, "x-migrate") == "1"


async def test_a_drain_in_this_process_leaves_no_stream_behind() -> None:
    async with running_worker(plan="tpot=40ms", drain_seconds=20.0) as worker:
        answers = [
            asyncio.create_task(generate(worker.stub, max_tokens=80, seed=seed))
            for seed in range(20)
        ]
        await eventually(lambda: len(worker.server.streams) == 20)
        await worker.server.drain()
        assert len(worker.server.streams) == 0
        for seed, answer in enumerate(await asyncio.gather(*answers)):
            assert answer.tokens == fake_text.answer(seed, 0, 80)
