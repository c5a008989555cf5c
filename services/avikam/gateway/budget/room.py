"""How much memory large requests take at once, of all clients and doors together.

One batch of 64 MiB is welcome; a hundred at once would end the process for everybody. Who finds no
room is told to come back. Small requests need none: the limit of requests bounds them.

A body is counted as it comes, so that nobody takes room by announcing bytes; then what it becomes
(:mod:`avikam.gateway.budget.weights`), and what its answers will take
(:mod:`avikam.gateway.budget.price`), each before it is built and until the request has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from avikam.gateway.beside import INLINE_BYTES
from avikam.protocol.errors import ApiError
from avikam.protocol.limits import MIB

# The refusal's code, and its reason among the shed.
NO_ROOM = "no_room_for_body"


class Room:
    """``most`` bytes; ``on_refusal`` hears of each request that found none."""

    def __init__(self, most: int, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._on_refusal = on_refusal
        self._most = most
        self.free = most

    def grow(self, held: int, size: int) -> int:
        """What a request holds, that held ``held`` and needs ``size`` bytes now.

        Raises a 503, or a 413 for what would not fit into the whole room.
        """
        self.check(held, size)
        if size <= max(held, INLINE_BYTES):
            return held
        self.free -= size - held
        return size

    def check(self, held: int, size: int) -> None:
        """Raise what :meth:`grow` would now."""
        if size <= INLINE_BYTES or size - held <= self.free:
            return
        self._on_refusal()
        raise _too_large(size, self._most) if size > self._most else _no_room()

    def give_back(self, held: int) -> None:
        """A request has ended."""
        self.free += held


class Holder(Protocol):
    """Who gives back what a request holds, when the request has ended."""

    held: int


class Hold:
    """What one request holds of the room: grown before something is built."""

    __slots__ = ("_holder", "_room", "_size")

    def __init__(self, room: Room, holder: Holder) -> None:
        self._room = room
        self._holder = holder
        self._size = holder.held

    def add(self, size: int) -> None:
        """Make room for ``size`` bytes more. Raises a 503 or a 413."""
        self._holder.held = self._room.grow(self._holder.held, self._size + size)
        self._size += size

    def move(self, holder: Holder) -> None:
        """From now on ``holder`` is who gives it back."""
        holder.held, self._holder.held = self._holder.held, 0
        self._holder = holder

    def give_back(self) -> None:
        """The request has ended."""
        self._room.give_back(self._holder.held)
        self._holder.held = self._size = 0


def _no_room() -> ApiError:
    return ApiError(
        503,
        "Other large requests fill the gateway's memory; send it again later.",
        NO_ROOM,
        retry_after=1.0,
        headers={"connection": "close"},
    )


def _too_large(size: int, most: int) -> ApiError:
    return ApiError(
        413,
        f"The request would take {size // MIB} MiB of memory, and this gateway gives all large "
        f"requests together {most // MIB} MiB; split it, ask for less at once, or stream it.",
        "request_too_large",
        headers={"connection": "close"},
    )
