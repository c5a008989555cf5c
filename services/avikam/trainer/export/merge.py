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
        prefix = f"blocks.{layer}.attention."
        if projection == "o_proj":
            result[prefix + "o_proj.weight"] += delta
        else:
            rows = packed_rows(config, projection)
            fused = result[prefix + "qkv_proj.weight"]
            result[prefix + "qkv_proj.weight"] = torch.index_add(fused, 0, rows, delta)
    return result
