"""Matrix products for inference on a CPU: prepacked floats, or exact int8.

Int8 products quantise each activation row on its own (u8, zero point 128) and accumulate in
int32. Integer sums have no order, so a row's result does not depend on the rows beside it: the
same request gives the same tokens alone and in a batch.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

log = logging.getLogger(__name__)

_FLOAT32_EXACT = 2**24  # integers up to here are exact in float32
_SMALLEST = 1e-30  # scale of a row of zeros


def quantize_activations(x: Tensor, largest: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rows [T, K] as integer-valued float32 in -127..127, and their scales [T, 1].

    ``largest`` [T, 1] overrides a row's own largest value, where x holds only part of the row.
    """
    if largest is None:
        largest = x.abs().amax(dim=-1, keepdim=True)
    scale = largest.mul_(1 / 127).clamp_(min=_SMALLEST)  # NaN stays NaN
    return (x / scale).round_(), scale


class OneDnnInt8(nn.Module):
    """oneDNN's u8 x s8 product with prepacked weights."""

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        super().__init__()
        self._packed = torch.ops.onednn.qlinear_prepack(codes.contiguous(), None)
        self._scale = scale.float().contiguous()
        self._zeros = torch.zeros(len(scale), dtype=torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        codes, row_scale = quantize_activations(x)
        return self.multiply(codes) * row_scale

    def multiply(self, codes: Tensor) -> Tensor:
        """Products of integer-valued rows, times the weights' scales."""
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            codes.add_(128.0).to(torch.uint8),
            1.0,
            128,
            self._packed,
            self._scale,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return out


class PortableInt8(nn.Module):
    """The same integers through a float product that is wide enough to be exact."""

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        super().__init__()
        exact = codes.shape[1] * 127 * 127 < _FLOAT32_EXACT
        self._dtype = torch.float32 if exact else torch.float64
        self._codes = codes.to(self._dtype)
        self._scale = scale.float()

    def forward(self, x: Tensor) -> Tensor:
        codes, row_scale = quantize_activations(x)
        return self.multiply(codes) * row_scale

    def multiply(self, codes: Tensor) -> Tensor:
        """Products of integer-valued rows, times the weights' scales."""
        return F.linear(codes.to(self._dtype), self._codes).float() * self._scale


@functools.cache
def onednn_problem() -> str:
    """Why oneDNN's int8 product cannot be used here; empty when it is exact (self-test)."""
    try:
        generator = torch.Generator().manual_seed(1)
        codes = torch.randint(-127, 128, (48, 64), generator=generator, dtype=torch.int8)
        x = torch.randn(5, 64, generator=generator) * 3
        scale = torch.rand(48, generator=generator)
        ours, oracle = OneDnnInt8(codes, scale)(x), PortableInt8(codes, scale)(x)
    except (AttributeError, NotImplementedError, RuntimeError) as error:
        return f"operator missing or refused: {type(error).__name__}"
    if not torch.allclose(ours, oracle, rtol=1e-6, atol=1e-5):
        return "operator is not exact on this processor"
    return ""


def integer_product(codes: Tensor) -> Callable[[Tensor], Tensor]:
    """Products of integer-valued rows with ``codes``: the sums themselves, without a scale."""
    return int8_linear(codes, torch.ones(len(codes))).multiply


def int8_linear(codes: Tensor, scale: Tensor) -> OneDnnInt8 | PortableInt8:
    """The best exact int8 product this machine has."""
    problem = onednn_problem()
    if problem:
        log.info("int8 products run portably: oneDNN %s", problem)
        return PortableInt8(codes, scale)
    return OneDnnInt8(codes, scale)


class Biased(nn.Module):
    """Any product, and a bias added to its rows."""

    def __init__(self, product: nn.Module, bias: Tensor) -> None:
        super().__init__()
        self.product = product
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.product(x)
        return out + self.bias.to(out.dtype)


class FloatLinear(nn.Module):
    """``F.linear`` in the weight's own type."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight)


class PackedBfloat16(nn.Module):
    """oneDNN bfloat16 product with prepacked weights: twice ``F.linear`` for few rows."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, None, "none", [], "")
        return out


def float_linear(weight: Tensor) -> nn.Module:
    """A float product on the weight's device, prepacked where that exists."""
    if weight.dtype == torch.bfloat16 and weight.device.type == "cpu":
        try:
            packed = PackedBfloat16(weight)
            packed(torch.zeros(1, weight.shape[1], dtype=torch.bfloat16))
        except (AttributeError, NotImplementedError, RuntimeError) as error:
            log.info("bfloat16 products are not prepacked: %s", type(error).__name__)
        else:
            return packed
    return FloatLinear(weight)


class Int8Embedding(nn.Module):
    """Rows of an int8 table, dequantised as they are read."""

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        super().__init__()
        self._codes = codes
        self._scale = scale.float()

    def forward(self, tokens: Tensor) -> Tensor:
        return self._codes[tokens].float() * self._scale[tokens].unsqueeze(-1)
