"""What the request line asks for: a path, a whole address, or ``*``."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)([^?]*)(?:\?(.*))?")


class Target(NamedTuple):
    """``authority`` is there when the client sent a whole address: it counts instead of Host."""

    path: str
    raw_path: bytes
    query: bytes
    authority: bytes | None = None


def read_target(target: bytes) -> Target | None:
    """None for what is neither a path, nor an address of http, nor ``*``."""
    if target.startswith(b"/"):
        raw_path, _, query = target.partition(b"?")
        return Target(_decoded(raw_path), raw_path, query)
    if target == b"*":
        return Target("*", target, b"")
    address = _ABSOLUTE.fullmatch(target)
    if address is None:
        return None
    raw_path = address[2] or b"/"
    return Target(_decoded(raw_path), raw_path, address[3] or b"", address[1])


def _decoded(raw_path: bytes) -> str:
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path
