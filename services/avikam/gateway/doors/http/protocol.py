"""uvicorn's HTTP/1.1 protocol with the clocks and counts it lacks.

connection ─► first byte ─► headers complete      within header_timeout, or it is closed
headers without end                               431, closed
write buffer full ─► client reads again           within slow_client, or it is aborted
too many connections, of all or of one address    told so (503) and closed; twice as many: closed

Replies are written by a :class:`Cycle` of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from avikam.gateway.doors.http.cycle import Cycle
from avikam.gateway.doors.http.presence import Presence, note_arrival, note_crowd, put_presence
from avikam.protocol.errors import ApiError

# Anybody can send what is no HTTP, as often as they like: that is counted, not logged.
_log = logging.getLogger(__name__)
_log.setLevel(logging.ERROR)
# Bytes after which headers that do not end are given up. The guard has the exact limit; this one
# leaves room for a body that came in the same piece.
_ENDLESS_HEADERS = 512 * 1024
# Times the limit of connections from which on not even a refusal is worth its memory.
_HOPELESS = 2
# Bytes of a reply that may wait here for the kernel to take them, before its stream pauses.
_UNWRITTEN_BYTES = 32 * 1024


@dataclass(slots=True)
class ConnectionLimits:
    """Bounds of a listener, and how many connections each address has. Times are seconds.

    ``on_refusal`` hears the status of what was answered without ever becoming a request.
    """

    connections: int
    per_client: int
    header_seconds: float
    slow_client_seconds: float
    on_refusal: Callable[[int], None] = lambda status: None
    by_client: Counter[str] = field(default_factory=Counter)


class GuardedProtocol(HttpToolsProtocol):
    """See the module. Subclasses are bound to their listener's limits."""

    limits: ConnectionLimits

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = _log
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._address = ""
        self._header_bytes = 0
        self._in_headers = True
        self._presence = Presence()
        self._crowded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.transport.set_write_buffer_limits(high=_UNWRITTEN_BYTES)
        limits = self.limits
        self._address = self.client[0] if self.client else ""
        limits.by_client[self._address] += 1
        crowd = max(
            len(self.connections) / limits.connections,
            limits.by_client[self._address] / limits.per_client,
        )
        if crowd > _HOPELESS:
            self.transport.abort()
            return
        self._crowded = crowd > 1
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        by_client = self.limits.by_client
        by_client[self._address] -= 1
        if not by_client[self._address]:
            del by_client[self._address]
        for timer in (self._header_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._presence.leave()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_headers:
            self._header_bytes = 0
            return
        if self._header_timer is None:
            self._expect_headers()
        self._header_bytes += len(data)
        if self._header_bytes > _ENDLESS_HEADERS and not self.transport.is_closing():
            self._refuse(ApiError(431, "The headers do not end.", "headers_too_large"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        put_presence(self.scope, self._presence)
        if self._crowded:
            note_crowd(self.scope)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        self._complete_scope()
        version = self.scope["http_version"]
        before, self.cycle = (
            self.cycle,
            Cycle(
                scope=self.scope,
                transport=self.transport,
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=False,
                default_headers=self.server_state.default_headers,
                message_event=asyncio.Event(),
                expect_100_continue=self.expect_100_continue,
                keep_alive=version != "1.0" and self.parser.should_keep_alive(),
                on_response=self.on_response_complete,
            ),
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            # Sent before the reply to the last one was there: waits for it.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _complete_scope(self) -> None:
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = self.parser.get_http_version()
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"] = url.path
        self.scope["query_string"] = url.query or b""

    def on_message_complete(self) -> None:
        note_arrival(self.scope)
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(
            self.limits.slow_client_seconds, self.transport.abort
        )

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "The request is not valid HTTP/1.1.", "invalid_http"))

    def _refuse(self, error: ApiError) -> None:
        """Answer what never became a request, and close."""
        self.limits.on_refusal(error.status)
        body = orjson.dumps(error.envelope())
        self.transport.write(
            STATUS_LINE[error.status]
            + b"content-type: application/json\r\nconnection: close\r\n"
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()

    def _expect_headers(self) -> None:
        self._header_timer = self.loop.call_later(self.limits.header_seconds, self.transport.close)


def guarded_protocol(limits: ConnectionLimits) -> type[GuardedProtocol]:
    """A protocol class for uvicorn's ``http`` option, bound to one listener's limits."""
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits})
