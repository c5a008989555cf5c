"""The generation routes of OpenAI's clients."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from avikam.gateway.api.chat import ChatBody, ChatDialect
from avikam.gateway.api.completions import CompletionBody, CompletionDialect, Echo
from avikam.gateway.api.intake import Intake
from avikam.gateway.api.json_body import validate
from avikam.gateway.api.responses import ResponsesBody, ResponsesDialect
from avikam.gateway.doors.call import call_of
from avikam.gateway.tokenizing import Tokenizing
from avikam.protocol.requests import GenerationRequest, check_request
from avikam.v1 import generation_pb2 as pb


class OpenAIRoutes:
    """Endpoints of completions, chat and responses."""

    def __init__(self, door: Intake, tokenizing: Tokenizing) -> None:
        self._door = door
        self._tokenizing = tokenizing

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        data = await self._door.read_object(request)

        def reply() -> Response:
            ChatBody.check(data)
            body = validate(ChatBody, data)
            dialect = ChatDialect(call_of(request.scope).id, body)
            return self._door.reply(request, body.request(), dialect, stream=bool(body.stream))

        return await self._door.convert(request, reply)

    async def completions(self, request: Request) -> Response:
        """Continue one prompt or many."""
        data = await self._door.read_object(request)

        def understood() -> tuple[CompletionBody, GenerationRequest]:
            CompletionBody.check(data)
            body = validate(CompletionBody, data)
            return body, body.request()

        body, asked = await self._door.convert(request, understood)
        echoes = await self._echoes(asked) if body.echo else []
        dialect = CompletionDialect(call_of(request.scope).id, body, echoes)
        return self._door.reply(request, asked, dialect, stream=bool(body.stream))

    async def responses(self, request: Request) -> Response:
        """Answer a text or a conversation, as a response."""
        data = await self._door.read_object(request)

        def reply() -> Response:
            ResponsesBody.check(data)
            body = validate(ResponsesBody, data)
            dialect = ResponsesDialect(call_of(request.scope).id, body)
            return self._door.reply(request, body.request(), dialect, stream=bool(body.stream))

        return await self._door.convert(request, reply)

    async def _echoes(self, asked: GenerationRequest) -> list[Echo]:
        check_request(asked)
        echoes = (self._echo(prompt, asked.model) for prompt in asked.prompts)
        return list(await asyncio.gather(*echoes))

    async def _echo(self, prompt: pb.Prompt, model: str) -> Echo:
        """The prompt's text. A text prompt's first token is its frame, which has no text."""
        if prompt.HasField("text"):
            return Echo(prompt.text, "")
        ids = prompt.tokens.ids
        whole, first = await asyncio.gather(
            self._tokenizing.detokenize(ids, model), self._tokenizing.detokenize(ids[:1], model)
        )
        return Echo(whole, first)
