"""Streams of OpenAI's routes: an event a line, JSON inside, ``[DONE]`` at the end.

    data: {"choices": [{"text": "Bon"}]}
    data: {"choices": [], "usage": {...}}
    data: [DONE]

Whatever serves these routes can be read, not only a gateway of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from avikam.client.errors import ConnectionFailed, StreamInterrupted

_DATA = "data:"
_DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Event:
    """What one event adds to an answer; ``usage`` is there once, at its end."""

    text: str = ""
    finish_reason: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)


class EventReader:
    """Takes the lines of a stream as they come."""

    def __init__(self, request_id: str = "") -> None:
        self._request_id = request_id
        self.done = False

    def feed(self, line: str) -> Event | None:
        """The event in a line; None for lines without one.

        Raises StreamInterrupted for an error event, ConnectionFailed for what is no event of these
        routes.
        """
        data = line.removeprefix(_DATA).strip() if line.startswith(_DATA) else ""
        if data == _DONE:
            self.done = True
        if not data or self.done:
            return None
        try:
            return self._read(json.loads(data))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ConnectionFailed(
                "the answer is no event stream of OpenAI's routes: is this an Avikam gateway?",
                request_id=self._request_id,
            ) from error

    def close(self) -> None:
        """The stream has ended. Raises StreamInterrupted when it was not whole."""
        if not self.done:
            raise StreamInterrupted(
                "the stream ended before the answer did", request_id=self._request_id
            )

    def _read(self, event: Mapping[str, Any]) -> Event:
        if "error" in event:
            told = event["error"]
            raise StreamInterrupted(
                str(told["message"]),
                status=502,
                code=str(told.get("code") or ""),
                request_id=self._request_id,
            )
        choices = event.get("choices") or ()
        reasons = (choice.get("finish_reason") for choice in choices)
        return Event(
            "".join(map(_text, choices)),
            next((str(reason) for reason in reasons if reason), ""),
            dict(event.get("usage") or {}),
        )


def _text(choice: Mapping[str, Any]) -> str:
    """Of a completion, or of a chat's delta."""
    text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
    if not isinstance(text, str):
        raise TypeError(f"{type(text).__name__} is no text")
    return text
