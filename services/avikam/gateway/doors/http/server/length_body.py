"""A body whose length is known."""

from __future__ import annotations


class LengthBody:
    """``left`` are the bytes that have not come yet."""

    __slots__ = ("left",)

    def __init__(self, length: int) -> None:
        self.left = length

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return not self.left

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What of the data belongs to the body, and what comes after its end."""
        piece = data[: self.left]
        self.left -= len(piece)
        return piece, data[len(piece) :]
