"""Avikam1 as an ordinary torch module tree with separate projections, as PEFT expects one.

``model.layers.i.self_attn.{q,k,v,o}_proj``: q, k and v are cut out of the fused matrix in plain
head order. Written for one sequence, slow and dense, to be compared with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avikam.model.config import ModelConfig
from avikam.model.masks import visible
from avikam.model.rotary import rotary_table, rotate
from avikam.model.transformer import split_qkv


class SelfAttention(nn.Module):
    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor], prefix: str) -> None:
        super().__init__()
        self.config = config
        packed = weights[prefix + "qkv_proj.weight"]
        q, k, v = (rows.flatten() for rows in split_qkv(torch.arange(config.qkv_rows), config))
        self.q_proj = _linear(packed[q])
        self.k_proj = _linear(packed[k])
        self.v_proj = _linear(packed[v])
        self.o_proj = _linear(weights[prefix + "o_proj.weight"])

    def forward(self, x: Tensor) -> Tensor:
        config, positions = self.config, torch.arange(len(x))
        table = rotary_table(config)[positions]
        q = rotate(self.q_proj(x).unflatten(-1, (-1, config.head_dim)), table)
        k = rotate(self.k_proj(x).unflatten(-1, (-1, config.head_dim)), table)
        v = self.v_proj(x).unflatten(-1, (-1, config.head_dim))
        share = config.num_heads // config.num_kv_heads
        k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(config.head_dim)
        mask = visible(positions, positions, config, "hybrid")
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        out: Tensor = self.o_proj(torch.einsum("hij,jhd->ihd", weights, v).flatten(1))
        return out


class Layer(nn.Module):
    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor], prefix: str) -> None:
        super().__init__()
        self.config = config
        self.self_attn = SelfAttention(config, weights, prefix + "attention.")
        self.first = weights[prefix + "attention_norm.weight"]
        self.second = weights[prefix + "ffn_norm.weight"]
        self.up = weights[prefix + "ffn.up_proj.weight"]
        self.down = weights[prefix + "ffn.down_proj.weight"]

    def forward(self, x: Tensor) -> Tensor:
        size, eps = x.shape[-1:], self.config.norm_eps
        x = x + self.self_attn(F.rms_norm(x, size, self.first, eps))
        hidden = F.gelu(F.rms_norm(x, size, self.second, eps) @ self.up.T, approximate="tanh")
        return x + hidden @ self.down.T


class Inner(nn.Module):
    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(config, weights, f"blocks.{i}.") for i in range(config.num_layers)
        )


class PlainModel(nn.Module):
    """``forward(tokens [n]) -> logits [n, vocab]``."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.shape = config
        self.model = Inner(config, weights)
        self.embedding = weights["embed.weight"]
        self.last = weights["norm.weight"]

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding[tokens]
        for layer in self.model.layers:
            x = layer(x)
        return F.rms_norm(x, x.shape[-1:], self.last, self.shape.norm_eps) @ self.embedding.T


def _linear(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return linear
