"""The body of a protobuf stream: a row of messages, each after its length as a varint."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from avikam.client.errors import ConnectionFailed
from avikam.protocol.limits import LIMITS
from avikam.v1 import inference_pb2

_VARINT_BYTES = 5


class MessageReader:
    """Takes bytes as they come, gives whole messages. Raises ConnectionFailed for anything else."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[inference_pb2.GenerateStreamResponse]:
        """Messages that are complete now; empty ones (signs of life) are left out."""
        self._buffer += data
        while (whole := self._next()) is not None:
            if whole:
                yield _parsed(whole)

    def close(self) -> None:
        """The body has ended; it must not have ended inside a message."""
        if self._buffer:
            raise ConnectionFailed("the stream ended inside a message")

    def _next(self) -> bytes | None:
        """One message, taken from the buffer; None while it is incomplete."""
        length = shift = 0
        for at, byte in enumerate(self._buffer[:_VARINT_BYTES]):
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return self._take(at + 1, length)
        if len(self._buffer) >= _VARINT_BYTES:
            raise ConnectionFailed("the stream holds no message length")
        return None

    def _take(self, start: int, length: int) -> bytes | None:
        if length > LIMITS.grpc_message_bytes:
            raise ConnectionFailed(f"the stream announces a message of {length} bytes")
        if len(self._buffer) < start + length:
            return None
        whole = self._buffer[start : start + length]
        self._buffer = self._buffer[start + length :]
        return whole


def _parsed(data: bytes) -> inference_pb2.GenerateStreamResponse:
    try:
        return inference_pb2.GenerateStreamResponse.FromString(data)
    except DecodeError:
        raise ConnectionFailed("the stream holds something that is no message") from None
