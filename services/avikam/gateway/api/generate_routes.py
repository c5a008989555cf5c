"""The routes of ``/generate``: our own schema as JSON or protobuf, and TGI's beside it.

Which schema a JSON body has shows by its key: ``prompt`` is ours, ``inputs`` is TGI's.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from avikam.gateway.api import tgi
from avikam.gateway.api.dialect import Dialect
from avikam.gateway.api.generate import GenerateBody, GenerateDialect
from avikam.gateway.api.intake import Intake
from avikam.gateway.api.json_body import parse_object, validate
from avikam.gateway.api.protobuf import (
    ProtobufDialect,
    RoomyDialect,
    accepts_protobuf,
    prefers_protobuf,
)
from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.body import BodyKind
from avikam.protocol.field_count import GENERATE
from avikam.protocol.requests import from_message
from avikam.v1 import inference_pb2


class GenerateRoutes:
    """Endpoints; each reads its body and hands over to the door."""

    def __init__(self, door: Intake) -> None:
        self._door = door

    async def generate(self, request: Request) -> Response:
        """Continue a prompt, or many."""
        return await self._generate(request, stream=False)

    async def stream(self, request: Request) -> Response:
        """Continue a prompt, streamed."""
        return await self._generate(request, stream=True)

    async def root(self, request: Request) -> Response:
        """TGI's schema at the bare address; answers with a list."""
        data = await self._door.read_object(request)
        return await self._door.convert(
            request, lambda: self._tgi(request, data, stream=False, as_list=True)
        )

    async def _generate(self, request: Request, *, stream: bool) -> Response:
        kind, body = await self._door.read(request, protobuf=True)
        if kind is BodyKind.JSON:
            return await self._door.convert(
                request, lambda: self._json(request, body, stream=stream)
            )
        message = await self._door.message(request, inference_pb2.GenerateRequest, body, GENERATE)
        return await self._door.convert(
            request, lambda: self._protobuf(request, message, stream=stream)
        )

    def _json(self, request: Request, body: bytes, *, stream: bool) -> Response:
        data = parse_object(body)
        if "inputs" in data and "prompt" not in data:
            return self._tgi(request, data, stream=stream, as_list=False)
        parsed = validate(GenerateBody, data)
        dialect = self._own_dialect(request, parsed)
        stream = stream or bool(parsed.stream)
        return self._door.reply(request, parsed.request(), dialect, stream=stream)

    def _own_dialect(self, request: Request, parsed: GenerateBody) -> Dialect:
        request_id = call_of(request.scope).id
        json = GenerateDialect(request_id, bool(parsed.details))
        if not accepts_protobuf(request):
            return json
        protobuf = ProtobufDialect(request_id)
        return protobuf if prefers_protobuf(request, sent=False) else RoomyDialect(json, protobuf)

    def _protobuf(
        self, request: Request, message: inference_pb2.GenerateRequest, *, stream: bool
    ) -> Response:
        asked = from_message(message)
        request_id = call_of(request.scope).id
        dialect: Dialect = GenerateDialect(request_id, details=False)
        if prefers_protobuf(request, sent=True):
            dialect = ProtobufDialect(request_id)
        return self._door.reply(request, asked, dialect, stream=stream)

    def _tgi(
        self, request: Request, data: dict[str, Any], *, stream: bool, as_list: bool
    ) -> Response:
        tgi.check_refused(data)
        parsed = validate(tgi.TgiBody, data)
        stream = stream or bool(parsed.stream)
        dialect = tgi.TgiDialect(parsed, as_list=as_list)
        return self._door.reply(request, parsed.request(stream), dialect, stream=stream)
