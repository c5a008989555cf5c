"""Avikam1 as an ordinary torch module tree with separate projections, which ``peft`` can load into.

``model.layers.i.self_attn.{q,k,v,o}_proj`` are ``nn.Linear``: q, k and v are cut out of the fused
matrix in plain head order, the order of the adapters that ``avikam train finetune`` writes. One
sequence at a time, dense and slow: to look at an adapter, to merge or compare it, not to serve.

    from peft import PeftModel
    from avikam.trainer.finetuning.plain_model import load_plain_model

    model = PeftModel.from_pretrained(load_plain_model("models/avikam1-nano"), "adapters/mine")
    logits = model(torch.tensor(tokens))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avikam.model.checkpoint import load_checkpoint
from avikam.model.config import LayerType, ModelConfig
from avikam.model.masks import visible
from avikam.model.quantize import float_state
from avikam.model.rotary import rotary_table, rotate
from avikam.model.transformer import split_qkv


def load_plain_model(folder: str | Path) -> PlainModel:
    """The checkpoint in ``folder`` in float32; int8 weights become the floats they stand for."""
    checkpoint = load_checkpoint(Path(folder))
    return PlainModel(checkpoint.config, float_state(checkpoint.weights))


class SelfAttention(nn.Module):
    """One layer's attention over a whole sequence [n, hidden]."""

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, Tensor], prefix: str, kind: LayerType
    ) -> None:
        super().__init__()
        self.config = config
        self.kind = kind
        packed = weights[prefix + "qkv_proj.weight"]
        q, k, v = (rows.flatten() for rows in split_qkv(torch.arange(config.qkv_rows), config))
        self.q_proj = _linear(packed[q])
        self.k_proj = _linear(packed[k])
        self.v_proj = _linear(packed[v])
        self.o_proj = _linear(weights[prefix + "o_proj.weight"])

    def forward(self, x: Tensor) -> Tensor:
        """Attend by the mask of this layer's type."""
        config, positions = self.config, torch.arange(len(x))
        table = rotary_table(config)[positions]
        q = rotate(self.q_proj(x).unflatten(-1, (-1, config.head_dim)), table)
        k = rotate(self.k_proj(x).unflatten(-1, (-1, config.head_dim)), table)
        v = self.v_proj(x).unflatten(-1, (-1, config.head_dim))
        share = config.num_heads // config.num_kv_heads
        k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(config.head_dim)
        mask = visible(positions, positions, config, self.kind)
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        out: Tensor = self.o_proj(torch.einsum("hij,jhd->ihd", weights, v).flatten(1))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each after its norm."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor], index: int) -> None:
        super().__init__()
        self.config = config
        prefix, kind = f"blocks.{index}.", config.layer_types[index]
        self.self_attn = SelfAttention(config, weights, prefix + "attention.", kind)
        self.first = weights[prefix + "attention_norm.weight"]
        self.second = weights[prefix + "ffn_norm.weight"]
        self.up = weights[prefix + "ffn.up_proj.weight"]
        self.down = weights[prefix + "ffn.down_proj.weight"]

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states [n, hidden] of the next layer."""
        size, eps = x.shape[-1:], self.config.norm_eps
        x = x + self.self_attn(F.rms_norm(x, size, self.first, eps))
        up = F.rms_norm(x, size, self.second, eps) @ self.up.T
        if self.config.feed_forward == "swiglu":
            gate, value = up.chunk(2, dim=-1)
            return x + (F.silu(gate) * value) @ self.down.T
        return x + F.gelu(up, approximate="tanh") @ self.down.T


class Inner(nn.Module):
    """Holds the layers, so that their names are those of PEFT's files."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, weights, i) for i in range(config.num_layers))


class PlainModel(nn.Module):
    """``forward(tokens [n]) -> logits [n, vocab]``; ValueError for a mixture of experts."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        if config.num_experts > 1:
            raise ValueError(f"{config.name} is a mixture of {config.num_experts} experts")
        self.shape = config
        self.model = Inner(config, weights)
        self.embedding = weights["embed.weight"]
        self.head = weights["embed.weight" if config.tie_embeddings else "head.weight"]
        self.last = weights["norm.weight"]

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits after each of ``tokens``."""
        x = self.embedding[tokens]
        for layer in self.model.layers:
            x = layer(x)
        return F.rms_norm(x, x.shape[-1:], self.last, self.shape.norm_eps) @ self.head.T


def _linear(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return linear
