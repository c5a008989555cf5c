"""Text Generation Inference's schema: ``inputs`` and ``parameters``, and exactly its replies.

/generate, /generate_stream, and / (as huggingface_hub calls a model's address)
"""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import Field

from avikam.gateway.api.accounts import finish_reason
from avikam.gateway.api.dialect import Whole
from avikam.gateway.api.field_types import (
    NO_LIMIT,
    Alternatives,
    Length,
    ModelName,
    Penalty,
    PromptText,
    RepetitionPenalty,
    Seed,
    Share,
    Stop,
    Temperature,
    TopK,
)
from avikam.gateway.api.fields import StrictBody, prompts, sampling
from avikam.gateway.api.foreign.refusal import refuse
from avikam.gateway.api.foreign.routes import TGI_PARAMETERS
from avikam.gateway.api.generate import schema_text
from avikam.gateway.doors.http import sse
from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.gateway.sequence.journal import Journal
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import GenerationRequest
from avikam.v1 import generation_pb2 as pb

_NAMES = {
    "max_tokens": "max_new_tokens",
    "logprobs": "top_n_tokens",
    "json_schema": "parameters.grammar",
    "regex": "parameters.grammar",
    "prompt": "inputs",
}


class TgiGrammar(StrictBody):
    """What the answer must look like."""

    type: Literal["json", "json_object", "json_schema", "regex"]
    value: dict[str, Any] | str


class Parameters(StrictBody):
    """TGI's ``parameters``; null is absent."""

    max_new_tokens: Length = None
    do_sample: bool | None = Field(
        default=None, description="Without it and a temperature: greedy."
    )
    temperature: Temperature = None
    top_k: TopK = None
    top_p: Share = None
    repetition_penalty: RepetitionPenalty = None
    frequency_penalty: Penalty = None
    seed: Seed = None
    stop: Stop = None
    stop_sequences: Stop = Field(default=None, description="The older name of stop.")
    ignore_eos_token: bool | None = None
    return_full_text: bool | None = None
    details: bool | None = None
    decoder_input_details: bool | None = None
    top_n_tokens: Alternatives = None
    grammar: TgiGrammar | None = None
    adapter_id: ModelName = None

    def given(self) -> dict[str, Any]:
        """The fields as the shared validator knows them."""
        same = ("top_k", "top_p", "repetition_penalty", "frequency_penalty", "seed")
        given = {name: v for name in same if (v := getattr(self, name)) is not None}
        if self.max_new_tokens not in (None, NO_LIMIT):
            given["max_tokens"] = self.max_new_tokens
        if not self._samples():
            given["temperature"] = 0.0
        elif self.temperature is not None:
            given["temperature"] = self.temperature
        if stops := (*(self.stop or ()), *(self.stop_sequences or ())):
            given["stop"] = stops
        if self.ignore_eos_token:
            given["ignore_eos"] = True
        if self.decoder_input_details:
            given["prompt_logprobs"] = 0
        if self.grammar is not None:
            kind = "regex" if self.grammar.type == "regex" else "json_schema"
            given[kind] = schema_text(self.grammar.value, "parameters.grammar")
        return given

    @property
    def default_length(self) -> int | None:
        """How long the answer is when no length is named; None is the model's choice."""
        return LIMITS.max_tokens if self.max_new_tokens == NO_LIMIT else None

    def _samples(self) -> bool:
        """TGI samples when asked to, or when given anything to sample with."""
        hints = (self.temperature, self.top_k, self.top_p)
        return bool(self.do_sample) or any(hint is not None for hint in hints)


class TgiBody(StrictBody):
    """What TGI's routes take."""

    inputs: PromptText
    parameters: Parameters | None = None
    stream: bool | None = None
    model: ModelName = None
    options: dict[str, Any] | None = Field(
        default=None, description="What Hugging Face's clients tell its own servers: no effect."
    )

    def request(self, stream: bool) -> GenerationRequest:
        """The request, checked. Streams and details tell every token's logprob."""
        parameters = self.parameters or Parameters()
        given = parameters.given()
        if stream and parameters.decoder_input_details:
            raise invalid(
                "decoder_input_details is not told in a stream; leave it out, or do not stream",
                "decoder_input_details",
                "unsupported",
            )
        if stream or parameters.details or parameters.top_n_tokens:
            given["logprobs"] = parameters.top_n_tokens or 0
        return GenerationRequest(
            prompts=prompts(self.inputs, "inputs"),
            sampling=sampling(given, _NAMES),
            model=parameters.adapter_id or self.model or "",
            default_max_tokens=parameters.default_length,
            names=_NAMES,
        )


def check_refused(data: dict[str, Any]) -> None:
    """400 for parameters that are not there. What asks for nothing is taken out."""
    parameters = data.get("parameters")
    if isinstance(parameters, dict):
        refuse(parameters, TGI_PARAMETERS)
        data["parameters"] = {k: v for k, v in parameters.items() if k not in TGI_PARAMETERS}
    elif parameters is not None:
        raise invalid("parameters must be an object", "parameters")


class TgiDialect:
    """TGI's replies. ``as_list`` is how ``/`` answers."""

    stream_type = sse.MEDIA_TYPE

    def __init__(self, body: TgiBody, *, as_list: bool) -> None:
        parameters = body.parameters or Parameters()
        self._details = bool(parameters.details)
        self._prefix = body.inputs if parameters.return_full_text else ""
        self._as_list = as_list
        self._index = 0

    def whole(self, generation: Generation, elapsed: float) -> Whole:
        """``generated_text`` and, when asked for, ``details``."""
        journal = generation.journals[0]
        reply: dict[str, Any] = {"generated_text": self._prefix + journal.whole_text}
        if self._details:
            reply["details"] = self._all_details(journal)
        return Whole(orjson.dumps([reply] if self._as_list else reply))

    def opening(self, generation: Generation) -> bytes:
        """Nothing before the first token."""
        return b""

    def piece(self, generation: Generation, news: News) -> bytes:
        """One event per token; the last one has the whole text."""
        journal, frame = news
        if not frame.logprobs and not frame.text and journal.finish is None:
            return b""
        tokens = _tokens(list(frame.logprobs), frame.text, last=journal.finish is not None)
        events = [self._event(token) for token in tokens]
        if journal.finish is not None:
            events[-1]["generated_text"] = self._prefix + journal.whole_text
            events[-1]["details"] = _summary(journal)
        return b"".join(sse.event(event) for event in events)

    def closing(self, generation: Generation, elapsed: float) -> bytes:
        """TGI has no end mark."""
        return b""

    def failure(self, error: ApiError) -> bytes:
        """An error event."""
        return sse.event(error.envelope(), "error")

    def idle(self) -> bytes:
        """A comment."""
        return sse.PING

    def _event(self, token: dict[str, Any]) -> dict[str, Any]:
        self._index += 1
        top = token.pop("top_tokens", None)
        event = {"index": self._index, "token": token, "generated_text": None, "details": None}
        return event | ({"top_tokens": top} if top else {})

    def _all_details(self, journal: Journal) -> dict[str, Any]:
        finish = journal.finish
        prompt = finish.prompt_logprobs if finish is not None else ()
        tokens = [_token(entry, entry.chosen.text) for entry in journal.logprobs]
        tops = [token.pop("top_tokens", []) for token in tokens]
        details = {
            **_summary(journal),
            "prefill": [_bare(entry.chosen) for entry in prompt],
            "tokens": tokens,
        }
        return details | ({"top_tokens": tops} if any(tops) else {})


def _tokens(entries: list[pb.TokenLogprobs], text: str, *, last: bool) -> list[dict[str, Any]]:
    """Tokens of a frame, whose texts join to the frame's text.

    A token's own text is used where the frame's text is exactly that of its tokens; else (half
    characters, held back text) the last token of the frame has all of it.
    """
    if "".join(entry.chosen.text for entry in entries) == text and entries:
        return [_token(entry, entry.chosen.text) for entry in entries]
    if not entries:
        return (
            [{"id": 0, "text": text, "logprob": 0.0, "special": not text}] if last or text else []
        )
    *firsts, final = entries
    return [*(_token(entry, "") for entry in firsts), _token(final, text)]


def _token(entry: pb.TokenLogprobs, text: str) -> dict[str, Any]:
    token = _bare(entry.chosen) | {"text": text, "special": not entry.chosen.token_bytes}
    if entry.top:
        token["top_tokens"] = [
            _bare(other) | {"special": not other.token_bytes} for other in entry.top
        ]
    return token


def _bare(token: pb.TokenLogprob) -> dict[str, Any]:
    return {"id": token.token_id, "text": token.text, "logprob": token.logprob}


def _summary(journal: Journal) -> dict[str, Any]:
    return {
        "finish_reason": _finish_reason(journal),
        "generated_tokens": journal.count,
        "seed": journal.request.sampling.seed,
    }


def _finish_reason(journal: Journal) -> str:
    if finish_reason(journal) == "length":
        return "length"
    match = journal.finish.stop_match if journal.finish is not None else ""
    return "stop_sequence" if match in journal.request.sampling.stop else "eos_token"
