"""One line of an exchange, as the Generate call behind it sees it."""

from __future__ import annotations

import asyncio
import time

from avikam.v1 import worker_pb2
from avikam.worker.outbox import Outbox


class Line:
    """Somewhere to write frames, and how long that makes sense.

    A held line does not write; what the engine says meanwhile is joined in the stream's mailbox.
    """

    __slots__ = ("_deadline", "_going_on", "_outbox", "finished", "number")

    def __init__(self, outbox: Outbox, number: int, timeout_ms: int) -> None:
        self.number = number
        self.finished = False
        self._outbox = outbox
        self._deadline = time.monotonic() + timeout_ms / 1000 if timeout_ms else None
        # Only a held line has one.
        self._going_on: asyncio.Event | None = None

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    async def write(self, frame: worker_pb2.SequenceFrame) -> None:
        """Post a frame; it leaves with the next message."""
        while self._going_on is not None:
            await self._going_on.wait()
        if self._outbox.full:
            await self._outbox.wait_room()
        self.finished = frame.HasField("finish")
        self._outbox.frame(self.number, frame)

    def hold(self) -> None:
        """The reader is behind: keep what comes."""
        if self._going_on is None:
            self._going_on = asyncio.Event()

    def resume(self) -> None:
        """The reader has caught up."""
        if self._going_on is not None:
            self._going_on.set()
            self._going_on = None
