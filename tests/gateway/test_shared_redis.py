"""A Redis that dies, freezes, fills up or slows down changes nothing that a client sees."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest

from avikam.gateway.resilience.breaker import State
from tests.engine.kv.redis_server import RedisServer
from tests.gateway.doors import door
from tests.gateway.harness import RunningGateway, gateway_to, serving
from tests.worker.harness import eventually, running_worker

DOORS = ("json", "protobuf", "grpc")
LIMITS = {"requests_per_minute": 1000, "tokens_per_minute": 100_000, "concurrent_requests": 100}
# Patient enough for a busy machine; the default is 50 ms.
PATIENT = {"redis_timeout_seconds": 5.0}

Fault = Callable[[RedisServer], object]


def fill(server: RedisServer) -> None:
    server.client.config_set("maxmemory-policy", "noeviction")
    server.client.config_set("maxmemory", "1")


def empty(server: RedisServer) -> None:
    server.client.config_set("maxmemory", "0")


def make_replica(server: RedisServer) -> None:
    server.client.replicaof("127.0.0.1", "1")


def make_primary(server: RedisServer) -> None:
    server.client.replicaof("NO", "ONE")


def restart(server: RedisServer) -> None:
    server.kill()
    server.start()


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "dead": (RedisServer.kill, RedisServer.start),
    "frozen": (RedisServer.freeze, RedisServer.thaw),
    "full": (fill, empty),
    "read-only": (make_replica, make_primary),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", DOORS)
async def test_a_redis_out_of_order_is_not_noticed(
    redis_server: RedisServer, kind: str, fault: str
) -> None:
    breaks, repairs = FAULTS[fault]
    async with (
        serving(grpc_port=0, redis=redis_server.url, **LIMITS) as gateway,
        door(kind, gateway) as knock,
    ):
        before = await knock()
        await asyncio.to_thread(breaks, redis_server)
        during = [await knock(**{"idempotency-key": f"order-{i}"}) for i in range(8)]
        again = [await knock(**{"idempotency-key": f"order-{i}"}) for i in range(8)]
        degraded = gateway.metric("redis_degraded")
        await asyncio.to_thread(repairs, redis_server)
        await eventually(lambda: gateway.metric("redis_degraded") == 0)
        after = await knock()

    answers = [before, *during, *again, after]
    assert {(answer.status, answer.text) for answer in answers} == {(200, before.text)}
    assert all(answer.standing("requests")[0] == 1000 for answer in answers)
    assert degraded == 1


async def test_a_restart_without_data_costs_one_burst(redis_server: RedisServer) -> None:
    limits = {**LIMITS, "requests_per_minute": 3}
    async with serving(redis=redis_server.url, **PATIENT, **limits) as gateway:
        first = [await status(gateway) for _ in range(4)]
        await asyncio.to_thread(restart, redis_server)
        then = [await status(gateway) for _ in range(12)]

    assert first == [200, 200, 200, 429]
    # The new Redis grants one more burst; failing calls are counted here, which grants another.
    assert 3 <= then.count(200) <= 6
    assert then[-1] == 429


async def test_forgotten_scripts_are_loaded_again(redis_server: RedisServer) -> None:
    async with serving(redis=redis_server.url, **PATIENT, **LIMITS) as gateway:
        await status(gateway)
        redis_server.client.script_flush()
        reply = await gateway.post("/generate", prompt="Bonjour", max_tokens=2)

    assert reply.headers["x-ratelimit-remaining-requests"] == "998"


async def status(gateway: RunningGateway) -> int:
    return (await gateway.post("/generate", prompt="Bonjour", max_tokens=2)).status_code


async def test_gateways_count_together(redis_server: RedisServer) -> None:
    limits = {**LIMITS, "requests_per_minute": 5, "redis": redis_server.url, **PATIENT}
    async with (
        running_worker() as worker,
        gateway_to(worker, **limits) as here,
        gateway_to(worker, **limits) as there,
    ):
        statuses = [await status(gateway) for gateway in [here, there] * 4]

    assert statuses == [200] * 5 + [429] * 3


async def test_a_slow_redis_is_left_out(redis_server: RedisServer) -> None:
    async with (
        delaying(redis_server.url, seconds=0.5) as url,
        serving(redis=url, **LIMITS) as gateway,
    ):
        statuses = {await status(gateway) for _ in range(8)}
        degraded = gateway.metric("redis_degraded")

    assert statuses == {200}
    assert degraded == 1


@contextlib.asynccontextmanager
async def delaying(url: str, seconds: float) -> AsyncIterator[str]:
    """A way to Redis on which every answer is late."""
    target = urlsplit(url)

    async def copy(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await asyncio.sleep(delay)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(copy(reader, upstream[1], 0), copy(upstream[0], writer, seconds))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


async def test_a_redis_that_is_not_there_at_the_start_is_found_later(
    redis_server: RedisServer,
) -> None:
    redis_server.kill()
    async with serving(redis=redis_server.url, **LIMITS) as gateway:
        assert {await status(gateway) for _ in range(8)} == {200}
        await eventually(lambda: gateway.metric("redis_degraded") == 1)
        await asyncio.to_thread(redis_server.start)
        await eventually(lambda: gateway.metric("redis_degraded") == 0)
        await status(gateway)

    assert list(redis_server.client.scan_iter("avikam:gateway:limits:*"))


async def test_no_address_of_redis_reaches_a_log_or_a_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    async with serving(redis="redis://:canary@127.0.0.1:1/0", **LIMITS) as gateway:
        replies = [await gateway.post("/generate", prompt="a", max_tokens=1) for _ in range(8)]
        await eventually(lambda: "going on without it" in caplog.text)

    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "canary" not in logged
    assert not any("canary" in str(reply.headers) + reply.text for reply in replies)


async def test_a_breaker_that_opens_warns_the_other_gateways(redis_server: RedisServer) -> None:
    limits = {"redis": redis_server.url, **PATIENT}
    async with (
        running_worker() as worker,
        gateway_to(worker, **limits) as here,
        gateway_to(worker, **limits) as there,
    ):
        here.server.gateway.breaker.trip()
        other = there.server.gateway.breaker

        def opens_early() -> bool:
            ticket = other.enter()
            for ok in [True] * 7 + [False] * 3:
                if ticket is not None:
                    other.record(ticket, ok)
            return other.state is State.OPEN

        # Ten outcomes: one by one too few for a breaker that nobody warned.
        assert not opens_early()
        await eventually(lambda: other.warned)
        assert opens_early()
