"""The public gRPC API: the same answers as REST, statuses with trailers, keys, health, the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from avikam.gateway.server import StartError
from avikam.protocol.rpc_errors import from_trailers
from avikam.protocol.wire import text_prompt
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2, inference_pb2_grpc
from tests.gateway.harness import RunningGateway, gateway_at, serving
from tests.worker.harness import PATIENCE, connected, eventually, free_port

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SECRET = new_secret("alice")
METRICS_SECRET = new_secret("prometheus")


def channel_to(gateway: RunningGateway) -> contextlib.AbstractAsyncContextManager[aio.Channel]:
    return connected(f"127.0.0.1:{gateway.server.grpc_port}")


def stub_on(channel: aio.Channel) -> inference_pb2_grpc.InferenceServiceAsyncStub:
    return inference_pb2_grpc.InferenceServiceStub(channel)


@contextlib.asynccontextmanager
async def speaking(
    plan: str = "", **settings: Any
) -> AsyncIterator[tuple[RunningGateway, inference_pb2_grpc.InferenceServiceAsyncStub]]:
    """A gateway with a worker, and a client of its gRPC port."""
    async with (
        serving(plan=plan, grpc_port=0, **settings) as gateway,
        channel_to(gateway) as channel,
    ):
        yield gateway, stub_on(channel)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.yaml"
    write_keys(
        path,
        [
            Key(id="alice", sha256=digest(SECRET), tenant="acme"),
            Key(
                id="prometheus",
                sha256=digest(METRICS_SECRET),
                tenant="ops",
                scopes=("metrics",),
            ),
        ],
    )
    return path


@pytest_asyncio.fixture
async def locked(key_file: Path) -> AsyncIterator[aio.Channel]:
    """A channel to a gateway with keys and without workers."""
    async with (
        gateway_at("127.0.0.1:1", grpc_port=0, keys=key_file) as gateway,
        channel_to(gateway) as channel,
    ):
        yield channel


def ask(prompt: str = "Bonjour", **sampling: Any) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        prompts=[text_prompt(prompt)], sampling=pb.SamplingParams(**sampling)
    )


async def refused(call: Any) -> aio.AioRpcError:
    """The status of a call that must fail."""
    with pytest.raises(aio.AioRpcError) as failure:
        await call
    return failure.value


def code_of(error: aio.AioRpcError) -> str:
    """The error's code, from the trailers."""
    told = from_trailers("", error.trailing_metadata())
    return "" if told is None else told.code


async def test_an_answer_is_the_one_of_rest() -> None:
    async with speaking() as (gateway, stub):
        answer = await stub.Generate(ask(max_tokens=20, seed=7))
        text = await gateway.text(prompt="Bonjour", max_tokens=20, seed=7)

    assert answer.choices[0].text == text != ""
    assert answer.choices[0].finish_reason == pb.FINISH_REASON_LENGTH
    assert answer.usage.completion_tokens == 20
    assert answer.id.startswith("gen-")


async def test_joined_pieces_are_the_answer_and_the_last_message_counts() -> None:
    async with speaking() as (_, stub):
        answer = await stub.Generate(ask(max_tokens=30, seed=7))
        pieces = [piece async for piece in stub.GenerateStream(ask(max_tokens=30, seed=7))]

    *deltas, last = pieces
    assert "".join(piece.delta.text for piece in deltas) == answer.choices[0].text
    assert [t for piece in deltas for t in piece.delta.token_ids] == answer.choices[0].token_ids
    assert not last.HasField("delta")
    assert last.usage.completion_tokens == 30


async def test_prompts_times_n_answers_keep_their_order() -> None:
    request = inference_pb2.GenerateRequest(
        prompts=[text_prompt("un"), text_prompt("deux")],
        n=2,
        sampling=pb.SamplingParams(max_tokens=3),
    )
    async with speaking() as (_, stub):
        answer = await stub.Generate(request)

    order = [(choice.prompt_index, choice.index) for choice in answer.choices]
    assert order == [(0, 0), (0, 1), (1, 0), (1, 1)]


async def test_tokens_and_models_are_those_of_rest() -> None:
    async with speaking() as (gateway, stub):
        tokens = await stub.Tokenize(
            inference_pb2.TextTokenizeRequest(prompt=text_prompt("Bonjour"))
        )
        rest = (await gateway.post("/tokenize", prompt="Bonjour")).json()
        models = await stub.ListModels(inference_pb2.ListModelsRequest())
        listed = (await gateway.get("/v1/models")).json()["data"]

    assert list(tokens.token_ids) == rest["tokens"]
    assert tokens.max_model_len == rest["max_model_len"]
    assert [model.id for model in models.models] == [card["id"] for card in listed]


@pytest.mark.parametrize(
    ("request_", "status", "code", "param"),
    [
        (ask(temperature=-1.0), grpc.StatusCode.INVALID_ARGUMENT, "invalid_value", "temperature"),
        (
            inference_pb2.GenerateRequest(),
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid_value",
            "prompt",
        ),
        (
            inference_pb2.GenerateRequest(prompts=[text_prompt("a")], model="gpt"),
            grpc.StatusCode.NOT_FOUND,
            "model_not_found",
            "model",
        ),
    ],
)
async def test_errors_are_a_status_and_trailers(
    request_: inference_pb2.GenerateRequest, status: grpc.StatusCode, code: str, param: str
) -> None:
    async with speaking() as (_, stub):
        for call in (stub.Generate(request_), stub.GenerateStream(request_).read()):
            error = await refused(call)
            told = from_trailers(error.details() or "", error.trailing_metadata())

            assert error.code() is status
            assert told is not None
            assert (told.code, told.param) == (code, param)


async def test_bytes_that_are_no_message_are_the_clients_fault() -> None:
    async with serving(grpc_port=0) as gateway, channel_to(gateway) as channel:
        call = channel.unary_unary("/avikam.v1.InferenceService/Generate")
        error = await refused(call(b"\xff\xff\xff"))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(error) == "invalid_protobuf"


async def test_the_calls_deadline_ends_the_work() -> None:
    async with speaking(plan="tpot=50ms") as (gateway, stub):
        error = await refused(stub.Generate(ask(max_tokens=1000), timeout=0.3))
        await gateway.idle()

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_cancelling_a_stream_frees_the_slot() -> None:
    async with speaking(plan="tpot=20ms") as (gateway, stub):
        stream = stub.GenerateStream(ask(max_tokens=1000))
        await stream.read()
        stream.cancel()
        await gateway.idle()


async def test_cancelling_a_whole_answer_frees_the_slot() -> None:
    async with speaking(plan="tpot=20ms") as (gateway, stub):
        call = stub.Generate(ask(max_tokens=1000))
        await eventually(lambda: gateway.worker.engine.stats().slots_used == 1)
        call.cancel()
        await gateway.idle()


async def test_without_a_key_nothing_but_the_health_check_answers(locked: aio.Channel) -> None:
    stub, health = stub_on(locked), health_pb2_grpc.HealthStub(locked)
    question = health_pb2.HealthCheckRequest()
    reflection = reflection_pb2_grpc.ServerReflectionStub(locked)
    calls = [
        stub.Generate(ask()),
        stub.GenerateStream(ask()).read(),
        stub.Tokenize(inference_pb2.TextTokenizeRequest()),
        stub.ListModels(inference_pb2.ListModelsRequest()),
        health.Watch(question).read(),
        reflection.ServerReflectionInfo(iter([_list_services()])).read(),
    ]
    for call in calls:
        error = await refused(call)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert code_of(error) == "invalid_api_key"

    assert (await health.Check(question)).status == NOT_SERVING


def _list_services() -> reflection_pb2.ServerReflectionRequest:
    return reflection_pb2.ServerReflectionRequest(list_services="")


@pytest.mark.parametrize("metadata", [("authorization", f"Bearer {SECRET}"), ("x-api-key", SECRET)])
async def test_either_name_of_metadata_carries_the_key(
    locked: aio.Channel, metadata: tuple[str, str]
) -> None:
    models = await stub_on(locked).ListModels(
        inference_pb2.ListModelsRequest(), metadata=(metadata,)
    )

    assert list(models.models) == []


async def test_a_key_without_the_scope_is_refused(locked: aio.Channel) -> None:
    metadata = (("x-api-key", METRICS_SECRET),)
    error = await refused(stub_on(locked).Generate(ask(), metadata=metadata))

    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_reflection_names_the_services() -> None:
    async with gateway_at("127.0.0.1:1", grpc_port=0) as gateway, channel_to(gateway) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        reply = await stub.ServerReflectionInfo(iter([_list_services()])).read()

    names = {service.name for service in reply.list_services_response.service}
    assert {"avikam.v1.InferenceService", "grpc.health.v1.Health"} <= names


async def test_health_follows_the_workers_and_the_drain() -> None:
    question = health_pb2.HealthCheckRequest(service="avikam.v1.InferenceService")
    async with serving(grpc_port=0) as gateway, channel_to(gateway) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(question)

        async def told(status: int) -> None:
            async with asyncio.timeout(PATIENCE):
                while (await watch.read()).status != status:
                    pass

        await told(SERVING)
        gateway.server.gateway.drain.signal()
        await told(NOT_SERVING)


async def test_a_drain_lets_a_stream_finish_and_refuses_new_ones() -> None:
    async with speaking(plan="tpot=10ms") as (gateway, stub):
        stream = aiter(stub.GenerateStream(ask(max_tokens=60)))
        first = await anext(stream)
        draining = asyncio.create_task(gateway.server.drain())
        await eventually(lambda: gateway.server.gateway.drain.started)
        pieces = [first, *[piece async for piece in stream]]
        await draining
        error = await refused(stub.ListModels(inference_pb2.ListModelsRequest(), timeout=2.0))

    assert pieces[-1].usage.completion_tokens == 60
    assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_a_drain_does_not_wait_for_those_who_watch_health() -> None:
    async with serving(grpc_port=0) as gateway, channel_to(gateway) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()

        async with asyncio.timeout(PATIENCE):
            await gateway.server.drain()


async def test_it_is_off_by_default() -> None:
    async with gateway_at("127.0.0.1:1") as gateway:
        assert gateway.server.grpc_port is None


async def test_a_busy_port_stops_the_start_in_one_line() -> None:
    port = free_port()
    async with gateway_at("127.0.0.1:1", grpc_port=port):
        with pytest.raises(StartError, match=f"cannot serve gRPC on 127.0.0.1:{port}: Address"):
            async with gateway_at("127.0.0.1:1", grpc_port=port):
                pass


async def test_calls_are_counted_by_method_and_status() -> None:
    async with speaking() as (gateway, stub):
        await stub.Generate(ask(max_tokens=3))
        await refused(stub.Generate(ask(temperature=-1.0)))

    route = "/avikam.v1.InferenceService/Generate"
    assert gateway.metric("requests_total", route=route, status="200") == 1
    assert gateway.metric("requests_total", route=route, status="400") == 1
