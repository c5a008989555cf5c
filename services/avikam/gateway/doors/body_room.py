"""How many bytes of large bodies the gateway holds at once, of all clients and doors together.

One body of 64 MiB is welcome; a hundred at once would end the process for everybody. Who finds no
room is told to come back. Small bodies need none: the limit of requests bounds them.

A body is counted as it comes, so that nobody takes room by announcing bytes, and until its request
has ended: its prompts live as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from avikam.gateway.beside import INLINE_BYTES
from avikam.protocol.errors import ApiError

# The refusal's code, and its reason among the shed.
NO_ROOM = "no_room_for_body"


class BodyRoom:
    """``most`` bytes; ``on_refusal`` hears of each body that found none."""

    def __init__(self, most: int, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._on_refusal = on_refusal
        self.free = most

    def grow(self, held: int, size: int) -> int:
        """What a request holds, that held ``held`` and has ``size`` bytes now. Raises a 503."""
        self.check(held, size)
        if size <= max(held, INLINE_BYTES):
            return held
        self.free -= size - held
        return size

    def check(self, held: int, size: int) -> None:
        """Raise the 503 that :meth:`grow` would now."""
        if size > INLINE_BYTES and size - held > self.free:
            self._on_refusal()
            raise _no_room()

    def give_back(self, held: int) -> None:
        """A request has ended."""
        self.free += held

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Room for a body that is here, while the block runs. Raises a 503."""
        held = self.grow(0, size)
        try:
            yield
        finally:
            self.give_back(held)


def _no_room() -> ApiError:
    return ApiError(
        503,
        "Other large requests fill the gateway's memory; send it again later.",
        NO_ROOM,
        retry_after=1.0,
        headers={"connection": "close"},
    )
