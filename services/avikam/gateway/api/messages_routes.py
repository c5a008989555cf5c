"""The routes that Anthropic's clients use."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from avikam.gateway.api.foreign.routes import MESSAGES
from avikam.gateway.api.intake import Intake
from avikam.gateway.api.json_body import validate
from avikam.gateway.api.messages import MessagesBody, MessagesConversation, MessagesDialect
from avikam.gateway.doors.call import call_of
from avikam.gateway.tokenizing import Tokenizing
from avikam.protocol.requests import check_prompt
from avikam.v1 import generation_pb2 as pb


class MessagesRoutes:
    """Endpoints of messages and their count."""

    def __init__(self, door: Intake, tokenizing: Tokenizing) -> None:
        self._door = door
        self._tokenizing = tokenizing

    async def messages(self, request: Request) -> Response:
        """Answer a conversation, as Anthropic's message."""
        data = await self._door.read_object(request)

        def reply() -> Response:
            MessagesBody.check(data, MESSAGES)
            body = validate(MessagesBody, data)
            dialect = MessagesDialect(call_of(request.scope).id)
            return self._door.reply(request, body.request(), dialect, stream=bool(body.stream))

        return await self._door.convert(request, reply)

    async def count_tokens(self, request: Request) -> Response:
        """Count the tokens of a conversation."""
        data = await self._door.read_object(request)

        def understood() -> tuple[pb.Prompt, str]:
            MessagesConversation.check(data)
            body = validate(MessagesConversation, data)
            prompt = body.prompt()
            check_prompt(prompt)
            return prompt, body.model or ""

        prompt, model = await self._door.convert(request, understood)
        counted = await self._tokenizing.tokenize(prompt, add_special_tokens=True, model=model)
        return JSONResponse({"input_tokens": len(counted.token_ids)})
