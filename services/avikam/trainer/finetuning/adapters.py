"""Trainable LoRA factors for q, v and o of every layer (Hu et al. 2021, arXiv 2106.09685).

The fused QKV matrix is packed by groups, ``[q_0 k_0 v_0 | q_1 k_1 v_1 | ...]``. Adapters know
nothing of it: the model unpacks first and offers each projection in plain head order, which is
how PEFT names and shapes them. :func:`packed_rows` gives the way back for merging.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avikam.model.config import ModelConfig
from avikam.model.transformer import split_qkv

PROJECTIONS = ("q_proj", "v_proj", "o_proj")


class Adapters(nn.Module):
    """A [rank, in] ~ N(0, 1/sqrt(rank)), B [out, rank] = 0, so that training starts at the base."""

    def __init__(
        self, config: ModelConfig, rank: int, alpha: float, dropout: float, seed: int
    ) -> None:
        super().__init__()
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.layers = config.num_layers
        self.down = nn.ParameterDict()
        self.up = nn.ParameterDict()
        generator = torch.Generator().manual_seed(seed)
        outputs = {"v_proj": config.num_kv_heads * config.head_dim}
        for layer in range(config.num_layers):
            for projection in PROJECTIONS:
                name = f"{layer}_{projection}"
                down = torch.randn(rank, config.hidden_size, generator=generator) * rank**-0.5
                rows = outputs.get(projection, config.hidden_size)
                self.down[name] = nn.Parameter(down)
                self.up[name] = nn.Parameter(torch.zeros(rows, rank))

    def adapt(self, layer: int, projection: str, x: Tensor, out: Tensor) -> Tensor:
        """``out + dropout(x) A^T B^T * alpha / rank``; what the model's ``adapt`` hook calls."""
        name = f"{layer}_{projection}"
        if projection not in PROJECTIONS:
            return out
        x = F.dropout(x, self.dropout, self.training)
        delta = F.linear(F.linear(x, self.down[name]), self.up[name])
        return out + (delta * (self.alpha / self.rank)).to(out.dtype)

    def of_layer(self, layer: int) -> list[nn.Parameter]:
        """All factors of one layer."""
        names = [f"{layer}_{projection}" for projection in PROJECTIONS]
        return [side[name] for name in names for side in (self.down, self.up)]

    def train_layers(self, layers: frozenset[int]) -> None:
        """Let only these layers learn."""
        for layer in range(self.layers):
            for factor in self.of_layer(layer):
                factor.requires_grad_(layer in layers)

    def gradient_norm(self, layer: int) -> float:
        """Norm of the gradients that one layer has received."""
        gradients = [f.grad for f in self.of_layer(layer) if f.grad is not None]
        return float(torch.stack([g.norm() for g in gradients]).norm()) if gradients else 0.0


def packed_rows(config: ModelConfig, projection: str) -> Tensor:
    """Rows of the fused QKV matrix that hold one of its three, in plain head order."""
    parts = split_qkv(torch.arange(config.qkv_rows), config)
    return parts[("q_proj", "k_proj", "v_proj").index(projection)].flatten()
