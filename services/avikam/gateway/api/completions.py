"""``POST /v1/completions``: OpenAI's legacy completions, with ``echo`` and prompt logprobs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from avikam.gateway.api import accounts
from avikam.gateway.api.dialect import Whole
from avikam.gateway.api.field_types import Alternatives, Choices, Length, PromptJson
from avikam.gateway.api.fields import prompts, sampling
from avikam.gateway.api.foreign.routes import COMPLETIONS, refuse_on
from avikam.gateway.api.generate import index_of
from avikam.gateway.api.json_body import json_text
from avikam.gateway.api.logprobs import CompletionLogprobs
from avikam.gateway.api.openai_fields import OpenAIFields, ResponseFormat
from avikam.gateway.doors.http import sse
from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.gateway.sequence.journal import Journal
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.requests import GenerationRequest
from avikam.v1 import generation_pb2 as pb

# OpenAI's default for this route.
_DEFAULT_MAX_TOKENS = 16


_NAMES = {"json_schema": "response_format"}


class CompletionBody(OpenAIFields):
    """What the route takes; see :mod:`avikam.gateway.api.openai_fields` for the rest."""

    prompt: PromptJson
    best_of: Choices = None
    echo: bool | None = None
    logprobs: Alternatives = None
    max_completion_tokens: Length = None
    response_format: ResponseFormat | None = None

    @classmethod
    def check(cls, data: dict[str, Any]) -> None:
        """400 for fields that are not there."""
        refuse_on(data, COMPLETIONS)

    def request(self) -> GenerationRequest:
        """The request, checked."""
        self.check_stream_options()
        if self.prompt is None:
            raise invalid("prompt is required", "prompt", "missing_required_parameter")
        n = 1 if self.n is None else self.n
        if self.best_of is not None and self.best_of != n:
            raise invalid("best_of must equal n; there is no ranking", "best_of", "unsupported")
        return GenerationRequest(
            prompts=prompts(self.prompt),
            sampling=sampling(self._all_given(), length=self._length()),
            model=self.model or "",
            n=n,
            default_max_tokens=self.default_length(
                "max_completion_tokens", usual=_DEFAULT_MAX_TOKENS
            ),
            names=_NAMES,
        )

    @property
    def echo_only(self) -> bool:
        """Whether nothing but the prompt is wanted. A worker generates at least one token."""
        return bool(self.echo) and 0 in self.length("max_completion_tokens").values()

    def _length(self) -> Mapping[str, int]:
        if self.echo_only:
            return {"max_tokens": 1}
        return self.length("max_completion_tokens")

    def _all_given(self) -> dict[str, Any]:
        given = self.given()
        if self.logprobs is not None:
            given["logprobs"] = self.logprobs
            if self.echo:
                given["prompt_logprobs"] = self.logprobs
        schema = self.response_format.schema_wanted() if self.response_format else None
        if schema is not None:
            given["json_schema"] = json_text(schema, "response_format")
        return given


@dataclass(frozen=True, slots=True)
class Echo:
    """What is put before an answer: its prompt's text, and the text of the first prompt token."""

    text: str
    first_token: str


class CompletionDialect:
    """OpenAI's ``text_completion``. ``echoes`` has one entry per prompt, or none."""

    stream_type = sse.MEDIA_TYPE

    def __init__(self, request_id: str, body: CompletionBody, echoes: Sequence[Echo] = ()) -> None:
        self._id = f"cmpl-{request_id}"
        self._created = int(time.time())
        self._body = body
        self._echoes = echoes
        self._so_far = accounts.UsageSoFar()
        self._started: dict[int, CompletionLogprobs] = {}
        self._start = b""

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """The reply."""
        journals = generation.journals
        reply = self._head(generation)
        reply["choices"] = [self._choice(generation, journal) for journal in journals]
        reply["usage"] = self._usage(journals)
        reply["timings"] = accounts.timings(journals, elapsed)
        return Whole(orjson.dumps(reply))

    def opening(self, generation: Generation) -> bytes:
        """Nothing: text comes with the first piece."""
        head = orjson.dumps(self._head(generation))
        self._start = b"data: " + head[:-1] + b',"choices":[{"index":'
        return b""

    def piece(self, generation: Generation, news: News) -> bytes:
        """A chunk of one choice. With an echo and logprobs a choice comes in one chunk, at its
        end: that is when the prompt's logprobs are there."""
        journal, frame = news
        self._so_far.add(journal, len(frame.token_ids))
        done = journal.finish is not None
        if self._echoes and self._body.logprobs is not None:
            return self._chunk(self._choice(generation, journal)) if done else b""
        index = index_of(generation, journal)
        first = index not in self._started
        if not frame.text and not frame.token_ids and not done:
            return b""
        text = frame.text
        if first and self._echoes:
            text = self._echoes[journal.prompt_index].text + text
        offsets = self._started.setdefault(index, CompletionLogprobs())
        logprobs = offsets.shape(frame.logprobs) if self._body.logprobs is not None else None
        if not text and logprobs is None and not done:
            return b""
        choice = {"index": index, "text": text, "logprobs": logprobs}
        choice["finish_reason"] = accounts.finish_reason(journal)
        return self._chunk(choice)

    def closing(self, generation: Generation, elapsed: float) -> bytes:
        """The usage chunk if it was asked for, and the end mark."""
        if not self._body.usage_wanted:
            return sse.DONE
        last = self._head(generation) | {"choices": [], "usage": self._usage(generation.journals)}
        return sse.event(last) + sse.DONE

    def failure(self, error: ApiError) -> bytes:
        """An error event and no end mark."""
        return sse.event(error.envelope())

    def idle(self) -> bytes:
        """A comment."""
        return sse.PING

    def _head(self, generation: Generation) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": generation.model,
            "system_fingerprint": generation.fingerprint,
        }

    def _choice(self, generation: Generation, journal: Journal) -> dict[str, Any]:
        """A complete choice, echo and all."""
        echo = self._echoes[journal.prompt_index] if self._echoes else None
        generated = not self._body.echo_only
        text = (echo.text if echo else "") + (journal.whole_text if generated else "")
        logprobs = None
        if self._body.logprobs is not None:
            entries = [*(_prompt_logprobs(journal) if echo else ())]
            entries += journal.logprobs if generated else []
            logprobs = CompletionLogprobs().shape(entries, echo.first_token if echo else None)
        return {
            "index": index_of(generation, journal),
            "text": text,
            "logprobs": logprobs,
            "finish_reason": accounts.finish_reason(journal),
        }

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        chunk = self._start + orjson.dumps(choice)[len(b'{"index":') :] + b"]"
        if self._body.usage_always:
            usage = self._without_token(self._so_far.usage())
            chunk += b',"usage":' + orjson.dumps(usage)
        elif self._body.usage_wanted:
            chunk += b',"usage":null'
        return chunk + b"}\n\n"

    def _usage(self, journals: Sequence[Journal]) -> dict[str, Any]:
        return self._without_token(accounts.usage(journals))

    def _without_token(self, usage: dict[str, Any]) -> dict[str, Any]:
        """Of an echo, without the token that a worker has to generate."""
        if self._body.echo_only:
            usage |= {"completion_tokens": 0, "total_tokens": usage["prompt_tokens"]}
        return usage


def _prompt_logprobs(journal: Journal) -> Sequence[pb.TokenLogprobs]:
    """Of every prompt token but the first, which nothing predicts."""
    if journal.finish is None or journal.accepted is None:
        return ()
    count = journal.accepted.prompt_tokens - 1
    entries = journal.finish.prompt_logprobs
    return entries[len(entries) - count :] if count else ()
