"""Products whose input is spread over the ranks: each multiplies its columns, then all add up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avikam.model.linear import integer_product, quantize_activations
from avikam.model.parallel.group import RankGroup

_FLOAT32_EXACT = 2**24


class SummedLinear(nn.Module):
    """A float product over this rank's columns, summed."""

    def __init__(self, product: nn.Module, group: RankGroup) -> None:
        super().__init__()
        self._product = product
        self._group = group

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs of this rank) to (..., outputs), summed over the ranks."""
        return self._group.sum(self._product(x))


class SummedInt8(nn.Module):
    """The exact int8 product of a whole row that lies in parts on the ranks.

    The ranks agree on a row's largest activation, so they quantise as one rank would; what they
    add are integers. The result is the one-rank model's, bit for bit, as long as one rank's sums
    stay below 2^24 (1,040 columns a rank); beyond, float32 rounds them.
    """

    def __init__(self, codes: Tensor, scale: Tensor, group: RankGroup) -> None:
        super().__init__()
        self._product = integer_product(codes)
        self._scale = scale.float()
        self._group = group
        small = codes.shape[1] * group.ranks * 127 * 127 < _FLOAT32_EXACT
        self._sums = torch.float32 if small else torch.float64

    def forward(self, x: Tensor) -> Tensor:
        """(rows, inputs of this rank) to (rows, outputs), exact: integers are what is summed."""
        codes, row_scale = quantize_activations(x, self._largest(x))
        sums = self._group.sum(self._product(codes).to(self._sums)).float()
        return sums * self._scale * row_scale

    def _largest(self, x: Tensor) -> Tensor:
        """Largest activation per row, NaN where a rank met one: a maximum alone may lose it."""
        mine = x.abs().amax(dim=-1, keepdim=True).nan_to_num(nan=torch.inf)
        largest = self._group.max(mine)
        return torch.where(largest.isinf(), torch.nan, largest)
