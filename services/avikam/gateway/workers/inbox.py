"""Where the frames of one line arrive, and what its reader waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from avikam.gateway.workers.failures import AttemptError
from avikam.protocol.errors import ApiError
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
        "_failure",
        "_frames",
        "_held",
        "_hold",
        "_waiter",
        "accepted",
        "line",
        "told",
    )

    def __init__(self, line: int, hold: Callable[[int, bool], None]) -> None:
        self.line = line
        # Whether the worker's application said anything at all, and whether it was sent the line.
        self.accepted = self.told = False
        self._hold = hold
        self._held = False
        self._bytes = 0
        self._frames: deque[worker_pb2.SequenceFrame] = deque()
        self._failure: AttemptError | ApiError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> worker_pb2.SequenceFrame:
        """The next frame. Raises AttemptError, or the worker's ApiError."""
        while not self._frames:
            if self._failure is not None:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        frame = self._frames.popleft()
        if frame.logprobs:
            self._bytes -= frame.ByteSize()
        if self._held and not self._frames:
            self._held = False
            self._hold(self.line, False)
        return frame

    def put(self, frame: worker_pb2.SequenceFrame) -> None:
        """A frame came."""
        self.accepted = True
        self._frames.append(frame)
        if frame.logprobs:
            self._bytes += frame.ByteSize()
        behind = len(self._frames) > MOST_WAITING or self._bytes > MOST_BYTES
        if behind and not self._held:
            self._held = True
            self._hold(self.line, True)
        self._wake()

    def fail(self, failure: AttemptError | ApiError) -> None:
        """Nothing more will come. The first reason counts."""
        self._failure = self._failure or failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
