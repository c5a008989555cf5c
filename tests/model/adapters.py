"""PEFT adapter folders with random factors, written on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.lora import IN_ATTENTION, PROJECTIONS, factor_sizes
from avikam.model.lora_files import ADAPTER_WEIGHTS
from avikam.model.lora_settings import ADAPTER_CONFIG


def key(layer: int, projection: str, side: str) -> str:
    part = "self_attn" if projection in IN_ATTENTION else "mlp"
    return f"base_model.model.model.layers.{layer}.{part}.{projection}.lora_{side}.weight"


def factors(
    config: ModelConfig,
    rank: int = 4,
    seed: int = 0,
    projections: tuple[str, ...] = ("q_proj", "v_proj", "o_proj"),
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(config.num_layers):
        for projection in projections:
            inputs, outputs = factor_sizes(config, projection)
            a = torch.randn(rank, inputs, generator=generator)
            b = torch.randn(outputs, rank, generator=generator)
            tensors[key(layer, projection, "A")] = a * 0.3
            tensors[key(layer, projection, "B")] = b * 0.3
    return tensors


def write_adapter(folder: Path, tensors: dict[str, Tensor], rank: int = 4, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 8,
        "target_modules": list(PROJECTIONS),
        "bias": "none",
        "use_dora": False,
        "modules_to_save": None,
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config | settings))
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    return folder


def merged(
    weights: dict[str, Tensor], tensors: dict[str, Tensor], config: ModelConfig, scale: float
) -> dict[str, Tensor]:
    """The weights with the adapter's product added to the rows it belongs to."""
    result = {name: weight.clone() for name, weight in weights.items()}
    for layer in range(config.num_layers):
        for projection in PROJECTIONS:
            if key(layer, projection, "A") in tensors:
                a, b = (tensors[key(layer, projection, side)] for side in "AB")
                _rows_of(result, config, layer, projection).add_(
                    (b @ a * scale).view(_rows_of(result, config, layer, projection).shape)
                )
    return result


def _rows_of(
    weights: dict[str, Tensor], config: ModelConfig, layer: int, projection: str
) -> Tensor:
    """A view of the rows of one projection, groups of heads apart where they are packed."""
    block = f"blocks.{layer}."
    d, groups = config.head_dim, config.num_groups
    q_per, kv_per = config.num_heads // groups, config.num_kv_heads // groups
    if projection in ("q_proj", "k_proj", "v_proj"):
        fused = weights[block + "attention.qkv_proj.weight"]
        packed = fused.view(groups, -1, d * fused.shape[1])
        first, count = {
            "q_proj": (0, q_per), "k_proj": (q_per, kv_per), "v_proj": (q_per + kv_per, kv_per)
        }[projection]  # fmt: skip
        return packed[:, first : first + count]
    if projection in ("gate_proj", "up_proj"):
        both = weights[block + "ffn.up_proj.weight"]
        gate = config.intermediate_size if config.gated else 0
        return both[:gate] if projection == "gate_proj" else both[gate:]
    owner = "attention.o_proj" if projection == "o_proj" else "ffn.down_proj"
    return weights[f"{block}{owner}.weight"]
