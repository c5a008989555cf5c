"""One request and its reply, as uvicorn's cycle but for how the reply is written.

    start, body              one write instead of two: the head waits for what follows it
    start, body, body ...    the first piece takes the head along
    head                     put together once, and looked at for forgery in one go

A write is a call of the system, and the dearest thing that a short request does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

from starlette.types import Message
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

# What would end a header before its end; a name or a value that has it could forge another one.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BODYLESS = frozenset({204, 304})
_LAST_CHUNK = b"0\r\n\r\n"
_CLOSE = (b"connection", b"close")


class Cycle(RequestResponseCycle):
    """See the module."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._head = b""
        self._without_body = self.scope["method"] == "HEAD"

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI's send."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        event = cast("Message", message)
        if not self.response_started:
            self._start(event)
        elif self.response_complete:
            raise RuntimeError(f"{event['type']} was sent after the end of the reply")
        else:
            self._continue(event.get("body", b""), more=event.get("more_body", False))

    def _start(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"a reply begins with its start, not with {message['type']}")
        status = message["status"]
        headers = [*self.default_headers, *message.get("headers", ())]
        self._read_framing(headers)
        lines = [STATUS_LINE[status]]
        lines += [b"%b: %b\r\n" % header for header in headers if header != _CLOSE]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and not self._without_body and status not in _BODYLESS:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)
        self.response_started = True
        self.waiting_for_100_continue = False

    def _read_framing(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """What the headers say about the length of the body and the end of the connection."""
        if _CONTROL.search(b"".join(part for header in headers for part in header)):
            raise RuntimeError("a header has a control character")
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif (name, value) == _CLOSE:
                self.keep_alive = False

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self._without_body:
            self.expected_content_length, framed = 0, b""
        elif self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            framed = framed if more else framed + _LAST_CHUNK
        else:
            framed = body
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the body has not the length that its header says")
        head, self._head = self._head, b""
        self.transport.write(head + framed if head else framed)
        if not more:
            self._finish()

    def _finish(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
