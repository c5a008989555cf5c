"""Anthropic's messages and their blocks as turns that the model knows.

user         text           user         a tool_result     user, each a turn of its own
assistant    text           assistant    a tool_use        assistant, as JSON; thoughts are left out
system                      system
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from avikam.gateway.api.history.parts import (
    SAID,
    TEXT,
    Part,
    call_text,
    content_text,
    kind_of,
    numbered,
    part_text,
)
from avikam.protocol.errors import invalid

Turn = tuple[str, str]

_ROLES = ("user", "assistant", "system")


def turns(messages: Sequence[dict[str, Any]]) -> list[Turn]:
    """(role, content) of every message; raises the first that cannot be read."""
    if not messages:
        raise invalid("messages is empty; send at least one", "messages")
    read = (_turns(message, f"messages[{index}]") for index, message in enumerate(messages))
    return [turn for several in read for turn in several]


def _turns(message: dict[str, Any], param: str) -> Iterator[Turn]:
    role = message.get("role")
    if role not in _ROLES:
        raise invalid(f"{param}.role must be one of {', '.join(_ROLES)}", f"{param}.role")
    content, where = message.get("content"), f"{param}.content"
    if content is None:
        raise invalid(f"{where} is required", where)
    if role == "user":
        yield from _asked(content, where)
    elif role == "assistant" and not isinstance(content, str):
        yield role, _said(content, where)
    else:
        yield role, content_text(content, where) or ""


def _asked(content: Any, param: str) -> Iterator[Turn]:
    """The results of tools, then what the user says."""
    if isinstance(content, str):
        yield "user", content
        return
    rest = []
    for block, where in numbered(content, param):
        if kind_of(block) == "tool_result":
            yield "user", content_text(block.get("content"), f"{where}.content") or ""
        else:
            rest.append((block, where))
    if rest or not content:
        yield "user", "".join(part_text(block, where, TEXT) for block, where in rest)


def _said(content: Any, param: str) -> str:
    """What the assistant said, then what it called, in lines."""
    blocks = numbered(content, param)
    said = "".join(part_text(b, where, SAID) for b, where in blocks if kind_of(b) != "tool_use")
    calls = [_call(block, where) for block, where in blocks if kind_of(block) == "tool_use"]
    return "\n".join(text for text in (said, *calls) if text)


def _call(block: Part, param: str) -> str:
    return call_text(block.get("name"), block.get("input"), param)
