"""One connection: requests in their order, one at a time, and an end that clients get to see."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from avikam.protocol.limits import LIMITS
from tests.gateway.http_server.memory import Application, MemoryClient, listener
from tests.gateway.http_server.streams import BODY, INNER, chunked, get, post


class Gate:
    """An application that answers with its path, one request for every opening."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._open = asyncio.Semaphore(0)

    def open(self) -> None:
        self._open.release()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        await self._open.acquire()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})


async def test_requests_sent_at_once_are_served_one_after_the_other() -> None:
    gate = Gate()
    client = MemoryClient(gate)

    await client.send(b"".join(get(path=b"/%d" % number) for number in range(5)))

    for number in range(5):
        assert gate.begun == [f"/{n}" for n in range(number + 1)]
        gate.open()
        await client.settle()
    written = client.transport.written
    assert [written.index(b"\r\n/%d\r\n" % n) for n in range(5)] == sorted(
        written.index(b"\r\n/%d\r\n" % n) for n in range(5)
    )
    assert written.count(b"HTTP/1.1 200 ") == 5
    assert client.listener.early == 0


async def test_what_comes_early_is_not_read_on() -> None:
    """A flood behind a request that is served waits with the kernel, not here."""
    gate = Gate()
    client = MemoryClient(gate)

    await client.send(get() + INNER * 10)
    paused = [client.transport.paused]
    await client.send(INNER * 1000)
    paused.append(client.transport.paused)

    assert paused == [False, True]
    assert gate.begun == ["/v1/models"]
    client.leave()
    assert client.listener.early == 0


async def test_all_connections_together_have_bounded_room_for_what_comes_early() -> None:
    bounds = listener()
    clients = [MemoryClient(Gate(), bounds) for _ in range(200)]
    flood = INNER * (256 * 1024 // len(INNER))

    for client in clients:
        await client.send(get() + flood)

    assert bounds.early <= LIMITS.early_bytes
    assert bounds.early > LIMITS.early_bytes // 2
    for client in clients:
        client.leave()
    assert bounds.early == 0


async def test_who_found_no_room_gets_its_reply_and_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate()
    client = MemoryClient(gate)
    client.listener.early = LIMITS.early_bytes

    await client.send(get() + INNER)
    gate.open()
    await client.settle()

    assert gate.begun == ["/v1/models"]
    assert b"connection: close" in client.transport.written
    assert client.transport.closed


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("asked", [b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"])
async def test_how_long_a_connection_lasts(version: bytes, asked: bytes) -> None:
    """HTTP/1.0 always ends: proxies of its time forward a keep-alive that they do not know."""
    client = MemoryClient(Application())

    written = await client.send(get(asked, version=version))

    lasts = version == b"1.1" and b"close" not in asked
    assert client.transport.closed is not lasts
    assert (b"connection: close" not in written) is lasts


class Streaming:
    """An application that answers in pieces, without saying how long it will be."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        if self.breaks:
            raise ConnectionAbortedError
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await send({"type": "http.response.body"})


async def test_http_1_0_gets_no_chunks() -> None:
    old = await MemoryClient(Streaming()).send(get(version=b"1.0"))
    new = await MemoryClient(Streaming()).send(get())

    assert old.endswith(b"\r\n\r\nonetwo")
    assert b"transfer-encoding" not in old
    assert new.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_half_a_reply_does_not_look_like_a_whole_one() -> None:
    old, new = MemoryClient(Streaming(breaks=True)), MemoryClient(Streaming(breaks=True))

    await old.send(get(version=b"1.0"))
    written = await new.send(get())

    assert old.transport.aborted
    assert new.transport.closed
    assert not written.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("much", [10, 200_000, 400_000])
@pytest.mark.parametrize("make", [post, chunked], ids=["length", "chunked"])
async def test_a_reply_before_the_body(make: Any, much: int) -> None:
    """What is left of a body is dropped; of a long one, the connection goes with it."""
    body = b"a" * much
    data = post(b"", body) if make is post else chunked(b"", body)
    app = Application(reads=False)
    client = MemoryClient(app)

    pieces = [data[at : at + 60_000] for at in range(0, len(data), 60_000)]
    if len(pieces) == 1:
        pieces = [data[:-5], data[-5:]]
    await client.send(*pieces, get(path=b"/next"))

    assert app.seen[0].target in (b"/generate", b"/chunks")
    assert (len(app.seen) == 2) is (much < 256 * 1024)


async def test_who_waits_to_be_told_is_told_once() -> None:
    client = MemoryClient(Application())
    head, _, body = post(b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")

    written = await client.send(head + b"\r\n\r\n")
    assert written == b"HTTP/1.1 100 Continue\r\n\r\n"
    written = await client.send(body)

    assert written.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


async def test_who_does_not_wait_is_not() -> None:
    written = await MemoryClient(Application()).send(post(b"Expect: 100-continue\r\n"))

    assert written.startswith(b"HTTP/1.1 200 ")


def refused(written: bytes) -> tuple[int, str, str]:
    """Status, code and request id of a refusal, which must be whole and the last."""
    head, _, body = written.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert int(lines[b"content-length"]) == len(body)
    assert lines[b"connection"] == b"close"
    assert lines[b"cache-control"] == b"no-store"
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head.split(b" ")[1]), error["code"], lines[b"x-request-id"].decode()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400, "invalid_http"),
        (b"GET / HTTP/1.1\nHost: x\n", 400, "invalid_http"),
        (b"GET / HTTP/9\r\n\r\n", 400, "invalid_http"),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_http"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "invalid_headers"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "invalid_headers"),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "invalid_headers"),
        (b"GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_headers"),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_http"),
        (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_http"),
        (b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_http"),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
        (post(b"Content-Length: 15\r\n"), 400, "invalid_http"),
        (post(b"Transfer-Encoding: chunked\r\n"), 400, "invalid_http"),
        (chunked(b"", BODY).replace(b"\r\n0\r\n", b"\r\nx\r\n"), 400, "invalid_chunks"),
        (get(b"a: b\r\n" * LIMITS.header_count), 431, "headers_too_large"),
        (get(b"a:\r\n" * 60_000), 431, "headers_too_large"),
        (get(b"a: " + b"b" * LIMITS.header_bytes), 431, "headers_too_large"),
        (b"GET /" + b"a" * LIMITS.header_bytes, 414, "address_too_long"),
    ],
)
async def test_what_never_becomes_a_request_is_told_so(data: bytes, status: int, code: str) -> None:
    app = Application()
    for segments in ([data], [data[at : at + 7] for at in range(0, len(data), 7)]):
        client = MemoryClient(app)

        written = await client.send(*segments)

        assert refused(written)[:2] == (status, code)
        assert [error.status for error in client.refusals] == [status]
        assert client.transport.ended or client.transport.closed
    assert app.seen == []


async def test_a_refusal_carries_the_clients_own_id() -> None:
    named = await MemoryClient(Application()).send(
        b"GET / HTTP/1.1\r\nX-Request-Id: abc-1\r\nHost: x\r\nHost: y\r\n\r\n"
    )
    unnamed = await MemoryClient(Application()).send(b"\0")

    assert refused(named)[2] == "abc-1"
    assert len(refused(unnamed)[2]) == 32


async def test_a_whole_address_counts_instead_of_host() -> None:
    hosts: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        hosts.extend(value for name, value in scope["headers"] if name == b"host")
        await Application()(scope, receive, send)

    await MemoryClient(app).send(get(path=b"http://y:80/a"))

    assert hosts == [b"y:80"]


async def test_bytes_after_a_refusal_are_dropped_and_bounded() -> None:
    client = MemoryClient(Application())

    await client.send(b"\0", INNER)
    assert not client.transport.closed
    await client.send(*([b"a" * 65536] * 8))

    assert client.transport.closed


async def test_a_mistake_of_ours_is_a_logged_500(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(data: bytes) -> None:
        raise AttributeError(data.decode())

    monkeypatch.setattr("avikam.gateway.doors.http.server.connection.read_head", broken)

    with caplog.at_level(logging.ERROR):
        written = await MemoryClient(Application()).send(get(path=b"/secret"))

    assert refused(written)[:2] == (500, "internal_error")
    assert "AttributeError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_mistake_of_the_application_is_one_too(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("secret")

    written = await MemoryClient(broken).send(get())

    assert refused(written)[:2] == (500, "internal_error")
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    "header", [(b"x", b"a\r\nb: c"), (b"x\n", b"a"), (b"content-length", b"9")]
)
async def test_an_application_cannot_forge_a_reply(header: tuple[bytes, bytes]) -> None:
    async def forging(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [header]})
        await send({"type": "http.response.body", "body": b"abc"})

    client = MemoryClient(forging)
    written = await client.send(get())

    assert b"b: c" not in written
    assert client.transport.closed or client.transport.ended
