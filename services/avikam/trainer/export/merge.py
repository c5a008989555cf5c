"""Writing an adapter into the weights it was trained on: ``W + scale * B A``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.lora import Adapter
from avikam.trainer.finetuning.adapters import packed_rows


def merged(
    weights: Mapping[str, Tensor], adapter: Adapter, config: ModelConfig
) -> dict[str, Tensor]:
    """The float32 weights of a model that answers as base and adapter together."""
    result = {name: weight.float().clone() for name, weight in weights.items()}
    for (layer, projection), (down, up) in adapter.factors.items():
        delta = up.float() @ down.float()
        name, rows = place_of(config, projection)
        whole = result[f"blocks.{layer}.{name}.weight"]
        result[f"blocks.{layer}.{name}.weight"] = torch.index_add(whole, 0, rows, delta)
    return result


def place_of(config: ModelConfig, projection: str) -> tuple[str, Tensor]:
    """Our matrix that holds a projection, and the rows of it, in plain order."""
    inner = torch.arange(config.intermediate_size)
    if projection in ("q_proj", "k_proj", "v_proj"):
        return "attention.qkv_proj", packed_rows(config, projection)
    if projection == "gate_proj":
        return "ffn.up_proj", inner
    if projection == "up_proj":
        return "ffn.up_proj", inner + config.intermediate_size * config.gated
    owner = "attention.o_proj" if projection == "o_proj" else "ffn.down_proj"
    return owner, torch.arange(config.hidden_size)
