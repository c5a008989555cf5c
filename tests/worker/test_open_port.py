"""What somebody can do who reaches a worker's port: nothing without the token, little with it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError

from avikam.engine.fake import FakeEngine
from avikam.engine.interface import SequenceSpec, Sink
from avikam.protocol.worker_token import HEADER
from avikam.v1 import worker_pb2, worker_pb2_grpc
from avikam.worker.server import StartError, WorkerServer
from avikam.worker.settings import WorkerSettings
from tests.gateway.harness import serving
from tests.worker.harness import (
    RunningWorker,
    api_error,
    connected,
    fake_settings,
    generate,
    running_worker,
    sequence_request,
)

TOKEN, OTHER = "a" * 32, "b" * 32
ANYWHERE = "0.0.0.0"  # noqa: S104 - what is tested
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


async def outcome(worker: RunningWorker, *shown: tuple[str, str]) -> grpc.StatusCode:
    """How a call ends that shows this metadata."""
    request = worker_pb2.TokenizeRequest(prompt={"text": "a"})
    try:
        await worker.stub.Tokenize(request, metadata=shown, timeout=20)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        ((), UNAUTHENTICATED),
        (((HEADER, ""),), UNAUTHENTICATED),
        (((HEADER, TOKEN[:-1]),), UNAUTHENTICATED),
        (((HEADER, TOKEN + "a"),), UNAUTHENTICATED),
        (((HEADER, TOKEN), (HEADER, TOKEN)), UNAUTHENTICATED),
        ((("authorization", f"Bearer {TOKEN}"),), UNAUTHENTICATED),
        (((HEADER, TOKEN),), grpc.StatusCode.OK),
        (((HEADER, OTHER),), grpc.StatusCode.OK),
    ],
    ids=["none", "empty", "shorter", "longer", "twice", "elsewhere", "right", "the other"],
)
async def test_a_worker_with_tokens_wants_one_of_them(
    shown: tuple[tuple[str, str], ...], code: grpc.StatusCode
) -> None:
    async with running_worker(token=f"{TOKEN}, {OTHER}") as worker:
        assert await outcome(worker, *shown) is code


async def test_every_method_wants_it_but_health() -> None:
    async with running_worker(token=TOKEN) as worker:
        stub: Any = worker.stub
        calls = [
            stub.Generate(sequence_request()),
            stub.WatchStatus(worker_pb2.WatchStatusRequest()),
            stub.Exchange(iter([worker_pb2.ExchangeRequest()])),
            stub.LoadAdapter(worker_pb2.LoadAdapterRequest(name="a", path="a")),
            stub.UnloadAdapter(worker_pb2.UnloadAdapterRequest(name="a")),
            stub.Detokenize(worker_pb2.DetokenizeRequest(token_ids=[5])),
        ]
        codes = [await call.code() for call in calls]
        health = await health_pb2_grpc.HealthStub(worker.channel).Check(
            health_pb2.HealthCheckRequest()
        )

    assert codes == [UNAUTHENTICATED] * 6
    assert health.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_gateway_shows_its_token_with_every_call() -> None:
    worker = {"token": f"{OTHER},{TOKEN}"}
    async with serving(worker=worker, worker_token=f"{TOKEN},{OTHER}") as gateway:
        answer = await gateway.post("/generate", prompt="a", max_tokens=3)
        tokens = await gateway.post("/tokenize", prompt="abc")

    assert (answer.status_code, tokens.status_code) == (200, 200)


@pytest.mark.parametrize("weak", ["short", "é" * 20, f"{TOKEN},short"])
def test_a_token_that_can_be_guessed_is_no_setting(weak: str) -> None:
    with pytest.raises(ValidationError):
        WorkerSettings(token=weak)


@pytest.mark.parametrize("host", [ANYWHERE, "::", "10.1.2.3", "somewhere.example"])
async def test_an_open_address_wants_a_token_or_to_be_called_open(host: str) -> None:
    server = WorkerServer(fake_settings(host=host))
    with pytest.raises(StartError) as refused:
        await server.start()

    assert host in str(refused.value)
    assert "token" in str(refused.value)


class Listening(FakeEngine):
    """An engine that notes for whom it works."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[SequenceSpec] = []

    def submit(self, spec: SequenceSpec, sink: Sink) -> None:
        self.asked.append(spec)
        super().submit(spec, sink)


@pytest.mark.parametrize(
    ("settings", "tenant"),
    [
        ({"host": ANYWHERE, "open": True}, ("", 0)),
        ({"host": ANYWHERE, "token": TOKEN}, ("acme", -5)),
        ({}, ("acme", -5)),
    ],
    ids=["open", "with a token", "on loopback"],
)
async def test_only_a_gateways_word_on_tenants_counts(
    settings: dict[str, object], tenant: tuple[str, int]
) -> None:
    engine = Listening()
    request = sequence_request(max_tokens=2)
    request.tenant, request.priority = "acme", -5
    start = worker_pb2.StartSequence(line=1, sequence=request)
    shown = ((HEADER, TOKEN),)
    async with running_worker(lambda _: engine, **settings) as worker:
        async for _ in worker.stub.Generate(request, metadata=shown):
            pass
        call = worker.stub.Exchange(metadata=shown)
        await call.write(worker_pb2.ExchangeRequest(start=[start]))
        await call.read()
        call.cancel()

    assert [(spec.tenant, spec.priority) for spec in engine.asked] == [tenant] * 2


# What one message, and one call, may make a worker do


async def exchanged(worker: RunningWorker, data: bytes) -> grpc.aio.AioRpcError:
    """How an exchange ends that begins with these bytes."""
    call = worker.channel.stream_stream("/avikam.v1.WorkerService/Exchange", None, None)()
    await call.write(data)
    try:
        while await call.read():
            pass
    except grpc.aio.AioRpcError as ended:
        return ended
    raise AssertionError("the exchange ended well")


def starts(count: int, **fields: Any) -> bytes:
    """A message that starts so many lines."""
    lines = [worker_pb2.StartSequence(line=n + 1, **fields) for n in range(count)]
    return worker_pb2.ExchangeRequest(start=lines).SerializeToString()


MANY = 200_000
FLOODS = {
    "starts": lambda: starts(MANY),
    "few starts, still too many": lambda: starts(5000),
    "lines to cancel": lambda: worker_pb2.ExchangeRequest(
        cancel=range(3_000_000)
    ).SerializeToString(),
    "turns of one prompt": lambda: starts(
        1, sequence={"prompt": {"chat": {"messages": [{}] * 3 * MANY}}}
    ),
    "tokens so far": lambda: starts(1, sequence={"generated": [5] * 3_000_000}),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_message_that_would_become_huge_ends_its_call_and_nothing_else(
    flood: str,
) -> None:
    async with running_worker() as worker:
        ended = await exchanged(worker, FLOODS[flood]())
        answer = await generate(worker.stub, max_tokens=4)

    assert api_error(ended).status == 400
    assert len(answer.tokens) == 4


async def test_lines_beyond_what_the_engine_takes_are_turned_away_at_once() -> None:
    async with running_worker(plan="hang@0", slots=2, queue_requests=200) as worker:
        call = worker.stub.Exchange()
        most = worker.server.board.most_lines()
        request = sequence_request(max_tokens=2)
        lines = [worker_pb2.StartSequence(line=n + 1, sequence=request) for n in range(most + 50)]
        await call.write(worker_pb2.ExchangeRequest(start=lines))
        ends: dict[int, worker_pb2.LineEnd] = {}
        while not set(range(most + 1, most + 51)) <= set(ends):
            message = await call.read()
            assert isinstance(message, worker_pb2.ExchangeResponse)
            await call.write(worker_pb2.ExchangeRequest(read=1))
            ends |= {news.line: news.end for news in message.news if news.HasField("end")}
        call.cancel()

    assert all(end.status == 429 for end in ends.values())


async def test_who_does_not_read_cannot_fill_the_outbox() -> None:
    refused = [worker_pb2.StartSequence(line=1)] * 4000
    message = worker_pb2.ExchangeRequest(start=refused)
    written = 0
    async with running_worker() as worker:
        call = worker.stub.Exchange()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for _ in range(500):
                await call.write(message)
                written += 1
        code = await call.code()
        answer = await generate(worker.stub, max_tokens=4)

    assert written < 500
    assert code is not grpc.StatusCode.OK
    assert len(answer.tokens) == 4


async def test_compressed_messages_are_not_taken() -> None:
    async with running_worker() as worker, connected(worker.address) as channel:
        stub: worker_pb2_grpc.WorkerServiceAsyncStub = worker_pb2_grpc.WorkerServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Tokenize(
                worker_pb2.TokenizeRequest(prompt={"text": "a" * 100_000}),
                compression=grpc.Compression.Gzip,
            )

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
