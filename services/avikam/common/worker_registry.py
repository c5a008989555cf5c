"""Workers that announce themselves in Redis, for gateways that no DNS tells about them.

    avikam:workers   a sorted set: address, and when (by Redis' own clock) it is forgotten

A worker that dies without a word is forgotten with its time; one key is read at once, whatever else
the Redis holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEY = "avikam:workers"


async def announce(client: Redis, address: str, seconds: float) -> None:
    """List the address for so long, and forget those whose time is over. Raises RedisError."""
    now = await _now(client)
    pipeline = client.pipeline()
    pipeline.zadd(KEY, {address: now + seconds})
    pipeline.zremrangebyscore(KEY, 0, now)
    await pipeline.execute()


async def withdraw(client: Redis, address: str) -> None:
    """Do not list the address any more. Raises RedisError."""
    await client.zrem(KEY, address)


async def listed(client: Redis) -> set[str]:
    """Addresses whose time is not over. Raises RedisError."""
    found = await client.zrangebyscore(KEY, await _now(client), "+inf")
    return {item.decode("ascii", "replace") for item in found if isinstance(item, bytes)}


async def _now(client: Redis) -> float:
    seconds, microseconds = await client.time()
    return float(seconds) + float(microseconds) / 1e6
