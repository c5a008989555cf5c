"""An HTTP client that costs little: it knows just enough of HTTP/1.1 to time replies."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast

_HEADERS_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply and when (seconds, monotonic) its request was sent and it had all arrived."""

    status: int
    body: bytes
    sent: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.sent


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._received = bytearray()
        self._body_at = 0
        # Length of the body; None while unknown, and for a chunked one.
        self._length: int | None = None
        self._sent = 0.0

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """A new connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, host, port)
        return connection

    @property
    def alive(self) -> bool:
        """Whether it may be asked."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Reply:
        """Send a request; returns when all of its reply is there."""
        if self._transport is None:
            raise ConnectionResetError
        self._reply = asyncio.get_running_loop().create_future()
        self._received.clear()
        self._body_at, self._length = 0, None
        self._sent = time.monotonic()
        self._transport.write(request)
        return await self._reply

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have all that asyncio.Transport has, and another base.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._body_at:
            self._read_headers()
        if self._body_at and self._complete() and self._reply is not None:
            status = int(self._received[9:12])
            body = bytes(self._received[self._body_at :])
            if not self._reply.done():
                self._reply.set_result(Reply(status, body, self._sent, time.monotonic()))

    def _read_headers(self) -> None:
        end = self._received.find(_HEADERS_END)
        if end < 0:
            return
        self._body_at = end + len(_HEADERS_END)
        for line in bytes(self._received[:end]).lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                self._length = int(line.partition(b":")[2])

    def _complete(self) -> bool:
        if self._length is None:
            return self._received.endswith(_LAST_CHUNK)
        return len(self._received) >= self._body_at + self._length
