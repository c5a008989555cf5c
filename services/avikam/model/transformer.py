"""Avikam1: a pre-norm decoder whose attention is handed in by the caller.

The same layers serve training and inference. What differs is who remembers keys and values, so
every attention layer calls ``attend(layer, q, k, v)``: the trainer passes a masked call over
the whole row, the engine one that writes to slots and reads from them.

    tokens -> embed -> [ norm -> qkv -> rotate -> attend -> o -> + -> norm -> ffn -> + ] x L -> norm

What other families add is a number of the config: biases, norms of queries and keys, norms behind
attention and FFN, a scale of the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avikam.model.config import ModelConfig
from avikam.model.mixture import Mixture
from avikam.model.rotary import rotary_table, rotate

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q [..., H, D], k [..., Hkv, D], v [..., Hkv, D]) -> [..., H, D]."""

Adapt = Callable[[int, str, Tensor, Tensor], Tensor]
"""(layer, a name of :data:`avikam.model.lora.PROJECTIONS`, input [rows, in], output [rows, out])
-> output."""


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float, device: str | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size, device=device))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


class Linear(nn.Linear):
    """A matrix that starts empty: a checkpoint or :func:`initialize` fills it."""

    def __init__(self, columns: int, rows: int, device: str | None, *, bias: bool = False) -> None:
        super().__init__(columns, rows, bias=bias, device=device)

    def reset_parameters(self) -> None:
        """Nothing: what torch would draw is never used."""


class Embedding(nn.Embedding):
    """The same for the table of token vectors."""

    def reset_parameters(self) -> None:
        """Nothing, as in :class:`Linear`."""


class Attention(nn.Module):
    """Fused grouped QKV, rotary positions, output projection."""

    def __init__(self, config: ModelConfig, layer: int, device: str | None) -> None:
        super().__init__()
        self.layer = layer
        self.config = config
        self.qkv_proj = Linear(config.hidden_size, config.qkv_rows, device, bias=config.qkv_bias)
        self.o_proj = Linear(config.mixed_size, config.hidden_size, device, bias=config.output_bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, config.norm_eps, device)
            self.k_norm = RMSNorm(config.head_dim, config.norm_eps, device)

    def forward(self, x: Tensor, table: Tensor, attend: Attend, adapt: Adapt | None) -> Tensor:
        q, k, v = split_qkv(self.qkv_proj(x), self.config)
        if adapt is not None:
            q = adapt(self.layer, "q_proj", x, q.flatten(-2)).view_as(q)
            k = adapt(self.layer, "k_proj", x, k.flatten(-2)).view_as(k)
            v = adapt(self.layer, "v_proj", x, v.flatten(-2)).view_as(v)
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        heads = (self.config.num_heads, self.config.num_kv_heads)
        q, k = rotate(torch.cat((q, k), dim=-2), table).split(heads, dim=-2)
        mixed = attend(self.layer, q, k, v).flatten(-2)
        out = self.o_proj(mixed)
        return out if adapt is None else adapt(self.layer, "o_proj", mixed, out)


def split_qkv(fused: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Undo the packing [q_g | k_g | v_g] x groups: three tensors [..., heads, head_dim].

    One group is one tensor-parallel shard, so a rank's rows are contiguous.
    """
    groups = config.num_groups
    q_heads, kv_heads = config.num_heads // groups, config.num_kv_heads // groups
    grouped = fused.unflatten(-1, (groups, q_heads + 2 * kv_heads, config.head_dim))
    q, k, v = grouped.split((q_heads, kv_heads, kv_heads), dim=-2)
    return q.flatten(-3, -2), k.flatten(-3, -2), v.flatten(-3, -2)


class FeedForward(nn.Module):
    """Linear -> GELU(tanh) -> Linear, or gated: SwiGLU and GeGLU (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig, device: str | None, layer: int = 0) -> None:
        super().__init__()
        self.layer = layer
        self.gated, self.kind = config.gated, config.feed_forward
        rows = config.intermediate_size * (2 if self.gated else 1)
        self.up_proj = Linear(config.hidden_size, rows, device)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, device)

    def forward(self, x: Tensor, adapt: Adapt | None = None) -> Tensor:
        inner = self._inner(x, adapt)
        out: Tensor = self.down_proj(inner)
        return out if adapt is None else adapt(self.layer, "down_proj", inner, out)

    def _inner(self, x: Tensor, adapt: Adapt | None) -> Tensor:
        up = self.up_proj(x)
        gate, value = up.chunk(2, dim=-1) if self.gated else (None, up)
        if adapt is not None:
            gate = None if gate is None else adapt(self.layer, "gate_proj", x, gate)
            value = adapt(self.layer, "up_proj", x, value)
        if gate is None:
            return F.gelu(value, approximate="tanh")
        opened = F.silu(gate) if self.kind == "swiglu" else F.gelu(gate, approximate="tanh")
        return opened * value


def feed_forward(config: ModelConfig, device: str | None, layer: int) -> nn.Module:
    """A layer's FFN: one, or a mixture of several."""
    if config.num_experts == 1:
        return FeedForward(config, device, layer)
    experts = nn.ModuleList(FeedForward(config, device) for _ in range(config.num_experts))
    router = Linear(config.hidden_size, config.num_experts, device)
    return Mixture(router, experts, config.active_experts)


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: ModelConfig, layer: int, device: str | None) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.norm_eps, device)
        self.attention = Attention(config, layer, device)
        self.ffn_norm = RMSNorm(config.hidden_size, config.norm_eps, device)
        self.ffn = feed_forward(config, device, layer)
        self.adapted = config.num_experts == 1
        self.post_norms = config.post_norms
        if config.post_norms:
            self.attention_post_norm = RMSNorm(config.hidden_size, config.norm_eps, device)
            self.ffn_post_norm = RMSNorm(config.hidden_size, config.norm_eps, device)

    def forward(self, x: Tensor, table: Tensor, attend: Attend, adapt: Adapt | None) -> Tensor:
        mixed = self.attention(self.attention_norm(x), table, attend, adapt)
        x = x + (self.attention_post_norm(mixed) if self.post_norms else mixed)
        fed = self.ffn(self.ffn_norm(x), adapt) if self.adapted else self.ffn(self.ffn_norm(x))
        return x + (self.ffn_post_norm(fed) if self.post_norms else fed)


class Avikam1(nn.Module):
    """The model: embeddings, blocks, final norm and head. ``device`` "meta" makes it weightless."""

    rotary: Tensor
    rotary_local: Tensor | None

    def __init__(self, config: ModelConfig, device: str | None = None) -> None:
        super().__init__()
        self.config = config
        self.embed = Embedding(config.vocab_size, config.hidden_size, device=device)
        self.blocks = nn.ModuleList(Block(config, i, device) for i in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps, device)
        self.head = Linear(config.hidden_size, config.vocab_size, device)
        if config.tie_embeddings:
            self.head.weight = self.embed.weight
        self.register_buffer("rotary", rotary_table(config), persistent=False)
        local = rotary_table(config, local=True) if config.rope_local_theta else None
        self.register_buffer("rotary_local", local, persistent=False)

    def forward(
        self, tokens: Tensor, positions: Tensor, attend: Attend, adapt: Adapt | None = None
    ) -> Tensor:
        """Hidden states [..., hidden] of ``tokens`` [...] at absolute ``positions`` [...]."""
        x = self.embedded(tokens)
        tables = self.turns(positions, x.dtype)
        for block, table in zip(self.blocks, tables, strict=True):
            x = block(x, table, attend, adapt)
        return self.norm(x)

    def embedded(self, tokens: Tensor) -> Tensor:
        """Vectors [..., hidden] of ``tokens`` [...], as the first block takes them."""
        x: Tensor = self.embed(tokens)
        return x if self.config.embed_scale == 1.0 else x * self.config.embed_scale

    def turns(self, positions: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Each layer's rows [..., 2, head_dim / 2] of its rotary table."""
        table = self.rotary[positions].to(dtype)
        if self.rotary_local is None:
            return [table] * self.config.num_layers
        local = self.rotary_local[positions].to(dtype)
        return [local if kind == "window" else table for kind in self.config.layer_types]

    def place_rotary(self, device: str) -> None:
        """Move the tables, which no checkpoint holds, to ``device``."""
        self.rotary = self.rotary.to(device)
        if self.rotary_local is not None:
            self.rotary_local = self.rotary_local.to(device)

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 logits [..., vocab] of hidden states [..., hidden]."""
        return self.head(hidden).float()


def initialize(model: Avikam1, seed: int) -> None:
    """Normal(0, 0.02), output projections scaled by 1/sqrt(2 layers) (GPT-2's recipe)."""
    generator = torch.Generator().manual_seed(seed)
    shrink = (2 * model.config.num_layers) ** -0.5
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            nn.init.constant_(weight, 0.0 if name.endswith(".bias") else 1.0)
            continue
        scale = shrink if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
        nn.init.normal_(weight, std=0.02 * scale, generator=generator)
