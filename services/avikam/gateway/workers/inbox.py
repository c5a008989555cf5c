"""Where the frames of one line arrive, and what its reader waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from avikam.v1 import worker_pb2

# What may wait for a slow reader before the worker is asked to hold its own: frames, which are
# small without logprobs, and bytes of those that have some (several times that once parsed).
MOST_WAITING = 64
MOST_BYTES = 8 * 1024


class Inbox:
    """Frames of one line, in order, and then what ended it.

    ``hold(True)`` is called when the reader falls behind, ``hold(False)`` when it has caught up, so
    that one slow client costs neither memory here nor anything to the other lines.
    """

    __slots__ = (
        "_bytes",
        "_end",
        "_held",
        "_hold",
        "_waiter",
        "accepted",
        "frames",
        "line",
        "sent",
    )

    def __init__(self, line: int, hold: Callable[[int, bool], None]) -> None:
        self.line = line
        # Whether the worker's application said anything at all, and whether it was sent the line.
        self.accepted = self.sent = False
        self._hold = hold
        self._held = False
        self._bytes = 0
        self.frames: deque[worker_pb2.SequenceFrame] = deque()
        self._end: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> worker_pb2.SequenceFrame:
        """The next frame. Raises what ended the line."""
        while not self.frames:
            if self._end is not None:
                raise self._end
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take()

    def take(self) -> worker_pb2.SequenceFrame:
        """The next frame, which is there."""
        frame = self.frames.popleft()
        if frame.logprobs:
            self._bytes -= frame.ByteSize()
        if self._held and not self.frames:
            self._held = False
            self._hold(self.line, False)
        return frame

    def put(self, frame: worker_pb2.SequenceFrame) -> None:
        """A frame came."""
        self.accepted = True
        self.frames.append(frame)
        if frame.logprobs:
            self._bytes += frame.ByteSize()
        behind = len(self.frames) > MOST_WAITING or self._bytes > MOST_BYTES
        if behind and not self._held:
            self._held = True
            self._hold(self.line, True)
        self._wake()

    def end(self, why: Exception) -> None:
        """Nothing more will come. The first reason counts."""
        self._end = self._end or why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
