"""How a model under test attends: with the arithmetic it is served with.

Float models use torch's attention. An int8 model on a CPU is served with 8-bit queries, keys,
values and softmax weights whose sums are exact, so a figure measured here with the same
operations is the served model's, to the last bit, whatever the batch was.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from avikam.model.attention.int8_slots import exact_attention, exact_entry
from avikam.model.attention.layout import SlotLayout
from avikam.model.config import ModelConfig
from avikam.model.linear import Int8Embedding
from avikam.model.transformer import Attend, Avikam1
from avikam.trainer.loss import row_masks
from avikam.trainer.packing import Batch


class Attention(Protocol):
    """What is remembered of keys and values, and how queries read it."""

    def entry(self, k: Tensor, v: Tensor) -> list[Tensor]:
        """What is kept of k, v [..., D]: tensors [..., D] or [...]."""
        ...

    def mix(self, q: Tensor, known: list[Tensor], mask: Tensor) -> Tensor:
        """q [B, H, M, D] over entries [B, Hkv, N, ...] where mask [B, 1, M, N]."""
        ...


class PlainAttention:
    """Torch's own, in the model's float type."""

    def entry(self, k: Tensor, v: Tensor) -> list[Tensor]:
        """What is kept of keys and values, (batch, heads, length, head size) each: themselves."""
        return [k, v]

    def mix(self, q: Tensor, known: list[Tensor], mask: Tensor) -> Tensor:
        """Softmax attention of ``q`` over what is known, where ``mask`` is true."""
        keys, values = known
        grouped = keys.shape[1] != q.shape[1]
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=grouped)


class ExactAttention:
    """The engine's int8 attention."""

    def __init__(self, config: ModelConfig) -> None:
        layouts = (SlotLayout(config, kind) for kind in set(config.layer_types))
        self._most_visible = max(layout.most_visible for layout in layouts)

    def entry(self, k: Tensor, v: Tensor) -> list[Tensor]:
        """Keys and values in int8, as the engine keeps them."""
        return exact_entry(k, v)

    def mix(self, q: Tensor, known: list[Tensor], mask: Tensor) -> Tensor:
        """The engine's integer attention of ``q`` over what is known, where ``mask`` is true."""
        share = q.shape[1] // known[0].shape[1]
        known = [tensor.repeat_interleave(share, 1) for tensor in known] if share > 1 else known
        return exact_attention(q, known, mask, self._most_visible)


def attention_of(model: Avikam1) -> Attention:
    """The attention a model is served with."""
    served_exact = isinstance(model.embed, Int8Embedding) and model.rotary.device.type == "cpu"
    return ExactAttention(model.config) if served_exact else PlainAttention()


def row_attention(model: Avikam1, batch: Batch) -> Attend:
    """Attention over whole packed rows, nothing remembered."""
    attention, masks = attention_of(model), row_masks(model, batch)
    layer_types = model.config.layer_types

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        known = [tensor.transpose(1, 2) for tensor in attention.entry(k, v)]
        return attention.mix(q.transpose(1, 2), known, masks[layer_types[layer]]).transpose(1, 2)

    return attend


class DenseCache:
    """Every position's entries: per layer, tensors [rows, kv heads, length, ...]."""

    def __init__(self, model: Avikam1, rows: int, length: int) -> None:
        config = model.config
        self.attention = attention_of(model)
        shape = (rows, config.num_kv_heads, length, config.head_dim)
        like = model.norm.weight
        blank = torch.zeros(shape, dtype=like.dtype, device=model.rotary.device)
        self.layers = [
            [t.clone() for t in self.attention.entry(blank, blank)]
            for _ in range(config.num_layers)
        ]

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these."""
        self.layers = [[tensor[rows] for tensor in layer] for layer in self.layers]
