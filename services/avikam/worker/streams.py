"""The live Generate streams: counted, kept beating, and handed over when the worker stops."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator

from avikam.protocol.errors import HANDED_OVER, ApiError
from avikam.worker.mailbox import Mailbox, Mailroom

# A stream that has been silent for this long says that the engine still steps.
HEARTBEAT_SECONDS = 1.0


def handed_over() -> ApiError:
    """The end of a stream that another worker is to continue."""
    return ApiError(
        503,
        "This worker stops; continue on another one.",
        HANDED_OVER,
        headers={"x-migrate": "1"},
    )


class Stream:
    """One Generate call on its way."""

    __slots__ = ("box", "key", "leaving", "quiet_since")

    def __init__(self, key: str, box: Mailbox, now: float) -> None:
        self.key = key
        self.box = box
        self.quiet_since = now
        self.leaving = False


class Streams:
    """All live streams of a worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = Mailroom(loop)
        self._live: set[Stream] = set()
        self._serial = itertools.count(1)
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._live)

    def next_key(self, request_id: str) -> str:
        """A name for the engine that no other sequence has, whatever ids the callers choose."""
        return f"{request_id}#{next(self._serial)}"

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[Stream]:
        """A stream that is live while the block runs."""
        stream = Stream(key, self._room.open_box(), self._loop.time())
        self._live.add(stream)
        self._idle.clear()
        try:
            yield stream
        finally:
            self._live.discard(stream)
            if not self._live:
                self._idle.set()

    def wrote(self, stream: Stream) -> None:
        """A stream has just written: its heartbeat may wait."""
        stream.quiet_since = self._loop.time()

    def beat(self) -> None:
        """Wake the streams that owe a heartbeat."""
        due = self._loop.time() - HEARTBEAT_SECONDS
        for stream in self._live:
            if stream.quiet_since <= due:
                stream.box.wake()

    def hand_over(self) -> None:
        """End every live stream with the mark that another worker may continue it."""
        for stream in self._live:
            stream.leaving = True
            stream.box.wake()

    async def wait_idle(self, seconds: float) -> None:
        """Until no stream is live, at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
