"""PEFT adapter folders with random factors, written on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PROJECTIONS


def key(layer: int, projection: str, side: str) -> str:
    return f"base_model.model.model.layers.{layer}.self_attn.{projection}.lora_{side}.weight"


def factors(config: ModelConfig, rank: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(config.num_layers):
        for projection in PROJECTIONS:
            kv = config.num_kv_heads * config.head_dim
            rows = kv if projection == "v_proj" else config.hidden_size
            a = torch.randn(rank, config.hidden_size, generator=generator)
            b = torch.randn(rows, rank, generator=generator)
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
    d, groups = config.head_dim, config.num_groups
    q_per, kv_per = config.num_heads // groups, config.num_kv_heads // groups
    for layer in range(config.num_layers):
        fused = result[f"blocks.{layer}.attention.qkv_proj.weight"].view(
            groups, -1, d, d * config.num_heads
        )
        for projection in PROJECTIONS:
            a, b = (tensors[key(layer, projection, side)] for side in "AB")
            delta = b @ a * scale
            if projection == "q_proj":
                fused[:, :q_per] += delta.view(groups, q_per, d, -1)
            elif projection == "v_proj":
                fused[:, q_per + kv_per :] += delta.view(groups, kv_per, d, -1)
            else:
                result[f"blocks.{layer}.attention.o_proj.weight"] += delta
    return result
