"""The cold form of a snapshot: one block of bytes that cannot lie.

    header   magic "AVKV", version, layers, tokens, codec, key (32), seal (16)      64 bytes
    table    per layer: compression, stored bytes, raw bytes                        24 bytes each
    tokens   the prefix itself, 4 bytes each
    layers   each as its codec writes it, then Snappy; raw where Snappy gains < 5 %

All integers are little-endian. The seal is a keyed BLAKE2b-128 (RFC 7693) over all other bytes:
raw Snappy has no checksum, and most damaged streams decode without complaint. Every length is
compared with what the model's shape implies before anything is decoded or allocated.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import cramjam

from avikam.engine.kv.codec import CODECS, ColdForm
from avikam.model.attention.snapshot import EntryFormat, SlotStore, Snapshot

MAGIC = b"AVKV"
VERSION = 1
LEAST_GAIN = 1.05  # below this ratio Snappy is not worth its decoding

_HEADER = struct.Struct("<4sHHII32s16s")
_SEAL = slice(48, 64)
_ROW = struct.Struct("<QQQ")
_RAW, _SNAPPY = 0, 1


class BlockError(ValueError):
    """A block that is not, byte for byte, what was written for this key and model."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer in the table."""

    compression: int
    stored: int
    raw: int

    @property
    def compressed(self) -> bool:
        """Whether the layer's bytes are Snappy's."""
        return self.compression == _SNAPPY


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What a block says of itself."""

    version: int
    tokens: int
    codec: int
    key: bytes
    seal: bytes
    layers: tuple[LayerRow, ...]

    @property
    def start(self) -> int:
        """Where the layers begin."""
        return _HEADER.size + len(self.layers) * _ROW.size + 4 * self.tokens

    @property
    def size(self) -> int:
        """Bytes of the whole block, as its header says."""
        return self.start + sum(row.stored for row in self.layers)


class BlockFormat:
    """Writes and reads the blocks of one model's slots."""

    def __init__(self, cache: SlotStore, cold: ColdForm) -> None:
        self._cache = cache
        self._codec = CODECS[cold]

    def most_bytes(self, tokens: int) -> int:
        """Size of the largest block after so many tokens: none of its layers compressed."""
        layers = range(self._cache.config.num_layers)
        raw = sum(self._codec.size(self._cache.entry_formats(i, tokens)) for i in layers)
        return _HEADER.size + len(layers) * _ROW.size + 4 * tokens + raw

    def encode(self, snapshot: Snapshot, key: bytes, tokens: bytes, seal: bytes) -> bytes:
        """The block of ``snapshot``; ``seal`` is the key that seals it."""
        rows, layers = [], []
        for tensors in snapshot.layers:
            raw = self._codec.encode(tensors)
            compression, stored = _compress(raw)
            rows.append(_ROW.pack(compression, len(stored), len(raw)))
            layers.append(stored)
        counts = (VERSION, len(rows), snapshot.seen, self._codec.number)
        header = _HEADER.pack(MAGIC, *counts, key, bytes(16))
        block = bytearray(b"".join((header, *rows, tokens, *layers)))
        block[_SEAL] = block_seal(block, seal)
        return bytes(block)

    def decode(self, block: bytes, key: bytes, tokens: bytes, seal: bytes) -> Snapshot:
        """The snapshot of exactly these ``tokens``; raises :class:`BlockError` for all else."""
        header = read_header(block)
        formats = self._expect(header, key, len(tokens) // 4)
        if not hmac.compare_digest(block_seal(block, seal), header.seal):
            raise BlockError("the seal does not match: damaged, or written with another secret")
        if block[header.start - len(tokens) : header.start] != tokens:
            raise BlockError("the block is of other tokens")
        snapshot = Snapshot(
            header.tokens,
            tuple(
                self._codec.decode(raw, form)
                for raw, form in zip(_layers(block, header), formats, strict=True)
            ),
        )
        if not snapshot.finite:
            raise BlockError("the block holds values that are not numbers")
        return snapshot

    def _expect(
        self, header: BlockHeader, key: bytes, tokens: int
    ) -> list[tuple[EntryFormat, ...]]:
        """Compare all that a header claims with what this model's slots imply."""
        layers = self._cache.config.num_layers
        claims = (
            ("version", header.version, VERSION),
            ("codec", header.codec, self._codec.number),
            ("key", header.key.hex(), key.hex()),
            ("tokens", header.tokens, tokens),
            ("layers", len(header.layers), layers),
        )
        for name, said, wanted in claims:
            if said != wanted:
                raise BlockError(f"{name} is {said}, expected {wanted}")
        formats = [self._cache.entry_formats(i, tokens) for i in range(layers)]
        for i, (row, form) in enumerate(zip(header.layers, formats, strict=True)):
            wanted = self._codec.size(form)
            if row.raw != wanted:
                raise BlockError(f"layer {i} claims {row.raw} bytes, expected {wanted}")
        return formats


def read_header(block: bytes) -> BlockHeader:
    """Header and table, consistent with each other and with the block's length."""
    if len(block) < _HEADER.size or block[:4] != MAGIC:
        raise BlockError("this is no cold KV block")
    _, version, layers, tokens, codec, key, seal = _HEADER.unpack_from(block)
    if version != VERSION:
        raise BlockError(f"block version is {version}, this program reads {VERSION}")
    if len(block) < _HEADER.size + layers * _ROW.size:
        raise BlockError(f"the block ends before its table of {layers} layers")
    rows = (LayerRow(*row) for row in _table(block, layers))
    header = BlockHeader(version, tokens, codec, key, seal, tuple(rows))
    if header.size != len(block):
        raise BlockError(f"the block has {len(block)} bytes, its table says {header.size}")
    wrong = next((row for row in header.layers if not _plausible(row)), None)
    if wrong is not None:
        raise BlockError(f"impossible layer: {wrong}")
    return header


def block_seal(block: bytes | bytearray, seal: bytes) -> bytes:
    """The seal that a block should have."""
    view = memoryview(block)
    digest = blake2b(view[: _SEAL.start], key=seal, digest_size=16)
    digest.update(view[_SEAL.stop :])
    return digest.digest()


def _table(block: bytes, layers: int) -> Iterator[tuple[int, int, int]]:
    end = _HEADER.size + layers * _ROW.size
    yield from _ROW.iter_unpack(memoryview(block)[_HEADER.size : end])


def _plausible(row: LayerRow) -> bool:
    if row.compression == _RAW:
        return row.stored == row.raw
    return row.compressed and row.stored * LEAST_GAIN <= row.raw


def _compress(raw: bytes) -> tuple[int, bytes]:
    packed = bytes(cramjam.snappy.compress_raw(raw))
    if len(packed) * LEAST_GAIN <= len(raw):
        return _SNAPPY, packed
    return _RAW, raw


def _layers(block: bytes, header: BlockHeader) -> Iterator[bytearray]:
    """Each layer's raw bytes; nothing is allocated beyond what the checked table says."""
    view, offset = memoryview(block), header.start
    for row in header.layers:
        yield _decompress(view[offset : offset + row.stored], row)
        offset += row.stored


def _decompress(stored: Sequence[int], row: LayerRow) -> bytearray:
    if not row.compressed:
        return bytearray(stored)
    try:
        said = cramjam.snappy.decompress_raw_len(stored)  # type: ignore[arg-type]
        if said != row.raw:
            raise BlockError(f"Snappy claims {said} bytes, the table {row.raw}")
        raw = bytearray(row.raw)
        cramjam.snappy.decompress_raw_into(stored, raw)  # type: ignore[arg-type]
    except cramjam.DecompressionError as error:
        raise BlockError(f"Snappy: {error}") from error
    return raw
