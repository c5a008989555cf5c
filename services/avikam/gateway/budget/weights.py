"""What the bytes of a body become in memory, told before they are parsed.

    JSON       [] 78 bytes   {} 204 bytes   a number 35 bytes   a text its bytes and 50
    protobuf   the bytes, the message, and once more for what is compared; a token id 4 bytes

Measured with jiter 0.16 and protobuf 7.36 (upb) on CPython 3.11; texts of a body count twice.
"""

from __future__ import annotations

from avikam.gateway.beside import INLINE_BYTES

_COPIES = 2
_ITEM, _LIST, _OBJECT = 40, 80, 200
_ITEM_EFFORT = 40
_MESSAGE_COPIES = 3
_ID_BYTES, _FIELD_BYTES = 4, 64


def json_weight(body: bytes) -> int:
    """Bytes that a JSON body and its objects take. Commas and brackets inside texts count too, so
    it is rather too much."""
    if len(body) <= INLINE_BYTES:
        return len(body)
    items, lists, objects = body.count(b","), body.count(b"["), body.count(b"{")
    return _COPIES * len(body) + _ITEM * items + _LIST * lists + _OBJECT * objects


def json_effort(body: bytes) -> int:
    """Bytes of plain text that take as long to read: 4,096 prompts are 16 KB, and take a hundred
    times as long as one prompt of that size."""
    return len(body) + _ITEM_EFFORT * body.count(b",")


def message_weight(size: int, fields: int, ids: int) -> int:
    """Bytes that a protobuf body of ``size`` bytes takes, with so many fields and token ids."""
    if size <= INLINE_BYTES:
        return size
    return _MESSAGE_COPIES * size + _FIELD_BYTES * fields + _ID_BYTES * ids
