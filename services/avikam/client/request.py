"""Python's arguments as the API's message: one place for REST and gRPC."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, cast

from avikam.protocol.wire import ROLES, chat_prompt, text_prompt, token_prompt
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2


class ChatMessage(TypedDict):
    """One turn; ``role`` is system, user or assistant."""

    role: str
    content: str


class Sampling(TypedDict, total=False):
    """How tokens are chosen; what is left out is the model's to choose."""

    max_tokens: int
    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    seed: int
    stop: Sequence[str]
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    logprobs: int
    prompt_logprobs: int
    json_schema: Mapping[str, Any] | str
    regex: str


Text: TypeAlias = str
Tokens: TypeAlias = Sequence[int]
Chat: TypeAlias = Sequence[ChatMessage]
Prompt: TypeAlias = Text | Tokens | Chat


def generation(
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    model: str = "",
    n: int = 1,
    language: str = "",
) -> inference_pb2.GenerateRequest:
    """The request for some prompts. Raises ValueError or TypeError for what no message can hold."""
    fields: dict[str, Any] = dict(sampling)
    schema = fields.get("json_schema")
    if isinstance(schema, Mapping):
        fields["json_schema"] = json.dumps(schema)
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    return inference_pb2.GenerateRequest(
        model=model,
        prompts=[prompt_message(prompt) for prompt in prompts],
        sampling=pb.SamplingParams(**fields),
        n=n,
        language=language,
    )


def prompt_message(prompt: Prompt) -> pb.Prompt:
    """A prompt in whichever of its three forms: text, token ids, chat messages."""
    if isinstance(prompt, str):
        return text_prompt(prompt)
    if prompt and isinstance(prompt[0], Mapping):
        return chat_prompt([_turn(message) for message in cast("Chat", prompt)])
    return token_prompt(cast("Tokens", prompt))


def _turn(message: ChatMessage) -> tuple[str, str]:
    if message["role"] not in ROLES:
        raise ValueError(f"role {message['role']!r} is none of {', '.join(ROLES)}")
    return message["role"], message["content"]
