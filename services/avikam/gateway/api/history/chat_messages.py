"""OpenAI's chat messages as turns that the model knows.

system, developer        -> system
user, tool, function     -> user         the result of a tool is told like anything else
assistant                -> assistant    with its refusal, and its calls of tools as JSON
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avikam.gateway.api.history.parts import SAID, call_text, content_text
from avikam.protocol.errors import invalid

Turn = tuple[str, str]

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "tool": "user",
    "function": "user",
    "assistant": "assistant",
}
# A tool may have nothing to say.
_RESULTS = ("tool", "function")


def turns(messages: Sequence[dict[str, Any]], param: str = "messages") -> list[Turn]:
    """(role, content) of every message; raises the first that cannot be read."""
    if not messages:
        raise invalid(f"{param} is empty; send at least one", param)
    return [turn(message, f"{param}[{index}]") for index, message in enumerate(messages)]


def turn(message: dict[str, Any], param: str) -> Turn:
    """(role, content) of one message, which is at ``param`` in the body."""
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise invalid(f"{param}.role must be one of {', '.join(_ROLES)}", f"{param}.role")
    if role == "assistant":
        return role, _said(message, param)
    text = content_text(message.get("content"), f"{param}.content")
    if text is None and role not in _RESULTS:
        raise invalid(f"{param}.content is required", f"{param}.content")
    return _ROLES[role], text or ""


def _said(message: dict[str, Any], param: str) -> str:
    """What the assistant said and called; null is nothing, as in this product's own replies."""
    texts = [content_text(message.get("content"), f"{param}.content", SAID)]
    texts.append(content_text(message.get("refusal"), f"{param}.refusal"))
    old = message.get("function_call")
    texts += [_function(old, f"{param}.function_call")] if old is not None else []
    texts += _calls(message.get("tool_calls"), f"{param}.tool_calls")
    return "\n".join(text for text in texts if text)


def _calls(calls: Any, param: str) -> list[str]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise invalid(f"{param} must be a list of objects", param)
    return [_call(call, f"{param}[{index}]") for index, call in enumerate(calls)]


def _call(call: Any, param: str) -> str:
    if not isinstance(call, dict):
        raise invalid(f"{param} must be an object", param)
    if call.get("type") == "custom":
        return _function(call.get("custom"), f"{param}.custom", "input")
    return _function(call.get("function"), f"{param}.function")


def _function(function: Any, param: str, arguments: str = "arguments") -> str:
    if not isinstance(function, dict):
        raise invalid(f"{param} must be an object with a name", param)
    return call_text(function.get("name"), function.get(arguments), param)
