"""Every block format of GGUF, number by number as the ``gguf`` package has it."""

from __future__ import annotations

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from avikam.model.sources.gguf.blocks import BLOCKS, dequantise


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: BLOCKS[kind].name)
def test_any_bytes_mean_the_same_numbers(kind: int) -> None:
    block, theirs = BLOCKS[kind], GGMLQuantizationType(kind)
    assert (block.numbers, block.bytes) == GGML_QUANT_SIZES[theirs]
    assert block.name == theirs.name
    raw = np.random.default_rng(kind).integers(0, 256, (64, block.bytes), dtype=np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        ours, oracle = dequantise(raw, block), dequantize(raw, theirs).astype(np.float32)
    assert len(ours) == 64 * block.numbers
    same = (ours == oracle.reshape(-1)) | ~np.isfinite(oracle.reshape(-1))
    near = np.isclose(ours, oracle.reshape(-1), rtol=1e-6, equal_nan=True)
    assert (same | near).all(), block.name
