"""Request bodies: what kind they are and how big they may be, decided before they are parsed.

JSON      up to 1 MiB      also without a content type, and with curl's default one
protobuf  up to 64 MiB     on the routes of our own messages
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from enum import Enum

from starlette.requests import Request

from avikam.gateway.budget.room import Room
from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.disconnect import ClientGoneError
from avikam.gateway.doors.http.presence import has_arrived
from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS

PROTOBUF = "application/x-protobuf"
_PROTOBUF_TYPES = frozenset({PROTOBUF.encode(), b"application/protobuf"})
# Bytes per second below which a client holds its connection for too long.
_SLOWEST = 64 * 1024
# How long (seconds) a client may go on to send what is refused already, to read the reply then.
_LINGER = 5.0
_FORM = b"application/x-www-form-urlencoded"


class BodyKind(Enum):
    """How to parse a body."""

    JSON = "json"
    PROTOBUF = "protobuf"


def body_kind(request: Request, *, protobuf: bool) -> BodyKind:
    """The kind of the request's body; 415 for what the route does not read.

    curl sends ``-d`` as a form. A page of another site may send forms and bodies without a type
    unasked; so that these do not pass for JSON, both are taken only without an ``Origin``.
    """
    headers = call_of(request.scope).headers
    if headers.get(b"content-encoding", b"identity") != b"identity":
        message = "content-encoding must be identity; send the body uncompressed"
        raise _unsupported(message, {"accept-encoding": "identity"})
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type == b"application/json" or media_type.endswith(b"+json"):
        return BodyKind.JSON
    if media_type in (b"", _FORM) and not headers.get(b"origin"):
        return BodyKind.JSON
    if protobuf and media_type in _PROTOBUF_TYPES:
        return BodyKind.PROTOBUF
    accepted = f"application/json or {PROTOBUF}" if protobuf else "application/json"
    raise _unsupported(
        f"content-type must be {accepted}", {"accept": accepted.replace(" or ", ", ")}
    )


async def read_body(request: Request, kind: BodyKind, seconds: float, room: Room) -> bytes:
    """The whole body; 413 as soon as it is known to be too big, 408 when it does not come, 503
    when there is no room for it.

    ``seconds`` is what a client may take besides what its bytes need at the slowest fair pace.
    """
    call = call_of(request.scope)
    limit = LIMITS.json_body_bytes if kind is BodyKind.JSON else LIMITS.protobuf_body_bytes
    declared = call.headers.get(b"content-length", b"")

    def take(size: int) -> None:
        if size > limit:
            raise too_large(kind, limit)
        call.held = room.grow(call.held, size)

    try:
        if declared.isdigit():
            if int(declared) > limit:
                raise too_large(kind, limit)
            room.check(0, int(declared))
        return await _read(request, seconds, take)
    except ApiError as error:
        # What came of it is let go before the rest is waited for: the error's frames hold it.
        error.__traceback__ = None
        room.give_back(call.held)
        call.held = 0
        if error.status in (413, 503) and not call.headers.get(b"expect"):
            await _discard(request)
        raise


async def _read(request: Request, seconds: float, take: Callable[[int], None]) -> bytes:
    """The body; ``take`` hears of its size before more of it is kept."""
    if has_arrived(request.scope):
        body: bytes = (await request.receive())["body"]
        take(len(body))
        return body
    return await _read_slowly(request, seconds, take)


async def _read_slowly(request: Request, seconds: float, take: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(start + seconds) as timer:
            async for chunk in _chunks(request):
                size += len(chunk)
                take(size)
                chunks.append(chunk)
                timer.reschedule(start + seconds + size / _SLOWEST)
    except TimeoutError:
        raise too_slow() from None
    return b"".join(chunks)


async def _discard(request: Request) -> None:
    """Read what is left of a refused body: a connection that is closed with bytes unread is reset,
    and a client that still sends would lose the reply."""
    left = LIMITS.protobuf_body_bytes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            async for chunk in _chunks(request):
                left -= len(chunk)
                if left < 0:
                    return


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk


def too_large(kind: BodyKind, limit: int) -> ApiError:
    """413. What is too big for JSON may fit as protobuf."""
    hint = "Split the request."
    if kind is BodyKind.JSON:
        most = LIMITS.protobuf_body_bytes
        hint = f"Send it to /generate as {PROTOBUF}, which may have {most} bytes."
    return ApiError(
        413,
        f"The body is larger than {limit} bytes. {hint}",
        "body_too_large",
        headers={"connection": "close"},
    )


def too_slow() -> ApiError:
    """408: the client stopped sending."""
    return ApiError(
        408,
        "The body did not arrive in time; send the request again.",
        "body_timeout",
        headers={"connection": "close"},
    )


def _unsupported(message: str, headers: dict[str, str]) -> ApiError:
    """415; ``headers`` say what would be read (RFC 9110, 15.5.16)."""
    return ApiError(415, message, "unsupported_media_type", headers=headers)
