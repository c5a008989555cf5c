"""A body is never a request, whatever the headers beside it say and wherever the network cuts."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.gateway.harness import RunningGateway
from tests.gateway.http_server.memory import cut, requests_in
from tests.gateway.http_server.streams import BODY, HOSTILE, INNER, OFFERS, chunked, get, post
from tests.worker.harness import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEXT = get(path=b"/next")


@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize("make", [post, chunked], ids=["length", "chunked"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_an_offered_upgrade_is_ignored_at_every_cut(
    offer: bytes, make: object, reads: bool
) -> None:
    request = post(offer, INNER) if make is post else chunked(offer, INNER)
    data = request + NEXT

    for border in range(len(data)):
        seen = await requests_in(cut(data, [border]), reads=reads)

        assert [one.target for one in seen][1:] == [b"/next"], border
        assert not reads or seen[0].body == INNER


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_framing_never_shows_the_inner_request(data: bytes) -> None:
    for border in range(len(data)):
        seen = await requests_in(cut(data, [border]))

        # A leading request may be fine; what hides behind or in it must not be seen.
        assert b"/inner" not in [one.target for one in seen], border


async def test_connect_makes_no_tunnel() -> None:
    seen = await requests_in([b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", INNER])

    assert seen == []


@pytest.mark.parametrize("continues", [b"Expect: 100-continue\r\n", b"Expect: 100-Continue\r\n"])
async def test_a_refused_expectation_ends_the_connection(continues: bytes) -> None:
    """The client may send its body now, or its next request: nobody can tell which."""
    head, _, body = post(continues, INNER).partition(b"\r\n\r\n")

    seen = await requests_in([head + b"\r\n\r\n", body], reads=False)

    assert [one.target for one in seen] == [b"/generate"]


async def replies(gateway: RunningGateway, *segments: bytes) -> list[bytes]:
    """What comes back for segments sent one after the other; a good request is sent last, and its
    reply, which must be the last and its own, is left out."""
    reader, writer = await gateway.connect()
    for segment in (*segments, get(b"Connection: close\r\nx-request-id: last\r\n", b"/version")):
        writer.write(segment)
        await writer.drain()
        await asyncio.sleep(0.02)
    async with asyncio.timeout(PATIENCE):
        received = await reader.read()
    writer.close()
    *others, last = [b"HTTP/1.1 " + reply for reply in received.split(b"HTTP/1.1 ")[1:]]
    assert last.startswith(b"HTTP/1.1 200 ")
    assert b"x-request-id: last" in last
    return others


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_the_gateway_serves_what_offers_an_upgrade(
    gateway: RunningGateway, offer: bytes
) -> None:
    """As a JDK's HttpClient asks: the offer with the head, the body in a segment of its own."""
    asked = {"prompt": "Bonjour", "max_tokens": 4, "seed": 7}
    head, _, body = post(offer, json.dumps(asked).encode()).partition(b"\r\n\r\n")

    together = await replies(gateway, head + b"\r\n\r\n" + body)
    apart = await replies(gateway, head + b"\r\n\r\n", body)

    alone = await gateway.text(**asked)
    for received in (together, apart):
        assert len(received) == 1
        head, _, answer = received[0].partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert json.loads(answer)["text"] == alone


@pytest.mark.parametrize("offer", [b"", *OFFERS.values()], ids=["none", *OFFERS])
async def test_the_gateway_answers_a_body_that_looks_like_a_request_once(
    gateway: RunningGateway, offer: bytes
) -> None:
    for request in (post(offer, INNER), chunked(offer, INNER), chunked(offer, *([INNER] * 3))):
        head, _, body = request.partition(b"\r\n\r\n")

        for segments in ((request,), (head + b"\r\n\r\n", body), cut(request, [40, 97, 130, 180])):
            received = await replies(gateway, *segments)

            assert len(received) == 1, (segments, received)


@pytest.mark.parametrize(
    ("codings", "status", "code"),
    [
        (b"gzip, chunked", 501, "unsupported_transfer_encoding"),
        (b"gzip,chunked", 501, "unsupported_transfer_encoding"),
        (b"identity, chunked", 501, "unsupported_transfer_encoding"),
        (b"gzip\r\nTransfer-Encoding: chunked", 501, "unsupported_transfer_encoding"),
        (b"gzip", 400, None),
        (b"chunked, gzip", 400, None),
        (b"chunked, chunked", 400, None),
        (b"chunked\r\nTransfer-Encoding: chunked", 400, None),
        (b"xchunked", 400, None),
        (b"", 400, None),
    ],
)
async def test_transfer_codings_that_are_not_known(
    gateway: RunningGateway, codings: bytes, status: int, code: str | None
) -> None:
    head = b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + codings + b"\r\n\r\n"

    head, _, body = (await gateway.raw(head + b"0\r\n\r\n" + INNER)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nx-request-id: " in head
    error = json.loads(body)["error"]
    assert code is None or error["code"] == code


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b" \tchunked", b"CHUNKED"])
async def test_chunked_is_known_however_it_is_spelt(coding: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:" + coding + b"\r\n\r\n"

    seen = await requests_in([head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)])

    assert [one.body for one in seen] == [BODY]
