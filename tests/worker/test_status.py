"""Health, reflection, status and the tokenizer: what a worker says when asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from avikam.engine.fake import FakeEngine
from avikam.engine.fault_plan import FaultPlan
from avikam.engine.interface import Engine
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import worker_pb2
from avikam.worker.server import WorkerServer
from avikam.worker.settings import WorkerSettings
from tests.worker.harness import (
    LOOPBACK,
    OpenStream,
    RunningWorker,
    api_error,
    connected,
    eventually,
    fake_settings,
    generate,
    running_worker,
    sequence_request,
    worker_stub,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def worker() -> AsyncIterator[RunningWorker]:
    async with running_worker(worker_id="w1", slots=3, queue_requests=5) as running:
        yield running


async def health(channel: aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def first_status(worker: RunningWorker) -> worker_pb2.WorkerStatus:
    async for status in worker.stub.WatchStatus(worker_pb2.WatchStatusRequest()):
        return status
    raise AssertionError("no status")


async def test_a_ready_worker_is_serving_under_both_names(worker: RunningWorker) -> None:
    assert await health(worker.channel) == SERVING
    assert await health(worker.channel, "avikam.v1.WorkerService") == SERVING
    with pytest.raises(aio.AioRpcError) as unknown:
        await health(worker.channel, "avikam.v1.Other")
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_and_describes_the_services(worker: RunningWorker) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(worker.channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="avikam.v1.WorkerService"),
    ]
    listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]

    names = {service.name for service in listed.list_services_response.service}
    assert {"avikam.v1.WorkerService", "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


async def test_the_status_describes_worker_model_and_load(worker: RunningWorker) -> None:
    status = await first_status(worker)

    assert status.worker_id == "w1"
    assert status.state == worker_pb2.WORKER_STATE_READY
    assert len(status.incarnation) == 16
    assert status.model.id == "avikam1-fake"
    assert status.model.max_model_len == 2048
    assert len(status.model.digest) == 64
    assert (status.slots_total, status.slots_used, status.queue_limit) == (3, 0, 5)
    assert not status.draining


async def test_a_change_of_load_is_told_at_once_and_silence_lasts_a_second() -> None:
    async with running_worker(plan="tpot=10ms") as worker:
        watch = worker.stub.WatchStatus(worker_pb2.WatchStatusRequest())
        loop = asyncio.get_running_loop()
        assert (await watch.read()).slots_used == 0
        started = loop.time()
        assert (await watch.read()).slots_used == 0
        idle_gap = loop.time() - started

        stream = OpenStream(worker.stub, sequence_request(max_tokens=500))
        await stream.until(lambda answer: answer.tokens)
        started = loop.time()
        while (status := await watch.read()).slots_used == 0:
            pass
        assert loop.time() - started < 0.9
        assert status.load_tokens == len("Bonjour") + 1 + 250
        stream.cancel()

    assert 0.5 < idle_gap < 2


async def test_a_watch_ends_with_the_worker() -> None:
    async with running_worker() as worker:
        watch = worker.stub.WatchStatus(worker_pb2.WatchStatusRequest())
        await watch.read()
        states = asyncio.create_task(_states(watch))
        await worker.server.stop()
        assert (await states)[-1] == worker_pb2.WORKER_STATE_DRAINING


async def _states(watch: aio.UnaryStreamCall[object, worker_pb2.WorkerStatus]) -> list[int]:
    states: list[int] = []
    while (status := await watch.read()) is not aio.EOF:
        states.append(status.state)
    return states


async def test_a_loading_worker_says_so_and_refuses_work() -> None:
    loaded = threading.Event()

    def slowly(settings: WorkerSettings) -> Engine:
        loaded.wait(20)
        return FakeEngine()

    server = WorkerServer(fake_settings(), slowly)
    await server.start()
    loading = asyncio.create_task(server.load())
    async with connected(f"{LOOPBACK}:{server.port}") as channel:
        stub = worker_stub(channel)
        watch = stub.WatchStatus(worker_pb2.WatchStatusRequest())
        assert (await watch.read()).state == worker_pb2.WORKER_STATE_LOADING
        assert await health(channel) == NOT_SERVING
        for call in (
            generate(stub),
            stub.Tokenize(worker_pb2.TokenizeRequest(prompt=pb.Prompt(text="x"))),
        ):
            with pytest.raises(aio.AioRpcError) as refused:
                await call
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert api_error(refused.value).code == "loading"

        loaded.set()
        await loading
        while (status := await watch.read()).state != worker_pb2.WORKER_STATE_READY:
            pass
        assert status.model.id == "avikam1-fake"
        assert await health(channel) == SERVING
        assert (await generate(stub, max_tokens=2)).tokens
    await server.stop()


async def test_a_worker_whose_engine_stands_still_is_not_serving() -> None:
    async with running_worker(plan="hang@2#1", stall_seconds=0.3) as worker:
        stream = OpenStream(worker.stub, sequence_request(max_tokens=5))
        await stream.until(lambda answer: answer.tokens)

        await eventually(lambda: worker.server.board.state.value == "failed", within=5)
        assert await health(worker.channel) == NOT_SERVING
        status = await first_status(worker)
        assert status.state == worker_pb2.WORKER_STATE_FAILED
        assert status.stalled_seconds > 0.3
        with pytest.raises(aio.AioRpcError) as refused:
            await generate(worker.stub)
        assert api_error(refused.value).code == "engine_stalled"


async def test_a_worker_recovers_with_its_engine() -> None:
    async with running_worker(plan="freeze=600ms@2#1", stall_seconds=0.2) as worker:
        states: list[int] = []
        watch = worker.stub.WatchStatus(worker_pb2.WatchStatusRequest())
        answer = asyncio.create_task(generate(worker.stub, max_tokens=5))
        await answer
        while len(states) < 2 or states[-1] != worker_pb2.WORKER_STATE_READY:
            states.append((await watch.read()).state)
        assert len((await generate(worker.stub, max_tokens=5)).tokens) == 5
        watch.cancel()


async def test_tokenize_and_detokenize_are_inverse(worker: RunningWorker) -> None:
    text = "L’été, déjà ? 🙂 naïve 語\n\t\0 end"
    plain = await worker.stub.Tokenize(worker_pb2.TokenizeRequest(prompt=pb.Prompt(text=text)))
    back = await worker.stub.Detokenize(worker_pb2.DetokenizeRequest(token_ids=plain.token_ids))

    assert back.text == text
    assert len(plain.pieces) == len(plain.token_ids) == len(text.encode())
    assert plain.max_model_len == 2048


async def test_tokenize_adds_the_frame_of_a_generation_when_asked(worker: RunningWorker) -> None:
    framed = await worker.stub.Tokenize(
        worker_pb2.TokenizeRequest(prompt=pb.Prompt(text="x"), add_special_tokens=True)
    )
    turns = pb.ChatMessages(messages=[pb.ChatMessage(role=pb.ROLE_USER, content="x")])
    chat = await worker.stub.Tokenize(worker_pb2.TokenizeRequest(prompt=pb.Prompt(chat=turns)))

    assert list(framed.pieces) == ["<s>", "<0x78>"]
    assert list(chat.pieces) == ["<s>", "<|user|>", "<0x78>", "</s>", "<|assistant|>"]


@pytest.mark.parametrize("excess", [2**20 + 1])
async def test_the_tokenizer_has_a_limit(worker: RunningWorker, excess: int) -> None:
    prompt = pb.Prompt(text="x" * excess)
    with pytest.raises(aio.AioRpcError) as text:
        await worker.stub.Tokenize(worker_pb2.TokenizeRequest(prompt=prompt))
    with pytest.raises(aio.AioRpcError) as ids:
        await worker.stub.Detokenize(worker_pb2.DetokenizeRequest(token_ids=[100] * excess))

    assert text.value.code() == ids.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_plan_without_faults_is_the_default() -> None:
    assert FaultPlan.parse("") == FaultPlan()
