"""The items of OpenAI's Responses as turns that the model knows.

message                                             as in chat
function_call, custom_tool_call                     assistant, as JSON, in the turn it belongs to
function_call_output, custom_tool_call_output       user
reasoning                                           left out: thoughts are no part of what was said
"""

from __future__ import annotations

from typing import Any

from avikam.gateway.api.history import chat_messages
from avikam.gateway.api.history.parts import call_text, content_text
from avikam.protocol.errors import invalid

Turn = tuple[str, str]
Item = dict[str, Any]

# What a call hands over, by the kind of call.
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


def turns(value: Any) -> list[Turn]:
    """(role, content) of ``input``: a text, or items; raises the first that cannot be read."""
    if isinstance(value, str):
        return [("user", value)]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid("input must be a text or a list of items", "input")
    found: list[Turn] = []
    for index, item in enumerate(value):
        _add(found, item, f"input[{index}]")
    if not found:
        raise invalid("input is empty; send at least one message", "input")
    return found


def _add(found: list[Turn], item: Item, param: str) -> None:
    kind = item.get("type")
    kind = "message" if kind is None else kind
    if not isinstance(kind, str):
        raise invalid(f"{param}.type must be a text", f"{param}.type")
    if kind == "message":
        found.append(chat_messages.turn(item, param))
    elif kind in _CALLS:
        _add_call(found, call_text(item.get("name"), item.get(_CALLS[kind]), param))
    elif kind in _OUTPUTS:
        found.append(("user", content_text(item.get("output"), f"{param}.output") or ""))
    elif kind != "reasoning":
        shown = f"{param} of type {kind[:32]!r}"
        raise invalid(f"{shown} is no part of a conversation in text", param)


def _add_call(found: list[Turn], text: str) -> None:
    """A call goes on with what the assistant has just said, as it does in chat."""
    if found and found[-1][0] == "assistant":
        said = found.pop()[1]
        text = f"{said}\n{text}" if said else text
    found.append(("assistant", text))
