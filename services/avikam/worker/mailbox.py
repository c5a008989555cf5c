"""From the engine's thread to the event loop: deltas posted there, taken here.

    engine thread: put, put, put ─► filled boxes ─► one call_soon_threadsafe ─► their streams wake

However many sequences get a token in one engine step, the loop is woken once. A stream that writes
slowly finds all that came meanwhile in one take, and sends it as one frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from avikam.engine.interface import Delta


class Mailroom:
    """Wakes the event loop for all the boxes that were filled since it last looked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lock = threading.Lock()
        self._filled: list[Mailbox] = []

    def open_box(self) -> Mailbox:
        """A box for one more stream."""
        return Mailbox(self)

    def report(self, box: Mailbox) -> bool:
        """Note a box with news, under the lock; whether the loop must be woken for it."""
        self._filled.append(box)
        return len(self._filled) == 1

    def wake_loop(self) -> None:
        """Have the event loop deliver what has come; any thread may call."""
        # A loop that has closed has no streams left to wake.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self.lock:
            filled, self._filled = self._filled, []
            for box in filled:
                box.reported = False
        for box in filled:
            box.wake()


class Mailbox:
    """The deltas of one sequence, in order. ``put`` is the sink that an engine is given."""

    __slots__ = ("_deltas", "_room", "_waiter", "reported")

    def __init__(self, room: Mailroom) -> None:
        self._room = room
        self._deltas: list[Delta] = []
        self._waiter: asyncio.Future[None] | None = None
        self.reported = False

    def put(self, delta: Delta) -> None:
        """Add a delta, from any thread, without blocking."""
        room = self._room
        with room.lock:
            self._deltas.append(delta)
            if self.reported:
                return
            self.reported = True
            wake = room.report(self)
        if wake:
            room.wake_loop()

    def wake(self) -> None:
        """Let a waiting ``take`` return, on the loop's thread."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take_now(self) -> list[Delta]:
        """All that is there."""
        with self._room.lock:
            deltas, self._deltas = self._deltas, []
        return deltas

    async def take(self) -> list[Delta]:
        """All that is there, waiting for something; empty when woken without news."""
        if not self._deltas:
            self._waiter = self._room.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take_now()
