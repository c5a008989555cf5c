"""LoRA on a sharded model: A of o_proj and down_proj is cut by columns and summed, B of the others
by rows."""

from __future__ import annotations

from torch import Tensor, nn

from avikam.model.linear import FloatLinear, int8_linear
from avikam.model.lora import MakePair
from avikam.model.parallel.group import RankGroup
from avikam.model.parallel.linear import SummedInt8, SummedLinear
from avikam.model.parallel.shard import Sharding
from avikam.model.quantize import quantize_rows

_SPREAD = ("o_proj", "down_proj")


def sharded_pair(sharding: Sharding, group: RankGroup, *, exact: bool, device: str) -> MakePair:
    """What :class:`avikam.model.lora.AppliedAdapter` needs to make one rank's products.

    Exact factors are quantised whole, then cut: every rank has the scales of one rank's.
    """

    def whole(weight: Tensor) -> nn.Module:
        return int8_linear(*quantize_rows(weight)) if exact else FloatLinear(weight.to(device))

    def rows(weight: Tensor) -> nn.Module:
        if not exact:
            return FloatLinear(sharding.rows(weight).to(device))
        codes, scale = quantize_rows(weight)
        return int8_linear(sharding.rows(codes).contiguous(), sharding.rows(scale).contiguous())

    def columns(weight: Tensor) -> nn.Module:
        if not exact:
            return SummedLinear(FloatLinear(sharding.columns(weight).to(device)), group)
        codes, scale = quantize_rows(weight)
        return SummedInt8(sharding.columns(codes), scale, group)

    def pair(projection: str, a: Tensor, b: Tensor) -> tuple[nn.Module, nn.Module]:
        return (columns(a), whole(b)) if projection in _SPREAD else (whole(a), rows(b))

    return pair
