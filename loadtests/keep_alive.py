"""A small HTTP/1.1 client: the load test must not measure its own client.

It keeps connections as browsers do: one that the server has closed meanwhile is replaced once.
Locust has made sockets cooperative, so that a greenlet that waits here holds up no other.
"""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

import httptools

_PIECE = 65536


class KeepAlive:
    """Connections to one server; as many as there are requests at a time."""

    def __init__(self, url: str, headers: dict[str, str], seconds: float) -> None:
        parts = urlsplit(url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._seconds = seconds
        lines = {"Host": parts.netloc, **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._idle: list[socket.socket] = []

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError."""
        length = f"Content-Length: {len(body)}\r\n\r\n"
        request = f"POST {path} HTTP/1.1\r\n{self._headers}{length}".encode() + body
        if self._idle:
            try:
                return self._ask(self._idle.pop(), request)
            except ConnectionError:
                # It was closed while it was idle.
                pass
        return self._ask(self._connect(), request)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), self._seconds)
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_hostname=self._host)

    def _ask(self, connection: socket.socket, request: bytes) -> tuple[int, bytes]:
        reply = _Reply()
        try:
            connection.sendall(request)
            while not reply.complete:
                reply.feed(connection.recv(_PIECE))
        except BaseException:
            connection.close()
            raise
        if reply.keeps:
            self._idle.append(connection)
        else:
            connection.close()
        return reply.status, bytes(reply.body)


class _Reply:
    """What the parser has understood so far."""

    def __init__(self) -> None:
        self.status = 0
        self.body = bytearray()
        self.keeps = False
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, piece: bytes) -> None:
        if not piece:
            raise ConnectionError("the server closed the connection before its answer ended")
        self._parser.feed_data(piece)

    def on_headers_complete(self) -> None:
        self.status = int(self._parser.get_status_code())
        self.keeps = bool(self._parser.should_keep_alive())

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete = True
