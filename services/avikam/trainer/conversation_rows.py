"""Rows of conversations in the forms people have them, as turns of (role, content).

    {"messages": [{"role": "user", "content": ...}, ...]}           OpenAI, with tools
    {"conversations": [{"from": "human", "value": ...}, ...]}       ShareGPT
    {"instruction": ..., "input": ..., "output": ..., "system": ...}  Alpaca
    {"prompt": ..., "completion": ...}

Avikam's template has the roles system, user and assistant. What a tool answers comes to the
assistant from outside, so it is read as a user's turn; a call without text is read as its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Turns = list[tuple[str, str]]
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "tool": "user",
    "function": "user",
    "observation": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
}
FORMS = "messages, conversations, instruction and output, or prompt and completion"


class RowError(ValueError):
    """A row that is no conversation; the message says what is wrong with it."""


def is_conversation(row: Mapping[str, Any]) -> bool:
    """Whether the row's columns are those of one of the forms."""
    return any(
        row.get(first) and second in row
        for first, second in (
            ("messages", "messages"),
            ("conversations", "conversations"),
            ("instruction", "output"),
            ("prompt", "completion"),
        )
    )


def turns_of(row: Mapping[str, Any]) -> Turns:
    """The row's turns; :class:`RowError` when it is none of the forms or breaks its form.

    >>> turns_of({"instruction": "Traduis.", "input": "cat", "output": "chat"})
    [('user', 'Traduis.\\ncat'), ('assistant', 'chat')]
    """
    if not is_conversation(row):
        raise RowError(f"its columns are {', '.join(map(str, row)) or 'none'}; needs {FORMS}")
    if row.get("messages"):
        return _listed(row["messages"], "messages", "role", "content")
    if row.get("conversations"):
        return _listed(row["conversations"], "conversations", "from", "value")
    if row.get("instruction"):
        return _alpaca(row)
    return [("user", _text(row["prompt"])), ("assistant", _text(row["completion"]))]


def _listed(turns: Any, column: str, role_key: str, text_key: str) -> Turns:
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise RowError(f"{column} is a {type(turns).__name__}, needs a list of turns")
    return [_turn(turn, f"{column}[{i}]", role_key, text_key) for i, turn in enumerate(turns)]


def _turn(turn: Any, place: str, role_key: str, text_key: str) -> tuple[str, str]:
    if not isinstance(turn, Mapping) or role_key not in turn:
        raise RowError(f"{place} has no {role_key!r}")
    role = _ROLES.get(str(turn[role_key]))
    if role is None:
        raise RowError(f"{place} has the role {turn[role_key]!r}; known: {', '.join(_ROLES)}")
    calls = turn.get("tool_calls") or turn.get("function_call")
    text = _text(turn.get(text_key))
    if not text and calls:
        text = json.dumps(calls, ensure_ascii=False)
    if not text:
        raise RowError(f"{place} has no text in {text_key!r}")
    return role, text


def _alpaca(row: Mapping[str, Any]) -> Turns:
    turns = [("system", _text(row["system"]))] if row.get("system") else []
    for i, exchange in enumerate(row.get("history") or []):
        if not isinstance(exchange, Sequence) or len(exchange) != 2:
            raise RowError(f"history[{i}] is no pair of question and answer")
        turns += [("user", _text(exchange[0])), ("assistant", _text(exchange[1]))]
    asked = "\n".join(filter(None, (_text(row["instruction"]), _text(row.get("input")))))
    return [*turns, ("user", asked), ("assistant", _text(row["output"]))]


def _text(content: Any) -> str:
    """A text, or the texts of OpenAI's content parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(_part(part) for part in content)
    raise RowError(f"a text is a {type(content).__name__}")


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") == "text":
        return str(part.get("text", ""))
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise RowError(f"a content part is {kind!r}; only text is read")
