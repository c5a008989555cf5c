"""What the routes answer, for the OpenAPI document; the dialects write the bytes themselves.

A field that others have and we always send is here; clients must not mind further ones.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, RootModel

FinishReason = Literal["stop", "length"]


class PromptTokensDetails(BaseModel):
    """Of a prompt's tokens."""

    cached_tokens: int = Field(ge=0)


class Usage(BaseModel):
    """Tokens of all prompts and all answers."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)
    prompt_tokens_details: PromptTokensDetails


class TimingsReply(BaseModel):
    """Milliseconds of the slowest sequence, and the rate of all together."""

    queue_ms: float = Field(ge=0)
    prefill_ms: float = Field(ge=0)
    decode_ms: float = Field(ge=0)
    total_ms: float = Field(ge=0)
    tokens_per_second: float = Field(ge=0)


class TokenLogprob(BaseModel):
    """One token."""

    token_id: int
    text: str
    logprob: float


class ChosenToken(TokenLogprob):
    """The token that was taken or given, its rank from 1, and the likeliest ones."""

    rank: int = Field(ge=1)
    top: list[TokenLogprob]


class Details(BaseModel):
    """Sent when ``details`` is true."""

    seed: int
    token_ids: list[int]
    stop_match: str
    resumes: int = Field(description="Times another worker continued the answer.")


class _Answer(BaseModel):
    text: str
    finish_reason: FinishReason
    logprobs: list[ChosenToken] | None = None
    prompt_logprobs: list[ChosenToken] | None = None
    details: Details | None = None


class GenerateChoice(_Answer):
    """One of several answers."""

    index: int
    prompt_index: int


class _GenerateHead(BaseModel):
    id: str
    model: str
    created: int
    usage: Usage
    timings: TimingsReply


class GenerateReply(_Answer, _GenerateHead):
    """The answer to one prompt; ``generated_text`` is ``text`` under TGI's name."""

    generated_text: str


class GenerateChoices(_GenerateHead):
    """The answers to many prompts, or several to one."""

    choices: list[GenerateChoice]


class TgiReply(BaseModel):
    """Text Generation Inference's."""

    generated_text: str
    details: dict[str, Any] | None = None


class TgiReplies(RootModel[list[TgiReply]]):
    """The same as the bare address answers it."""


class _OpenAIHead(BaseModel):
    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage
    timings: TimingsReply


class CompletionChoice(BaseModel):
    """One answer."""

    index: int
    text: str
    finish_reason: FinishReason
    logprobs: dict[str, list[Any]] | None


class CompletionReply(_OpenAIHead):
    """OpenAI's."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class AssistantMessage(BaseModel):
    """What the model said."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: AssistantMessage
    finish_reason: FinishReason
    logprobs: dict[str, Any] | None


class ChatReply(_OpenAIHead):
    """OpenAI's."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class ResponsesReply(BaseModel):
    """OpenAI's ``response``."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any]


class TextBlock(BaseModel):
    """A part of a message."""

    type: Literal["text"]
    text: str


class MessagesReply(BaseModel):
    """Anthropic's."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[TextBlock]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence"]
    stop_sequence: str | None
    usage: dict[str, int]


class TokenCount(BaseModel):
    """Anthropic's."""

    input_tokens: int


class ModelCard(BaseModel):
    """A model or an adapter."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None
    max_model_len: int
    meta: dict[str, Any]


class ModelList(BaseModel):
    """OpenAI's."""

    object: Literal["list"]
    data: list[ModelCard]


class TokenizeReply(BaseModel):
    """vLLM's."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class TgiToken(BaseModel):
    """A token and its part of the text, in characters; control tokens have none."""

    id: int
    text: str
    start: int
    stop: int


class TgiTokens(RootModel[list[TgiToken]]):
    """Text Generation Inference's, for ``inputs``."""


class DetokenizeReply(BaseModel):
    """The text, under vLLM's name and llama.cpp's."""

    prompt: str
    content: str


class Version(BaseModel):
    """The gateway's."""

    version: str


class Status(BaseModel):
    """How a probe is answered."""

    status: str


_GENERATED = (GenerateReply, GenerateChoices, TgiReply)
REPLIES: dict[tuple[str, str], tuple[type[BaseModel], ...]] = {
    ("POST", "/"): (TgiReplies,),
    ("POST", "/generate"): _GENERATED,
    ("POST", "/generate_stream"): _GENERATED,
    ("POST", "/v1/completions"): (CompletionReply,),
    ("POST", "/v1/chat/completions"): (ChatReply,),
    ("POST", "/v1/responses"): (ResponsesReply,),
    ("POST", "/v1/messages"): (MessagesReply,),
    ("POST", "/v1/messages/count_tokens"): (TokenCount,),
    ("GET", "/v1/models"): (ModelList,),
    ("GET", "/v1/models/{model:path}"): (ModelCard,),
    ("POST", "/tokenize"): (TokenizeReply, TgiTokens),
    ("POST", "/detokenize"): (DetokenizeReply,),
    ("GET", "/version"): (Version,),
    ("GET", "/livez"): (Status,),
    ("GET", "/readyz"): (Status,),
    ("GET", "/health"): (Status,),
    ("GET", "/health/live"): (Status,),
    ("GET", "/health/ready"): (Status,),
}

# The names of the events that a stream is made of; ``message`` is an event without a name.
EVENTS: dict[str, tuple[str, ...]] = {
    "/": ("message", "error"),
    "/generate": ("message", "error"),
    "/generate_stream": ("message", "error"),
    "/v1/responses": (
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "error",
    ),
    "/v1/messages": (
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    ),
}
