"""Our own messages as HTTP bodies: ``application/x-protobuf`` in, out, or both.

A stream is a row of ``GenerateStreamResponse``, each after its length as a varint.
"""

from __future__ import annotations

from io import BytesIO
from typing import TypeVar

from google.protobuf import proto
from google.protobuf.message import DecodeError, Message
from starlette.requests import Request

from avikam.gateway.api.dialect import Dialect, Whole
from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.body import PROTOBUF
from avikam.gateway.doors.protobuf_answers import MessageWriter
from avikam.gateway.doors.wide_numbers import check_numbers
from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS

M = TypeVar("M", bound=Message)

_PROTOBUF = PROTOBUF.encode()


def parse_message(kind: type[M], body: bytes) -> M:
    """The message in ``body``, whose fields were counted; 400 for bytes that are none, and for
    numbers that are too big for their fields."""
    try:
        message = kind.FromString(body)
    except DecodeError:
        raise invalid(
            f"the body is not an avikam.v1.{kind.DESCRIPTOR.name}", None, "invalid_protobuf"
        ) from None
    check_numbers(message, body)
    return message


def accepts_protobuf(request: Request) -> bool:
    """Whether the client reads protobuf."""
    return _PROTOBUF in call_of(request.scope).headers.get(b"accept", b"")


def prefers_protobuf(request: Request, *, sent: bool) -> bool:
    """Whether the reply is protobuf: by ``Accept``, or like the request when that says nothing."""
    accept = call_of(request.scope).headers.get(b"accept", b"*/*")
    if b"json" in accept or b"event-stream" in accept:
        return False
    return _PROTOBUF in accept or sent


class ProtobufDialect:
    """Own protobuf."""

    stream_type = f"{PROTOBUF}; delimited=varint"

    def __init__(self, request_id: str) -> None:
        self._writer = MessageWriter(request_id)

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """One ``GenerateResponse``."""
        return Whole(self._writer.whole(generation).SerializeToString(), PROTOBUF)

    def opening(self, generation: Generation) -> bytes:
        """Nothing before the first message."""
        return b""

    def piece(self, generation: Generation, news: News) -> bytes:
        """The message of one frame."""
        message = self._writer.piece(generation, news)
        return delimited(message) if message is not None else b""

    def closing(self, generation: Generation, elapsed: float) -> bytes:
        """Usage and timings."""
        return delimited(self._writer.closing(generation))

    def failure(self, error: ApiError) -> bytes:
        """The error as the last message."""
        return delimited(self._writer.failure(error))

    def idle(self) -> bytes:
        """A message of length zero: every field absent."""
        return b"\0"


def delimited(message: Message) -> bytes:
    """A message after its length."""
    buffer = BytesIO()
    proto.serialize_length_prefixed(message, buffer)
    return buffer.getvalue()


class RoomyDialect:
    """JSON for a client that also reads protobuf: a whole reply above the JSON limit is protobuf.

    Streams have no such limit and stay JSON.
    """

    def __init__(self, json: Dialect, protobuf: ProtobufDialect) -> None:
        self._json = json
        self._protobuf = protobuf
        self.stream_type = json.stream_type
        self.opening = json.opening
        self.piece = json.piece
        self.closing = json.closing
        self.failure = json.failure
        self.idle = json.idle

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """JSON if it is small enough."""
        reply = self._json.whole(generation, elapsed)
        if len(reply.body) <= LIMITS.json_response_bytes:
            return reply
        return self._protobuf.whole(generation, elapsed)
