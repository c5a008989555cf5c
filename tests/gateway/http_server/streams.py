"""Streams of bytes that are requests, nearly are, or look like two: seeds and their mutations."""

from __future__ import annotations

import random

HOST = b"Host: x\r\n"
BODY = b'{"prompt": "a"}'
INNER = b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"

H2C = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)
OFFERS = {
    "h2c": H2C,
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "tls": b"connection: upgrade\r\nupgrade: TLS/1.2\r\n",
    "foo": b"Upgrade: foo\r\nConnection: keep-alive, Upgrade\r\n",
    "two": b"Connection: Upgrade\r\nUpgrade: HTTP/2.0, h2c\r\nUpgrade: websocket\r\n",
}


def post(headers: bytes = b"", body: bytes = BODY, path: bytes = b"/generate") -> bytes:
    """A POST with a Content-Length."""
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + headers + length + b"\r\n" + body


def chunked(headers: bytes = b"", *pieces: bytes, extension: bytes = b"") -> bytes:
    """A POST in chunks."""
    head = b"POST /chunks HTTP/1.1\r\n" + HOST + headers + b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return head + chunks + b"0\r\n\r\n"


def get(headers: bytes = b"", path: bytes = b"/v1/models", version: bytes = b"1.1") -> bytes:
    """A GET."""
    return b"GET " + path + b" HTTP/" + version + b"\r\n" + HOST + headers + b"\r\n"


GOOD = [
    get(),
    get(path=b"/a?b=c%0a"),
    get(path=b"http://x/absolute?q"),
    get(b"X-Empty:\r\nX-Odd: \xff\t a\r\nAccept: */*\r\n"),
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"DELETE /thing HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    post(),
    post(b"Expect: 100-continue\r\n"),
    post(body=INNER),
    post(body=b"\r\n\r\n" + INNER * 2),
    chunked(b"", BODY),
    chunked(b"", b"a", INNER, b"\r\n0\r\n\r\n", extension=b";name=value"),
    chunked(b"Trailer: X-A\r\n", BODY)[:-2] + b"X-A: 1\r\n\r\n",
    *(post(offer, INNER) for offer in OFFERS.values()),
    *(chunked(offer, INNER, BODY) for offer in OFFERS.values()),
    *(get(offer) for offer in OFFERS.values()),
]

LAST = [
    get(b"Connection: close\r\n"),
    get(version=b"1.0"),
    get(b"Connection: keep-alive\r\n", version=b"1.0"),
    b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
]

HOSTILE = [
    post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER),
    post(b"Content-Length: 0\r\n", INNER),
    post(b"Content-Length: 15\r\n"),
    post(b"Transfer-Encoding: xchunked\r\n"),
    chunked(b"Transfer-Encoding: gzip\r\n", BODY),
    chunked(b"Transfer-Encoding: identity\r\n", BODY),
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3,3\r\n\r\nabc" + INNER,
    b"POST / HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\n\r\nabc" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\rContent-Length: 3\r\n\r\nabc" + INNER,
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded: c\r\n\r\n" + INNER,
    b"GET / HTTP/1.1\r\n Host: x\r\n\r\n" + INNER,
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + INNER,
    b"GET / HTTP/1.1\r\n\r\n" + INNER,
    b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n" + INNER,
    b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n" + INNER,
    b"GET /\r\n\r\n" + INNER,
    b"GET / HTTP/2.0\r\nHost: x\r\n\r\n" + INNER,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
    b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n" + INNER,
    b"\r\n" + INNER,
    b"\n" + INNER,
    b"\0" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"
    + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\na\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA b\r\n\r\n" + INNER,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: y\r\n\r\n" + INNER,
]

_SPLICES = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\x0b", b";", b":", b",", b"\xff", b"0", b"a"),
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding: identity\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    INNER,
]


def stream(rng: random.Random) -> bytes:
    """Some requests after each other, most of them good, then mutated a little."""
    pools = [GOOD] * 6 + [HOSTILE] * 2 + [LAST]
    data = b"".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 4)))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        data = mutated(data, rng)
    return data


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One small change, anywhere."""
    at = rng.randrange(len(data) + 1)
    to = min(at + rng.choice((1, 1, 2, 4, 16, 60)), len(data))
    match rng.randrange(6):
        case 0:
            return data[:at] + rng.choice(_SPLICES) + data[at:]
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:at] + data[at:to] * 2 + data[to:]
        case 3:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 4:
            return data[:at] + data[at:to].swapcase() + data[to:]
        case _:
            lines = data.split(b"\r\n")
            first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[first], lines[second] = lines[second], lines[first]
            return b"\r\n".join(lines)


def borders(rng: random.Random) -> list[int]:
    """Where a network might cut a stream."""
    return [rng.randrange(1 << 16) for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 9)))]
