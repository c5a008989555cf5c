"""Counts the fields and token ids of a large message while it is still bytes.

Two bytes of an empty message become some fifty in memory, and one byte of a token id four, so the
largest body could fill more than a gigabyte before anything of it was checked. Bytes that are no
message are the parser's to refuse.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from avikam.protocol.errors import context_overflow, invalid

# Fields that hold messages or many small things, by number, and the same of what is in them. The
# ids of a prompt are one field of many numbers.
IDS: Inside = {-1: {}}
Inside: TypeAlias = "Mapping[int, Inside]"

# What small bodies become is small, whatever they hold.
_SMALL_BYTES = 64 * 1024
# An honest request has a few for each prompt and message.
MOST_FIELDS = 2**19

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
# A number's last byte is below 128, and no other is.
_NOT_LAST = bytes(range(128, 256))

# Numbers of generation.proto and inference.proto.
_PROMPT: Inside = {2: {1: IDS}, 3: {}}  # token ids; chat, whose messages count
GENERATE: Inside = {2: _PROMPT, 3: {}}  # prompts; sampling with its lists
TOKENIZE: Inside = {1: _PROMPT}
# And of worker.proto: a sequence, what one exchange message may start and name, ids to write out.
SEQUENCE: Inside = {3: _PROMPT, 4: {}, 9: IDS}
EXCHANGE: Inside = {1: {2: SEQUENCE}, 2: IDS, 3: IDS, 4: IDS}
DETOKENIZE: Inside = {1: IDS}


class _DamagedError(Exception):
    """The bytes are no message."""


class _TooManyError(Exception):
    """There are more fields than are counted."""


@dataclass(slots=True)
class Census:
    """What is in a message: fields, token ids, and the ids of the longest prompt."""

    fields: int = 0
    ids: int = 0
    longest: int = 0


def check_fields(
    body: bytes,
    inside: Inside,
    most: int = MOST_FIELDS,
    context: int = 0,
    most_ids: int | None = None,
) -> Census:
    """Count. Raise a 400 for a body of more than ``most`` fields, those ``inside`` included, of
    more than ``most_ids`` token ids, or with a prompt that ``context`` tokens (0: unknown) cannot
    hold."""
    census = Census()
    if len(body) <= _SMALL_BYTES:
        return census
    try:
        _Counter(body, census, most).message(inside, 0, len(body), at_top=True)
    except _DamagedError:
        return census
    except _TooManyError:
        raise invalid(
            f"the message has more than {most} fields; send fewer prompts", "prompt"
        ) from None
    if most_ids is not None and census.ids > most_ids:
        raise invalid(f"the message has {census.ids} token ids, at most {most_ids}", "token_ids")
    if context and census.longest >= context:
        raise context_overflow(context, census.longest, 1)
    return census


class _Counter:
    """Walks through the bytes of one message."""

    def __init__(self, body: bytes, census: Census, most: int) -> None:
        self._body = body
        self._census = census
        self._most = most

    def message(self, inside: Inside, at: int, end: int, *, at_top: bool = False) -> None:
        """Count what is between two places."""
        body, census = self._body, self._census
        while at < end:
            census.fields += 1
            if census.fields > self._most:
                raise _TooManyError
            tag, at = _varint(body, at)
            kind, number = tag & 7, tag >> 3
            if kind == _BYTES:
                length, at = _varint(body, at)
                if at + length > end:
                    raise _DamagedError
                before = census.ids
                if number in inside:
                    self._inside(inside[number], at, at + length)
                if at_top:
                    census.longest = max(census.longest, census.ids - before)
                at += length
            elif kind == _VARINT:
                _, at = _varint(body, at)
                census.ids += inside.get(number) is IDS
            else:
                at += _FIXED_SIZES.get(kind, 0)

    def _inside(self, inside: Inside, at: int, end: int) -> None:
        if inside is IDS:
            self._census.ids += len(self._body[at:end].translate(None, _NOT_LAST))
        else:
            self.message(inside, at, end)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for shift, byte in enumerate(body[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise _DamagedError
