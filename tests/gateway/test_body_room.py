"""Large bodies share one room, whichever door they come through; small ones never wait for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode, aio

from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from avikam.gateway.budget.room import NO_ROOM, Hold, Room
from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS, MIB
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2
from tests.gateway.doors import refused
from tests.gateway.harness import PROTOBUF, RunningGateway, gateway_at, serving
from tests.worker.harness import LOOPBACK, connected, eventually

GENERATE = "/avikam.v1.InferenceService/Generate"


def large(size: int = 30 * MIB) -> bytes:
    """A request that is a request, and more than any worker reads."""
    prompt = pb.Prompt(text="a" * size)
    return inference_pb2.GenerateRequest(prompts=[prompt]).SerializeToString()


class Call:
    """Who holds what is held."""

    held = 0


def test_a_request_grows_and_gives_back_what_it_held() -> None:
    room, other = Room(300_000), Call()

    held = room.grow(room.grow(0, 100_000), 200_000)
    hold = Hold(room, other)
    hold.add(90_000)
    with pytest.raises(ApiError) as full:
        room.grow(0, 100_000)
    hold.give_back()
    room.give_back(held)

    assert held == 200_000
    assert (full.value.status, full.value.code) == (503, NO_ROOM)
    assert room.free == 300_000


def test_small_bodies_need_no_room() -> None:
    room = Room(0)

    assert room.grow(0, 64 * 1024) == 0


def test_many_small_parts_of_a_request_are_a_large_one() -> None:
    room, call = Room(300_000), Call()
    hold = Hold(room, call)

    for _ in range(10):
        hold.add(30_000)

    assert call.held == 300_000
    with pytest.raises(ApiError):
        hold.add(1)


def test_what_would_never_fit_is_not_told_to_come_back() -> None:
    with pytest.raises(ApiError) as refused:
        Room(300_000).grow(0, 300_001)

    assert (refused.value.status, refused.value.retry_after) == (413, None)


@contextlib.asynccontextmanager
async def half_sent(gateway: RunningGateway, size: int) -> AsyncIterator[None]:
    """A client that has sent ``size`` bytes of a body, and goes before the rest."""
    _, writer = await gateway.connect()
    head = f"POST /generate HTTP/1.1\r\nhost: a\r\ncontent-type: {PROTOBUF}\r\n"
    writer.write(head.encode() + b"content-length: %d\r\n\r\n" % LIMITS.protobuf_body_bytes)
    writer.write(bytes(size))
    room = gateway.server.gateway.room
    free = room.free
    await eventually(lambda: room.free <= free - size)
    try:
        yield
    finally:
        writer.transport.abort()
        await eventually(lambda: room.free == free)


async def test_a_body_that_finds_no_room_is_told_to_come_back() -> None:
    async with serving(body_bytes=128 * MIB, grpc_port=0) as gateway:
        async with half_sent(gateway, 60 * MIB), half_sent(gateway, 60 * MIB):
            declared = await gateway.send("/generate", large(), content_type=PROTOBUF)
            chunked = await gateway.client.post(
                "/generate", content=in_pieces(large()), headers={"content-type": PROTOBUF}
            )
            by_grpc = await status_of(gateway, large(7 * MIB))
            small = await gateway.post("/generate", prompt="Bonjour", max_tokens=2)
        alone = await gateway.send("/generate", large(), content_type=PROTOBUF)
        shed = gateway.metric("shed_total", reason=NO_ROOM)

    for reply in (declared, chunked):
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == NO_ROOM
        assert reply.headers["retry-after"] == "1"
    assert by_grpc == (503, NO_ROOM)
    assert small.status_code == 200
    assert alone.json()["error"]["code"] == "context_length_exceeded"
    assert shed == 3


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """Without a declared length."""
    for start in range(0, len(body), MIB):
        yield body[start : start + MIB]


async def status_of(gateway: RunningGateway, body: bytes) -> tuple[int, str]:
    async with connected(f"{LOOPBACK}:{gateway.server.grpc_port}") as channel:
        with pytest.raises(aio.AioRpcError) as failed:
            await channel.unary_unary(GENERATE, None, None)(body)
    answer = refused(failed.value)
    return answer.status, answer.code


# gRPC: what a call without a right to it, or without an end, may cost


async def never() -> AsyncIterator[bytes]:
    """A request that does not come."""
    await asyncio.Event().wait()
    yield b""


async def nothing() -> AsyncIterator[bytes]:
    """The end of a call, and no request before it."""
    for message in list[bytes]():
        yield message


async def test_a_key_is_looked_at_before_the_request_is_received(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    write_keys(keys, [Key(id="a", sha256=digest(new_secret("a")), tenant="a")])
    async with (
        gateway_at("127.0.0.1:1", keys=keys, grpc_port=0) as gateway,
        connected(f"{LOOPBACK}:{gateway.server.grpc_port}") as channel,
    ):
        with pytest.raises(aio.AioRpcError) as failed:
            await channel.stream_unary(GENERATE, None, None)(never(), timeout=20)

    assert failed.value.code() is StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(("requests", "status"), [(nothing, 400), (never, 408)])
async def test_a_call_without_a_request_ends(requests: object, status: int) -> None:
    async with (
        gateway_at("127.0.0.1:1", grpc_port=0, body_timeout_seconds=0.3) as gateway,
        connected(f"{LOOPBACK}:{gateway.server.grpc_port}") as channel,
    ):
        with pytest.raises(aio.AioRpcError) as failed:
            await channel.stream_unary(GENERATE, None, None)(requests(), timeout=20)  # type: ignore[operator]

    assert refused(failed.value).status == status
