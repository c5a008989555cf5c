"""Gumbel noise without state: a pure function of (seed, absolute position, token id).

Adding Gumbel noise to logits and taking the argmax samples from their softmax (Gumbel 1954). As
the noise comes from a counter-based hash (SplitMix64, Steele et al. 2014), neither batch order
nor preemption nor a change of worker alters what a seed gives.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = 2**64 - 1


def _mix_int(z: int) -> int:
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def row_key(seed: int, position: int) -> int:
    """64 bits that name one sampling event."""
    return _mix_int(_mix_int((seed + _GOLDEN) & _MASK) + (position + 1) * _GOLDEN & _MASK)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 words."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def gumbel(keys: list[int], vocab_size: int) -> Tensor:
    """Noise float32 [len(keys), vocab_size]; int64 arithmetic wraps as uint64 does."""
    tokens = torch.arange(1, vocab_size + 1, dtype=torch.int64) * _signed(_GOLDEN)
    z = torch.tensor([_signed(key) for key in keys], dtype=torch.int64).unsqueeze(1) + tokens
    z = (z ^ _shift(z, 30)) * _signed(_MIX_1)
    z = (z ^ _shift(z, 27)) * _signed(_MIX_2)
    z = z ^ _shift(z, 31)
    uniform = (_shift(z, 11).double() + 0.5) * 2.0**-53
    return (-(-uniform.log()).log()).float()
