"""``POST /v1/responses``: the part of OpenAI's Responses that is text in, text out.

Nothing is stored: a conversation is sent whole each time, and ``previous_response_id`` is refused.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import orjson
from pydantic import ConfigDict, WithJsonSchema

from avikam.gateway.api import accounts
from avikam.gateway.api.dialect import Whole
from avikam.gateway.api.field_types import Length, ModelName
from avikam.gateway.api.fields import SamplingFields, sampling
from avikam.gateway.api.foreign.refusal import refuse
from avikam.gateway.api.foreign.routes import RESPONSES, RESPONSES_TEXT, refuse_on
from avikam.gateway.api.history.response_items import turns
from avikam.gateway.api.history.schemas import ResponseInput
from avikam.gateway.api.json_body import json_text
from avikam.gateway.doors.http import sse
from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import GenerationRequest
from avikam.protocol.wire import chat_prompt

_NAMES = {"json_schema": "text.format", "prompt": "input"}


_FORMATS = [
    {"properties": {"type": {"enum": ["text", "json_object"]}}, "required": ["type"]},
    {
        "properties": {"type": {"const": "json_schema"}, "schema": {"type": "object"}},
        "required": ["type", "schema"],
    },
]
_TEXT = {
    "type": "object",
    "properties": {
        "format": {"anyOf": [{"type": "object", "anyOf": _FORMATS}, {"type": "null"}]},
        "verbosity": {"enum": ["medium", None]},
    },
}
TextOptions = Annotated[dict[str, Any] | None, WithJsonSchema({"anyOf": [_TEXT, {"type": "null"}]})]


class ResponsesBody(SamplingFields):
    """What the route takes; sampling fields besides OpenAI's are the ones of our own route."""

    model_config = ConfigDict(strict=True, extra="ignore")

    input: ResponseInput
    model: ModelName = None
    instructions: str | None = None
    max_output_tokens: Length = None
    stream: bool | None = None
    text: TextOptions = None
    metadata: dict[str, Any] | None = None
    user: str | None = None

    @classmethod
    def check(cls, data: dict[str, Any]) -> None:
        """400 for fields that are not there, and for more items than are worth looking at."""
        refuse_on(data, RESPONSES)
        if isinstance(text := data.get("text"), dict):
            refuse(text, RESPONSES_TEXT)
        items = data.get("input")
        if isinstance(items, list) and len(items) > LIMITS.messages:
            raise invalid(f"{len(items)} items, at most {LIMITS.messages}", "input")

    def request(self) -> GenerationRequest:
        """The request, checked."""
        given = self.given()
        schema = _schema(self.text_format)
        if schema is not None:
            given["json_schema"] = json_text(schema, "text.format")
        system = [("system", self.instructions)] if self.instructions else []
        return GenerationRequest(
            prompts=[chat_prompt([*system, *turns(self.input)])],
            sampling=sampling(given, _NAMES, self.length("max_output_tokens")),
            model=self.model or "",
            default_max_tokens=self.default_length("max_output_tokens"),
            names=_NAMES,
        )

    @property
    def text_format(self) -> dict[str, Any]:
        """What the answer must look like; plain text by default."""
        form = (self.text or {}).get("format")
        if form is None:
            return {"type": "text"}
        if not isinstance(form, dict):
            raise invalid("text.format must be an object", "text.format")
        return form


def _schema(form: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON schema to hold to; unlike in chat it is not wrapped once more."""
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            schema = form.get("schema")
            return schema if isinstance(schema, dict) else {"type": "object"}
        case "json_schema" if isinstance(schema := form.get("schema"), dict):
            return schema
    raise invalid("text.format must be text, json_object or json_schema with a schema", "text")


class ResponsesDialect:
    """OpenAI's ``response`` and its numbered events."""

    stream_type = sse.MEDIA_TYPE

    def __init__(self, request_id: str, body: ResponsesBody) -> None:
        self._id = f"resp_{request_id}"
        self._item_id = f"msg_{request_id}"
        self._created = int(time.time())
        self._body = body
        self._events = 0

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """The response."""
        return Whole(orjson.dumps(self._response(generation)))

    def opening(self, generation: Generation) -> bytes:
        """A response in progress with one empty part."""
        response = self._response(generation)
        return b"".join(
            (
                self._event("response.created", response=response),
                self._event("response.in_progress", response=response),
                self._event(
                    "response.output_item.added",
                    output_index=0,
                    item=self._item("in_progress", []),
                ),
                self._part_event("response.content_part.added", part=_part("")),
            )
        )

    def piece(self, generation: Generation, news: News) -> bytes:
        """A piece of the text."""
        text = news[1].text
        if not text:
            return b""
        return self._part_event("response.output_text.delta", delta=text, logprobs=[])

    def closing(self, generation: Generation, elapsed: float) -> bytes:
        """The end of part, item and response, each told with its whole text."""
        text = generation.journals[0].whole_text
        response = self._response(generation)
        return b"".join(
            (
                self._part_event("response.output_text.done", text=text, logprobs=[]),
                self._part_event("response.content_part.done", part=_part(text)),
                self._event(
                    "response.output_item.done", output_index=0, item=response["output"][0]
                ),
                self._event(f"response.{response['status']}", response=response),
            )
        )

    def failure(self, error: ApiError) -> bytes:
        """An error event; nothing follows it."""
        return self._event("error", code=error.code, message=error.message, param=error.param)

    def idle(self) -> bytes:
        """A comment."""
        return sse.PING

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._events, **fields}
        self._events += 1
        return sse.event(event, kind)

    def _part_event(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._item_id, output_index=0, content_index=0, **fields)

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _response(self, generation: Generation) -> dict[str, Any]:
        """The response as far as it has come."""
        journal = generation.journals[0]
        reason = accounts.finish_reason(journal)
        status = {"stop": "completed", "length": "incomplete", None: "in_progress"}[reason]
        body = self._body
        done = reason is not None
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if reason == "length" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": generation.model,
            "output": [self._item(status, [_part(journal.whole_text)])] if done else [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": body.text_format},
            "tool_choice": "auto",
            "tools": [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": _usage(generation) if done else None,
            "user": body.user,
            "metadata": body.metadata or {},
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(generation: Generation) -> dict[str, Any]:
    journals = generation.journals
    given, made = accounts.prompt_tokens(journals), accounts.completion_tokens(journals)
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": accounts.cached_tokens(journals),
            "cache_write_tokens": 0,
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given + made,
    }
