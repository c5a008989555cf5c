"""``POST /generate``: the gateway's own schema, closed to unknown fields.

    {"prompt": "Bonjour", "max_tokens": 50}
      -> {"id", "model", "created", "text", "generated_text", "finish_reason", "usage", "timings"}

Many prompts or ``n`` > 1 give ``choices`` in place of the text. ``stream`` gives one event per
piece of text, a last one with usage and timings, and ``[DONE]``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import orjson
from pydantic import Field

from avikam.gateway.api import accounts
from avikam.gateway.api.dialect import Whole
from avikam.gateway.api.field_types import (
    Alternatives,
    Choices,
    Language,
    Length,
    ModelName,
    PromptJson,
)
from avikam.gateway.api.fields import SamplingFields, prompts, sampling
from avikam.gateway.api.json_body import json_text
from avikam.gateway.doors.http import sse
from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.gateway.sequence.journal import Journal
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.requests import GenerationRequest
from avikam.v1 import generation_pb2 as pb

_LENGTHS = ("max_new_tokens", "max_completion_tokens")


class GenerateBody(SamplingFields):
    """What ``/generate`` takes."""

    prompt: PromptJson
    model: ModelName = None
    n: Choices = Field(default=None, description="Answers per prompt.")
    language: Language = Field(default=None, description='"fr" or "en": the tag of the text.')
    stream: bool | None = None
    details: bool | None = Field(default=None, description="Ids, seed and how the answer ended.")
    max_new_tokens: Length = Field(default=None, description="Same as max_tokens.")
    max_completion_tokens: Length = Field(default=None, description="Same as max_tokens.")
    logprobs: Alternatives = Field(default=None, description="Alternatives per generated token.")
    prompt_logprobs: Alternatives = Field(default=None, description="The same for the prompt.")
    json_schema: dict[str, Any] | str | None = None
    regex: str | None = None

    def request(self) -> GenerationRequest:
        """The request, checked."""
        if self.prompt is None:
            raise invalid("prompt is required", "prompt", "missing_required_parameter")
        return GenerationRequest(
            prompts=prompts(self.prompt),
            sampling=sampling(self._all_given(), length=self.length(*_LENGTHS)),
            model=self.model or "",
            n=1 if self.n is None else self.n,
            language=self.language or "",
            default_max_tokens=self.default_length(*_LENGTHS),
        )

    def _all_given(self) -> dict[str, Any]:
        given = self.given()
        for name in ("logprobs", "prompt_logprobs", "regex"):
            if (value := getattr(self, name)) is not None:
                given[name] = value
        if self.json_schema is not None:
            given["json_schema"] = schema_text(self.json_schema, "json_schema")
        return given


def schema_text(schema: dict[str, Any] | str, param: str) -> str:
    """A JSON schema as the text that the worker compiles."""
    return schema if isinstance(schema, str) else json_text(schema, param)


class GenerateDialect:
    """Own JSON."""

    stream_type = sse.MEDIA_TYPE

    def __init__(self, request_id: str, details: bool) -> None:
        self._id = f"gen-{request_id}"
        self._details = details
        self._created = int(time.time())
        self._start = b'data: {"id":' + orjson.dumps(self._id) + b',"index":'

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """The reply; one answer is flat, several are ``choices``."""
        journals = generation.journals
        reply = self._head(generation)
        if len(journals) == 1:
            text = journals[0].whole_text
            reply |= {"text": text, "generated_text": text}
            reply |= self._answer(journals[0])
        else:
            reply["choices"] = [
                {
                    "index": index,
                    "prompt_index": journal.prompt_index,
                    "text": journal.whole_text,
                    **self._answer(journal),
                }
                for index, journal in enumerate(journals)
            ]
        reply["usage"] = accounts.usage(journals)
        reply["timings"] = accounts.timings(journals, elapsed)
        return Whole(orjson.dumps(reply))

    def opening(self, generation: Generation) -> bytes:
        """Nothing before the first text."""
        return b""

    def piece(self, generation: Generation, news: News) -> bytes:
        """A piece of one answer; its last one has ``finish_reason``."""
        journal, frame = news
        if not frame.text and journal.finish is None and not frame.logprobs:
            return b""
        event = self._start + b"%d" % index_of(generation, journal)
        event += b',"text":' + orjson.dumps(frame.text)
        if frame.logprobs:
            event += b',"logprobs":' + orjson.dumps([logprob(entry) for entry in frame.logprobs])
        if journal.finish is None:
            return event + b',"finish_reason":null}\n\n'
        return event + b"," + orjson.dumps(self._ending(journal))[1:] + b"\n\n"

    def closing(self, generation: Generation, elapsed: float) -> bytes:
        """Usage and timings of everything, then the end mark."""
        last = self._head(generation)
        last |= {
            "usage": accounts.usage(generation.journals),
            "timings": accounts.timings(generation.journals, elapsed),
        }
        return sse.event(last) + sse.DONE

    def failure(self, error: ApiError) -> bytes:
        """An error event and no end mark: the answer is not complete."""
        return sse.event(error.envelope(), "error")

    def idle(self) -> bytes:
        """A comment."""
        return sse.PING

    def _head(self, generation: Generation) -> dict[str, Any]:
        return {"id": self._id, "model": generation.model, "created": self._created}

    def _answer(self, journal: Journal) -> dict[str, Any]:
        """What is said of one answer besides its text."""
        answer = self._ending(journal)
        if journal.logprobs:
            answer["logprobs"] = _written(journal.logprobs)
        return answer

    def _ending(self, journal: Journal) -> dict[str, Any]:
        """What is known of an answer, streamed or not, once it has ended."""
        answer: dict[str, Any] = {"finish_reason": accounts.finish_reason(journal)}
        if journal.finish is not None and journal.finish.prompt_logprobs:
            answer["prompt_logprobs"] = _written(journal.finish.prompt_logprobs)
        if self._details:
            answer["details"] = _details(journal)
        return answer


def index_of(generation: Generation, journal: Journal) -> int:
    """Place of an answer among all: prompts in order, each with its n answers."""
    return journal.prompt_index * generation.request.n + journal.choice


def _written(entries: Iterable[pb.TokenLogprobs]) -> list[orjson.Fragment]:
    """Logprobs as JSON: as objects they would take seven times the room until the reply is."""
    return [orjson.Fragment(orjson.dumps(logprob(entry))) for entry in entries]


def logprob(entry: pb.TokenLogprobs) -> dict[str, Any]:
    """One token with its alternatives."""
    return {
        **_token(entry.chosen),
        "rank": entry.rank,
        "top": [_token(token) for token in entry.top],
    }


def _token(token: pb.TokenLogprob) -> dict[str, Any]:
    return {"token_id": token.token_id, "text": token.text, "logprob": token.logprob}


def _details(journal: Journal) -> dict[str, Any]:
    return {
        "seed": journal.request.sampling.seed,
        "token_ids": journal.tokens,
        "stop_match": journal.finish.stop_match if journal.finish is not None else "",
        "resumes": journal.resumes,
    }
