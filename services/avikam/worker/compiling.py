"""Grammars are compiled in threads of their own, with a budget for each tenant.

    waits for its tenant's place ─► waits for a thread ─► compiles ─► goes on to the engine
      429: too many of the tenant wait                     400: takes too long

A compile cannot be stopped: one that takes too long ends its request, and keeps its thread and its
tenant's place until it is done. So a tenant has one thread at most, whatever it sends, and the
event loop and the engine never wait. The threads have the priority of all others: one that stood
back would keep Python's lock for as long as a busy machine lets it wait, and with it the worker.

While a sequence waits it sends a sign of life each second: the engine may have nothing to do
meanwhile, and its step counter stands still.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from avikam.protocol.errors import ApiError, invalid, overloaded
from avikam.worker.file_work import in_thread

# Threads in all, and grammars of one tenant that may wait for its own.
_AT_ONCE = 2
_MOST_WAITING = 32
# Usual grammars take milliseconds; the largest that was found, two seconds of a core.
_SECONDS = 15.0
_SIGN_SECONDS = 1.0


class _Account:
    """A tenant's place, and how many of its grammars are here."""

    __slots__ = ("count", "place")

    def __init__(self) -> None:
        self.count = 0
        self.place = asyncio.Lock()


class Compiling:
    """One per worker. ``seconds`` is the most a compile may take of the clock on the wall."""

    def __init__(self, at_once: int = _AT_ONCE, seconds: float = _SECONDS) -> None:
        self._threads = asyncio.Semaphore(at_once)
        self._seconds = seconds
        self._accounts: dict[str, _Account] = {}

    async def run(
        self,
        tenant: str,
        path: str,
        work: Callable[[], None],
        sign: Callable[[], Awaitable[None]],
    ) -> None:
        """Do ``work``, which compiles the field ``path`` of a request; calls ``sign`` each second
        meanwhile. Raises what ``work`` raises, a 429 or a 400."""
        compiling = asyncio.ensure_future(self._compile(tenant, path, work))
        try:
            while not (await asyncio.wait((compiling,), timeout=_SIGN_SECONDS))[0]:
                await sign()
        finally:
            compiling.cancel()
        await compiling

    async def _compile(self, tenant: str, path: str, work: Callable[[], None]) -> None:
        async with self._account(tenant) as account:
            await account.place.acquire()
            try:
                await self._threads.acquire()
            except BaseException:
                account.place.release()
                raise
            running = asyncio.ensure_future(in_thread(work))
            running.add_done_callback(lambda done: self._ended(tenant, account, done))
            try:
                async with asyncio.timeout(self._seconds):
                    await asyncio.shield(running)
            except TimeoutError:
                raise _too_slow(path, self._seconds) from None

    @contextlib.asynccontextmanager
    async def _account(self, tenant: str) -> AsyncIterator[_Account]:
        account = self._accounts.setdefault(tenant, _Account())
        if account.count > _MOST_WAITING:
            raise overloaded(f"{account.count} grammars of this account are being compiled")
        account.count += 1
        try:
            yield account
        finally:
            account.count -= 1
            self._forget(tenant, account)

    def _forget(self, tenant: str, account: _Account) -> None:
        """Keep no account of a tenant that compiles nothing."""
        if not account.count and not account.place.locked():
            self._accounts.pop(tenant, None)

    def _ended(self, tenant: str, account: _Account, running: asyncio.Future[None]) -> None:
        self._threads.release()
        account.place.release()
        self._forget(tenant, account)
        if not running.cancelled():
            running.exception()  # seen, also when nobody waits any more


def _too_slow(path: str, seconds: float) -> ApiError:
    return invalid(
        f"{path} was not compiled within {seconds:g} s; send a simpler one",
        path,
        "grammar_too_slow",
    )
