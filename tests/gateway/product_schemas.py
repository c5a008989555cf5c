"""The request fields of each product whose clients we take in, by our route that they ask.

OpenAI's and Anthropic's come from the types of their own packages; the others are lists with their
source, in ``schemas/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_count_tokens_params as beta_count_tokens_params
from anthropic.types.beta import message_create_params as beta_message_create_params
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

FOLDER = Path(__file__).parent / "schemas"
# Headers, though the packages take them like fields.
_HEADERS = {"betas"}
Schema = dict[str, tuple[str, ...]]


def _from_types(*types: Any) -> tuple[str, ...]:
    names = set().union(*(kind.__annotations__ for kind in types))
    return tuple(sorted(names - _HEADERS))


OPENAI: Schema = {
    "/v1/chat/completions": _from_types(
        chat_create_params.CompletionCreateParamsBase,
        chat_create_params.CompletionCreateParamsStreaming,
    ),
    "/v1/completions": _from_types(
        completion_create_params.CompletionCreateParamsBase,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
    "/v1/responses": _from_types(
        response_create_params.ResponseCreateParamsBase,
        response_create_params.ResponseCreateParamsStreaming,
    ),
}
ANTHROPIC: Schema = {
    "/v1/messages": _from_types(
        message_create_params.MessageCreateParamsBase,
        message_create_params.MessageCreateParamsStreaming,
        beta_message_create_params.MessageCreateParamsBase,
    ),
    "/v1/messages/count_tokens": _from_types(
        message_count_tokens_params.MessageCountTokensParams,
        beta_count_tokens_params.MessageCountTokensParams,
    ),
}


def _listed(name: str) -> Schema:
    data = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return {route: tuple(names) for route, names in data.items() if route.startswith("/")}


PRODUCTS: dict[str, Schema] = {
    "OpenAI": OPENAI,
    "Anthropic": ANTHROPIC,
    "vLLM": _listed("vllm"),
    "SGLang": _listed("sglang"),
    "llama.cpp": _listed("llama_cpp"),
    "Ollama": _listed("ollama"),
    "TGI": _listed("tgi"),
}


def every_field() -> Iterator[tuple[str, str, str]]:
    """(product, route, field) of all."""
    for product, schema in PRODUCTS.items():
        for route, names in schema.items():
            for name in names:
                yield product, route, name
