"""Slots of int8 keys and values, and attention whose sums are exact.

Keys, values and queries are quantised per token and head, the softmax weights to 8 bits per
query. What is summed are integers small enough that float32 holds every partial sum exactly, so
the order of summation does not matter: a token's result is the same, bit for bit, whether it
was decoded alone, in a batch, or prefilled in chunks of any size. (8-bit queries, keys and
weights: SageAttention, Zhang et al. 2024, arXiv 2410.02367.)

    score_ij = (q_i . k_j) * sq_i * sk_j / sqrt(D)              |q.k|  <= D * 127^2     < 2^24
    Z_i      = sum_j round(2^15 exp(score_ij - max_i)) / 2^15   sum    <= 512 * 2^15   <= 2^24
    out_i    = sum_j w_ij v_j * (max_w / 255) / Z_i             |w.v|  <= 518 * 255 * 127 < 2^24
               where w_ij = round(255 exp(...) sv_j / max_w)

Layers whose queries see more keys than that sum in float64, which is exact far beyond.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avikam.model.attention.slots import SlotCache
from avikam.model.linear import quantize_activations

_MOST_IN_FLOAT32 = 512
_UNIT = 2.0**15


class Int8Slots(SlotCache):
    """Integer-valued float32 storage: the products run on float units, the memory is float's."""

    name = "cpu-int8-exact"

    def _storage(self, length: int) -> list[Tensor]:
        shape = (self.slots, self.config.num_kv_heads, length)
        codes = (*shape, self.config.head_dim)
        return [torch.zeros(codes), torch.zeros(shape), torch.zeros(codes), torch.zeros(shape)]

    def _snapshot_types(self) -> list[torch.dtype]:
        return [torch.int8, torch.float32, torch.int8, torch.float32]

    def _entry(self, k: Tensor, v: Tensor) -> list[Tensor]:
        return exact_entry(k, v)

    def _mix(self, q: Tensor, known: list[Tensor], mask: Tensor) -> Tensor:
        most = max(layout.most_visible for layout in self.layouts.values())
        return exact_attention(q, known, mask, most)


def exact_entry(k: Tensor, v: Tensor) -> list[Tensor]:
    """What is kept of k, v [..., D]: integer-valued codes [..., D] and scales [...] of each."""
    k_codes, k_scale = quantize_activations(k)
    v_codes, v_scale = quantize_activations(v)
    return [k_codes, k_scale.squeeze(-1), v_codes, v_scale.squeeze(-1)]


def exact_attention(q: Tensor, known: list[Tensor], mask: Tensor, most_visible: int) -> Tensor:
    """Attention of q [..., M, D] over entries [..., N, ...] where mask [..., M, N].

    ``most_visible`` is the largest number of keys that a query of the model can see.
    """
    keys, key_scale, values, value_scale = known
    codes, scale = quantize_activations(q)
    scores = codes @ keys.transpose(-1, -2)
    scores = scores * (scale * q.shape[-1] ** -0.5) * key_scale.unsqueeze(-2)
    scores = scores.masked_fill_(~mask, -torch.inf)
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp_()
    total = _sum((weights * _UNIT).round_(), most_visible) / _UNIT
    mixing, mixing_scale = _to_bytes(weights * value_scale.unsqueeze(-2))
    return _product(mixing, values, most_visible) * (mixing_scale / total)


def _sum(units: Tensor, most_visible: int) -> Tensor:
    if most_visible > _MOST_IN_FLOAT32:
        return units.double().sum(dim=-1, keepdim=True).float()
    return units.sum(dim=-1, keepdim=True)


def _product(weights: Tensor, values: Tensor, most_visible: int) -> Tensor:
    if most_visible > _MOST_IN_FLOAT32:
        return (weights.double() @ values.double()).float()
    return weights @ values


def _to_bytes(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Non-negative rows as integers 0..255, and their scales; rows of zeros get scale 1."""
    scale = weights.amax(dim=-1, keepdim=True) * (1 / 255)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (weights / scale).round_(), scale
