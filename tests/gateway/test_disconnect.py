"""A client that leaves takes its work along: in the gateway, on the wire and in the engine."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from tests.gateway.harness import RunningGateway, serving
from tests.worker.harness import eventually


def request_bytes(path: str = "/generate", **body: object) -> bytes:
    """A POST as it goes over the wire."""
    content = json.dumps({"prompt": "Bonjour", "max_tokens": 500, **body}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def slots_used(gateway: RunningGateway, count: int) -> None:
    """Wait until the engine runs so many sequences."""
    await eventually(lambda: gateway.worker.engine.stats().slots_used == count)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {}),
        ("/generate", {"stream": True}),
        ("/generate", {"n": 4, "stream": True}),
        ("/v1/completions", {}),
        ("/v1/completions", {"stream": True}),
    ],
)
async def test_a_client_that_leaves_frees_its_slots(path: str, body: dict[str, object]) -> None:
    async with serving(plan="tpot=20ms") as gateway:
        _, writer = await gateway.connect()
        writer.write(request_bytes(path, **body))
        await slots_used(gateway, int(str(body.get("n", 1))))

        writer.transport.abort()

        await gateway.idle()
        await eventually(lambda: gateway.metric("requests_total", route=path, status="499") == 1)


async def test_a_client_that_leaves_before_the_first_token_does_too() -> None:
    async with serving(plan="ttft=30s") as gateway:
        for body in ({}, {"stream": True}):
            _, writer = await gateway.connect()
            writer.write(request_bytes(**body))
            await slots_used(gateway, 1)
            writer.transport.abort()
            await gateway.idle()


async def test_a_client_that_leaves_while_it_waits_leaves_the_queue() -> None:
    worker = {"slots": 1, "queue_requests": 0}
    async with serving(plan="tpot=20ms", worker=worker) as gateway:
        admission = gateway.server.gateway.admission
        running = await gateway.connect()
        running[1].write(request_bytes(stream=True))
        await slots_used(gateway, 1)
        waiting = await gateway.connect()
        waiting[1].write(request_bytes())
        await eventually(lambda: admission.waiting == 1)

        waiting[1].transport.abort()
        await eventually(lambda: admission.waiting == 0)

        running[1].transport.abort()
        await gateway.idle()


async def test_a_reader_that_stopped_is_cut_off() -> None:
    """It holds buffers and a slot for as long as it may, and no longer."""
    async with serving(slow_client_seconds=0.3) as gateway:
        reader, writer = await gateway.connect()
        reader._transport.pause_reading()
        body = {"n": 8, "max_tokens": 1900, "stream": True, "logprobs": 20}
        writer.write(request_bytes(**body))
        await eventually(lambda: bool(gateway.metric("generated_tokens_total")))

        await gateway.idle()
        writer.close()


async def test_1000_clients_that_leave_at_random_points_leave_nothing() -> None:
    rng = random.Random(1)
    worker = {"slots": 16}
    async with serving(plan="ttft=2ms,tpot=2ms", worker=worker) as gateway:
        await gateway.text(prompt="Bonjour", max_tokens=5)
        await gateway.idle()
        await gateway.client.aclose()
        await eventually(lambda: not gateway.server._http.server_state.connections)
        tasks_before = len(asyncio.all_tasks())

        async def come_and_go() -> None:
            reader, writer = await gateway.connect()
            request = request_bytes(
                stream=rng.random() < 0.6,
                n=rng.choice([1, 1, 3]),
                max_tokens=rng.randrange(1, 200),
            )
            writer.write(request[: rng.choice([len(request)] * 8 + [30, len(request) - 3])])
            await asyncio.sleep(rng.random() * 0.3)
            if rng.random() < 0.3:
                await asyncio.wait(
                    {asyncio.create_task(reader.read(rng.randrange(1, 900)))}, timeout=0.2
                )
            writer.transport.abort()

        async with asyncio.timeout(240):
            for _ in range(8):
                await asyncio.gather(*(come_and_go() for _ in range(125)))

        await gateway.idle()
        parts = gateway.server.gateway
        await eventually(lambda: not gateway.server._http.server_state.connections)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks_before)
        assert gateway.metric("requests_in_flight") == 0
        assert not parts._watchdog._watched
        for member in parts.pool:
            assert (member.sequences, member._own_load) == (0, 0)
            assert member.breaker.state.value == "closed"
        assert gateway.worker.engine.stats().load_tokens == 0
        await eventually(lambda: not len(gateway.worker.server.streams))


async def test_a_client_that_left_speaks_against_nobody() -> None:
    async with serving(plan="tpot=20ms") as gateway:
        for _ in range(12):
            _, writer = await gateway.connect()
            writer.write(request_bytes(stream=True))
            await slots_used(gateway, 1)
            writer.transport.abort()
            await gateway.idle()

        (member,) = gateway.server.gateway.pool
        assert member.breaker.state.value == "closed"
        assert await gateway.text(prompt="Bonjour", max_tokens=2)


async def test_deadlines_that_clients_choose_speak_against_nobody() -> None:
    """Else a client that is short of time could take the pool from everyone."""
    async with serving(plan="ttft=300ms") as gateway:

        async def hurry() -> int:
            reply = await gateway.client.post(
                "/generate", json={"prompt": "a"}, headers={"x-request-timeout-ms": "150"}
            )
            return reply.status_code

        statuses = await asyncio.gather(*(hurry() for _ in range(60)))

        assert set(statuses) == {504}
        (member,) = gateway.server.gateway.pool
        assert member.breaker.state.value == "closed"
        assert await gateway.text(prompt="Bonjour", max_tokens=2)
