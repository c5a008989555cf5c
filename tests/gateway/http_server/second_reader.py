"""The same bytes as h11 reads them: a second, strict parser that shares nothing with ours."""

from __future__ import annotations

import re

import h11

from tests.gateway.http_server.memory import Seen

_ADDRESS = re.compile(rb"(?i)^https?://[^/?]*")


def requests_by_h11(data: bytes) -> list[Seen]:
    """The requests that h11 sees, each answered before the next is read."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(data)
    seen: list[Seen] = []
    request, body = None, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return seen
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            seen.append(Seen(request.method.decode(), _path(request.target), body))
            if not _answer(connection, request):
                return seen
        else:
            return seen


def _answer(connection: h11.Connection, request: h11.Request) -> bool:
    """Refuse or serve; whether another request may follow."""
    status = 405 if request.method == b"CONNECT" else 200
    connection.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True


def _path(target: bytes) -> bytes:
    """Without scheme and host; an empty query is none."""
    path = _ADDRESS.sub(b"", target)
    path = path if path.startswith((b"/", b"*")) else b"/" + path
    return path.removesuffix(b"?") if path.count(b"?") == 1 else path
