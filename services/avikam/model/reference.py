"""The oracle: Avikam1 written a second time, plainly, for one sequence and any float type.

No cache, no fused call, a dense mask. Slow on purpose: every engine test compares against it,
so it shares nothing with the fast path but the weights and the config.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from avikam.model.config import ModelConfig


def reference_logits(
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    tokens: list[int],
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Logits [len(tokens), vocab] of every position, computed in ``dtype``."""
    w = {name: tensor.detach().to(dtype) for name, tensor in weights.items()}
    x = w["embed.weight"][torch.tensor(tokens, dtype=torch.long)]
    for layer in range(config.num_layers):
        p = f"blocks.{layer}."
        x = x + _attention(_norm(x, w[p + "attention_norm.weight"], config), w, config, layer)
        x = x + _mixture(_norm(x, w[p + "ffn_norm.weight"], config), w, config, p + "ffn.")
    head = w["embed.weight"] if config.tie_embeddings else w["head.weight"]
    return _norm(x, w["norm.weight"], config) @ head.T


def _norm(x: Tensor, weight: Tensor, config: ModelConfig) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + config.norm_eps) * weight


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _feed_forward(x: Tensor, w: Mapping[str, Tensor], config: ModelConfig, prefix: str) -> Tensor:
    up = x @ w[prefix + "up_proj.weight"].T
    if config.feed_forward == "swiglu":
        gate, value = up.split(config.intermediate_size, dim=-1)
        return (gate * torch.sigmoid(gate) * value) @ w[prefix + "down_proj.weight"].T
    return _gelu(up) @ w[prefix + "down_proj.weight"].T


def _mixture(x: Tensor, w: Mapping[str, Tensor], config: ModelConfig, prefix: str) -> Tensor:
    if config.num_experts == 1:
        return _feed_forward(x, w, config, prefix)
    scores = x @ w[prefix + "router.weight"].T
    out = torch.zeros_like(x)
    for row in range(len(x)):
        chosen = sorted(range(config.num_experts), key=lambda e: -float(scores[row, e]))
        chosen = chosen[: config.active_experts]
        shares = torch.softmax(scores[row, chosen], dim=0)
        for share, expert in zip(shares, chosen, strict=True):
            one = _feed_forward(x[row : row + 1], w, config, f"{prefix}experts.{expert}.")
            out[row] += share * one[0]
    return out


def _rotate(x: Tensor, config: ModelConfig) -> Tensor:
    """``x`` is [length, head_dim]; dimension d turns together with d + head_dim / 2."""
    half = config.head_dim // 2
    frequency = config.rope_theta ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(x.shape[0], dtype=x.dtype).unsqueeze(1) * frequency
    a, b = x[:, :half], x[:, half:]
    return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), dim=-1)


def _mask(length: int, config: ModelConfig, layer: int) -> Tensor:
    i = torch.arange(length).reshape(-1, 1)
    j = torch.arange(length).reshape(1, -1)
    if config.layer_types[layer] == "full":
        return j <= i
    return (j <= i) & ((i - j < config.window) | (j % config.stride == 0))


def _attention(x: Tensor, w: Mapping[str, Tensor], config: ModelConfig, layer: int) -> Tensor:
    prefix = f"blocks.{layer}.attention."
    fused = x @ w[prefix + "qkv_proj.weight"].T
    d, groups = config.head_dim, config.num_groups
    q_per, kv_per = config.num_heads // groups, config.num_kv_heads // groups
    share = config.num_heads // config.num_kv_heads
    allowed = _mask(len(x), config, layer)
    heads = []
    for head in range(config.num_heads):
        group, inner = divmod(head, q_per)
        base = group * (q_per + 2 * kv_per)
        kv = head // share - group * kv_per
        q = _rotate(_rows(fused, base + inner, d), config)
        k = _rotate(_rows(fused, base + q_per + kv, d), config)
        v = _rows(fused, base + q_per + kv_per + kv, d)
        scores = (q @ k.T / math.sqrt(d)).masked_fill(~allowed, -math.inf)
        heads.append(torch.softmax(scores, dim=-1) @ v)
    return torch.cat(heads, dim=-1) @ w[prefix + "o_proj.weight"].T


def _rows(fused: Tensor, head: int, head_dim: int) -> Tensor:
    return fused[:, head * head_dim : (head + 1) * head_dim]
