"""A reply's bytes.

    start, body              one write instead of two: the head waits for what follows it
    start, body, body ...    the first piece takes the head along

A write is a call of the system, and the dearest thing that a short request does.

Content-Length    where the application says it
chunked           where it does not
until the end     the same for HTTP/1.0, which knows no chunks: the connection closes
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from starlette.types import Message

# What would end a header before its end; a name or a value that has it could forge another one.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BODYLESS = frozenset({204, 304})
_LAST_CHUNK = b"0\r\n\r\n"
_CLOSE = (b"connection", b"close")


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


STATUS_LINES: Final = {status: _status_line(status) for status in range(200, 600)}


class ReplyError(RuntimeError):
    """The application broke the rules of ASGI or of HTTP."""


class Reply:
    """Turns ASGI's messages into bytes. ``keep_alive`` may become false, never true."""

    __slots__ = (
        "_bare",
        "_chunked",
        "_default_headers",
        "_head",
        "_left",
        "_old",
        "complete",
        "keep_alive",
        "started",
    )

    def __init__(
        self,
        method: str,
        version: str,
        keep_alive: bool,
        default_headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        self.keep_alive = keep_alive
        self.started = self.complete = False
        self._default_headers = default_headers
        self._old = version == "1.0"
        self._bare = method == "HEAD"
        self._chunked = False
        # Bytes of the body that are still to come; None when nobody said how many.
        self._left: int | None = None
        self._head = b""

    @property
    def until_close(self) -> bool:
        """Whether only the connection's end says where the body ends."""
        return self._left is None and not (self._chunked or self._bare)

    def take(self, message: Message) -> bytes:
        """What to write for one of ASGI's messages."""
        if not self.started:
            self._start(message)
            return b""
        if self.complete:
            raise ReplyError(f"{message['type']} was sent after the end of the reply")
        return self._piece(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise ReplyError(f"a reply begins with its start, not with {message['type']}")
        status = message["status"]
        if status not in STATUS_LINES:
            raise ReplyError(f"a reply has no status {status}")
        headers = [*self._default_headers, *message.get("headers", ())]
        self._read_headers(headers)
        self._bare = self._bare or status in _BODYLESS
        if self._left is None and not self._bare:
            self._chunked = not self._old
            self.keep_alive = self.keep_alive and self._chunked
        lines = [STATUS_LINES[status]]
        lines += [b"%b: %b\r\n" % header for header in headers if header != _CLOSE]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n")
        self._head = b"".join(lines)
        self.started = True

    def _read_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """What they say about the length of the body and the end of the connection."""
        if _CONTROL.search(b"".join([part for header in headers for part in header])):
            raise ReplyError("a header has a control character")
        for name, value in headers:
            if name == b"content-length":
                self._left = int(value)
            elif (name, value) == _CLOSE:
                self.keep_alive = False

    def _piece(self, body: bytes, *, more: bool) -> bytes:
        self.complete = not more
        head, self._head = self._head, b""
        if self._bare:
            return head
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return head + framed if more else head + framed + _LAST_CHUNK
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise ReplyError("the body has not the length that its header says")
        return head + body if head else body
