"""Workers that announce themselves in Redis are found, kept and let go."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from avikam.common.worker_registry import KEY
from avikam.gateway.server import StartError
from avikam.worker.registration import reachable_address
from tests.engine.kv.redis_server import RedisServer
from tests.gateway.harness import gateway_at
from tests.worker.harness import eventually, running_worker


def looking(server: RedisServer) -> dict[str, Any]:
    """Settings of a gateway that looks often, and waits for a busy machine."""
    return {"redis": server.url, "redis_timeout_seconds": 5.0, "discovery_seconds": 0.1}


async def test_a_worker_is_found_and_leaves(redis_server: RedisServer) -> None:
    async with gateway_at("registry", **looking(redis_server)) as gateway:
        pool = gateway.server.gateway.pool
        async with running_worker(registry=redis_server.url) as worker:
            await gateway.ready()
            assert [each.address for each in pool] == [worker.address]
            assert await gateway.text(prompt="Bonjour", max_tokens=3)
        await eventually(lambda: len(pool) == 0)

    assert redis_server.client.zcard(KEY) == 0


async def test_a_redis_that_forgets_or_dies_takes_no_worker_away(
    redis_server: RedisServer,
) -> None:
    async with (
        gateway_at("registry", **looking(redis_server)) as gateway,
        running_worker(registry=redis_server.url),
    ):
        await gateway.ready()
        redis_server.client.flushall()
        await asyncio.sleep(0.5)
        forgotten = await gateway.post("/generate", prompt="Bonjour", max_tokens=3)
        await asyncio.to_thread(redis_server.kill)
        await asyncio.sleep(0.5)
        dead = await gateway.post("/generate", prompt="Bonjour", max_tokens=3)

    assert (forgotten.status_code, dead.status_code) == (200, 200)


async def test_a_worker_comes_back_into_a_redis_that_forgot(redis_server: RedisServer) -> None:
    async with running_worker(registry=redis_server.url) as worker:
        await eventually(lambda: redis_server.client.zcard(KEY) == 1)
        redis_server.client.flushall()
        await eventually(lambda: redis_server.client.zcard(KEY) == 1)

        assert redis_server.client.zrange(KEY, 0, -1) == [worker.address.encode()]


async def test_what_is_stale_or_no_address_is_not_asked(redis_server: RedisServer) -> None:
    now = time.time()
    entries = {"127.0.0.1:1": now - 1, "nonsense": now + 60, "127.0.0.1:2": now + 60}
    redis_server.client.zadd(KEY, entries)
    async with gateway_at("registry", **looking(redis_server)) as gateway:
        pool = gateway.server.gateway.pool
        await eventually(lambda: len(pool) > 0)

        assert [worker.address for worker in pool] == ["127.0.0.1:2"]


async def test_a_registry_needs_a_redis() -> None:
    with pytest.raises(StartError, match="registry need the setting redis"):
        async with gateway_at("registry"):
            pass


def test_an_address_that_others_can_use() -> None:
    assert reachable_address("10.1.2.3", 50051) == "10.1.2.3:50051"
    assert reachable_address("::1", 50051) == "[::1]:50051"
    assert not reachable_address("0.0.0.0", 50051).startswith("0.0.0.0")  # noqa: S104
