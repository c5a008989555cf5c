"""The types of fields that several routes share: what is read, and what the document says of it.

Pydantic checks the type alone. The ranges below are for the OpenAPI document; the shared validator
checks them for every door, in words of its own.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import LANGUAGES

# Doubles are exact below this.
_EXACT = 2**53


def _from_float(value: Any) -> Any:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT
    return int(value) if whole else value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# JSON has one kind of number, and some clients write all of them with a point: 8.0 is 8.
WholeNumber = Annotated[int, BeforeValidator(_from_float)]


def _in_range(kind: str, low: float, high: float) -> dict[str, Any]:
    return {"anyOf": [{"type": kind, "minimum": low, "maximum": high}, {"type": "null"}]}


def _text(longest: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest}


_LENGTH = _in_range("integer", 1, LIMITS.max_tokens)
# -1 is how LM Studio, llama.cpp and Open WebUI say "as many as there is room for".
NO_LIMIT = -1
_LENGTHS = [*_LENGTH["anyOf"], {"const": NO_LIMIT}]
Length = Annotated[WholeNumber | None, WithJsonSchema({"anyOf": _LENGTHS})]
RequiredLength = Annotated[
    WholeNumber, WithJsonSchema({"anyOf": [one for one in _LENGTHS if one.get("type") != "null"]})
]
Count = Annotated[WholeNumber | None, WithJsonSchema(_in_range("integer", 0, LIMITS.max_tokens))]
TopK = Annotated[WholeNumber | None, WithJsonSchema(_in_range("integer", -1, LIMITS.max_tokens))]
Seed = Annotated[
    WholeNumber | None, WithJsonSchema(_in_range("integer", -LIMITS.seed - 1, LIMITS.seed))
]
Choices = Annotated[WholeNumber | None, WithJsonSchema(_in_range("integer", 1, LIMITS.choices))]
Alternatives = Annotated[
    WholeNumber | None, WithJsonSchema(_in_range("integer", 0, LIMITS.logprobs))
]
Share = Annotated[float | None, WithJsonSchema(_in_range("number", 0, 1))]
Temperature = Annotated[float | None, WithJsonSchema(_in_range("number", 0, 2))]
Penalty = Annotated[float | None, WithJsonSchema(_in_range("number", -2, 2))]
RepetitionPenalty = Annotated[float | None, WithJsonSchema(_in_range("number", 0.01, 10))]

TOKEN_ID = {"type": "integer", "minimum": 0, "maximum": LIMITS.token_id}
TokenIds = Annotated[
    list[WholeNumber] | None,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": TOKEN_ID, "maxItems": LIMITS.stop_token_ids},
                {"type": "null"},
            ]
        }
    ),
]
LogitBias = Annotated[
    dict[str, float] | None,
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "propertyNames": {"pattern": "^[0-9]{1,9}$"},
                    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
                    "maxProperties": LIMITS.logit_bias,
                },
                {"type": "null"},
            ]
        }
    ),
]
_STOP_TEXT = _text(LIMITS.stop_string_chars)
_STOPS = {"type": "array", "items": _STOP_TEXT, "maxItems": LIMITS.stop_strings}
Stop = Annotated[
    list[str] | None,
    BeforeValidator(_one_or_many),
    WithJsonSchema({"anyOf": [_STOP_TEXT, _STOPS, {"type": "null"}]}),
]
Stops = Annotated[list[str] | None, WithJsonSchema({"anyOf": [_STOPS, {"type": "null"}]})]

ModelName = Annotated[
    str | None,
    WithJsonSchema({"anyOf": [_text(LIMITS.model_name_chars), {"type": "null"}]}),
]

Language = Annotated[str | None, WithJsonSchema({"enum": [*LANGUAGES, None]})]

_TEXT_PROMPT = {"type": "string", "minLength": 1}
_IDS_PROMPT = {"type": "array", "items": TOKEN_ID, "minItems": 1}
PromptJson = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": "A text, a list of texts, a list of token ids, or a list of such lists.",
            "anyOf": [
                _TEXT_PROMPT,
                _IDS_PROMPT,
                {
                    "type": "array",
                    "items": {"anyOf": [_TEXT_PROMPT, _IDS_PROMPT]},
                    "minItems": 1,
                    "maxItems": LIMITS.prompts,
                },
            ],
        }
    ),
]
PromptText = Annotated[str, WithJsonSchema(_TEXT_PROMPT)]
