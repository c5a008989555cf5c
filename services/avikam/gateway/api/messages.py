"""``POST /v1/messages`` and ``/count_tokens``: Anthropic's messages, text only.

message_start ─► content_block_start ─► content_block_delta ... ─► content_block_stop
              ─► message_delta (how it ended, tokens) ─► message_stop
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ConfigDict, Field

from avikam.gateway.api import accounts
from avikam.gateway.api.dialect import Whole
from avikam.gateway.api.field_types import ModelName, RequiredLength, Stops
from avikam.gateway.api.fields import SamplingFields, StrictBody, sampling
from avikam.gateway.api.foreign.refusal import Table
from avikam.gateway.api.foreign.routes import COUNTED, refuse_on
from avikam.gateway.api.history.anthropic_messages import turns
from avikam.gateway.api.history.parts import content_text
from avikam.gateway.api.history.schemas import AnthropicMessages, AnthropicSystem
from avikam.gateway.doors.http import sse
from avikam.gateway.doors.http.errors import ANTHROPIC_PREFIX, error_body
from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.gateway.sequence.journal import Journal
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import GenerationRequest
from avikam.protocol.wire import chat_prompt
from avikam.v1 import generation_pb2 as pb

_NAMES = {"stop": "stop_sequences", "prompt": "messages"}


class MessagesConversation(StrictBody):
    """What both routes take."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName = None
    messages: AnthropicMessages
    system: AnthropicSystem = None

    @classmethod
    def check(cls, data: dict[str, Any], table: Table = COUNTED) -> None:
        """400 for fields that are not there, and for more messages than are worth looking at."""
        refuse_on(data, table)
        messages = data.get("messages")
        if isinstance(messages, list) and len(messages) > LIMITS.messages:
            raise invalid(f"{len(messages)} messages, at most {LIMITS.messages}", "messages")

    def prompt(self) -> pb.Prompt:
        """The turns, the system's first."""
        system = content_text(self.system, "system")
        if self.messages and self.messages[-1].get("role") == "assistant":
            raise invalid(
                "the last message is the assistant's, and answers are not continued; end with the "
                "user's",
                "messages",
                "unsupported",
            )
        return chat_prompt([*([("system", system)] if system else []), *turns(self.messages)])


class MessagesBody(MessagesConversation, SamplingFields):
    """What ``/v1/messages`` takes; sampling fields besides Anthropic's are our own route's."""

    model_config = ConfigDict(strict=True, extra="ignore")

    max_tokens: RequiredLength = Field(description="Most tokens to generate.")
    stop_sequences: Stops = None
    stream: bool | None = None

    def request(self) -> GenerationRequest:
        """The request, checked."""
        given = self.given()
        if self.stop_sequences:
            given["stop"] = (*given.get("stop", ()), *self.stop_sequences)
        params = sampling(given, _NAMES, self.length())
        # Anthropic's API makes every client name a length, and they name what some other model
        # can do: it is a bound here, not a wish.
        params.ClearField("max_tokens")
        return GenerationRequest(
            prompts=[self.prompt()],
            sampling=params,
            names=_NAMES,
            model=self.model or "",
            default_max_tokens=self.default_length(usual=self.max_tokens),
        )


class MessagesDialect:
    """Anthropic's message and its events."""

    stream_type = sse.MEDIA_TYPE

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._id = f"msg_{request_id}"

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """The message."""
        journal = generation.journals[0]
        message = self._message(generation) | _ending(journal)
        message["content"] = [{"type": "text", "text": journal.whole_text}]
        message["usage"] |= {"output_tokens": len(journal.tokens)}
        return Whole(orjson.dumps(message))

    def opening(self, generation: Generation) -> bytes:
        """An empty message, and its one block."""
        block = {"type": "text", "text": ""}
        return _event("message_start", message=self._message(generation)) + _event(
            "content_block_start", index=0, content_block=block
        )

    def piece(self, generation: Generation, news: News) -> bytes:
        """A piece of the text."""
        text = news[1].text
        if not text:
            return b""
        delta = {"type": "text_delta", "text": text}
        return _event("content_block_delta", index=0, delta=delta)

    def closing(self, generation: Generation, elapsed: float) -> bytes:
        """How the message ended."""
        journal = generation.journals[0]
        usage = {"output_tokens": len(journal.tokens)}
        return (
            _event("content_block_stop", index=0)
            + _event("message_delta", delta=_ending(journal), usage=usage)
            + _event("message_stop")
        )

    def failure(self, error: ApiError) -> bytes:
        """An error event; nothing follows it."""
        return sse.event(error_body(error, ANTHROPIC_PREFIX, self._request_id), "error")

    def idle(self) -> bytes:
        """Anthropic's own sign of life."""
        return _event("ping")

    def _message(self, generation: Generation) -> dict[str, Any]:
        journals = generation.journals
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": generation.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": accounts.prompt_tokens(journals),
                "output_tokens": 0,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": accounts.cached_tokens(journals),
            },
        }


def _event(kind: str, **fields: Any) -> bytes:
    return sse.event({"type": kind, **fields}, kind)


def _ending(journal: Journal) -> dict[str, str | None]:
    if accounts.finish_reason(journal) == "length":
        return {"stop_reason": "max_tokens", "stop_sequence": None}
    match = journal.finish.stop_match if journal.finish is not None else ""
    if match in journal.request.sampling.stop:
        return {"stop_reason": "stop_sequence", "stop_sequence": match}
    return {"stop_reason": "end_turn", "stop_sequence": None}
