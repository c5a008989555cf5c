"""GGUF's block formats, from bytes to float32. A block of 32 or 256 numbers has its own scales.

    Q4_0, Q5_0, Q8_0      d q                        32 numbers, one scale
    Q4_1, Q5_1            d q + m                    32 numbers, scale and least value
    Q2_K .. Q6_K          d s q - dmin m             256 numbers in parts of 16 or 32

The layouts are those of ggml's ``ggml-quants.c``; bit positions are named where they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Block:
    """One format: its name, how many numbers share a block, of how many bytes, and its meaning."""

    name: str
    numbers: int
    bytes: int
    read: Callable[[Bytes], Floats]


def dequantise(data: Bytes, block: Block) -> Floats:
    """The float32 numbers of whole blocks."""
    return block.read(data.reshape(-1, block.bytes)).reshape(-1)


def _half(raw: Bytes) -> Floats:
    """Two bytes each, as float16, in a column."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _f32(raw: Bytes) -> Floats:
    return raw.view("<f4").astype(np.float32)


def _bf16(raw: Bytes) -> Floats:
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _nibbles(raw: Bytes) -> NDArray[np.int32]:
    """16 bytes as 32 numbers of 4 bits: all low halves, then all high ones."""
    return np.concatenate((raw & 15, raw >> 4), axis=1).astype(np.int32)


def _fifth_bits(raw: Bytes) -> NDArray[np.int32]:
    """4 bytes as 32 single bits, each worth 16."""
    return np.unpackbits(raw, axis=1, bitorder="little").astype(np.int32) << 4


def _q4_0(raw: Bytes) -> Floats:
    return _half(raw[:, :2]) * (_nibbles(raw[:, 2:]) - 8)


def _q4_1(raw: Bytes) -> Floats:
    return _half(raw[:, :2]) * _nibbles(raw[:, 4:]) + _half(raw[:, 2:4])


def _q5_0(raw: Bytes) -> Floats:
    return _half(raw[:, :2]) * ((_nibbles(raw[:, 6:]) | _fifth_bits(raw[:, 2:6])) - 16)


def _q5_1(raw: Bytes) -> Floats:
    codes = _nibbles(raw[:, 8:]) | _fifth_bits(raw[:, 4:8])
    return _half(raw[:, :2]) * codes + _half(raw[:, 2:4])


def _q8_0(raw: Bytes) -> Floats:
    return _half(raw[:, :2]) * raw[:, 2:].view(np.int8)


def _shifted(raw: Bytes, shifts: list[int], mask: int) -> NDArray[np.int32]:
    """Parts [n, len(shifts), bytes] of each byte: one part per shift."""
    moved = raw[:, None, :] >> np.array(shifts, np.uint8)[None, :, None]
    return (moved & mask).astype(np.int32)


def _q2_k(raw: Bytes) -> Floats:
    scales, quants = raw[:, :16], raw[:, 16:80].reshape(-1, 2, 32)
    d, least = _half(raw[:, 80:82]), _half(raw[:, 82:84])
    codes = np.stack([quants >> shift & 3 for shift in (0, 2, 4, 6)], axis=2)
    codes = codes.reshape(len(raw), 16, 16)
    factor = (d * (scales & 15))[:, :, None]
    offset = (least * (scales >> 4))[:, :, None]
    return (factor * codes - offset).astype(np.float32)


def _q3_k(raw: Bytes) -> Floats:
    high, quants = raw[:, :32], raw[:, 32:96].reshape(-1, 2, 32)
    codes = np.stack([quants >> shift & 3 for shift in (0, 2, 4, 6)], axis=2)
    # The third bit of part i is bit i of the 32 bytes of ``high``; where it is 0, 4 is taken off.
    third = _shifted(high, list(range(8)), 1).reshape(-1, 2, 4, 32)
    codes = codes.astype(np.int32) - 4 * (1 - third)
    factor = _half(raw[:, 108:110]) * (_six_bit_scales(raw[:, 96:108]) - 32)
    return (factor[:, :, None] * codes.reshape(len(raw), 16, 16)).astype(np.float32)


def _six_bit_scales(raw: Bytes) -> NDArray[np.int32]:
    """12 bytes as 16 numbers: four bits from the first 8 bytes, two from the last 4."""
    low = np.concatenate((raw[:, :8] & 15, raw[:, :8] >> 4), axis=1)
    high = np.concatenate([raw[:, 8:] >> shift & 3 for shift in (0, 2, 4, 6)], axis=1)
    return (low | high << 4).astype(np.int32)


def _scales_and_mins(raw: Bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """12 bytes as 8 scales and 8 least values of 6 bits (``get_scale_min_k4``)."""
    first, second, third = raw[:, :4], raw[:, 4:8], raw[:, 8:]
    scales = np.concatenate((first & 63, (third & 15) | (first >> 6 << 4)), axis=1)
    least = np.concatenate((second & 63, (third >> 4) | (second >> 6 << 4)), axis=1)
    return scales, least


def _q4_k(raw: Bytes) -> Floats:
    return _by_eights(raw, raw[:, 16:144].reshape(-1, 4, 32), None)


def _q5_k(raw: Bytes) -> Floats:
    fifth = _shifted(raw[:, 16:48], list(range(8)), 1) << 4
    return _by_eights(raw, raw[:, 48:176].reshape(-1, 4, 32), fifth)


def _by_eights(raw: Bytes, quants: Bytes, fifth: NDArray[np.int32] | None) -> Floats:
    """Eight parts of 32: the low and the high halves of each of four rows."""
    codes = np.stack((quants & 15, quants >> 4), axis=2).reshape(-1, 8, 32).astype(np.int32)
    if fifth is not None:
        codes |= fifth
    scales, least = _scales_and_mins(raw[:, 4:16])
    factor = (_half(raw[:, :2]) * scales)[:, :, None]
    offset = (_half(raw[:, 2:4]) * least)[:, :, None]
    return (factor * codes - offset).astype(np.float32)


def _q6_k(raw: Bytes) -> Floats:
    low, high = raw[:, :128].reshape(-1, 2, 2, 32), raw[:, 128:192].reshape(-1, 2, 32)
    four = np.stack((low[:, :, 0] & 15, low[:, :, 1] & 15, low[:, :, 0] >> 4, low[:, :, 1] >> 4), 2)
    two = np.stack([high >> shift & 3 for shift in (0, 2, 4, 6)], axis=2)
    codes = (four | two << 4).astype(np.int32).reshape(len(raw), 16, 16) - 32
    factor = _half(raw[:, 208:210]) * raw[:, 192:208].view(np.int8)
    return (factor[:, :, None] * codes).astype(np.float32)


# Type number in the file -> format.
BLOCKS: dict[int, Block] = {
    0: Block("F32", 1, 4, _f32),
    1: Block("F16", 1, 2, _half),
    2: Block("Q4_0", 32, 18, _q4_0),
    3: Block("Q4_1", 32, 20, _q4_1),
    6: Block("Q5_0", 32, 22, _q5_0),
    7: Block("Q5_1", 32, 24, _q5_1),
    8: Block("Q8_0", 32, 34, _q8_0),
    10: Block("Q2_K", 256, 84, _q2_k),
    11: Block("Q3_K", 256, 110, _q3_k),
    12: Block("Q4_K", 256, 144, _q4_k),
    13: Block("Q5_K", 256, 176, _q5_k),
    14: Block("Q6_K", 256, 210, _q6_k),
    30: Block("BF16", 1, 2, _bf16),
}
