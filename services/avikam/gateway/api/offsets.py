"""Where a text's tokens stand in it: TGI's ``/tokenize`` tells each token's part of the input.

Pieces are SentencePiece's: ``▁`` is a space, one before the text is not of the text, ``<0xE2>`` is
a byte of a character, and control tokens have no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
# The pieces that begin and end a document. A text that spells them out does not become them.
_CONTROL = frozenset({"<s>", "</s>"})
# How far a piece is looked for where normalising has changed the text.
_AHEAD = 8


def spans(text: str, pieces: Iterable[str]) -> Iterator[tuple[int, int]]:
    """(start, stop) of every piece in characters of ``text``; equal where it has no part of it."""
    at, pending = 0, b""
    for piece in pieces:
        byte = _BYTE.fullmatch(piece)
        if byte is None:
            surface = "" if piece in _CONTROL else piece.replace("▁", " ")
            start, at = _span(text, at, surface)
            yield start, at
            continue
        pending += bytes.fromhex(byte[1])
        character = text[at : at + 1]
        yield at, at + len(character)
        if pending == character.encode():
            at, pending = at + 1, b""


def _span(text: str, at: int, surface: str) -> tuple[int, int]:
    if text.startswith(surface, at):
        return at, at + len(surface)
    bare = surface.lstrip(" ")
    found = text.find(bare, at, at + len(bare) + _AHEAD) if bare else -1
    return (at, at) if found < 0 else (found, found + len(bare))
