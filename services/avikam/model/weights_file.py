"""Writing a checkpoint's weights as one safetensors file, tensor by tensor.

The header goes first and names every place, so nothing has to be held back: memory holds a single
matrix, however large the model is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from avikam.model.checkpoint import expected_shapes
from avikam.model.config import ModelConfig
from avikam.model.quantize import SCALE_SUFFIX

StoredType = Literal["int8", "bfloat16", "float32"]
Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]
# torch type -> (its name in safetensors, bytes per element)
_STORED = {torch.int8: ("I8", 1), torch.bfloat16: ("BF16", 2), torch.float32: ("F32", 4)}
TYPES = {"int8": torch.int8, "bfloat16": torch.bfloat16, "float32": torch.float32}


def vector_type(dtype: torch.dtype) -> torch.dtype:
    """Norms and biases stay floats where matrices are int8."""
    return torch.float32 if dtype is torch.int8 else dtype


def layout_of(config: ModelConfig, dtype: torch.dtype) -> Layout:
    """Name, type and shape of every tensor of a model whose matrices are ``dtype``, in order."""
    layout: Layout = {}
    for name, shape in expected_shapes(config).items():
        layout[name] = (dtype if len(shape) == 2 else vector_type(dtype), shape)
        if dtype is torch.int8 and len(shape) == 2:
            layout[name + SCALE_SUFFIX] = (torch.float32, shape[:1])
    return layout


def bytes_of(layout: Layout) -> int:
    """Size of all tensors."""
    return sum(torch.Size(shape).numel() * _STORED[dtype][1] for dtype, shape in layout.values())


def header_of(layout: Layout) -> tuple[bytes, int]:
    """The head of a safetensors file, and the bytes of data that follow it."""
    entries: dict[str, Mapping[str, Any]] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in layout.items():
        stored, width = _STORED[dtype]
        end = offset + torch.Size(shape).numel() * width
        entries[name] = {"dtype": stored, "shape": shape, "data_offsets": (offset, end)}
        offset = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offset


def write_sparse(path: Path, layout: Layout) -> None:
    header, size = header_of(layout)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def write_tensors(path: Path, layout: Layout, tensors: Iterator[Tensor]) -> None:
    header, _ = header_of(layout)
    with path.open("wb") as file:
        file.write(header)
        for tensor in tensors:
            file.write(tensor.contiguous().view(torch.uint8).numpy().data)
