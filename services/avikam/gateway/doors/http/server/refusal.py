"""The reply to what never became a request: an error like any other, and the connection's last."""

from __future__ import annotations

import re

import orjson

from avikam.gateway.doors.call import request_id
from avikam.gateway.doors.http.fixed_headers import FIXED_HEADERS
from avikam.gateway.doors.http.server.reply import STATUS_LINES
from avikam.protocol.errors import ApiError

_ID = re.compile(rb"(?i)\r\nx-request-id:[ \t]*([\w-]+)[ \t]*\r\n")


def refusal(error: ApiError, received: bytes, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """The whole reply. ``received`` are the bytes that were refused: they may name the request."""
    named = _ID.search(received)
    body = orjson.dumps(error.envelope())
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id({b"x-request-id": named[1]} if named else {}).encode("ascii")),
        *FIXED_HEADERS,
    ]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers if header[0] != b"connection")
    return STATUS_LINES[error.status] + lines + b"connection: close\r\n\r\n" + body
