"""A checkpoint is a folder; this file writes, reads and verifies it.

    config.json              the model's numbers
    model.safetensors        weights; int8 matrices carry a `<name>_scale` beside them
    tokenizer.model          SentencePiece, Avikam1's own
    tokenizer.json           or that of the model it was imported from, and beside it
    tokenizer_config.json    its end tokens and chat template (:mod:`avikam.model.vocabulary.words`)
    generation_config.json   default sampling
    MODEL_CARD.md            what it is, from what, how good
    origin.json              of an imported model: its source, revision and licence
    manifest.json            sha256 of every other file

The manifest is written last: a folder that was cut off while being written never verifies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avikam.model.config import ConfigError, ModelConfig
from avikam.model.manifest import (
    CONFIG,
    MANIFEST,
    TOKENIZER,
    WEIGHTS,
    manifest_problems,
    sha256,
    write_manifest,
)
from avikam.model.quantize import SCALE_SUFFIX

GENERATION, CARD = "generation_config.json", "MODEL_CARD.md"
ORIGIN = "origin.json"


class CheckpointError(ValueError):
    """A checkpoint folder that cannot be served; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as read: tensors are memory-mapped until they are used."""

    folder: Path
    config: ModelConfig
    weights: dict[str, Tensor]
    generation: dict[str, Any]
    digest: str
    origin: dict[str, str] = field(default_factory=dict)

    @property
    def tokenizer_file(self) -> Path:
        return self.folder / TOKENIZER

    @property
    def stored_type(self) -> str:
        """``int8`` or the float type of the matrices, e.g. ``bfloat16``."""
        return str(self.weights["embed.weight"].dtype).removeprefix("torch.")


def write_checkpoint(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: bytes,
    generation: Mapping[str, Any] | None = None,
    card: str = "",
) -> None:
    """Write a complete folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")
    tensors = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
    if config.tie_embeddings:
        tensors.pop("head.weight", None)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    # safetensors writes for the owner only; a server often runs as somebody else.
    (folder / WEIGHTS).chmod(0o644)
    (folder / TOKENIZER).write_bytes(tokenizer)
    text = json.dumps(dict(generation or {}), indent=2) + "\n"
    (folder / GENERATION).write_text(text, encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    write_manifest(folder)


def load_checkpoint(folder: Path, verify: bool = True) -> Checkpoint:
    """Read a folder; with ``verify`` every file must match the manifest first."""
    if verify:
        for problem in verify_checkpoint(folder):
            raise CheckpointError(f"checkpoint {folder}: {problem}")
    config = _read_config(folder)
    weights = _read_weights(folder / WEIGHTS)
    for problem in _tensor_problems(weights, config):
        raise CheckpointError(f"checkpoint {folder}: {problem}")
    return Checkpoint(
        folder=folder,
        config=config,
        weights=weights,
        generation=_read_json(folder / GENERATION),
        digest=sha256(folder / MANIFEST),
        origin=_read_json(folder / ORIGIN),
    )


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def verify_checkpoint(folder: Path) -> list[str]:
    """Everything that is wrong with a folder; empty when it can be served."""
    problems = manifest_problems(folder)
    if problems:
        return problems
    try:
        return _tensor_problems(_read_weights(folder / WEIGHTS), _read_config(folder))
    except (CheckpointError, ConfigError) as error:
        return [str(error)]


def describe_checkpoint(folder: Path) -> dict[str, Any]:
    """What ``avikam model show`` prints."""
    checkpoint = load_checkpoint(folder, verify=False)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {
        "name": checkpoint.config.name,
        "parameters": checkpoint.config.parameter_count(),
        "weights": checkpoint.stored_type,
        "digest": checkpoint.digest,
        "config": json.loads(checkpoint.config.to_json()),
        "generation": checkpoint.generation,
        "origin": checkpoint.origin,
        "files": {path.name: path.stat().st_size for path in files},
    }


def _read_config(folder: Path) -> ModelConfig:
    return ModelConfig.from_file(folder / CONFIG)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is not a safetensors file: {error}") from error


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a model."""
    h = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"embed.weight": (config.vocab_size, h)}
    for layer in range(config.num_layers):
        block = f"blocks.{layer}."
        shapes |= {
            block + "attention_norm.weight": (h,),
            block + "attention.qkv_proj.weight": (config.qkv_rows, h),
            block + "attention.o_proj.weight": (h, config.mixed_size),
            block + "ffn_norm.weight": (h,),
        }
        shapes |= {block + name: shape for name, shape in _vector_shapes(config).items()}
        shapes |= {block + "ffn." + name: shape for name, shape in _ffn_shapes(config).items()}
    shapes["norm.weight"] = (h,)
    if not config.tie_embeddings:
        shapes["head.weight"] = (config.vocab_size, h)
    return shapes


def _vector_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Biases and further norms that some families have, in one layer."""
    h = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    if config.qkv_bias:
        shapes["attention.qkv_proj.bias"] = (config.qkv_rows,)
    if config.output_bias:
        shapes["attention.o_proj.bias"] = (h,)
    if config.qk_norm:
        shapes |= {f"attention.{side}_norm.weight": (config.head_dim,) for side in "qk"}
    if config.post_norms:
        shapes |= {"attention_post_norm.weight": (h,), "ffn_post_norm.weight": (h,)}
    return shapes


def _ffn_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The same for the FFN of one layer."""
    h, inner = config.hidden_size, config.intermediate_size
    up_rows = inner * (2 if config.gated else 1)
    one: dict[str, tuple[int, ...]] = {
        "up_proj.weight": (up_rows, h),
        "down_proj.weight": (h, inner),
    }
    if config.num_experts == 1:
        return one
    shapes: dict[str, tuple[int, ...]] = {"router.weight": (config.num_experts, h)}
    for expert in range(config.num_experts):
        shapes |= {f"experts.{expert}.{name}": shape for name, shape in one.items()}
    return shapes


def _tensor_problems(weights: Mapping[str, Tensor], config: ModelConfig) -> list[str]:
    expected = expected_shapes(config)
    problems = [f"weight {name} is missing" for name in expected if name not in weights]
    for name, tensor in weights.items():
        base = name.removesuffix(SCALE_SUFFIX)
        if base not in expected:
            problems.append(f"unknown weight {name}")
            continue
        wanted = expected[base][:1] if name != base else expected[base]
        if tuple(tensor.shape) != wanted:
            problems.append(f"weight {name} has shape {tuple(tensor.shape)}, needs {wanted}")
        elif name == base and tensor.dtype == torch.int8 and name + SCALE_SUFFIX not in weights:
            problems.append(f"int8 weight {name} has no {SCALE_SUFFIX[1:]}")
    return problems
