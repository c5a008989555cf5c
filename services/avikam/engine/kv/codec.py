"""How a layer's tensors become bytes, and back.

``exact``  every value as it is stored. For int8 slots that is int8 codes and float32 scales.
``int8``   float tensors with a channel axis become int8: keys (even tensors) with one scale per
           head, page of 64 entries and channel; values (odd ones) with one per head and entry.
           Smaller, and lossy. What is integer already stays exact.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from avikam.model.attention.snapshot import EntryFormat

ColdForm = Literal["exact", "int8"]

PAGE = 64
_SMALLEST = 1e-30


class LayerCodec(Protocol):
    """One way to write a layer down."""

    number: int  # on the wire

    def size(self, formats: Sequence[EntryFormat]) -> int:
        """Bytes that tensors of these formats take, known before anything is read."""

    def encode(self, tensors: Sequence[Tensor]) -> bytes:
        """The tensors as bytes, of which :meth:`size` told the number."""

    def decode(self, raw: bytearray, formats: Sequence[EntryFormat]) -> tuple[Tensor, ...]:
        """The tensors in ``raw``, which has exactly :meth:`size` bytes and is theirs to keep."""


class ExactCodec:
    """The values themselves, little-endian."""

    number = 0

    def size(self, formats: Sequence[EntryFormat]) -> int:
        """Bytes of the formats, one after the other."""
        return sum(form.bytes for form in formats)

    def encode(self, tensors: Sequence[Tensor]) -> bytes:
        """The values as they are."""
        return b"".join(_bytes(tensor) for tensor in tensors)

    def decode(self, raw: bytearray, formats: Sequence[EntryFormat]) -> tuple[Tensor, ...]:
        """The same values; the tensors may share memory with ``raw``."""
        reader = _Reader(raw)
        return tuple(reader.take(form) for form in formats)


class Int8Codec:
    """Float keys and values as int8 with float32 scales."""

    number = 1

    def size(self, formats: Sequence[EntryFormat]) -> int:
        """Bytes of codes and scales; tensors that are integers already stay as they are."""
        return sum(
            part.bytes for i, form in enumerate(formats) for part in _parts(form, keys=i % 2 == 0)
        )

    def encode(self, tensors: Sequence[Tensor]) -> bytes:
        """Codes in int8; keys have a scale for each page and channel, values for each entry."""
        written = []
        for i, tensor in enumerate(tensors):
            written += _shrunk(tensor, keys=i % 2 == 0) if _lossy(tensor) else [tensor]
        return b"".join(_bytes(tensor) for tensor in written)

    def decode(self, raw: bytearray, formats: Sequence[EntryFormat]) -> tuple[Tensor, ...]:
        """Values within half a code's step of those that were written."""
        reader = _Reader(raw)
        tensors = []
        for i, form in enumerate(formats):
            parts = [reader.take(part) for part in _parts(form, keys=i % 2 == 0)]
            tensors.append(parts[0] if len(parts) == 1 else _grown(parts, form, keys=i % 2 == 0))
        return tuple(tensors)


CODECS: dict[ColdForm, LayerCodec] = {"exact": ExactCodec(), "int8": Int8Codec()}


class _Reader:
    """Tensors one behind the other; each is a view of the buffer where alignment allows."""

    def __init__(self, raw: bytearray) -> None:
        self._raw = raw
        self._offset = 0

    def take(self, form: EntryFormat) -> Tensor:
        start, self._offset = self._offset, self._offset + form.bytes
        if not form.bytes:
            return torch.empty(form.shape, dtype=form.dtype)
        count = math.prod(form.shape)
        if start % form.dtype.itemsize:
            piece = self._raw[start : self._offset]
            return torch.frombuffer(piece, dtype=form.dtype, count=count).view(form.shape)
        flat = torch.frombuffer(self._raw, dtype=form.dtype, count=count, offset=start)
        return flat.view(form.shape)


def _lossy(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() == 3


def _parts(form: EntryFormat, *, keys: bool) -> list[EntryFormat]:
    """What :func:`_shrunk` makes of a tensor: scales and codes; others stay whole."""
    if not form.dtype.is_floating_point or len(form.shape) != 3:
        return [form]
    heads, entries, channels = form.shape
    scales = (heads, -(-entries // PAGE), 1, channels) if keys else (heads, entries, 1)
    return [EntryFormat(torch.float32, scales), EntryFormat(torch.int8, form.shape)]


def _shrunk(tensor: Tensor, *, keys: bool) -> list[Tensor]:
    pages = _pages(tensor.float()) if keys else tensor.float()
    scales = (pages.abs().amax(dim=-2 if keys else -1, keepdim=True) / 127).clamp_(min=_SMALLEST)
    codes = (pages / scales).round_().to(torch.int8)
    return [scales, codes.flatten(1, 2)[:, : tensor.shape[1]] if keys else codes]


def _grown(parts: Sequence[Tensor], form: EntryFormat, *, keys: bool) -> Tensor:
    scales, codes = parts
    if not keys:
        return (codes.float() * scales).to(form.dtype)
    values = _pages(codes.float()) * scales
    return values.flatten(1, 2)[:, : form.shape[1]].to(form.dtype)


def _pages(tensor: Tensor) -> Tensor:
    """[H, N, D] as [H, pages, PAGE, D], zeros behind the end."""
    missing = -tensor.shape[1] % PAGE
    padded = torch.nn.functional.pad(tensor, (0, 0, 0, missing))
    return padded.unflatten(1, (-1, PAGE))


def _bytes(tensor: Tensor) -> bytes:
    if sys.byteorder == "big":
        raise NotImplementedError("cold KV needs a little-endian machine")
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
