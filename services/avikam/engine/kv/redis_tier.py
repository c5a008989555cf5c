"""Blocks in Redis, shared by all workers of a cluster, so a conversation may move.

    <prefix>:b:<key>       a block
    <prefix>:t:<boundary>  a bitmap: bit i is set when a block ends i tokens behind that boundary

The bitmap only says where to look: a wrong bit costs a look-up, never a wrong answer. Nothing is
read that is larger than what should be there. Time-outs are short, nothing is retried, and whatever
goes wrong is a miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from avikam.engine.kv.breaker import Breaker
from avikam.engine.kv.keys import PrefixChain

if TYPE_CHECKING:
    from redis import Redis

T = TypeVar("T")

_WRITE_SECONDS = 1.0  # nobody waits for a write
_MOST_CANDIDATES = 512
_MOST_BYTES = 2**29  # Redis itself takes no larger value


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Where the shared tier is. ``url`` may hold a password: never log it."""

    url: str
    prefix: str = "avikam:kv"
    ttl: int = 3600
    timeout: float = 0.05


class RedisTier:
    """One Redis as a tier; every method answers in bounded time and never raises.

    ``most_bytes`` is the size of the largest block of so many tokens.
    """

    def __init__(
        self,
        options: RedisOptions,
        breaker: Breaker | None = None,
        most_bytes: Callable[[int], int] = lambda tokens: _MOST_BYTES,
    ) -> None:
        from redis import RedisError  # most workers have no Redis and start quicker without

        self._prefix = options.prefix
        self._ttl = options.ttl
        self._most_bytes = most_bytes
        self._breaker = breaker or Breaker("the Redis of the KV cache")
        self._reader = _client(options.url, options.timeout)
        self._writer = _client(options.url, max(options.timeout, _WRITE_SECONDS))
        self._trouble = (RedisError, OSError)
        self.errors = 0

    @property
    def available(self) -> bool:
        """Whether Redis is asked at the moment."""
        return not self._breaker.is_open()

    def longest(self, chain: PrefixChain, limit: int, above: int) -> int:
        """Length of the longest stored prefix, above ``above`` and at most ``limit``; or 0."""
        return self._guard(lambda: self._longest(chain, limit, above)) or 0

    def get(self, key: bytes) -> bytes | None:
        """A block; its time to live starts again."""
        block = self._guard(lambda: self._reader.getex(self._block(key), ex=self._ttl))
        return block if isinstance(block, bytes) else None

    def put(self, key: bytes, parent: bytes, tail: int, block: bytes) -> bool:
        """Store a block that ends ``tail`` tokens behind the boundary ``parent``."""
        return self._guard(lambda: self._put(key, parent, tail, block)) or False

    def delete(self, key: bytes) -> None:
        """Remove a block that turned out damaged."""
        self._guard(lambda: self._writer.delete(self._block(key)))

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()
        self._writer.close()

    def _longest(self, chain: PrefixChain, limit: int, above: int) -> int:
        bounds = [(n, k) for n, k in chain.boundaries(limit) if n + chain.chunk > above]
        pipe = self._reader.pipeline(transaction=False)
        for _, key in bounds:
            pipe.getrange(self._tails(key), 0, (chain.chunk - 1) // 8)
        lengths = [
            start + tail
            for (start, _), bitmap in zip(bounds, pipe.execute(), strict=True)
            for tail in _bits(bitmap, chain.chunk)
            if above < start + tail <= limit
        ][:_MOST_CANDIDATES]
        if not lengths:
            return 0
        pipe = self._reader.pipeline(transaction=False)
        for length in lengths:
            pipe.strlen(self._block(chain.key(length)))
        sizes = zip(lengths, pipe.execute(), strict=True)
        return next((n for n, size in sizes if 0 < size <= self._most_bytes(n)), 0)

    def _put(self, key: bytes, parent: bytes, tail: int, block: bytes) -> bool:
        pipe = self._writer.pipeline(transaction=False)
        pipe.set(self._block(key), block, ex=self._ttl)
        pipe.setbit(self._tails(parent), tail, 1)
        pipe.expire(self._tails(parent), self._ttl)
        pipe.execute()
        return True

    def _block(self, key: bytes) -> str:
        return f"{self._prefix}:b:{key.hex()}"

    def _tails(self, boundary: bytes) -> str:
        return f"{self._prefix}:t:{boundary.hex()}"

    def _guard(self, call: Callable[[], T]) -> T | None:
        if self._breaker.is_open():
            return None
        try:
            result = call()
        except self._trouble as error:
            self.errors += 1
            self._breaker.failed(error)
            return None
        self._breaker.succeeded()
        return result


def _client(url: str, timeout: float) -> Redis:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
    )


def _bits(bitmap: bytes, most: int) -> Iterator[int]:
    """Positions of the set bits below ``most``, highest first; Redis counts from the left."""
    for position in range(min(most, 8 * len(bitmap)) - 1, -1, -1):
        if bitmap[position // 8] >> (7 - position % 8) & 1:
            yield position
