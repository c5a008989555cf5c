"""A GGUF file's header: metadata, and where its tensors lie. Every length is checked against what
is left of the file before it is believed, so that no number in a file can make us take memory.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avikam.model.sources.gguf.blocks import BLOCKS, Block
from avikam.model.sources.source import SourceError

_MAGIC = b"GGUF"
_STRING, _ARRAY, _BOOL = 8, 9, 7
# type number: (struct's letter, numpy's type)
_SCALARS = {
    0: ("B", "u1"), 1: ("b", "i1"), 2: ("H", "<u2"), 3: ("h", "<i2"), 4: ("I", "<u4"),
    5: ("i", "<i4"), 6: ("f", "<f4"), 7: ("?", "?"), 10: ("Q", "<u8"), 11: ("q", "<i8"),
    12: ("d", "<f8"),
}  # fmt: skip
_MOST = 100_000  # keys, and tensors
_MOST_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class Place:
    """One tensor: shape as PyTorch has it, block format, and its first byte in the file."""

    shape: tuple[int, ...]
    block: Block
    offset: int

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) // self.block.numbers * self.block.bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself; ``data`` is the whole file, mapped."""

    metadata: dict[str, Any]
    tensors: dict[str, Place]
    data: mmap.mmap


def read_header(path: Path) -> Header:
    """Raises :class:`SourceError` for whatever is not a plausible GGUF file."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path.name} cannot be read: {error}") from error
    try:
        return _Reader(data).header()
    except SourceError as error:
        raise SourceError(f"{path.name}: {error}") from error


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at, self._size = data, 0, len(data)

    def header(self) -> Header:
        if self._data[:4] != _MAGIC:
            raise SourceError("it is not a GGUF file")
        self._at = 4
        version, tensors, keys = self._scalar("I"), self._scalar("Q"), self._scalar("Q")
        if version not in (2, 3):
            raise SourceError(f"GGUF version {version} is not read; 2 and 3 are")
        if tensors > _MOST or keys > _MOST:
            raise SourceError(f"{tensors} tensors and {keys} keys are more than any model has")
        metadata = self._metadata(keys)
        raw = [self._tensor() for _ in range(tensors)]
        return Header(metadata, self._placed(raw, metadata), self._data)

    def _metadata(self, keys: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self._text()
            if key in metadata:
                raise SourceError(f"the key {key[:80]!r} is there twice")
            metadata[key] = self._value(self._scalar("I"))
        return metadata

    def _tensor(self) -> tuple[str, list[int], int, int]:
        name, dimensions = self._text(), self._scalar("I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise SourceError(f"tensor {name[:80]!r} has {dimensions} dimensions")
        shape = [self._scalar("Q") for _ in range(dimensions)]
        return name, shape, self._scalar("I"), self._scalar("Q")

    def _placed(
        self, raw: list[tuple[str, list[int], int, int]], metadata: dict[str, Any]
    ) -> dict[str, Place]:
        align = metadata.get("general.alignment", 32)
        if isinstance(align, bool) or not isinstance(align, int) or not 1 <= align <= 2**20:
            raise SourceError(f"an alignment of {str(align)[:40]} is implausible")
        start = -(-self._at // align) * align
        places: dict[str, Place] = {}
        for name, shape, kind, offset in raw:
            if name in places:
                raise SourceError(f"the tensor {name[:80]!r} is there twice")
            places[name] = self._place(name, shape, kind, start + offset)
        return places

    def _place(self, name: str, shape: list[int], kind: int, offset: int) -> Place:
        block = BLOCKS.get(kind)
        if block is None:
            raise SourceError(f"tensor {name[:80]!r} has the unknown type {kind}")
        # Python's integers do not wrap around, as a product of numpy's would.
        if any(size < 1 for size in shape) or shape[0] % block.numbers:
            raise SourceError(f"tensor {name[:80]!r} of {shape} is not made of whole blocks")
        place = Place(tuple(reversed(shape)), block, offset)
        if offset + place.size > self._size:
            raise SourceError(f"tensor {name[:80]!r} lies outside the file: it ends early")
        return place

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind][0])
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._array()
        raise SourceError(f"a value has the unknown type {kind}")

    def _array(self) -> Any:
        """A list of texts, or a numpy array. Arrays of arrays are refused: nobody writes them."""
        kind, count = self._scalar("I"), self._scalar("Q")
        if kind != _STRING and kind not in _SCALARS:
            raise SourceError(f"an array holds values of type {kind}")
        size = 8 if kind == _STRING else struct.calcsize("<" + _SCALARS[kind][0])
        if count * size > self._size - self._at:
            raise SourceError("an array is longer than the file")
        if kind == _STRING:
            return [self._text() for _ in range(count)]
        values = np.frombuffer(self._data, _SCALARS[kind][1], count, self._at)
        self._at += count * size
        return values

    def _scalar(self, letter: str) -> Any:
        size = struct.calcsize("<" + letter)
        if self._at + size > self._size:
            raise SourceError("the file ends early")
        (value,) = struct.unpack_from("<" + letter, self._data, self._at)
        self._at += size
        return value

    def _text(self) -> str:
        length = self._scalar("Q")
        if length > self._size - self._at:
            raise SourceError("a text is longer than the file")
        value = self._data[self._at : self._at + length]
        self._at += length
        return value.decode("utf-8", "replace")
