"""Sampling fields as every dialect spells them, with strict JSON types.

Ranges are not checked here: the shared validator does that for every door.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from avikam.gateway.api.field_types import (
    NO_LIMIT,
    Count,
    Length,
    LogitBias,
    Penalty,
    RepetitionPenalty,
    Seed,
    Share,
    Stop,
    Temperature,
    TokenIds,
    TopK,
)
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS
from avikam.protocol.wire import checked_sampling, text_prompt, token_prompt
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2

_MAX_TOKEN_ID = 2**31 - 1


class StrictBody(BaseModel):
    """No coercion: "16" is no number, true is not 1, 16.5 is no integer. Null is absent."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class SamplingFields(StrictBody):
    """What all routes take. Absent fields are the model's to choose."""

    max_tokens: Length = Field(default=None, description="Most tokens to generate.")
    min_tokens: Count = None
    temperature: Temperature = Field(default=None, description="0 is greedy.")
    top_k: TopK = None
    top_p: Share = None
    min_p: Share = None
    repetition_penalty: RepetitionPenalty = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    logit_bias: LogitBias = Field(
        default=None, description="Token ids, as text, to what is added to their logits."
    )
    seed: Seed = None
    stop: Stop = Field(default=None, description="Texts that end the answer; not part of it.")
    stop_token_ids: TokenIds = None
    ignore_eos: bool | None = None

    def given(self) -> dict[str, Any]:
        """The fields the client gave, but for the length, for the validator and the wire."""
        named = self.model_fields_set & _GIVEN
        values = {name: value for name in named if (value := getattr(self, name)) is not None}
        if self.logit_bias is not None:
            values["logit_bias"] = _biases(self.logit_bias)
        if self.stop is not None:
            values["stop"] = tuple(self.stop)
        if self.stop_token_ids is not None:
            values["stop_token_ids"] = tuple(
                token_id(token, "stop_token_ids") for token in self.stop_token_ids
            )
        return values

    def length(self, *others: str) -> Mapping[str, int]:
        """The most tokens to generate, by the names that the client used for it: ``max_tokens``
        or ``others``; empty when it named none. Raises a 400 when they say different things."""
        given = self._lengths(others)
        if len(set(given.values())) > 1:
            names = " and ".join(given)
            raise invalid(f"{names} are given with different values", next(iter(given)))
        return {name: value for name, value in given.items() if value != NO_LIMIT}

    def default_length(self, *others: str, usual: int | None = None) -> int | None:
        """How long the answer is when :meth:`length` is empty: ``usual``, or what there is room
        for when the client asked for that."""
        return LIMITS.max_tokens if NO_LIMIT in self._lengths(others).values() else usual

    def _lengths(self, others: tuple[str, ...]) -> dict[str, int]:
        named = ((name, getattr(self, name)) for name in ("max_tokens", *others))
        return {name: value for name, value in named if value is not None}


_GIVEN = frozenset(
    name
    for name in SamplingFields.model_fields
    if name not in ("max_tokens", "logit_bias", "stop", "stop_token_ids")
)


def sampling(
    given: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
    length: Mapping[str, int] | None = None,
) -> pb.SamplingParams:
    """Checked fields as a message. ``names`` says how the client spells what we spell otherwise,
    ``length`` is :meth:`SamplingFields.length`."""
    names = dict(names or {})
    for name, value in (length or {}).items():
        given = {**given, "max_tokens": value}
        names["max_tokens"] = name
    try:
        return checked_sampling(given)
    except ApiError as error:
        ours = error.param or ""
        if ours in names:
            error.message = error.message.replace(ours, names[ours])
            error.param = names[ours]
        raise


def _biases(biases: Mapping[str, float]) -> dict[int, float]:
    return {_bias_id(key): float(value) for key, value in biases.items()}


def _bias_id(key: str) -> int:
    if not (key.isascii() and key.isdecimal() and len(key) < 11):
        raise invalid(f"logit_bias key {key[:16]!r} is not a token id", "logit_bias")
    return token_id(int(key), "logit_bias")


def token_id(value: int, param: str) -> int:
    """A token id that fits the wire; whether the model has it is the worker's to say."""
    if not 0 <= value <= _MAX_TOKEN_ID:
        shown = value if abs(value) < 2**64 else "too big"
        raise invalid(f"token id {shown} must be between 0 and {_MAX_TOKEN_ID}", param)
    return value


def prompts(value: Any, param: str = "prompt") -> Sequence[pb.Prompt]:
    """One or many prompts: a text, texts, ids, or lists of ids.

    Many are parts of one message: a message of its own costs each some 400 to 900 bytes.
    """
    if isinstance(value, str):
        return [text_prompt(_text(value, param))]
    if not isinstance(value, list):
        raise _wrong_form(param)
    if not value:
        raise invalid(f"{param} is empty; send at least one", param)
    if _are_ids(value):
        return [token_prompt(token_id(int(item), param) for item in value)]
    if len(value) > LIMITS.prompts:
        raise invalid(f"{len(value)} prompts, at most {LIMITS.prompts}", param)
    many = inference_pb2.GenerateRequest().prompts
    for item in value:
        _add(many.add(), item, param)
    return many


def _add(prompt: pb.Prompt, value: Any, param: str) -> None:
    if isinstance(value, str):
        prompt.text = _text(value, param)
    elif isinstance(value, list) and value and _are_ids(value):
        prompt.tokens.ids.extend(token_id(int(item), param) for item in value)
    else:
        raise _wrong_form(param)


def _are_ids(values: list[Any]) -> bool:
    """Whether all are whole numbers, with a point or without."""
    return all(
        type(value) is int or (type(value) is float and value.is_integer()) for value in values
    )


def _text(value: str, param: str) -> str:
    if not value:
        raise invalid(f"{param} is empty; send at least one character", param)
    return value


def _wrong_form(param: str) -> ApiError:
    return invalid(
        f"{param} must be a text, a list of texts, token ids, or lists of token ids",
        param,
    )
