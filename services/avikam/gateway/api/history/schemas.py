"""What the OpenAPI document says of conversations; the readers beside it are what reads them.

Each schema lets pass exactly what its reader does, so that a client may trust the document.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from avikam.gateway.api.history.parts import SAID, TEXT, Readers
from avikam.protocol.limits import LIMITS

Schema = dict[str, Any]

_STRING = {"type": "string"}
_NULL = {"type": "null"}
_THOUGHTS = ["reasoning", "redacted_thinking", "thinking"]


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _any_of(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _parts(*parts: Schema) -> Schema:
    """A text, or a list of parts."""
    return _any_of(_STRING, {"type": "array", "items": _any_of(*parts)})


def _kinds(readers: Readers) -> list[str]:
    return sorted(kind for kind in readers if kind not in ("refusal", *_THOUGHTS))


_TEXT_PART = _object(["type", "text"], type={"enum": _kinds(TEXT)}, text=_STRING)
_REFUSAL_PART = _object(["type", "refusal"], type={"const": "refusal"}, refusal=_STRING)
_THOUGHT_PART = _object(["type"], type={"enum": [kind for kind in _THOUGHTS if kind in SAID]})
_ASKED = _parts(_TEXT_PART)
_SAID = _parts(_TEXT_PART, _REFUSAL_PART, _THOUGHT_PART)

_FUNCTION = _object(["name"], name=_STRING, arguments={})
_CUSTOM = _object(["name"], name=_STRING, input={})
_CALL = _any_of(
    _object(["function"], type={"not": {"const": "custom"}}, function=_FUNCTION),
    _object(["type", "custom"], type={"const": "custom"}, custom=_CUSTOM),
)

CHAT_MESSAGE = _any_of(
    _object(["role", "content"], role={"enum": ["system", "developer", "user"]}, content=_ASKED),
    _object(["role"], role={"enum": ["tool", "function"]}, content=_any_of(_ASKED, _NULL)),
    _object(
        ["role"],
        role={"const": "assistant"},
        content=_any_of(_SAID, _NULL),
        refusal=_any_of(_ASKED, _NULL),
        tool_calls=_any_of({"type": "array", "items": _CALL}, _NULL),
        function_call=_any_of(_FUNCTION, _NULL),
    ),
)

_TOOL_RESULT = _object(["type"], type={"const": "tool_result"}, content=_any_of(_ASKED, _NULL))
_TOOL_USE = _object(["type", "name"], type={"const": "tool_use"}, name=_STRING, input={})
_ANTHROPIC_MESSAGES = [
    _object(["role", "content"], role={"const": "system"}, content=_ASKED),
    _object(["role", "content"], role={"const": "user"}, content=_parts(_TEXT_PART, _TOOL_RESULT)),
    _object(
        ["role", "content"],
        role={"const": "assistant"},
        content=_parts(_TEXT_PART, _REFUSAL_PART, _THOUGHT_PART, _TOOL_USE),
    ),
]

_CALL_ITEMS = [
    _object(
        ["type", "name"],
        type={"enum": ["function_call", "custom_tool_call"]},
        name=_STRING,
    ),
    _object(
        ["type"],
        type={"enum": ["function_call_output", "custom_tool_call_output"]},
        output=_any_of(_ASKED, _NULL),
    ),
]
_MESSAGE_ITEM = {"allOf": [CHAT_MESSAGE, _object([], type={"enum": ["message", None]})]}
_REASONING_ITEM = _object(["type"], type={"const": "reasoning"})


def _messages(*kinds: Schema, **more: Any) -> Schema:
    return {
        "type": "array",
        "items": _any_of(*kinds),
        "minItems": 1,
        "maxItems": LIMITS.messages,
        **more,
    }


ChatMessages = Annotated[list[dict[str, Any]], WithJsonSchema(_messages(CHAT_MESSAGE))]
AnthropicMessages = Annotated[list[dict[str, Any]], WithJsonSchema(_messages(*_ANTHROPIC_MESSAGES))]
AnthropicSystem = Annotated[
    str | list[dict[str, Any]] | None, WithJsonSchema(_any_of(_ASKED, _NULL))
]
ResponseInput = Annotated[
    Any,
    WithJsonSchema(
        _any_of(
            _STRING,
            _messages(
                _MESSAGE_ITEM,
                *_CALL_ITEMS,
                _REASONING_ITEM,
                contains=_any_of(_MESSAGE_ITEM, *_CALL_ITEMS),
            ),
        )
    ),
]
