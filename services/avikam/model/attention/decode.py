"""Decoding over slots: one query per sequence, over the valid prefix of its slot.

A :data:`DecodeAttention` gets q [B, H, D], a layer's keys and values [slots, Hkv, entries, D],
and per row its slot and how many of the slot's entries count; it returns [B, H, D]. No shape
depends on positions, so a CUDA graph can hold it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DecodeAttention = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def plain_decode(q: Tensor, k: Tensor, v: Tensor, slots: Tensor, valid: Tensor) -> Tensor:
    """Softmax over gathered slots: on every device, and the oracle of the others."""
    share = q.shape[1] // k.shape[1]
    folded = q.unflatten(1, (k.shape[1], share))
    scores = (folded @ k[slots].transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    seen = torch.arange(k.shape[2], device=k.device) < valid.unsqueeze(1)
    weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(dim=-1)
    return (weights.to(v.dtype) @ v[slots]).flatten(1, 2)


def flash_decode() -> DecodeAttention:
    """FlashAttention 2's key/value cache call (flash-attn package), which reads slots in place."""
    from flash_attn import flash_attn_with_kvcache

    def decode(q: Tensor, k: Tensor, v: Tensor, slots: Tensor, valid: Tensor) -> Tensor:
        out: Tensor = flash_attn_with_kvcache(
            q.unsqueeze(1),
            k.transpose(1, 2),
            v.transpose(1, 2),
            cache_seqlens=valid.int(),
            cache_batch_idx=slots.int(),
            causal=False,
            num_splits=1,
        )
        return out.squeeze(1)

    return decode


def triton_decode() -> DecodeAttention:
    """Our kernel (:mod:`avikam.model.kernels.decode_attention`)."""
    from avikam.model.kernels.decode_attention import decode_attention

    return decode_attention
