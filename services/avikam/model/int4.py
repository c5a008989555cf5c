"""Four-bit weights in groups along a row, and products with them.

weight [N, K] ~= (codes - 8) * scale + centre      codes 0..15, scale and centre [N, K / group]

Each group of 64 weights (32 where K is no multiple of 64) spans its own smallest to largest value:
4.5 bits per weight, scales included. Activations stay floats, so sums round, and what a row gives
may depend on the batch's shape; int8 is the exact type.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

log = logging.getLogger(__name__)

_MIDDLE = 8.0
_LEVELS = 15.0
_INNER_TILES = 8  # of CUDA's packed form


class UngroupableError(ValueError):
    """A matrix whose rows cannot be cut into groups."""


@dataclass(frozen=True, slots=True)
class Int4Matrix:
    """``codes`` [N, K] uint8 in 0..15, ``scale`` and ``centre`` [N, K / group] bfloat16."""

    codes: Tensor
    scale: Tensor
    centre: Tensor
    group: int

    def dequantize(self) -> Tensor:
        """The float32 matrix that the codes stand for."""
        grouped = self.codes.unflatten(1, (-1, self.group)).float() - _MIDDLE
        scale, centre = self.scale.float().unsqueeze(-1), self.centre.float().unsqueeze(-1)
        return (grouped * scale + centre).flatten(1)


def quantize_groups(weight: Tensor) -> Int4Matrix:
    """The nearest four-bit matrix."""
    columns = weight.shape[1]
    group = next((size for size in (64, 32) if columns % size == 0), 0)
    if not group:
        raise UngroupableError(
            f"rows of {columns} weights cannot be cut into groups of 32 for int4; use int8"
        )
    grouped = weight.detach().float().unflatten(1, (-1, group))
    least, most = grouped.aminmax(dim=-1)
    scale = ((most - least) / _LEVELS).clamp_(min=1e-8).bfloat16()
    centre = (least + _MIDDLE * scale.float()).bfloat16()
    steps = (grouped - centre.float().unsqueeze(-1)) / scale.float().unsqueeze(-1) + _MIDDLE
    codes = steps.round_().clamp_(0, _LEVELS).to(torch.uint8).flatten(1)
    return Int4Matrix(codes, scale, centre, group)


class PackedInt4(nn.Module):
    """PyTorch's four-bit product with prepacked weights, on a CPU or a GPU."""

    def __init__(self, matrix: Int4Matrix) -> None:
        super().__init__()
        self._group = matrix.group
        scales = torch.stack((matrix.scale, matrix.centre), dim=-1)
        self._scales = scales.transpose(0, 1).contiguous()  # [K / group, N, 2]
        if matrix.codes.is_cuda:
            pairs = matrix.codes[:, ::2] << 4 | matrix.codes[:, 1::2]
            self._packed = torch.ops.aten._convert_weight_to_int4pack(pairs, _INNER_TILES)
            self._product = torch.ops.aten._weight_int4pack_mm
        else:
            codes = matrix.codes.int()
            self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
            self._product = torch.ops.aten._weight_int4pack_mm_for_cpu

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        out = self._product(rows.bfloat16(), self._packed, self._group, self._scales)
        return out.to(x.dtype).unflatten(0, x.shape[:-1])


class PortableInt4(nn.Module):
    """Two codes per byte in memory, unpacked for each product: small everywhere, fast nowhere."""

    def __init__(self, matrix: Int4Matrix) -> None:
        super().__init__()
        self._pairs = matrix.codes[:, ::2] << 4 | matrix.codes[:, 1::2]
        self._scale, self._centre, self._group = matrix.scale, matrix.centre, matrix.group

    def forward(self, x: Tensor) -> Tensor:
        codes = torch.stack((self._pairs >> 4, self._pairs & 15), dim=-1).flatten(1)
        matrix = Int4Matrix(codes, self._scale, self._centre, self._group)
        return F.linear(x, matrix.dequantize().to(x.dtype))


@functools.cache
def packed_problem(device: str) -> str:
    """Why PyTorch's four-bit product cannot be used on ``device``; empty when it is right."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(64, 256, generator=generator).to(device)
    x = torch.randn(3, 256, generator=generator).to(device, torch.bfloat16)
    return _problem(lambda: PackedInt4(quantize_groups(weight))(x), quantize_groups(weight), x)


def _problem(product: Callable[[], Tensor], matrix: Int4Matrix, x: Tensor) -> str:
    try:
        ours = product().float()
    except (AttributeError, NotImplementedError, RuntimeError) as error:
        return f"operator missing or refused: {type(error).__name__}"
    oracle = F.linear(x.float(), matrix.dequantize())
    worst = float((ours - oracle).abs().max() / oracle.abs().max())
    return "" if worst < 0.02 else f"operator is off by {worst:.1%} on this device"


def int4_linear(weight: Tensor) -> nn.Module:
    """The best four-bit product that ``weight``'s device has for its shape."""
    matrix = quantize_groups(weight)
    problem = packed_problem(weight.device.type)
    if not problem:
        try:
            return PackedInt4(matrix)
        except RuntimeError as error:  # a shape that the packed form does not know
            problem = str(error).partition("\n")[0]
    log.info("int4 products of %s run portably: %s", tuple(weight.shape), problem)
    return PortableInt4(matrix)
