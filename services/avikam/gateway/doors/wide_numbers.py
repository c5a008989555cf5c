"""Finds numbers that are too big for their field of a message.

protobuf keeps their low bits and says nothing: 2**32 + 5 tokens would become 5. Such a message is
read once more with every number as wide as the wire has it, and what differs was too big.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from avikam.protocol.errors import invalid
from avikam.v1 import generation_pb2, inference_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_WIDER = {
    _Field.TYPE_UINT32: _Field.TYPE_UINT64,
    _Field.TYPE_INT32: _Field.TYPE_INT64,
    _Field.TYPE_ENUM: _Field.TYPE_INT64,
}
_PROMPTS = ("prompt", "prompts")


def check_numbers(message: Message, body: bytes) -> None:
    """Raise a 400 when ``message``, read from ``body``, has not the numbers that are there.

    A number that was cut takes fewer bytes when it is written again, or is one that no field may
    have (2**28 and more), so a message that is as long as its bytes needs no second look.
    """
    if message.ByteSize() == len(body):
        return
    wide = _wide_class(message).FromString(body)
    same = wide.SerializeToString(deterministic=True)
    if same != message.SerializeToString(deterministic=True):
        name = _first_cut(message, wide) or message.DESCRIPTOR.name
        raise invalid(f"{name} has a number that does not fit into 32 bits", name)


def _first_cut(message: Message, wide: Message) -> str | None:
    """The field that has it; of anything in a prompt, the prompt."""
    for field, read in wide.ListFields():
        kept = getattr(message, field.name)
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            found = field.name if kept != read else None
        else:
            pairs = zip(kept, read, strict=True) if field.is_repeated else [(kept, read)]
            found = next(filter(None, (_first_cut(*pair) for pair in pairs)), None)
        if found is not None:
            return "prompt" if field.name in _PROMPTS else found
    return None


def _wide_pool() -> descriptor_pool.DescriptorPool:
    """Our messages, with wide numbers."""
    pool = descriptor_pool.DescriptorPool()
    for module in (generation_pb2, inference_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        _widen(file.message_type)
        pool.Add(file)
    return pool


def _widen(messages: Iterable[descriptor_pb2.DescriptorProto]) -> None:
    for message in messages:
        _widen(message.nested_type)
        for field in message.field:
            if field.type in _WIDER:
                field.type = _WIDER[field.type]
                field.ClearField("type_name")


_WIDE = _wide_pool()


def _wide_class(message: Message) -> type[Message]:
    return message_factory.GetMessageClass(
        _WIDE.FindMessageTypeByName(message.DESCRIPTOR.full_name)
    )
