"""A body in chunks (RFC 9112, section 7.1), read strictly and within bounds.

5;name=value CRLF hello CRLF      a chunk; what follows the semicolon is dropped
0 CRLF                            the last one
Name: value CRLF                  trailers, dropped
CRLF                              the end

Extensions and trailers have no meaning here, so nobody needs much of them. Chunks of a byte or two
cost more to read than they bring, so what stands beside the body may not outgrow it by much.
"""

from __future__ import annotations

import re

from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS

_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})((?:;[\t -~\x80-\xff]*)?)")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")
# What would say where a body ends has no business behind it.
_FRAMING = (b"content-length:", b"host:", b"transfer-encoding:")
_END = b"\r\n"
# Bytes beside the body that each of its bytes pays for.
_BESIDE_A_BYTE = 2
# Bytes of a line that has not ended: the longest that could still be right.
_LONGEST_LINE = max(LIMITS.chunk_extension_bytes, LIMITS.trailer_bytes)


class ChunkedBody:
    """Takes a body out of what arrives, cut wherever it may be."""

    __slots__ = ("_beside", "_chunk", "_extension", "_in_trailers", "_line", "_trailers", "ended")

    def __init__(self) -> None:
        self.ended = False
        # Bytes that the current chunk still has, with its own line end; 0 between chunks.
        self._chunk = 0
        self._line = b""
        self._in_trailers = False
        self._extension = self._trailers = 0
        # Bytes beside the body that its own bytes do not pay for.
        self._beside = 0

    @property
    def left(self) -> int | None:
        """Nobody knows how much is still to come."""
        return 0 if self.ended else None

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What of the data belongs to the body, and what comes after its end.

        Raises the refusal of what is no body in chunks.
        """
        pieces: list[bytes] = []
        at = self._take_whole_chunks(data, pieces)
        while at < len(data) and not self.ended:
            at = self._take_chunk(data, at, pieces) if self._chunk else self._take_line(data, at)
        return b"".join(pieces), data[at:]

    def _take_whole_chunks(self, data: bytes, pieces: list[bytes]) -> int:
        """Chunks that are there from size to line end, as most are; returns where they end."""
        if self._chunk or self._line or self._in_trailers:
            return 0
        at = 0
        while size := _CHUNK.match(data, at):
            begin, length = size.end(), int(size[1], 16)
            end = begin + length
            if not length or data[end : end + len(_END)] != _END:
                break
            pieces.append(data[begin:end])
            self._count_beside(begin - at, length)
            at = end + len(_END)
        return at

    def _count_beside(self, line: int, length: int) -> None:
        """Of a chunk: the bytes of its first line, and of its part of the body."""
        beside = self._beside + line + len(_END) - _BESIDE_A_BYTE * length
        self._beside = max(beside, 0)
        if beside > LIMITS.chunk_extension_bytes:
            raise _refused("its chunks are too small; send larger ones")

    def _take_chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """The chunk's bytes, then its line end."""
        if self._chunk > len(_END):
            piece = data[at : at + self._chunk - len(_END)]
            pieces.append(piece)
            self._chunk -= len(piece)
            return at + len(piece)
        end = data[at : at + self._chunk]
        if not _END[-self._chunk :].startswith(end):
            raise _refused("a chunk does not end where its size says")
        self._chunk -= len(end)
        return at + len(end)

    def _take_line(self, data: bytes, at: int) -> int:
        """A size, a trailer, or the part of it that is there."""
        end = data.find(b"\n", at, at + _LONGEST_LINE)
        if end < 0:
            self._line += data[at : at + _LONGEST_LINE]
            if len(self._line) >= _LONGEST_LINE:
                raise _too_long()
            return len(data)
        line, self._line = self._line + data[at : end + 1], b""
        if not line.endswith(_END):
            raise _refused("lines between chunks end with CR and LF")
        if self._in_trailers:
            self._read_trailer(line[:-2])
        else:
            self._read_size(line[:-2])
        return end + 1

    def _read_size(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise _refused("a chunk's size must be a hexadecimal number")
        self._extension += len(size[2])
        if self._extension > LIMITS.chunk_extension_bytes:
            raise _too_long()
        length = int(size[1], 16)
        self._count_beside(len(size[1]) + len(_END), length)
        self._chunk = length + len(_END) if length else 0
        self._in_trailers = not length

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self.ended = True
            return
        self._trailers += len(line)
        if self._trailers > LIMITS.trailer_bytes:
            raise _too_long()
        if not _TRAILER.fullmatch(line) or line.lower().startswith(_FRAMING):
            raise _refused("a trailer must be a name, a colon and a value, not of framing")


def _refused(message: str) -> ApiError:
    return ApiError(400, f"The chunked body is broken: {message}.", "invalid_chunks")


def _too_long() -> ApiError:
    return ApiError(
        400,
        f"The body's chunk extensions may have {LIMITS.chunk_extension_bytes} bytes and its "
        f"trailers {LIMITS.trailer_bytes}, all together.",
        "invalid_chunks",
    )
