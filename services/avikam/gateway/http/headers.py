"""Headers as they came: a short look costs less than a mapping made for it."""

from __future__ import annotations

from collections.abc import Iterable


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes, default: bytes = b"") -> bytes:
    """The first value of a header; ``name`` in lower case."""
    for each, value in headers:
        if each == name:
            return value
    return default
