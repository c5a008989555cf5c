"""The one validator: REST, protobuf and gRPC requests pass here, and the worker checks again.

It checks what can be checked without the model. What needs the tokenizer (length of the prompt,
ids in range) is checked by the worker at admission, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterable

from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS, Limits
from avikam.protocol.sampling import SamplingParams

_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0.0, 2.0),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("repetition_penalty", 0.01, 10.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
)


def shown(value: float) -> str:
    """A number for a message: a client's 400 digits are not echoed."""
    return "beyond 1e30" if abs(value) >= 1e30 else str(value)


def check_sampling(params: SamplingParams, limits: Limits = LIMITS) -> SamplingParams:
    """Return ``params`` unchanged, or raise the first problem as a 400."""
    for problem in _sampling_problems(params, limits):
        raise problem
    return params


def _sampling_problems(params: SamplingParams, limits: Limits) -> Iterable[ApiError]:
    for name, low, high in _RANGES:
        value = getattr(params, name)
        # Not-a-number compares false with everything, so it fails the range too.
        if not low <= value <= high:
            yield invalid(f"{name} is {shown(value)}, must be between {low:g} and {high:g}", name)
    if params.top_p == 0.0:
        yield invalid("top_p is 0, must be above 0 (1 keeps every token)", "top_p")
    yield from _count_problems(params, limits)
    yield from _stop_problems(params, limits)
    yield from _token_problems(params, limits)
    yield from _grammar_problems(params, limits)


def _token_problems(params: SamplingParams, limits: Limits) -> Iterable[ApiError]:
    for name in ("logit_bias", "stop_token_ids"):
        for token in getattr(params, name):
            if not 0 <= token <= limits.token_id:
                allowed = f"ids are 0..{limits.token_id}"
                yield invalid(f"{name} names token {shown(token)}, {allowed}", name)
    for token, bias in params.logit_bias.items():
        if not -100 <= bias <= 100:
            yield invalid(
                f"logit_bias of {token} is {shown(bias)}, must be in -100..100", "logit_bias"
            )


def _grammar_problems(params: SamplingParams, limits: Limits) -> Iterable[ApiError]:
    if params.json_schema is not None and params.regex is not None:
        yield invalid("json_schema and regex are both given; send one of them", "grammar")
    for name in ("json_schema", "regex"):
        text = getattr(params, name)
        if text is not None and len(text) > limits.grammar_chars:
            yield invalid(
                f"{name} has {len(text)} characters, at most {limits.grammar_chars}", name
            )


def _count_problems(params: SamplingParams, limits: Limits) -> Iterable[ApiError]:
    ranges = (
        ("max_tokens", params.max_tokens, 1, limits.max_tokens),
        ("min_tokens", params.min_tokens, 0, limits.max_tokens),
        ("top_k", params.top_k, 0, limits.max_tokens),
        ("logprobs", params.logprobs, 0, limits.logprobs),
        ("prompt_logprobs", params.prompt_logprobs, 0, limits.logprobs),
        ("seed", params.seed, 0, limits.seed),
    )
    for name, value, low, high in ranges:
        if value is not None and not low <= value <= high:
            yield invalid(f"{name} is {shown(value)}, must be between {low} and {high}", name)
    if params.max_tokens is not None and params.min_tokens > params.max_tokens:
        yield invalid(
            f"min_tokens {params.min_tokens} is above max_tokens {params.max_tokens}", "min_tokens"
        )
    if len(params.logit_bias) > limits.logit_bias:
        yield invalid(
            f"logit_bias has {len(params.logit_bias)} entries, at most {limits.logit_bias}",
            "logit_bias",
        )


def _stop_problems(params: SamplingParams, limits: Limits) -> Iterable[ApiError]:
    if len(params.stop) > limits.stop_strings:
        yield invalid(f"stop has {len(params.stop)} strings, at most {limits.stop_strings}", "stop")
    for text in params.stop:
        if not text:
            yield invalid("stop holds an empty string; leave it out", "stop")
        if len(text) > limits.stop_string_chars:
            yield invalid(
                f"a stop string has {len(text)} characters, at most {limits.stop_string_chars}",
                "stop",
            )
    if len(params.stop_token_ids) > limits.stop_token_ids:
        yield invalid(
            f"stop_token_ids has {len(params.stop_token_ids)} ids, at most {limits.stop_token_ids}",
            "stop_token_ids",
        )
