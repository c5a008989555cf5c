"""Work that may hang: on a file system that is gone, on a file that is none.

It has threads of its own, few of them, and a deadline. A thread that hangs keeps its place for as
long as it does, so whoever causes it shuts out nothing but further work of this kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from avikam.protocol.errors import ApiError

T = TypeVar("T")

_AT_ONCE = 2
_SECONDS = 60.0


async def in_thread(work: Callable[[], T]) -> T:
    """What ``work`` returns, from a thread that nobody has to wait for when the process ends."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(finish: Callable[[], None]) -> None:
        if not result.done():
            finish()

    def run() -> None:
        try:
            value = work()
            finish: Callable[[], None] = lambda: result.set_result(value)  # noqa: E731
        except BaseException as error:  # raised again by whoever awaits
            problem = error
            finish = lambda: result.set_exception(problem)  # noqa: E731
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, finish)

    threading.Thread(target=run, name="avikam-files", daemon=True).start()
    return await result


class FileWork:
    """``at_once`` threads; work that takes longer than ``seconds``, or waits so long, is a 504."""

    def __init__(self, at_once: int = _AT_ONCE, seconds: float = _SECONDS) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._seconds = seconds

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._places.acquire()
                running = asyncio.ensure_future(in_thread(work))
                running.add_done_callback(self._ended)
                return await asyncio.shield(running)
        except TimeoutError:
            raise ApiError(
                504,
                f"The files could not be read within {self._seconds:g} s; look at the worker's "
                "disk, and try again.",
                "files_timeout",
            ) from None

    def _ended(self, running: asyncio.Future[T]) -> None:
        self._places.release()
        if not running.cancelled():
            running.exception()  # seen, also when nobody waits any more
