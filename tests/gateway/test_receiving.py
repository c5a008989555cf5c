"""Places to receive a message: few, and no tenant has them all."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter

import pytest
from grpc import Compression, StatusCode, aio
from hypothesis import given, settings
from hypothesis import strategies as st

from avikam.gateway.doors.grpc.receiving import Receiving
from avikam.protocol.limits import MIB
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2
from tests.gateway.harness import serving
from tests.worker.harness import LOOPBACK, connected

GENERATE = "/avikam.v1.InferenceService/Generate"


async def silent(receiving: Receiving, tenant: str, count: int) -> list[asyncio.Task[None]]:
    """So many calls of a tenant whose messages do not come."""

    async def call() -> None:
        async with receiving.place(tenant):
            await asyncio.Event().wait()

    calls = [asyncio.create_task(call()) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return calls


async def ended(calls: list[asyncio.Task[None]]) -> None:
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_silent_tenants_leave_places_to_the_others() -> None:
    receiving = Receiving(32)
    calls = await silent(receiving, "a", 200)
    free = [receiving.free]
    for name in "bcd":
        calls += await silent(receiving, name, 200)
        free.append(receiving.free)
    async with asyncio.timeout(5), receiving.place("innocent"):
        pass
    await ended(calls)

    assert free == [16, 8, 4, 2]
    assert receiving.free == 32


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_places_are_never_more_nor_lost(seed: int) -> None:
    async def run() -> tuple[int, int, bool]:
        rng, receiving, most = random.Random(seed), Receiving(6), 0
        held: Counter[str] = Counter()

        async def call(tenant: str) -> None:
            nonlocal most
            async with receiving.place(tenant):
                held[tenant] += 1
                most = max(most, held.total())
                try:
                    for _ in range(rng.randint(0, 4)):
                        await asyncio.sleep(0)
                finally:
                    held[tenant] -= 1

        calls = [asyncio.create_task(call(rng.choice("aab"))) for _ in range(40)]
        for _ in range(rng.randint(0, 10)):
            await asyncio.sleep(0)
            rng.choice(calls).cancel()
        await asyncio.wait(calls, timeout=10)
        return most, receiving.free, all(task.done() for task in calls)

    most, free, done = asyncio.run(run())

    assert most <= 6
    assert done
    assert free == 6


@pytest.mark.parametrize(
    ("size", "compression", "code"),
    [
        (100_000, Compression.Gzip, StatusCode.UNIMPLEMENTED),
        (100_000, Compression.Deflate, StatusCode.UNIMPLEMENTED),
        (9 * MIB, Compression.NoCompression, StatusCode.RESOURCE_EXHAUSTED),
        (7 * MIB, Compression.NoCompression, StatusCode.INVALID_ARGUMENT),
    ],
    ids=["gzip", "deflate", "too large", "too long for the model"],
)
async def test_what_a_message_may_be(size: int, compression: Compression, code: StatusCode) -> None:
    body = inference_pb2.GenerateRequest(prompts=[pb.Prompt(text="a" * size)]).SerializeToString()
    async with (
        serving(grpc_port=0) as gateway,
        connected(f"{LOOPBACK}:{gateway.server.grpc_port}") as channel,
    ):
        with pytest.raises(aio.AioRpcError) as refused:
            await channel.unary_unary(GENERATE, None, None)(body, compression=compression)
        room = gateway.server.gateway.room.free == gateway.server.gateway.settings.body_bytes

    assert refused.value.code() is code
    assert room


async def test_refused_calls_leave_nothing_behind() -> None:
    """grpc.aio keeps the error that ended a call, and what the error holds."""
    body = inference_pb2.GenerateRequest(prompts=[pb.Prompt(text="a" * MIB)]).SerializeToString()
    async with (
        serving(grpc_port=0) as gateway,
        connected(f"{LOOPBACK}:{gateway.server.grpc_port}") as channel,
    ):
        for _ in range(10):
            with pytest.raises(aio.AioRpcError):
                await channel.unary_unary(GENERATE, None, None)(body)
        gc.collect()
        kept = [o for o in gc.get_objects() if isinstance(o, aio.AbortError)]

    assert len(kept) <= 1
