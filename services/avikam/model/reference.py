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
from avikam.model.rope_scaling import RopeScaling


def reference_logits(
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    tokens: list[int],
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Logits [len(tokens), vocab] of every position, computed in ``dtype``."""
    w = {name: tensor.detach().to(dtype) for name, tensor in weights.items()}
    x = w["embed.weight"][torch.tensor(tokens, dtype=torch.long)] * config.embed_scale
    for layer in range(config.num_layers):
        p = f"blocks.{layer}."
        y = _attention(_norm(x, w[p + "attention_norm.weight"], config), w, config, layer)
        x = x + (_norm(y, w[p + "attention_post_norm.weight"], config) if config.post_norms else y)
        y = _mixture(_norm(x, w[p + "ffn_norm.weight"], config), w, config, p + "ffn.")
        x = x + (_norm(y, w[p + "ffn_post_norm.weight"], config) if config.post_norms else y)
    head = w["embed.weight"] if config.tie_embeddings else w["head.weight"]
    return _norm(x, w["norm.weight"], config) @ head.T


def _norm(x: Tensor, weight: Tensor, config: ModelConfig) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + config.norm_eps) * weight


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _feed_forward(x: Tensor, w: Mapping[str, Tensor], config: ModelConfig, prefix: str) -> Tensor:
    up = x @ w[prefix + "up_proj.weight"].T
    if config.gated:
        gate, value = up.split(config.intermediate_size, dim=-1)
        opened = gate * torch.sigmoid(gate) if config.feed_forward == "swiglu" else _gelu(gate)
        return (opened * value) @ w[prefix + "down_proj.weight"].T
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


def _rotate(x: Tensor, config: ModelConfig, layer: int) -> Tensor:
    """``x`` is [length, head_dim]; dimension d turns together with d + head_dim / 2."""
    half = config.head_dim // 2
    local = config.layer_types[layer] == "window" and config.rope_local_theta > 0
    theta = config.rope_local_theta if local else config.rope_theta
    scaling = RopeScaling() if local else config.rope_scaling
    frequency = [_frequency(d, half, theta, scaling) for d in range(half)]
    size = scaling.attention_factor if scaling.kind == "yarn" else 1.0
    angle = torch.arange(x.shape[0], dtype=x.dtype).unsqueeze(1) * x.new_tensor(frequency)
    cos, sin = angle.cos() * size, angle.sin() * size
    a, b = x[:, :half], x[:, half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def _frequency(d: int, half: int, theta: float, scaling: RopeScaling) -> float:
    """Radians per position of one pair of dimensions."""
    frequency = theta ** (-d / half)
    if scaling.kind == "linear":
        return frequency / scaling.factor
    if scaling.kind == "llama3":
        wavelength = 2 * math.pi / frequency
        if wavelength > scaling.original_positions / scaling.low_frequency:
            return frequency / scaling.factor
        if wavelength < scaling.original_positions / scaling.high_frequency:
            return frequency
        smooth = scaling.original_positions / wavelength - scaling.low_frequency
        smooth /= scaling.high_frequency - scaling.low_frequency
        return (1 - smooth) * frequency / scaling.factor + smooth * frequency
    if scaling.kind == "yarn":
        slowed = _yarn_share(d, half, theta, scaling)
        return slowed * frequency / scaling.factor + (1 - slowed) * frequency
    return frequency


def _yarn_share(d: int, half: int, theta: float, scaling: RopeScaling) -> float:
    """How much of pair ``d`` is slowed down: 0 for the fastest, 1 for the slowest."""
    edges = [
        half * math.log(scaling.original_positions / (turns * 2 * math.pi)) / math.log(theta)
        for turns in (scaling.beta_fast, scaling.beta_slow)
    ]
    if scaling.truncate:
        edges = [math.floor(edges[0]), math.ceil(edges[1])]
    low, high = max(edges[0], 0), min(edges[1], 2 * half - 1)
    return min(1.0, max(0.0, (d - low) / (high - low if high != low else 0.001)))


def _mask(length: int, config: ModelConfig, layer: int) -> Tensor:
    i = torch.arange(length).reshape(-1, 1)
    j = torch.arange(length).reshape(1, -1)
    if config.layer_types[layer] == "full":
        return j <= i
    if config.layer_types[layer] == "window":
        return (j <= i) & (i - j < config.window)
    return (j <= i) & ((i - j < config.window) | (j % config.stride == 0))


def _attention(x: Tensor, w: Mapping[str, Tensor], config: ModelConfig, layer: int) -> Tensor:
    prefix = f"blocks.{layer}.attention."
    fused = x @ w[prefix + "qkv_proj.weight"].T
    if config.qkv_bias:
        fused = fused + w[prefix + "qkv_proj.bias"]
    d, groups = config.head_dim, config.num_groups
    q_per, kv_per = config.num_heads // groups, config.num_kv_heads // groups
    share = config.num_heads // config.num_kv_heads
    allowed = _mask(len(x), config, layer)
    heads = []
    for head in range(config.num_heads):
        group, inner = divmod(head, q_per)
        base = group * (q_per + 2 * kv_per)
        kv = head // share - group * kv_per
        q, k = _rows(fused, base + inner, d), _rows(fused, base + q_per + kv, d)
        if config.qk_norm:
            q = _norm(q, w[prefix + "q_norm.weight"], config)
            k = _norm(k, w[prefix + "k_norm.weight"], config)
        q, k = _rotate(q, config, layer), _rotate(k, config, layer)
        v = _rows(fused, base + q_per + kv_per + kv, d)
        scores = (q @ k.T / math.sqrt(d)).masked_fill(~allowed, -math.inf)
        heads.append(torch.softmax(scores, dim=-1) @ v)
    out = torch.cat(heads, dim=-1) @ w[prefix + "o_proj.weight"].T
    return out + w[prefix + "o_proj.bias"] if config.output_bias else out


def _rows(fused: Tensor, head: int, head_dim: int) -> Tensor:
    return fused[:, head * head_dim : (head + 1) * head_dim]
