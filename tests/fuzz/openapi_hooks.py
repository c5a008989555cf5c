"""Loaded by schemathesis: makes what it generates fit the model behind the gateway.

A JSON schema cannot say that a prompt and its answer fit into the context together, that a token
id is in the vocabulary, that a text is itself a schema that compiles, or that two fields go
together. A case that is meant to be right is made right in these points and no other; of one that
is meant to be wrong only a length is cut, for a long answer would only cost time.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext

LENGTHS = ("max_tokens", "max_new_tokens", "max_completion_tokens", "max_output_tokens")
LONGEST, SHORT, FEW = 1_000_000, 3, 16
VOCABULARY = 1000
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}

Body = dict[str, Any]


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Fit the body, where there is one."""
    if not isinstance(case.body, dict):
        return
    for body in (case.body, case.body.get("parameters")):
        if isinstance(body, dict):
            _shorten(body)
            if _is_right(case):
                _fit(body, case.path)


def _is_right(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= LONGEST


def _shorten(body: Body) -> None:
    for name in LENGTHS:
        if _is_length(body.get(name)) or body.get(name) == -1:
            body[name] = SHORT


def _fit(body: Body, path: str) -> None:
    for name in ("prompt", "messages", "input"):
        if isinstance(body.get(name), list):
            body[name] = body[name][-FEW:]
    _fit_ids(body)
    _fit_forms(body)
    _fit_pairs(body)
    _fit_name(body)
    _fit_end(body, path)


def _fit_ids(body: Body) -> None:
    for name in ("prompt", "tokens", "stop_token_ids"):
        if isinstance(body.get(name), list):
            body[name] = _small(body[name])
    if isinstance(body.get("logit_bias"), dict):
        body["logit_bias"] = {str(int(k) % VOCABULARY): v for k, v in body["logit_bias"].items()}


def _small(value: Any) -> Any:
    """Ids of the vocabulary in place of any others."""
    if isinstance(value, list):
        return [_small(item) for item in value]
    return int(value) % VOCABULARY if isinstance(value, int | float) else value


def _fit_forms(body: Body) -> None:
    if body.get("json_schema") is not None:
        body["json_schema"] = SCHEMA
        body.pop("regex", None)
    elif body.get("regex") is not None:
        body["regex"] = "[a-z]+"
    grammar = body.get("grammar")
    if isinstance(grammar, dict):
        grammar["value"] = "[a-z]+" if grammar["type"] == "regex" else SCHEMA
    text = body.get("text")
    _fit_schema(body.get("response_format"))
    _fit_schema(text.get("format") if isinstance(text, dict) else None)


def _fit_schema(form: Any) -> None:
    if isinstance(form, dict):
        inner = form.get("json_schema")
        for place in (form, inner if isinstance(inner, dict) else {}):
            if isinstance(place.get("schema"), dict):
                place["schema"] = SCHEMA


def _fit_pairs(body: Body) -> None:
    """Fields that go together, or not at all."""
    if body.get("min_tokens"):
        body["min_tokens"] = 1
    if body.get("stream_options"):
        body["stream"] = True
    if body.get("top_logprobs"):
        body["logprobs"] = True
    if body.get("best_of") is not None:
        body["best_of"] = body.get("n") or 1
    if body.get("language"):
        body["prompt"] = "Bonjour"
    if body.get("decoder_input_details"):
        body["decoder_input_details"] = None


def _fit_name(body: Body) -> None:
    """Any other model is a 404, which is right too, but tells nothing."""
    for name in ("model", "adapter_id"):
        if isinstance(body.get(name), str):
            body[name] = None


def _fit_end(body: Body, path: str) -> None:
    """Anthropic's route does not continue an answer; the length of others is the model's choice."""
    if path.startswith("/v1/messages") and body["messages"][-1].get("role") == "assistant":
        body["messages"].append({"role": "user", "content": "Bonjour"})
    has_length = any(body.get(name) is not None for name in LENGTHS)
    if not has_length and path in _GENERATING and "inputs" not in body:
        body["max_tokens"] = SHORT


_GENERATING = (
    *("/generate", "/generate_stream"),
    *("/v1/completions", "/v1/chat/completions", "/v1/responses"),
)
