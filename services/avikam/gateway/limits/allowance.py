"""What one call may still use of its account's limits, and what the client is told about it.

place taken ─► request counted ─► tokens debited (estimate) ─► settled (taken) ─► place given back

The headers have OpenAI's names, ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, and once
more those of any API, ``ratelimit-{limit,remaining,reset}``, for the limit that is nearer its end.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from avikam.gateway.limits.counters import Count, Counters
from avikam.gateway.limits.places import Places
from avikam.protocol.errors import ApiError

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Limit:
    """``amount`` of something for an account; calls of one account share it."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a call; None is without limit."""

    requests: Limit | None = None
    tokens: Limit | None = None
    concurrency: Limit | None = None


class Allowance:
    """One call's dealings with its limits. Over them it is refused with 429."""

    __slots__ = (
        "_clock",
        "_counters",
        "_debited",
        "_limits",
        "_places",
        "_seen",
        "_settle_until",
        "_users",
    )

    def __init__(
        self, limits: Limits, counters: Counters, places: Places, clock: Callable[[], float]
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._places = places
        self._clock = clock
        self._seen: dict[str, tuple[int, Count]] = {}
        self._debited = 0
        self._settle_until = 0.0
        # Who needs the place: the call, and what goes on when the call has ended.
        self._users = 1

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Count the request, and hold a place among those that run at once."""
        limit = self._limits.concurrency
        if limit is not None and not self._places.take(limit.account, limit.amount):
            raise _too_many_at_once(limit.amount)
        try:
            await self._take("requests", self._limits.requests, 1)
            yield
        finally:
            self._leave()

    def outlive_call(self) -> Callable[[], None]:
        """Keep the place until what is returned is called, though the call may end before."""
        self._users += 1
        return self._leave

    def _leave(self) -> None:
        self._users -= 1
        limit = self._limits.concurrency
        if limit is not None and not self._users:
            self._places.give_back(limit.account)

    async def debit(self, tokens: int) -> None:
        """Count the tokens that a request will probably take."""
        count = await self._take("tokens", self._limits.tokens, tokens)
        if count is not None:
            self._debited = tokens
            self._settle_until = self._clock() + count.resets_in

    async def settle(self, tokens: int) -> None:
        """Count what it took instead, unless the minute of its debit is over."""
        limit, difference = self._limits.tokens, tokens - self._debited
        if limit is not None and difference and self._clock() < self._settle_until:
            await self._counters.add(f"tokens/{limit.account}", difference)

    def headers(self) -> Iterator[Header]:
        """How the limits stand, as far as this call has met them."""
        for kind, (amount, count) in self._seen.items():
            remaining = max(amount - count.used, 0)
            name = kind.encode()
            yield b"x-ratelimit-limit-" + name, b"%d" % amount
            yield b"x-ratelimit-remaining-" + name, b"%d" % remaining
            yield b"x-ratelimit-reset-" + name, b"%.3fs" % count.resets_in
        if self._seen:
            amount, count = min(self._seen.values(), key=_left)
            yield b"ratelimit-limit", b"%d" % amount
            yield b"ratelimit-remaining", b"%d" % max(amount - count.used, 0)
            yield b"ratelimit-reset", b"%d" % math.ceil(count.resets_in)

    async def _take(self, kind: str, limit: Limit | None, amount: int) -> Count | None:
        if limit is None:
            return None
        if amount > limit.amount:
            raise _too_large(kind, limit.amount, amount)
        name = f"{kind}/{limit.account}"
        count = await self._counters.add(name, amount)
        if count.used > limit.amount:
            # What is refused is not counted: it must not keep smaller requests out.
            count = await self._counters.add(name, -amount)
            self._seen[kind] = limit.amount, count
            raise _used_up(kind, limit.amount, count)
        self._seen[kind] = limit.amount, count
        return count


def _left(seen: tuple[int, Count]) -> float:
    """The share of a limit that is left."""
    amount, count = seen
    return (amount - count.used) / amount


def _used_up(kind: str, amount: int, count: Count) -> ApiError:
    return _refused(
        f"The limit of {amount} {kind} per minute is used up; try again in "
        f"{max(count.resets_in, 1.0):.0f} s.",
        max(count.resets_in, 1.0),
    )


def _too_large(kind: str, amount: int, asked: int) -> ApiError:
    return _refused(
        f"The request may take {asked} {kind}, and the limit is {amount} per minute; ask for less."
    )


def _too_many_at_once(amount: int) -> ApiError:
    return ApiError(
        429,
        f"{amount} requests of this account run already; wait for one of them.",
        "concurrency_limit_exceeded",
        retry_after=1.0,
    )


def _refused(message: str, retry_after: float | None = None) -> ApiError:
    return ApiError(429, message, "rate_limit_exceeded", retry_after=retry_after)
