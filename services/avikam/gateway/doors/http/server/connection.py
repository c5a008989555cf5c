"""One client's connection: whose turn it is, and for how long.

first byte ─► head complete        within the listener's header time, or it is closed
head ─► reply                      one request at a time; what comes early waits, unread
reply ─► next request              within the listener's keep-alive time, or it is closed
write buffer full ─► room again    within the listener's slow-client time, or it is aborted
what is no request                 told so; what still comes is dropped for a moment, then closed

uvicorn asks its connections to end (:meth:`Connection.shutdown`) and waits until they have.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from avikam.gateway.doors.http.presence import Presence, note_arrival, note_crowd, put_presence
from avikam.gateway.doors.http.server.chunked_body import ChunkedBody
from avikam.gateway.doors.http.server.clock import Clock
from avikam.gateway.doors.http.server.early import Early
from avikam.gateway.doors.http.server.exchange import Exchange
from avikam.gateway.doors.http.server.head import END, Head, check_bytes, endless, read_head
from avikam.gateway.doors.http.server.length_body import LengthBody
from avikam.gateway.doors.http.server.listener import Listener
from avikam.gateway.doors.http.server.refusal import refusal
from avikam.gateway.doors.http.server.reply import Reply
from avikam.gateway.doors.internal_error import internal_error, log_failure
from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

# Bytes of a reply that may wait here for the kernel to take them, before its stream pauses.
_UNWRITTEN_BYTES = 32 * 1024
# Bytes of a body that may wait for the application, before the client is kept from sending more.
_UNREAD_BYTES = 64 * 1024
# What is still read, and dropped, of a client that has its reply already: a connection that is
# closed with bytes unread is reset, and the client could lose the reply.
_DROPPED_BYTES = 256 * 1024
_LINGER_SECONDS = 2.0

_ASGI = {"version": "3.0", "spec_version": "2.3"}


class Connection(asyncio.Protocol):
    """See the module. Subclasses are bound to their listener (:func:`connections_of`).

    It is in one of four states: waiting for a head (no exchange), reading a body (there is one),
    serving (an exchange without a body to read), lingering.
    """

    listener: Listener

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app = config.loaded_app
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._clock = Clock(self._loop, self._close)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._peer: tuple[str, int] | None = None
        self._here: tuple[str, int] | None = None
        self._client = ""
        self._presence = Presence()
        self._crowded = False
        self._begun = b""
        self._early = Early(self.listener)
        self._exchange: Exchange | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._dropped = 0
        self._lingering = False
        self._reading = True
        self.room: asyncio.Event | None = None
        self._slow: asyncio.TimerHandle | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(high=_UNWRITTEN_BYTES)
        self._peer = _address(transport.get_extra_info("peername"))
        self._here = _address(transport.get_extra_info("sockname"))
        self._client = self._peer[0] if self._peer else ""
        connections = self._state.connections
        connections.add(self)  # type: ignore[arg-type]
        self.listener.enter(self._client)
        if self.listener.is_hopeless(len(connections), self._client):
            self._transport.abort()
            return
        self._crowded = self.listener.is_crowded(len(connections), self._client)
        self._clock.set(self.listener.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        self._state.connections.discard(self)
        self.listener.leave(self._client)
        self._clock.stop()
        self._early.drop()
        self.resume_writing()
        self._tell_gone()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            self._receive(data)
        except ApiError as error:
            self._refuse(error, self._begun or data)
        except Exception as error:
            log_failure(error, "", None)
            self._refuse(internal_error(), data)

    def pause_writing(self) -> None:
        """The client does not read."""
        self.room = asyncio.Event()
        seconds = self.listener.slow_client_seconds
        self._slow = self._loop.call_later(seconds, self._transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self.room is not None:
            self.room.set()
            self.room = None
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    # What uvicorn calls

    def shutdown(self) -> None:
        """Begin nothing more; a reply that has begun is completed."""
        if self._exchange is None:
            self._close()
        else:
            self._exchange.reply.keep_alive = False

    # What the exchange calls

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        self._transport.write(data)

    def want_body(self) -> None:
        """The application took what there was of the body: let more of it come."""
        if not self._reading and self._body is not None:
            self._read_on()

    def goes_on(self) -> bool:
        """Whether another request could follow on this one's reply, were it made now."""
        if self.listener.closing:
            return False
        if self._body is None or self._exchange is None:
            return True
        # What the client may still send of this request's body must end soon.
        left = self._body.left
        return not self._exchange.awaits_continue and (left is None or left <= _DROPPED_BYTES)

    def finish(self) -> None:
        """The reply is complete. The next request's turn comes when the body of this one has."""
        self._state.total_requests += 1
        if self._body is None:
            self._end_request()
        elif self._exchange is not None and self._exchange.reply.keep_alive:
            self._dropped = 0
            self._clock.set(self.listener.header_seconds)
            self._read_on()
        else:
            self._linger()

    def cut(self) -> None:
        """The reply will never be complete, and the client must see that."""
        if self._exchange is None or self._transport.is_closing():
            return
        if not self._exchange.reply.started:
            self._refuse(internal_error(), b"")
        elif self._exchange.reply.until_close:
            # An orderly end would look like the end of the reply.
            self._transport.abort()
        else:
            self._close()

    # What has come

    def _receive(self, data: bytes) -> None:
        if self._lingering:
            self._drop(data)
        elif self._body is not None:
            self._take_body(self._body, data)
        elif self._exchange is not None or self._early:
            self._take_early(data)
        else:
            self._take_head(data)

    def _take_head(self, data: bytes) -> None:
        known = len(self._begun)
        if known:
            data = self._begun + data
        end = data.find(END, max(known - len(END), 0), LIMITS.header_bytes)
        if end < 0:
            self._wait_for_head(data, known)
            return
        self._begun = data
        head = read_head(data[: end + len(END)])
        self._begun = b""
        self._begin(head, data[end + len(END) :])

    def _wait_for_head(self, data: bytes, known: int) -> None:
        """A part of a head is there: refuse it now if it can never be one."""
        if not known:
            self._clock.set(self.listener.header_seconds)
        self._begun = data
        if len(data) >= LIMITS.header_bytes:
            raise endless(data)
        # A line feed is looked at together with what came before it, once.
        seen = max(known - 1, 0)
        check_bytes(data[seen + 1 if data[seen : seen + 1] == b"\n" and known else seen :])

    def _begin(self, head: Head, rest: bytes) -> None:
        """A request's head is there, and what came with it."""
        self._clock.clear()
        reply = Reply(head.method, head.version, head.keep_alive, self._state.default_headers)
        scope = self._scope(head)
        exchange = Exchange(self, scope, reply, head.expects_continue and head.length != 0)
        if head.length is not None and head.length <= len(rest):
            self._exchange = exchange
            exchange.feed(rest[: head.length], ended=True)
            if len(rest) > head.length:
                self._take_early(rest[head.length :])
        else:
            body = ChunkedBody() if head.length is None else LengthBody(head.length)
            piece, rest = body.take(rest)
            self._exchange = exchange
            self._feed(exchange, body, piece, rest)
        if self._body is None:
            note_arrival(scope)
        task = self._loop.create_task(exchange.run(self._app))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _take_body(self, body: LengthBody | ChunkedBody, data: bytes) -> None:
        piece, rest = body.take(data)
        if self._exchange is None:
            return
        if not self._exchange.reply.complete:
            self._feed(self._exchange, body, piece, rest)
            return
        # The reply came before the body: nobody reads it.
        self._drop(data)
        if body.ended:
            self._body = None
            self._early.add(rest)
            self._end_request()

    def _feed(
        self, exchange: Exchange, body: LengthBody | ChunkedBody, piece: bytes, rest: bytes
    ) -> None:
        ended = body.ended
        self._body = None if ended else body
        if piece or ended:
            exchange.feed(piece, ended=ended)
        if rest:
            self._take_early(rest)
        elif not ended and exchange.unread > _UNREAD_BYTES:
            self._pause()

    def _take_early(self, data: bytes) -> None:
        """Bytes of a request whose turn has not come."""
        if self._exchange is not None and not self._exchange.reply.keep_alive:
            return
        if not self._early.add(data) and self._exchange is not None:
            self._exchange.reply.keep_alive = False
        if self._early.is_much:
            self._pause()

    def _end_request(self) -> None:
        """The reply and the body of a request are complete."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or not exchange.reply.keep_alive:
            self._close()
        elif self._early:
            # Not at once: others have their turn first.
            self._loop.call_soon(self._read_early)
        else:
            self._clock.set(self.listener.keep_alive_seconds)
            self._read_on()

    def _read_early(self) -> None:
        if not self._transport.is_closing():
            self.data_received(self._early.take())
            if not self._early.is_much:
                self._read_on()

    # The end

    def _refuse(self, error: ApiError, received: bytes) -> None:
        """Answer what is no request, or what the server failed on, and close."""
        if self._transport.is_closing():
            return
        self.listener.on_refusal(error)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.leave()
            self._presence.leave()
            if exchange.reply.started:
                self._transport.abort()
                return
        self.write(refusal(error, received, self._state.default_headers))
        self._linger()

    def _linger(self) -> None:
        """Close for writing, and drop for a moment what the client still sends."""
        self._lingering = True
        self._body, self._begun, self._dropped = None, b"", 0
        self._early.drop()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._clock.set(_LINGER_SECONDS)
        self._read_on()

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > _DROPPED_BYTES:
            self._close()

    def _close(self) -> None:
        self._transport.close()

    def _tell_gone(self) -> None:
        if self._exchange is not None:
            self._exchange.leave()
        self._presence.leave()

    # Small steps

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _scope(self, head: Head) -> Scope:
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "server": self._here,
            "client": self._peer,
            "scheme": "http",
            "root_path": "",
            "method": head.method,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "headers": head.headers,
        }
        put_presence(scope, self._presence)
        if self._crowded:
            note_crowd(scope)
        return scope


def connections_of(listener: Listener) -> type[Connection]:
    """A protocol class for uvicorn's ``http`` option, bound to one listener."""
    return type("Connection", (Connection,), {"listener": listener})


def _address(name: Any) -> tuple[str, int] | None:
    """Host and port; None for sockets that have none."""
    return (name[0], name[1]) if isinstance(name, tuple) and len(name) >= 2 else None
