"""Messages of a stream as pieces, and the two ways in which it may not end well."""

from __future__ import annotations

from collections.abc import Iterator

from avikam.client.answer import Piece, piece_of
from avikam.client.delimited import MessageReader
from avikam.client.errors import StreamInterrupted
from avikam.v1 import inference_pb2


class PieceReader:
    """Checks one stream's messages. Raises StreamInterrupted for an end that is none."""

    def __init__(self, request_id: str = "") -> None:
        self._request_id = request_id
        self._whole = False

    def read(self, message: inference_pb2.GenerateStreamResponse) -> Piece:
        """The piece in a message."""
        if message.HasField("error"):
            raise StreamInterrupted(
                message.error.message,
                status=502,
                code=message.error.code,
                request_id=self._request_id,
            )
        # Usage comes last, and with nothing else.
        self._whole = message.HasField("usage")
        return piece_of(message)

    def close(self) -> None:
        """The stream has ended: it must have been whole."""
        if not self._whole:
            raise StreamInterrupted(
                "the stream ended before the answer did", request_id=self._request_id
            )


class StreamReader:
    """The same for bytes of an HTTP body."""

    def __init__(self, request_id: str = "") -> None:
        self._messages = MessageReader()
        self._pieces = PieceReader(request_id)

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Pieces that are complete now."""
        for message in self._messages.feed(data):
            yield self._pieces.read(message)

    def close(self) -> None:
        """The body has ended."""
        self._messages.close()
        self._pieces.close()
