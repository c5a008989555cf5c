"""Attention of one query per sequence over the valid prefix of its slot.

One program per (sequence, key head): it walks the slot in blocks and keeps the softmax running
(Milakov & Gimelshein 2018, arXiv 1805.02867). Valid entries are a prefix, so there is no mask but
the end; slots are read where they lie, whatever their order in the batch. Shapes and addresses do
not depend on positions, so a CUDA graph can hold the call.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 64


@triton.jit
def _kernel(
    q, k, v, out, slots, valid, scale,
    q_row, q_head, k_slot, k_head, k_entry,
    SHARE: tl.constexpr, SHARE_PADDED: tl.constexpr,
    SIZE: tl.constexpr, SIZE_PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, key_head = tl.program_id(0), tl.program_id(1)
    slot = tl.load(slots + row).to(tl.int64)
    count = tl.load(valid + row)
    heads = tl.arange(0, SHARE_PADDED)
    columns = tl.arange(0, SIZE_PADDED)
    inside = (heads < SHARE)[:, None] & (columns < SIZE)[None, :]
    q_at = row * q_row + (key_head * SHARE + heads)[:, None] * q_head + columns[None, :]
    query = tl.load(q + q_at, mask=inside, other=0.0).to(tl.float32) * scale
    base = slot * k_slot + key_head * k_head
    most = tl.full((SHARE_PADDED,), -float("inf"), tl.float32)
    total = tl.zeros((SHARE_PADDED,), tl.float32)
    mixed = tl.zeros((SHARE_PADDED, SIZE_PADDED), tl.float32)
    for start in range(0, count, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        real = entries < count
        at = base + entries[:, None] * k_entry + columns[None, :]
        there = real[:, None] & (columns < SIZE)[None, :]
        keys = tl.load(k + at, mask=there, other=0.0).to(tl.float32)
        scores = tl.sum(query[:, None, :] * keys[None, :, :], axis=2)
        scores = tl.where(real[None, :], scores, -float("inf"))
        peak = tl.maximum(most, tl.max(scores, axis=1))
        weights = tl.exp(scores - peak[:, None])
        shrink = tl.exp(most - peak)
        values = tl.load(v + at, mask=there, other=0.0).to(tl.float32)
        total = total * shrink + tl.sum(weights, axis=1)
        mixed = mixed * shrink[:, None] + tl.sum(weights[:, :, None] * values[None, :, :], axis=1)
        most = peak
    mixed = mixed / total[:, None]
    tl.store(out + q_at, mixed.to(out.dtype.element_ty), mask=inside)


def decode_attention(q: Tensor, k: Tensor, v: Tensor, slots: Tensor, valid: Tensor) -> Tensor:
    """q [B, H, D] over k, v [slots, Hkv, entries, D]; ``slots``, ``valid`` [B]: out [B, H, D].

    Row b sees the first ``valid[b]`` >= 1 entries of slot ``slots[b]``.
    """
    q = q.contiguous()
    rows, heads, size = q.shape
    share = heads // k.shape[1]
    out = torch.empty_like(q)
    _kernel[(rows, k.shape[1])](
        q, k, v, out, slots, valid, size**-0.5,
        q.stride(0), q.stride(1), k.stride(0), k.stride(1), k.stride(2),
        SHARE=share, SHARE_PADDED=triton.next_power_of_2(share),
        SIZE=size, SIZE_PADDED=triton.next_power_of_2(size), BLOCK=_BLOCK,
    )  # fmt: skip
    return out
