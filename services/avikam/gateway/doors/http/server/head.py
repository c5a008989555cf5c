"""The head of a request: its request line and headers, checked as a whole.

httptools parses it, one fresh parser for every head. Checked beside it is what makes two readers
see different requests in the same bytes: line ends, control characters, hosts, the body's end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httptools

from avikam.gateway.doors.http.server.framing import body_length
from avikam.gateway.doors.http.server.target import read_target
from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS

END = b"\r\n\r\n"
Headers = list[tuple[bytes, bytes]]

_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-\"$-~]+ HTTP/1\.[01]\r\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HOST = re.compile(rb"[A-Za-z0-9._~-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_OWN = frozenset({b"connection", b"content-length", b"expect", b"host", b"transfer-encoding"})
_NONE: list[bytes] = []
# The request line and its end, besides the headers and theirs.
_LINES = 2


@dataclass(slots=True)
class Head:
    """``length`` is the body's in bytes; None when it comes in chunks."""

    method: str
    version: str
    path: str
    raw_path: bytes
    query: bytes
    headers: Headers
    length: int | None
    keep_alive: bool
    expects_continue: bool


class _Collector:
    """What httptools tells of a head."""

    __slots__ = ("headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: Headers = []

    def on_url(self, piece: bytes) -> None:
        self.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))


def read_head(data: bytes) -> Head:
    """The head that these bytes are, their last empty line included. Raises the refusal."""
    lines = data.count(b"\n")
    if lines - _LINES > LIMITS.header_count:
        raise _too_large(f"more than {LIMITS.header_count} headers")
    if not lines == data.count(b"\r") == data.count(b"\r\n"):
        raise not_http()
    if _CONTROL.search(data) or not _REQUEST_LINE.match(data):
        raise not_http()
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        # Offered, and not taken (RFC 9110, section 7.8): the request is served as it is.
        pass
    except httptools.HttpParserError:
        raise not_http() from None
    method = parser.get_method().decode("ascii")
    return _head(method, parser.get_http_version(), collector)


def check_bytes(data: bytes | bytearray) -> None:
    """Refuse what cannot be part of a head, even before its end has come."""
    if data.count(b"\n") != data.count(b"\r\n") or _CONTROL.search(data):
        raise not_http()


def endless(data: bytes | bytearray) -> ApiError:
    """The refusal of a head that has not ended within its bytes."""
    if b"\r\n" in data:
        return _too_large(f"more than {LIMITS.header_bytes} bytes")
    return ApiError(
        414,
        f"The request line has more than {LIMITS.header_bytes} bytes; send what is long as a body.",
        "address_too_long",
    )


def not_http() -> ApiError:
    """The refusal of bytes that are no request at all."""
    return ApiError(400, "The request is not valid HTTP/1.1.", "invalid_http")


def _head(method: str, version: str, collector: _Collector) -> Head:
    if method == "CONNECT":
        raise ApiError(405, "CONNECT is for proxies; this is none.", "method_not_allowed")
    target = read_target(collector.target)
    if target is None or (target.path == "*" and method != "OPTIONS"):
        raise not_http()
    own = _own(collector.headers)
    headers = _with_host(collector.headers, target.authority, own.get(b"host", _NONE), version)
    lengths, codings = own.get(b"content-length", _NONE), own.get(b"transfer-encoding", _NONE)
    length = body_length(version, lengths, codings)
    tokens = _tokens(own.get(b"connection", _NONE))
    return Head(
        method,
        version,
        target.path,
        target.raw_path,
        target.query,
        headers,
        length,
        version != "1.0" and b"close" not in tokens,
        version != "1.0" and b"100-continue" in _tokens(own.get(b"expect", _NONE)),
    )


def _own(headers: Headers) -> dict[bytes, list[bytes]]:
    """Those that the server itself reads: all values of each."""
    own: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _OWN:
            own.setdefault(name, []).append(value)
    return own


def _with_host(
    headers: Headers, authority: bytes | None, hosts: list[bytes], version: str
) -> Headers:
    """The headers; of a request that names a whole address, the address is the host.

    HTTP/1.0 may go without.
    """
    if len(hosts) > 1 or not (hosts or version == "1.0"):
        raise _bad_host()
    if authority is not None:
        headers = [(name, value) for name, value in headers if name != b"host"]
        headers.append((b"host", authority))
        hosts = [authority]
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise _bad_host()
    return headers


def _tokens(values: list[bytes]) -> list[bytes]:
    if not values:
        return values
    return [token.strip(b" \t").lower() for token in b",".join(values).split(b",")]


def _bad_host() -> ApiError:
    return ApiError(400, "Send exactly one valid Host header.", "invalid_headers")


def _too_large(problem: str) -> ApiError:
    return ApiError(431, f"The head of the request has {problem}.", "headers_too_large")
