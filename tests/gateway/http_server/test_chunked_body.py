"""Bodies in chunks: the same however they are cut, and bounded beside their bytes."""

from __future__ import annotations

import random

import pytest

from avikam.gateway.doors.http.server.chunked_body import ChunkedBody
from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS
from tests.gateway.http_server.memory import cut


def read(segments: list[bytes]) -> tuple[bytes, bytes, bool]:
    """The body, what came after it, and whether it has ended."""
    body, found, after = ChunkedBody(), b"", b""
    for segment in segments:
        if body.ended:
            after += segment
            continue
        piece, after = body.take(segment)
        found += piece
    return found, after, body.ended


def in_chunks(pieces: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces)
    return chunks + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize("extension", [b"", b";a", b"; a = b", b';sig="0 1"', b";\xc3\xa9"])
@pytest.mark.parametrize("trailers", [b"", b"X-A: 1\r\n", b"A:\r\nB:\t2\r\n"])
def test_a_body_is_the_same_however_it_is_cut(extension: bytes, trailers: bytes) -> None:
    rng = random.Random(extension + trailers)
    for _ in range(200):
        pieces = [rng.randbytes(rng.choice((1, 2, 15, 16, 300))) for _ in range(rng.randint(0, 6))]
        data = in_chunks(pieces, extension, trailers) + b"GET /"

        found, after, ended = read(cut(data, [rng.randrange(1 << 16) for _ in range(8)]))

        assert (found, after, ended) == (b"".join(pieces), b"GET /", True)


def test_one_byte_at_a_time() -> None:
    data = in_chunks([b"hello", b"\r\n0\r\n\r\n"], b";a=b", b"X-A: 1\r\n")

    assert read([data[at : at + 1] for at in range(len(data))])[0] == b"hello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"5 \r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5_0\r\n",
        b"123456789\r\n",
        b"5\nhello\n",
        b"5\rhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n\n",
        b"5\r\nhello\r\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5;\0\r\nhello\r\n",
        b"5 a\r\nhello\r\n",
        b"5 ;a=b\r\nhello\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\nA b: c\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\ncontent-length: 5\r\n\r\n",
        b"0\r\nA: b\n\n",
    ],
)
def test_what_is_no_body_in_chunks_is_refused(data: bytes) -> None:
    for segments in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises(ApiError) as refused:
            read(segments)
        assert (refused.value.status, refused.value.code) == (400, "invalid_chunks")


@pytest.mark.parametrize("size", [1, 100, 4096])
@pytest.mark.parametrize("where", ["one extension", "extensions", "one trailer", "trailers"])
def test_extensions_and_trailers_are_bounded(where: str, size: int) -> None:
    def body(much: int) -> bytes:
        match where:
            case "one extension":
                return in_chunks([b"a"], b";" + b"e" * (much - 1))
            case "extensions":
                return in_chunks([b"a"] * (much // 8), b";1234567")
            case "one trailer":
                return in_chunks([b"a"], trailers=b"t:" + b"v" * (much - 2) + b"\r\n")
            case _:
                return in_chunks([b"a"], trailers=b"t:12345\r\n" * (much // 7))

    bound = LIMITS.chunk_extension_bytes if "ext" in where else LIMITS.trailer_bytes

    def segments(data: bytes) -> list[bytes]:
        return [data[at : at + size] for at in range(0, len(data), size)]

    assert read(segments(body(bound - 16)))[2]
    with pytest.raises(ApiError, match="may have"):
        read(segments(body(bound + 16)))


def test_small_chunks_are_bounded_and_larger_ones_are_not() -> None:
    tiny, small = in_chunks([b"a"] * 10_000), in_chunks([b"abc"] * 100_000)

    with pytest.raises(ApiError, match="too small"):
        read([tiny])
    with pytest.raises(ApiError, match="too small"):
        read([tiny[at : at + 7] for at in range(0, len(tiny), 7)])
    assert len(read([small])[0]) == len(read([small[:9], small[9:]])[0]) == 300_000


def test_a_line_without_end_is_given_up_early() -> None:
    body = ChunkedBody()

    line = b"5" * (LIMITS.chunk_extension_bytes + 1024)

    with pytest.raises(ApiError, match="may have"):
        body.take(line)
