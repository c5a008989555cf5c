"""Weights in the order in which the library reads them: ``int8_tiles.h``, ``int4_tiles.h``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avikam.model.native.library import PANEL

GROUP = 32  # inputs of a four-bit group
_QUAD = 4  # inputs that one instruction multiplies and adds
_LEVELS = 15.0
_SMALLEST = 2.0**-24  # half-precision number above zero


def int8_panels(codes: Tensor) -> Tensor:
    """int8 [N, K] as uint8 [N / 32, K / 4, 32, 4], plus 128."""
    shifted = _whole_panels(codes).contiguous().view(torch.uint8).bitwise_xor(128)
    return shifted.unflatten(0, (-1, PANEL)).unflatten(2, (-1, _QUAD)).transpose(1, 2).contiguous()


def int4_panels(weight: Tensor) -> Tensor:
    """A float matrix [N, K] in four bits: bytes [N / 32, K / 32, 640]."""
    codes, scale, least = four_bits(weight)
    return packed_int4(codes, scale, least)


def four_bits(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(codes 0..15 [N, K] uint8, scale, least [N, K / 32] float16): w ~ code * scale + least.

    Each group spans its own smallest to largest value, so weights that came from such a grid (a
    GGUF file's Q4_1) keep it.
    """
    grouped = weight.detach().float().unflatten(1, (-1, GROUP))
    low, high = grouped.aminmax(dim=-1)
    least = low.half()
    scale = ((high - least.float()) / _LEVELS).clamp_(min=_SMALLEST).half()
    steps = (grouped - least.float().unsqueeze(-1)) / scale.float().unsqueeze(-1)
    return steps.round_().clamp_(0, _LEVELS).to(torch.uint8).flatten(1), scale, least


def packed_int4(codes: Tensor, scale: Tensor, least: Tensor) -> Tensor:
    """The pieces that ``int4_tiles.h`` draws: 512 bytes of codes, 32 scales, 32 leasts."""
    panels = _whole_panels(codes).unflatten(0, (-1, PANEL)).unflatten(2, (-1, GROUP // 8, 2, _QUAD))
    low, high = panels.permute(0, 2, 3, 4, 1, 5).unbind(3)  # [panels, groups, pairs, 32, 4]
    pairs = (low | high << 4).flatten(2)
    floats = [
        _whole_panels(t).unflatten(0, (-1, PANEL)).transpose(1, 2).contiguous().view(torch.uint8)
        for t in (scale, least)
    ]
    return torch.cat((pairs, *floats), dim=-1).contiguous()


def padded_outputs(outputs: int) -> int:
    """Outputs of whole panels."""
    return -(-outputs // PANEL) * PANEL


def padded_vector(values: Tensor) -> Tensor:
    """One float32 per output, with zeros up to whole panels."""
    return F.pad(values.float(), (0, -len(values) % PANEL)).contiguous()


def _whole_panels(matrix: Tensor) -> Tensor:
    return F.pad(matrix, (0, 0, 0, -matrix.shape[0] % PANEL))
