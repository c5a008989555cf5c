"""How a route speaks: what it makes of an answer, whole or in pieces.

A dialect is made for one request; the journals tell it what has been generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.protocol.errors import ApiError


@dataclass(frozen=True, slots=True)
class Whole:
    """A complete reply."""

    body: bytes
    media_type: str = "application/json"


class Dialect(Protocol):
    """One request's encoder."""

    @property
    def stream_type(self) -> str:
        """Media type of the stream."""

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """The reply that is not streamed; ``elapsed`` in seconds."""

    def opening(self, generation: Generation) -> bytes:
        """What a stream begins with, once the first sequence is accepted."""

    def piece(self, generation: Generation, news: News) -> bytes:
        """What one frame adds; empty for nothing."""

    def closing(self, generation: Generation, elapsed: float) -> bytes:
        """What ends a stream that is complete."""

    def failure(self, error: ApiError) -> bytes:
        """What ends a stream that is not."""

    def idle(self) -> bytes:
        """What keeps a silent stream alive; empty for nothing."""
