"""Server-sent events: one ``data:`` line per event, JSON inside, so no text can forge an event."""

from __future__ import annotations

from typing import Any

import orjson

MEDIA_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
# A comment; clients ignore it, proxies see that the stream lives.
PING = b": ping\n\n"


def event(data: Any, name: str = "") -> bytes:
    """One event."""
    prefix = f"event: {name}\n".encode() if name else b""
    return prefix + b"data: " + orjson.dumps(data) + b"\n\n"
