"""From an HTTP request to a generation: what all dialects do alike on the way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from avikam.gateway.api.dialect import Dialect
from avikam.gateway.api.idempotent import IdempotentReply
from avikam.gateway.api.json_body import parse_object
from avikam.gateway.api.protobuf import parse_message
from avikam.gateway.api.reply import GenerationReply
from avikam.gateway.beside import beside
from avikam.gateway.budget.room import Hold, Room
from avikam.gateway.budget.weights import json_effort, json_weight, message_weight
from avikam.gateway.doors.call import Call, call_of
from avikam.gateway.doors.http.body import BodyKind, body_kind, read_body
from avikam.gateway.generation import Generation
from avikam.gateway.idempotency.answers import Answers, Twice, checked_key, fingerprint
from avikam.gateway.metered_handler import MeteredHandler
from avikam.gateway.settings import GatewaySettings
from avikam.protocol.errors import invalid
from avikam.protocol.field_count import Inside, check_fields
from avikam.protocol.requests import GenerationRequest, check_request

_SHORTEST_TIMEOUT = 0.1
_IDEMPOTENCY = b"idempotency-key"

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class Intake:
    """Shared by all routes that generate."""

    def __init__(
        self,
        handler: MeteredHandler,
        answers: Answers,
        settings: GatewaySettings,
        clock: Callable[[], float],
        room: Room,
        context: Callable[[], int],
    ) -> None:
        self._handler = handler
        self._room = room
        self._context = context
        self._answers = answers
        self._settings = settings
        self._clock = clock

    async def read_object(self, request: Request) -> dict[str, Any]:
        """The JSON object of the body."""
        body = (await self.read(request, protobuf=False))[1]
        return await self.convert(request, lambda: parse_object(body))

    async def convert(self, request: Request, work: Callable[[], T]) -> T:
        """What ``work`` makes of the body that was read, or of parts of it."""
        return await beside(call_of(request.scope).size, work)

    async def read(self, request: Request, *, protobuf: bool) -> tuple[BodyKind, bytes]:
        """The body and its kind."""
        kind = body_kind(request, protobuf=protobuf)
        seconds = self._settings.body_timeout_seconds
        body = await read_body(request, kind, seconds, self._room)
        call = call_of(request.scope)
        call.size = len(body)
        if kind is BodyKind.JSON:
            call.size = json_effort(body)
            call.held = self._room.grow(call.held, json_weight(body))
        if _IDEMPOTENCY in call.headers:
            accept = call.headers.get(b"accept", b"")
            what = f"{request.scope['path']} {kind.value} ".encode() + accept
            request.state.fingerprint = await beside(len(body), lambda: fingerprint(what, body))
        return kind, body

    async def message(self, request: Request, kind: type[M], body: bytes, inside: Inside) -> M:
        """The protobuf message of a body; what it becomes is paid for before it is parsed."""
        call, context = call_of(request.scope), self._context()
        found = await beside(len(body), lambda: check_fields(body, inside, context=context))
        weight = message_weight(len(body), found.fields, found.ids)
        call.held = self._room.grow(call.held, weight)
        return await beside(len(body), lambda: parse_message(kind, body))

    def hold(self, request: Request) -> Hold:
        """What the request holds of the room for large ones."""
        return Hold(self._room, call_of(request.scope))

    def reply(
        self, request: Request, asked: GenerationRequest, dialect: Dialect, *, stream: bool
    ) -> Response:
        """The reply to a request, which is checked here and run when the reply is sent."""
        check_request(asked)
        call = call_of(request.scope)
        timeout = self._timeout(call)
        generation = Generation(
            id=call.id,
            request=asked,
            deadline=call.started + (timeout or self._settings.request_timeout_seconds),
            tenant=call.tenant,
            priority=call.priority,
            allowance=call.allowance,
            hold=Hold(self._room, call),
            size=call.size,
            streamed=stream,
            trace=call.trace,
        )
        reply = GenerationReply(self._handler, generation, dialect, self._clock, stream)
        key = call.headers.get(_IDEMPOTENCY)
        if key is None:
            return reply
        twice = Twice(call.tenant, checked_key(key.decode("latin-1")), request.state.fingerprint)
        return IdempotentReply(self._answers, twice, reply)

    def _timeout(self, call: Call) -> float | None:
        """Seconds that the client gives, within the gateway's bounds."""
        given = call.headers.get(b"x-request-timeout-ms")
        if given is None:
            return None
        if not (given.isdigit() and len(given) < 12):
            raise invalid("x-request-timeout-ms must be a whole number", "x-request-timeout-ms")
        longest = self._settings.max_request_timeout_seconds
        return min(max(int(given) / 1000, _SHORTEST_TIMEOUT), longest)
