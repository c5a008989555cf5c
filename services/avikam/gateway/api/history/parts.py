"""The text of a message's content: a string, or parts that have text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from avikam.protocol.errors import ApiError, invalid

Part = Mapping[str, Any]
# Reads one kind of part: its text, or None for a part that the model does not read.
Reader = Callable[[Part, str], str | None]
# Kinds of parts, by their ``type``.
Readers = Mapping[str, Reader]


def field(name: str) -> Reader:
    """Reads the part's field ``name``, which must be a text."""

    def read(part: Part, param: str) -> str:
        text = part.get(name)
        if not isinstance(text, str):
            raise invalid(f"{param}.{name} must be a text", f"{param}.{name}")
        return text

    return read


def thought(part: Part, param: str) -> None:
    """A thought: what led to an answer is no part of the conversation afterwards."""


TEXT: Readers = {kind: field("text") for kind in ("text", "input_text", "output_text")}
# What an assistant's message may hold besides: its refusal is what it said.
SAID: Readers = {
    **TEXT,
    "refusal": field("refusal"),
    "reasoning": thought,
    "redacted_thinking": thought,
    "thinking": thought,
}


def content_text(content: Any, param: str, readers: Readers = TEXT) -> str | None:
    """The text of ``content``; None for null. Raises a 400 that names the first part without."""
    if content is None or isinstance(content, str):
        return content
    return "".join(part_text(part, where, readers) for part, where in numbered(content, param))


def numbered(content: Any, param: str) -> list[tuple[Any, str]]:
    """Every part with its place in the body."""
    if not isinstance(content, list):
        raise invalid(f"{param} must be a text or a list of parts", param)
    return [(part, f"{param}[{index}]") for index, part in enumerate(content)]


def part_text(part: Any, param: str, readers: Readers) -> str:
    """The text of one part, which is at ``param`` in the body."""
    kind = kind_of(part)
    if kind not in readers:
        raise not_text(kind, param)
    return readers[kind](part, param) or ""


def kind_of(part: Any) -> str:
    """The ``type`` of a part; empty for what has none."""
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) else ""


def not_text(kind: str, param: str) -> ApiError:
    """400 for a picture, a sound, a file, or what is no part at all."""
    shown = f" of type {kind[:32]!r}" if kind else ""
    return invalid(f"{param}{shown} is not a text part; this model reads text only", param)


def call_text(name: Any, arguments: Any, param: str) -> str:
    """A call of a tool as the model reads it, the same whichever API it came through.

    ``arguments`` is JSON as a text, or the value itself.
    """
    if not isinstance(name, str):
        raise invalid(f"{param}.name must be a text", f"{param}.name")
    if not isinstance(arguments, str):
        arguments = _json({} if arguments is None else arguments)
    return _json({"name": name, "arguments": arguments})


def _json(value: Any) -> str:
    # Unlike orjson, the standard library writes numbers of any length.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
