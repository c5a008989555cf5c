"""Counts the fields of a large message while it is still bytes.

Two bytes of an empty message become some fifty in memory, so the largest body could fill more than
a gigabyte before anything of it was checked. Bytes that are no message are the parser's to refuse.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from avikam.protocol.errors import invalid

# Fields that hold messages or many small things, by number, and the same of what is in them.
Inside: TypeAlias = "Mapping[int, Inside]"

# What small bodies become is small, whatever they hold.
_SMALL_BYTES = 64 * 1024
# An honest request has a few for each prompt and message.
MOST_FIELDS = 2**19

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10

# Numbers of generation.proto and inference.proto.
_PROMPT: Inside = {3: {}}  # chat, whose messages count
GENERATE: Inside = {2: _PROMPT, 3: {}}  # prompts; sampling with its lists
TOKENIZE: Inside = {1: _PROMPT}


class _DamagedError(Exception):
    """The bytes are no message."""


def check_fields(body: bytes, inside: Inside, most: int = MOST_FIELDS) -> None:
    """Raise a 400 for a body of more than ``most`` fields, those ``inside`` included."""
    if len(body) <= _SMALL_BYTES:
        return
    try:
        count = sum(1 for _ in _fields(body, inside, 0, len(body), most))
    except _DamagedError:
        return
    if count > most:
        raise invalid(f"the message has more than {most} fields; send fewer prompts", "prompt")


def _fields(body: bytes, inside: Inside, start: int, end: int, most: int) -> Iterator[None]:
    """One for every field between two places and inside them, until there are too many."""
    at = start
    while at < end and most >= 0:
        yield
        most -= 1
        tag, at = _varint(body, at)
        kind, number = tag & 7, tag >> 3
        if kind == _BYTES:
            length, at = _varint(body, at)
            if at + length > end:
                raise _DamagedError
            if number in inside:
                for _ in _fields(body, inside[number], at, at + length, most):
                    yield
                    most -= 1
            at += length
        elif kind == _VARINT:
            _, at = _varint(body, at)
        else:
            at += _FIXED_SIZES.get(kind, 0)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for shift, byte in enumerate(body[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise _DamagedError
