"""One rank's part of a checkpoint, ready to run."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from avikam.model.config import ModelConfig
from avikam.model.linear import Biased
from avikam.model.loading import WeightType, build_model, runs_exact
from avikam.model.parallel.group import RankGroup
from avikam.model.parallel.linear import SummedInt8, SummedLinear
from avikam.model.parallel.shard import Sharding, shard_config
from avikam.model.quantize import SCALE_SUFFIX
from avikam.model.transformer import Avikam1

_SPREAD_INPUT = ("o_proj", "down_proj")


def build_shard(
    config: ModelConfig,
    stored: Mapping[str, Tensor],
    kind: WeightType,
    device: str,
    group: RankGroup,
) -> Avikam1:
    """The model of ``group``'s rank; all ranks must run the same steps from here on."""
    exact = runs_exact(kind, device)
    weights = Sharding(config, group.rank, group.ranks).weights(stored, int8=exact)
    model = build_model(shard_config(config, group.ranks), weights, kind, device)
    for name, module in list(model.named_modules()):
        parent, _, child = name.rpartition(".")
        if child in _SPREAD_INPUT:
            owner = model.get_submodule(parent)
            setattr(owner, child, _summed(name, module, weights, group, exact=exact))
    return model


def _summed(
    name: str, product: nn.Module, weights: Mapping[str, Tensor], group: RankGroup, *, exact: bool
) -> nn.Module:
    if isinstance(product, Biased):
        return Biased(_summed(name, product.product, weights, group, exact=exact), product.bias)
    if not exact:
        return SummedLinear(product, group)
    matrix = name + ".weight"
    return SummedInt8(weights[matrix], weights[matrix + SCALE_SUFFIX], group)
