"""Chat messages as clients send them, as turns that the model knows.

system, developer        -> system
user, tool, function     -> user         the result of a tool is told like anything else
assistant                -> assistant    with its tool calls written out as JSON
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avikam.gateway.api.json_body import json_text
from avikam.protocol.errors import ApiError, invalid

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "tool": "user",
    "function": "user",
    "assistant": "assistant",
}


def turns(messages: Sequence[dict[str, Any]], param: str = "messages") -> list[tuple[str, str]]:
    """(role, content) of every message; raises the first that cannot be read."""
    if not messages:
        raise invalid(f"{param} is empty; send at least one", param)
    return [_turn(message, f"{param}[{index}]") for index, message in enumerate(messages)]


def _turn(message: dict[str, Any], param: str) -> tuple[str, str]:
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise invalid(f"{param}.role must be one of {', '.join(_ROLES)}", f"{param}.role")
    text = content_text(message.get("content"), f"{param}.content")
    calls = message.get("tool_calls")
    if role == "assistant" and calls:
        text = "\n".join([*([text] if text else []), *_written_calls(calls, param)])
    elif text is None:
        raise invalid(f"{param}.content is required", f"{param}.content")
    return _ROLES[role], text or ""


def content_text(content: Any, param: str) -> str | None:
    """The text of ``content``: a string, or parts that are all text."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(f"{param} must be a text or a list of parts", param)
    return "".join(_part(part, f"{param}[{index}]") for index, part in enumerate(content))


def _part(part: Any, param: str) -> str:
    if isinstance(part, dict) and part.get("type") in ("text", "input_text", "output_text"):
        text = part.get("text")
        if isinstance(text, str):
            return text
    kind = part.get("type") if isinstance(part, dict) else None
    raise _not_text(kind, param)


def _not_text(kind: Any, param: str) -> ApiError:
    shown = f" of type {kind[:32]!r}" if isinstance(kind, str) else ""
    return invalid(f"{param}{shown} is not a text part; this model reads text only", param)


def _written_calls(calls: Any, param: str) -> list[str]:
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise invalid(f"{param}.tool_calls must be a list of objects", f"{param}.tool_calls")
    return [json_text(call.get("function"), f"{param}.tool_calls") for call in calls]
