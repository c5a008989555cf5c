"""``POST /v1/chat/completions``: OpenAI's chat."""

from __future__ import annotations

import time
from typing import Any

import orjson

from avikam.gateway.api import accounts
from avikam.gateway.api.dialect import Whole
from avikam.gateway.api.field_types import Alternatives, Length
from avikam.gateway.api.fields import sampling
from avikam.gateway.api.foreign.routes import CHAT, refuse_on
from avikam.gateway.api.history.chat_messages import turns
from avikam.gateway.api.history.schemas import ChatMessages
from avikam.gateway.api.json_body import json_text
from avikam.gateway.api.logprobs import chat_logprobs
from avikam.gateway.api.openai_fields import OpenAIFields, ResponseFormat
from avikam.gateway.doors.http import sse
from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.gateway.sequence.journal import Journal
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import GenerationRequest
from avikam.protocol.wire import chat_prompt
from avikam.v1 import worker_pb2

_NAMES = {"json_schema": "response_format", "prompt": "messages", "logprobs": "top_logprobs"}


class ChatBody(OpenAIFields):
    """What the route takes; see :mod:`avikam.gateway.api.openai_fields` for the rest."""

    messages: ChatMessages
    max_completion_tokens: Length = None
    logprobs: bool | None = None
    top_logprobs: Alternatives = None
    response_format: ResponseFormat | None = None

    @classmethod
    def check(cls, data: dict[str, Any]) -> None:
        """400 for fields that are not there, and for more messages than are worth looking at."""
        refuse_on(data, CHAT)
        messages = data.get("messages")
        if isinstance(messages, list) and len(messages) > LIMITS.messages:
            raise invalid(f"{len(messages)} messages, at most {LIMITS.messages}", "messages")

    def request(self) -> GenerationRequest:
        """The request, checked."""
        self.check_stream_options()
        return GenerationRequest(
            prompts=[chat_prompt(turns(self.messages))],
            sampling=sampling(
                self._all_given(),
                {"logprobs": "top_logprobs"},
                self.length("max_completion_tokens"),
            ),
            model=self.model or "",
            n=1 if self.n is None else self.n,
            default_max_tokens=self.default_length("max_completion_tokens"),
            names=_NAMES,
        )

    def _all_given(self) -> dict[str, Any]:
        given = self.given()
        if self.logprobs:
            given["logprobs"] = self.top_logprobs or 0
        elif self.top_logprobs:
            raise invalid("top_logprobs goes with logprobs: true", "top_logprobs")
        schema = self.response_format.schema_wanted() if self.response_format else None
        if schema is not None:
            given["json_schema"] = json_text(schema, "response_format")
        return given


class ChatDialect:
    """OpenAI's ``chat.completion`` and its chunks."""

    stream_type = sse.MEDIA_TYPE

    def __init__(self, request_id: str, body: ChatBody) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._created = int(time.time())
        self._body = body
        self._start = b""

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """The reply."""
        journals = generation.journals
        reply = self._head(generation, "chat.completion")
        reply["choices"] = [self._choice(journal) for journal in journals]
        reply["usage"] = accounts.usage(journals)
        reply["timings"] = accounts.timings(journals, elapsed)
        return Whole(orjson.dumps(reply))

    def opening(self, generation: Generation) -> bytes:
        """The role, once per choice."""
        head = orjson.dumps(self._head(generation, "chat.completion.chunk"))
        self._start = b"data: " + head[:-1] + b',"choices":[{"index":'
        role = {"role": "assistant", "content": "", "refusal": None}
        return b"".join(
            self._chunk(generation, index, orjson.dumps(role))
            for index in range(generation.request.n)
        )

    def piece(self, generation: Generation, news: News) -> bytes:
        """The text of a frame; then, apart, how the choice ended."""
        journal, frame = news
        chunks = b""
        if frame.text or (frame.logprobs and self._body.logprobs):
            delta = b'{"content":' + orjson.dumps(frame.text) + b"}"
            logprobs = self._logprobs(frame)
            chunks = self._chunk(generation, journal.choice, delta, logprobs)
        reason = accounts.finish_reason(journal)
        if reason is not None:
            chunks += self._chunk(generation, journal.choice, b"{}", reason=reason)
        return chunks

    def closing(self, generation: Generation, elapsed: float) -> bytes:
        """The usage chunk if it was asked for, and the end mark."""
        if not self._body.usage_wanted:
            return sse.DONE
        last = self._head(generation, "chat.completion.chunk")
        last |= {"choices": [], "usage": accounts.usage(generation.journals)}
        return sse.event(last) + sse.DONE

    def failure(self, error: ApiError) -> bytes:
        """An error event and no end mark."""
        return sse.event(error.envelope())

    def idle(self) -> bytes:
        """A comment."""
        return sse.PING

    def _head(self, generation: Generation, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": generation.model,
            "system_fingerprint": generation.fingerprint,
        }

    def _choice(self, journal: Journal) -> dict[str, Any]:
        return {
            "index": journal.choice,
            "message": {"role": "assistant", "content": journal.whole_text, "refusal": None},
            "logprobs": chat_logprobs(journal.logprobs) if self._body.logprobs else None,
            "finish_reason": accounts.finish_reason(journal),
        }

    def _logprobs(self, frame: worker_pb2.SequenceFrame) -> bytes:
        if not self._body.logprobs:
            return b"null"
        return orjson.dumps(chat_logprobs(frame.logprobs))

    def _chunk(
        self,
        generation: Generation,
        index: int,
        delta: bytes,
        logprobs: bytes = b"null",
        reason: str | None = None,
    ) -> bytes:
        """One event, from parts that are encoded already."""
        ended = b"null" if reason is None else orjson.dumps(reason)
        return b"".join(
            (
                self._start,
                b'%d,"delta":' % index,
                delta,
                b',"logprobs":',
                logprobs,
                b',"finish_reason":',
                ended,
                b"}]",
                self._chunk_usage(generation),
                b"}\n\n",
            )
        )

    def _chunk_usage(self, generation: Generation) -> bytes:
        if self._body.usage_always:
            return b',"usage":' + orjson.dumps(accounts.usage(generation.journals))
        return b',"usage":null' if self._body.usage_wanted else b""
