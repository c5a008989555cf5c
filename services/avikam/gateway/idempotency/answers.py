"""One answer per tenant and key: begun once, followed by all who ask the same, kept for a while.

same key, same request, still running    the answer from its start, as it comes
same key, same request, complete         the stored answer
same key, another request                409
answer that failed                       forgotten: the next one tries again

An answer goes on without its client for some seconds, since a client that lost its connection will
come back; one that nobody has followed for longer ends. As long as it goes on it counts as the
request that it was: its place among those that run at once, its room in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from avikam.gateway.idempotency.record import Record
from avikam.gateway.idempotency.shelf import LEASE_SECONDS, Found, Shelf
from avikam.protocol.errors import ApiError, invalid

# Takes the next part of an answer, and waits while nobody reads what there is.
Add = Callable[[bytes], Awaitable[None]]
# Writes the parts of an answer; returns whether it is complete.
Produce = Callable[[Add], Awaitable[bool]]

_ABANDONED_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_KEY_CHARS = 255


@dataclass(frozen=True, slots=True)
class Twice:
    """A request that may be sent twice."""

    tenant: str
    key: str
    fingerprint: bytes

    @property
    def name(self) -> str:
        """What the answer is stored under."""
        return hashlib.sha256(f"{self.tenant}\0{self.key}".encode()).hexdigest()


def fingerprint(*parts: bytes) -> bytes:
    """Of everything that makes the answer."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.digest()


def checked_key(key: str) -> str:
    """The key, or 400."""
    if not (0 < len(key) <= _KEY_CHARS and key.isascii() and key.isprintable()):
        raise invalid(
            f"Idempotency-Key must be 1 to {_KEY_CHARS} printable ASCII characters",
            "idempotency-key",
        )
    return key


class Work(Protocol):
    """What makes an answer, and costs something as long as it does: it outlives its call."""

    def outlive_call(self) -> Callable[[], None]:
        """Hold what it costs until the returned function is called."""

    def grow(self, size: int) -> None:
        """Pay for ``size`` bytes more. Raises ApiError."""


class Answers:
    """Bounded in time, and what is complete in bytes; the oldest leaves first."""

    def __init__(
        self, seconds: float, most_bytes: int, clock: Callable[[], float], shelf: Shelf | None
    ) -> None:
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._clock = clock
        self._shelf = shelf
        self._records: dict[str, Record] = {}
        # Complete ones, oldest first: name to (time, bytes).
        self._kept: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._records)

    def open(self, twice: Twice, produce: Produce, work: Work) -> tuple[Record, bool]:
        """The answer, begun now or already there; the flag says which. ``work`` pays for it."""
        self._expire()
        record = self._records.get(twice.name)
        if record is None:
            record = self._records[twice.name] = Record(twice.fingerprint)
            making = self._work(twice.name, record, produce, work)
            self._start(twice.name, record, making, work.outlive_call())
            return record, False
        _check(record.fingerprint, twice.fingerprint)
        return record, True

    async def follow(self, twice: Twice, record: Record) -> AsyncGenerator[bytes, None]:
        """The answer's parts; when the last one who follows leaves, it has some seconds more."""
        record.followers += 1
        try:
            async with aclosing(record.follow()) as parts:
                async for part in parts:
                    yield part
        finally:
            record.followers -= 1
            if record.running and not record.followers:
                loop = asyncio.get_running_loop()
                loop.call_later(_ABANDONED_SECONDS, self._abandon, twice.name, record)

    async def run(self) -> None:
        """End what still runs when the gateway does."""
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(
        self,
        name: str,
        record: Record,
        making: Coroutine[None, None, None],
        give_back: Callable[[], None],
    ) -> None:
        task = asyncio.create_task(making, name=name)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            give_back()
            if task.cancelled():
                record.end(ApiError(499, "Nobody waited for the answer.", "abandoned"))
            if not record.complete and self._records.get(name) is record:
                del self._records[name]

        task.add_done_callback(ended)

    async def _work(self, name: str, record: Record, produce: Produce, work: Work) -> None:
        async def add(part: bytes) -> None:
            await record.wait_for_readers()
            work.grow(len(part))
            record.add(part)

        try:
            if not await self._copied(name, record):
                await self._produced(name, record, produce, add)
        except Exception as error:
            record.end(error)

    async def _copied(self, name: str, record: Record) -> bool:
        """Whether another gateway has the answer; waits for one that is at work on it."""
        if self._shelf is None:
            return False
        while (found := await self._shelf.claim(name, record.fingerprint)) is not None:
            _check(found.fingerprint, record.fingerprint)
            if found.parts is not None:
                self._copy(name, record, found)
                return True
            await asyncio.sleep(_LOOK_SECONDS)
        return False

    def _copy(self, name: str, record: Record, found: Found) -> None:
        for part in found.parts or ():
            record.add(part)
        record.end()
        self._keep(name, record)

    async def _produced(self, name: str, record: Record, produce: Produce, add: Add) -> None:
        complete = False
        try:
            async with self._leased(name):
                complete = await produce(add)
        finally:
            if self._shelf is not None and not complete:
                await self._shelf.drop(name)
        record.end()
        if not complete:
            del self._records[name]
            return
        self._keep(name, record)
        if self._shelf is not None:
            await self._shelf.put(name, record.fingerprint, record.parts)

    @contextlib.asynccontextmanager
    async def _leased(self, name: str) -> AsyncGenerator[None, None]:
        """Renew the claim while the block runs."""
        shelf = self._shelf
        if shelf is None:
            yield
            return

        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE_SECONDS / 3)
                await shelf.renew(name)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()

    def _keep(self, name: str, record: Record) -> None:
        self._kept[name] = self._clock(), record.size
        self._bytes += record.size
        self._expire()

    def _expire(self) -> None:
        oldest = self._clock() - self._seconds
        while self._kept:
            name, (kept_at, size) = next(iter(self._kept.items()))
            if kept_at > oldest and self._bytes <= self._most_bytes:
                return
            del self._kept[name]
            self._records.pop(name, None)
            self._bytes -= size

    def _abandon(self, name: str, record: Record) -> None:
        if record.followers or not record.running:
            return
        for task in self._tasks:
            if task.get_name() == name:
                task.cancel()


def _check(theirs: bytes, ours: bytes) -> None:
    if theirs != ours:
        raise ApiError(
            409,
            "This Idempotency-Key was used for another request; use a new one.",
            "idempotency_conflict",
            "idempotency-key",
        )
