"""Checkpoints without training: every size can be loaded and measured before its weights exist.

``random`` weights follow the initialisation of training; ``dummy`` weights are zeros that take no
room on disk (a sparse file), so a 5 GB model is written at once. Tensors are made and written one
by one: memory holds a single matrix, however large the model is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from sentencepiece import sentencepiece_model_pb2
from torch import Tensor

from avikam.model.checkpoint import CARD, GENERATION, expected_shapes
from avikam.model.config import ConfigError, ModelConfig
from avikam.model.manifest import CONFIG, MANIFEST, TOKENIZER, WEIGHTS, write_manifest
from avikam.model.quantize import SCALE_SUFFIX, quantize_rows

# Generated code without type stubs.
_ModelProto: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]
Weights = Literal["int8", "bfloat16", "float32"]
# torch type -> (its name in safetensors, bytes per element)
_STORED = {torch.int8: ("I8", 1), torch.bfloat16: ("BF16", 2), torch.float32: ("F32", 4)}
_TYPES = {"int8": torch.int8, "bfloat16": torch.bfloat16, "float32": torch.float32}
_Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def write_untrained(
    folder: Path, config: ModelConfig, tokenizer: bytes, weights: Weights, seed: int | None
) -> None:
    """Write a checkpoint folder with random weights, or zeros when ``seed`` is None."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")
    (folder / TOKENIZER).write_bytes(pad_tokenizer(tokenizer, config.vocab_size))
    (folder / GENERATION).write_text("{}\n", encoding="utf-8")
    kind = "zeros" if seed is None else f"random, seed {seed}"
    (folder / CARD).write_text(f"# {config.name}\n\nUntrained ({kind}).\n", encoding="utf-8")
    layout = _layout(config, _TYPES[weights])
    if seed is None:
        _write_sparse(folder / WEIGHTS, layout)
    else:
        _write_tensors(folder / WEIGHTS, layout, random_tensors(config, _TYPES[weights], seed))
    write_manifest(folder)


def pad_tokenizer(tokenizer: bytes, vocab_size: int) -> bytes:
    """The tokenizer with unused pieces added, so that every id of the model has one."""
    proto = _ModelProto.FromString(tokenizer)
    if len(proto.pieces) > vocab_size:
        raise ConfigError(
            f"the tokenizer has {len(proto.pieces)} pieces, the model room for {vocab_size}; "
            "choose another tokenizer"
        )
    if len(proto.pieces) == vocab_size:
        return tokenizer
    for index in range(len(proto.pieces), vocab_size):
        proto.pieces.add(
            piece=f"<unused_{index}>",
            score=0.0,
            type=_ModelProto.SentencePiece.UNUSED,
        )
    return bytes(proto.SerializeToString())


def random_tensors(config: ModelConfig, dtype: torch.dtype, seed: int) -> Iterator[Tensor]:
    """Tensors in the layout's order: norms 1, biases 0, matrices Normal (GPT-2's recipe)."""
    generator = torch.Generator().manual_seed(seed)
    shrink = (2 * config.num_layers) ** -0.5
    for name, shape in expected_shapes(config).items():
        if len(shape) == 1:
            value = 0.0 if name.endswith(".bias") else 1.0
            yield torch.full(shape, value, dtype=_vector_type(dtype))
            continue
        scale = shrink if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
        matrix = torch.empty(shape).normal_(std=0.02 * scale, generator=generator)
        if dtype is torch.int8:
            yield from quantize_rows(matrix)
        else:
            yield matrix.to(dtype)


def _vector_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype is torch.int8 else dtype


def _layout(config: ModelConfig, dtype: torch.dtype) -> _Layout:
    layout: _Layout = {}
    for name, shape in expected_shapes(config).items():
        layout[name] = (dtype if len(shape) == 2 else _vector_type(dtype), shape)
        if dtype is torch.int8 and len(shape) == 2:
            layout[name + SCALE_SUFFIX] = (torch.float32, shape[:1])
    return layout


def _header(layout: _Layout) -> tuple[bytes, int]:
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


def _write_sparse(path: Path, layout: _Layout) -> None:
    header, size = _header(layout)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def _write_tensors(path: Path, layout: _Layout, tensors: Iterator[Tensor]) -> None:
    header, _ = _header(layout)
    with path.open("wb") as file:
        file.write(header)
        for tensor in tensors:
            file.write(tensor.contiguous().view(torch.uint8).numpy().data)
