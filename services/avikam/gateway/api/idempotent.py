"""A reply that may be asked for twice: what is sent is recorded, and sent again.

H [status, headers]      B piece      E last piece
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from avikam.gateway.api.reply import GenerationReply
from avikam.gateway.doors.http.disconnect import CancelledWithClient
from avikam.gateway.idempotency.answers import Add, Answers, Twice

# Headers that an answer is made of; the others are of the exchange that brought it.
_KEPT = frozenset({b"content-type", b"content-length", b"server-timing", b"x-accel-buffering"})
_REPLAYED = (b"idempotent-replayed", b"true")


class IdempotentReply(Response):
    """An ASGI response around another one."""

    def __init__(self, answers: Answers, twice: Twice, reply: GenerationReply) -> None:
        # Not Response's own __init__: there is no body and no header to prepare yet.
        self.background = None
        self._answers = answers
        self._twice = twice
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the recorded reply, or make and record it."""

        async def produce(add: Add) -> bool:
            async def record(message: Message) -> None:
                await add(_packed(message))

            return await self._reply.perform(scope, record)

        record, replayed = self._answers.open(self._twice, produce, self._reply.generation)
        async with (
            CancelledWithClient(scope),
            aclosing(self._answers.follow(self._twice, record)) as parts,
        ):
            async for part in parts:
                message = _unpacked(part)
                if replayed and "headers" in message:
                    message["headers"].append(_REPLAYED)
                await send(message)


def _packed(message: Message) -> bytes:
    if message["type"] == "http.response.start":
        kept = [pair for pair in message["headers"] if pair[0].lower() in _KEPT]
        headers = [[part.decode("latin-1") for part in pair] for pair in kept]
        return b"H" + orjson.dumps([message["status"], headers])
    body: bytes = message["body"]
    return (b"B" if message.get("more_body") else b"E") + body


def _unpacked(part: bytes) -> dict[str, Any]:
    kind, rest = part[:1], part[1:]
    if kind == b"H":
        status, headers = orjson.loads(rest)
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return {"type": "http.response.start", "status": status, "headers": pairs}
    return {"type": "http.response.body", "body": rest, "more_body": kind == b"B"}
