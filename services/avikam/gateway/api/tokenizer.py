"""``/tokenize``, ``/detokenize`` and ``/tokenizer_info``, in the shapes of vLLM, TGI and llama.cpp.

With these three, lm-eval needs no tokenizer of its own.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, FailFast, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from avikam.gateway.api.field_types import TOKEN_ID, ModelName, WholeNumber
from avikam.gateway.api.fields import StrictBody, token_id
from avikam.gateway.api.history.chat_messages import turns
from avikam.gateway.api.history.schemas import ChatMessages
from avikam.gateway.api.intake import Intake
from avikam.gateway.api.json_body import parse_object, validate
from avikam.gateway.budget.price import tokenized
from avikam.gateway.doors.http.body import PROTOBUF, BodyKind
from avikam.gateway.tokenizing import Tokenizing
from avikam.gateway.workers.pool import Pool
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.field_count import TOKENIZE
from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import check_prompt
from avikam.protocol.wire import chat_prompt, text_prompt
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2, worker_pb2

_FORMS = ("prompt", "messages", "inputs", "content")
_NULL, _GIVEN = {"type": "null"}, {"not": {"type": "null"}}


def _only(given: str) -> Any:
    """That this form is given, and no other."""
    forms = {name: _GIVEN if name == given else _NULL for name in _FORMS}
    return {"required": [given], "properties": forms}


_ONE_FORM = [_only(form) for form in _FORMS]


class TokenizeBody(StrictBody):
    """One of prompt (vLLM), messages (vLLM), inputs (TGI) or content (llama.cpp)."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"anyOf": _ONE_FORM},
    )

    prompt: str | None = None
    messages: ChatMessages | None = None
    inputs: str | None = None
    content: str | None = None
    model: ModelName = None
    add_special_tokens: bool | None = Field(default=None, description="The prompt's frame too.")
    return_token_strs: bool | None = None

    def form(self) -> str:
        """Which of the four was given."""
        given = [name for name in _FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise invalid("send one of prompt, messages, inputs or content", "prompt")
        return given[0]

    def as_prompt(self) -> pb.Prompt:
        """What to tokenize."""
        if self.messages is not None:
            return chat_prompt(turns(self.messages))
        return text_prompt(self.prompt or self.inputs or self.content or "")

    def framed(self, form: str) -> bool:
        """Whether the frame is wanted: by default vLLM and TGI add it, llama.cpp does not."""
        return form != "content" if self.add_special_tokens is None else self.add_special_tokens


_IDS = {"type": "array", "items": TOKEN_ID, "maxItems": LIMITS.tokenize_chars}


class DetokenizeBody(StrictBody):
    """The ids to write out."""

    tokens: Annotated[list[WholeNumber], FailFast(), WithJsonSchema(_IDS)]
    model: ModelName = None


class TokenizerRoutes:
    """Endpoints about text and ids; workers answer, for they have the tokenizer."""

    def __init__(self, door: Intake, tokenizing: Tokenizing, pool: Pool) -> None:
        self._door = door
        self._tokenizing = tokenizing
        self._pool = pool

    async def tokenize(self, request: Request) -> Response:
        """Ids of a text or a conversation."""
        kind, body = await self._door.read(request, protobuf=True)
        if kind is BodyKind.PROTOBUF:
            return await self._tokenize_message(request, body)
        return await self._tokenize_json(request, body)

    async def detokenize(self, request: Request) -> Response:
        """Text of ids."""
        data = await self._door.read_object(request)
        body = await self._door.convert(request, lambda: _ids_to_write(data))
        try:
            text = await self._tokenizing.detokenize(body.tokens, body.model or "")
        except ApiError as error:
            if error.param == "token_ids":
                error.message = error.message.replace("token_ids", "tokens")
                error.param = "tokens"
            raise
        return JSONResponse({"prompt": text, "content": text})

    async def tokenizer_info(self, request: Request) -> Response:
        """The special tokens, as in a ``tokenizer_config.json``."""
        described = await self._tokenizing.describe()
        models = self._pool.models
        length = models[min(models)].max_model_len if models else 0
        return JSONResponse(
            {
                "tokenizer_class": described.kind,
                "bos_token": described.bos_token or None,
                "eos_token": described.eos_token or None,
                "eos_token_ids": list(described.end_ids),
                "add_bos_token": described.adds_bos,
                "model_max_length": length,
                "chat_template": described.chat_template or None,
            }
        )

    async def _tokenize_json(self, request: Request, data: bytes) -> Response:
        body, prompt = await self._door.convert(request, lambda: _to_tokenize(data))
        if prompt is None:
            reply = worker_pb2.TokenizeResponse()
        else:
            framed, model = body.framed(body.form()), body.model or ""
            self._door.hold(request).add(tokenized(len(data)))
            reply = await self._tokenizing.tokenize(prompt, framed, model)
        shown = _tgi_tokens if body.inputs is not None else _tokens
        return await self._door.convert(request, lambda: JSONResponse(shown(body, reply)))

    async def _tokenize_message(self, request: Request, body: bytes) -> Response:
        kind = inference_pb2.TextTokenizeRequest
        message = await self._door.message(request, kind, body, TOKENIZE)
        self._door.hold(request).add(tokenized(len(body)))
        answer = await self._tokenizing.answer(message)
        return Response(answer.SerializeToString(), media_type=PROTOBUF)


def _to_tokenize(data: bytes) -> tuple[TokenizeBody, pb.Prompt | None]:
    """What was asked, and the prompt, checked; None for an empty text, which has no tokens."""
    body = validate(TokenizeBody, parse_object(data))
    body.form()
    prompt = body.as_prompt()
    if prompt.HasField("text") and not prompt.text:
        return body, None
    check_prompt(prompt)
    return body, prompt


def _ids_to_write(data: dict[str, Any]) -> DetokenizeBody:
    body = validate(DetokenizeBody, data)
    if len(body.tokens) > LIMITS.tokenize_chars:
        raise invalid(f"{len(body.tokens)} tokens, at most {LIMITS.tokenize_chars}", "tokens")
    for token in body.tokens:
        token_id(token, "tokens")
    return body


def _tokens(body: TokenizeBody, reply: worker_pb2.TokenizeResponse) -> dict[str, Any]:
    """vLLM's object, with llama.cpp's ``tokens``."""
    return {
        "count": len(reply.token_ids),
        "max_model_len": reply.max_model_len,
        "tokens": list(reply.token_ids),
        "token_strs": list(reply.pieces) if body.return_token_strs else None,
    }


def _tgi_tokens(body: TokenizeBody, reply: worker_pb2.TokenizeResponse) -> list[dict[str, Any]]:
    """TGI's list: each token's part of the text, in characters."""
    text = body.inputs or ""
    return [
        {"id": identifier, "text": text[start:stop], "start": start, "stop": stop}
        for identifier, (start, stop) in zip(
            reply.token_ids, zip(reply.starts, reply.stops, strict=True), strict=True
        )
    ]
