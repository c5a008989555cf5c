"""The real connection over a transport in memory: what it makes of bytes, cut wherever it may be.

seen = await requests_in([b"GET / HT", b"TP/1.1\\r\\n..."])    # what the application saw
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from avikam.gateway.doors.http.server.connection import Connection, connections_of
from avikam.gateway.doors.http.server.listener import Listener
from avikam.protocol.errors import ApiError


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, as it was understood."""

    method: str
    target: bytes
    body: bytes


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; says when nothing more may be fed."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1234), "sockname": ("192.0.2.2", 80)})
        self.written = b""
        self.paused = self.closed = self.aborted = self.ended = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


@dataclass
class Application:
    """Notes what it is asked and answers with an empty 200; ``reads`` bodies, or leaves them."""

    reads: bool = True
    seen: list[Seen] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", self.reads
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        self.seen.append(Seen(scope["method"], scope["raw_path"] + query, body))
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})


def listener(**bounds: Any) -> Listener:
    """A listener with the gateway's own bounds, but for those given."""
    values = {
        "connections": 2000,
        "per_client": 2000,
        "header_seconds": 10.0,
        "keep_alive_seconds": 75.0,
        "slow_client_seconds": 30.0,
    }
    return Listener(**{**values, **bounds})


class MemoryClient:
    """A client of one connection."""

    def __init__(self, app: Any, bounds: Listener | None = None) -> None:
        self.refusals: list[ApiError] = []
        self.listener = bounds or listener()
        self.listener.on_refusal = self.refusals.append
        config = uvicorn.Config(app, http=connections_of(self.listener), lifespan="off", ws="none")
        config.log_config = None
        config.load()
        self.state = ServerState()
        self.transport = MemoryTransport()
        self.connection = Connection.__new__(connections_of(self.listener))
        self.connection.__init__(config, self.state, {})
        self.connection.connection_made(self.transport)

    async def send(self, *segments: bytes) -> bytes:
        """Everything that has been written once all of the segments are worked off."""
        for segment in segments:
            while self.transport.paused and not self.transport.closed:
                await asyncio.sleep(0)
            if self.transport.closed:
                break
            self.connection.data_received(segment)
            await self.settle()
        return self.transport.written

    async def settle(self) -> None:
        """Let the application and the connection do what they can do without more bytes."""
        quiet = 0
        before = (len(self.transport.written), self.listener.early)
        while quiet < 3:
            await asyncio.sleep(0)
            now = (len(self.transport.written), self.listener.early)
            quiet = quiet + 1 if now == before else 0
            before = now

    def leave(self) -> None:
        """Close, as a client does."""
        self.transport.closed = True
        self.connection.connection_lost(None)


async def requests_in(segments: Iterable[bytes], *, reads: bool = True) -> list[Seen]:
    """The requests that the application gets to see."""
    app = Application(reads)
    client = MemoryClient(app)
    await client.send(*segments)
    client.leave()
    await asyncio.sleep(0)
    return app.seen


def cut(data: bytes, borders: Sequence[int]) -> list[bytes]:
    """The data in segments that end at the borders."""
    edges = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges) if begin < end]
