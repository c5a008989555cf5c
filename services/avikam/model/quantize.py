"""Int8 weights: symmetric, one scale per output row.

weight [N, K] ~= codes [N, K] int8 * scale [N] float32,   scale = max |row| / 127
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE_SUFFIX = "_scale"


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(int8 codes, float32 scales) of a matrix, row by row; rows of zeros get scale 1."""
    weight = weight.detach().float()
    scale = weight.abs().amax(dim=1) / 127
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (weight / scale.unsqueeze(1)).round().to(torch.int8), scale


def dequantize_rows(codes: Tensor, scale: Tensor) -> Tensor:
    """The float32 matrix that codes and scales stand for."""
    return codes.float() * scale.unsqueeze(1)


def quantize_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors with every matrix in int8; vectors stay float32."""
    state: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if weight.dim() == 2:
            state[name], state[name + SCALE_SUFFIX] = quantize_rows(weight)
        else:
            state[name] = weight.detach().float()
    return state


def float_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 tensors of a checkpoint, dequantised where they are int8."""
    return {
        name: dequantize_rows(tensor, state[name + SCALE_SUFFIX])
        if tensor.dtype == torch.int8
        else tensor.float()
        for name, tensor in state.items()
        if not name.endswith(SCALE_SUFFIX)
    }
