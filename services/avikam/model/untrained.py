"""Checkpoints without training: every size can be loaded and measured before its weights exist.

``random`` weights follow the initialisation of training; ``dummy`` weights are zeros that take no
room on disk (a sparse file), so a 5 GB model is written at once. Tensors are made and written one
by one: memory holds a single matrix, however large the model is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sentencepiece import sentencepiece_model_pb2
from torch import Tensor

from avikam.model.checkpoint import CARD, GENERATION, expected_shapes
from avikam.model.config import ConfigError, ModelConfig
from avikam.model.manifest import CONFIG, MANIFEST, TOKENIZER, WEIGHTS, write_manifest
from avikam.model.quantize import quantize_rows
from avikam.model.weights_file import (
    TYPES,
    StoredType,
    layout_of,
    vector_type,
    write_sparse,
    write_tensors,
)

# Generated code without type stubs.
_ModelProto: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]


def write_untrained(
    folder: Path, config: ModelConfig, tokenizer: bytes, weights: StoredType, seed: int | None
) -> None:
    """Write a checkpoint folder with random weights, or zeros when ``seed`` is None."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")
    (folder / TOKENIZER).write_bytes(pad_tokenizer(tokenizer, config.vocab_size))
    (folder / GENERATION).write_text("{}\n", encoding="utf-8")
    kind = "zeros" if seed is None else f"random, seed {seed}"
    (folder / CARD).write_text(f"# {config.name}\n\nUntrained ({kind}).\n", encoding="utf-8")
    layout = layout_of(config, TYPES[weights])
    if seed is None:
        write_sparse(folder / WEIGHTS, layout)
    else:
        write_tensors(folder / WEIGHTS, layout, random_tensors(config, TYPES[weights], seed))
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
            yield torch.full(shape, value, dtype=vector_type(dtype))
            continue
        scale = shrink if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
        matrix = torch.empty(shape).normal_(std=0.02 * scale, generator=generator)
        if dtype is torch.int8:
            yield from quantize_rows(matrix)
        else:
            yield matrix.to(dtype)
