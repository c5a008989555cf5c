"""Where a text's tokens stand in it, for a tokenizer that normalises and keeps no offsets.

A token's bytes are looked for in the text from where the last one ended. A space before the text
is not of the text, a token may hold a part of a character's bytes, and a control token (no bytes)
has no part of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# How far a token is looked for where normalising has changed the text.
_AHEAD = 8


def spans(text: str, surfaces: Iterable[bytes | None]) -> Iterator[tuple[int, int]]:
    """(start, stop) of every token in characters of ``text``; equal where it has no part of it."""
    at, pending = 0, b""
    for surface in surfaces:
        try:
            whole = "" if surface is None else surface.decode()
        except UnicodeDecodeError:
            pending += surface or b""
            character = text[at : at + 1]
            yield at, at + len(character)
            if pending == character.encode():
                at, pending = at + 1, b""
            continue
        start, at = _span(text, at, whole)
        yield start, at


def _span(text: str, at: int, surface: str) -> tuple[int, int]:
    if text.startswith(surface, at):
        return at, at + len(surface)
    bare = surface.lstrip(" ")
    found = text.find(bare, at, at + len(bare) + _AHEAD) if bare else -1
    return (at, at) if found < 0 else (found, found + len(bare))
