"""One request and its reply, as ASGI sees them.

``receive`` gives the body, ``send`` takes the reply.

The connection calls from below: :meth:`Exchange.feed` as the body comes, :meth:`Exchange.leave`
when the client has gone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

from avikam.gateway.doors.http.server.reply import Reply
from avikam.gateway.doors.internal_error import log_failure

_log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Line(Protocol):
    """What an exchange needs of its connection."""

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""

    room: asyncio.Event | None
    """Set once the client reads again; None while it does."""

    def want_body(self) -> None:
        """Let more of the body come."""

    def goes_on(self) -> bool:
        """Whether another request could follow on this one's reply, were it made now."""

    def finish(self) -> None:
        """The reply is complete."""

    def cut(self) -> None:
        """The reply will never be complete: let the client see that."""


class Exchange:
    """``awaits_continue`` is whether the client waits to be told that it may send the body;
    ``unread`` are the bytes of the body that the application has not taken yet."""

    __slots__ = (
        "_ended",
        "_gone",
        "_line",
        "_news",
        "_pieces",
        "_told_end",
        "awaits_continue",
        "reply",
        "scope",
        "unread",
    )

    def __init__(self, line: Line, scope: Scope, reply: Reply, awaits_continue: bool) -> None:
        self.scope = scope
        self.reply = reply
        self.awaits_continue = awaits_continue
        self.unread = 0
        self._line = line
        self._pieces: list[bytes] = []
        self._ended = self._told_end = self._gone = False
        self._news: asyncio.Event | None = None

    def feed(self, piece: bytes, *, ended: bool) -> None:
        """More of the body has come, or its end; after the reply nobody takes it."""
        self.awaits_continue = False
        if piece and not self.reply.complete:
            self._pieces.append(piece)
            self.unread += len(piece)
        self._ended = ended
        self._wake()

    def leave(self) -> None:
        """The client has gone."""
        self._gone = True
        self._wake()

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer; whatever it does, the client gets an end."""
        try:
            await app(self.scope, self.receive, self.send)
        except (ConnectionAbortedError, asyncio.CancelledError):
            # The application's way to say that it cannot complete what it has begun.
            self._line.cut()
        except Exception as error:
            log_failure(error, "", None)
            self._line.cut()
        else:
            if not (self.reply.complete or self._gone):
                _log.error("the application ended without a whole reply")
                self._line.cut()

    async def receive(self) -> Message:
        """ASGI's receive."""
        if self.awaits_continue and not self.reply.started:
            self.awaits_continue = False
            self._line.write(_CONTINUE)
        while not (self._over or self._pieces or (self._ended and not self._told_end)):
            self._news = self._news or asyncio.Event()
            self._news.clear()
            await self._news.wait()
        if self._over:
            return {"type": "http.disconnect"}
        pieces, self._pieces = self._pieces, []
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.unread = 0
        self._told_end = self._ended
        self._line.want_body()
        return {"type": "http.request", "body": body, "more_body": not self._ended}

    async def send(self, message: Message) -> None:
        """ASGI's send. What is sent to a client that has gone is dropped."""
        while self._line.room is not None:
            await self._line.room.wait()
        if self._gone:
            return
        reply = self.reply
        if not reply.started and not self._line.goes_on():
            reply.keep_alive = False
        data = reply.take(message)
        if data:
            self._line.write(data)
        if reply.complete:
            self._wake()
            self._line.finish()

    @property
    def _over(self) -> bool:
        return self._gone or self.reply.complete

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
