"""Which part of a model one rank holds.

matrix          cut by       a rank keeps
qkv_proj        rows         its QKV groups
o_proj          columns      what its heads hand over
up_proj         rows         its share of the inner width (of both halves, with SwiGLU)
down_proj       columns      the same share
everything else              all of it; the bias of o_proj is added after the ranks' sum
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avikam.model.config import ConfigError, ModelConfig
from avikam.model.quantize import SCALE_SUFFIX, quantize_rows

_CUT_BY_ROWS = ("qkv_proj", "up_proj")
_CUT_BY_COLUMNS = ("o_proj", "down_proj")


def check_ranks(config: ModelConfig, ranks: int) -> None:
    """Raise :class:`ConfigError` for a number of ranks that the model cannot be cut into."""
    for name in ("num_groups", "intermediate_size"):
        if getattr(config, name) % ranks:
            raise ConfigError(
                f"{ranks} ranks do not divide {name} {getattr(config, name)} of "
                f"{config.name!r}; use 1, 2 or 4"
            )


def shard_config(config: ModelConfig, ranks: int) -> ModelConfig:
    """The shape of one rank's part."""
    check_ranks(config, ranks)
    return config.with_changes(
        num_heads=config.num_heads // ranks,
        num_kv_heads=config.num_kv_heads // ranks,
        num_groups=config.num_groups // ranks,
        intermediate_size=config.intermediate_size // ranks,
        head_size=config.head_dim,
    )


class Sharding:
    """Cuts the tensors of a model for one rank."""

    def __init__(self, config: ModelConfig, rank: int, ranks: int) -> None:
        check_ranks(config, ranks)
        self._config = config
        self.rank = rank
        self.ranks = ranks

    def weights(self, stored: Mapping[str, Tensor], *, int8: bool) -> dict[str, Tensor]:
        """This rank's tensors. With ``int8``, matrices are quantised before they are cut.

        So every rank uses the scales of whole rows, and their sums are the whole model's.
        """
        whole = dict(stored)
        if int8:
            for name, tensor in stored.items():
                if tensor.dim() == 2 and tensor.dtype != torch.int8:
                    whole[name], whole[name + SCALE_SUFFIX] = quantize_rows(tensor)
        return {name: self._cut(name, tensor) for name, tensor in whole.items()}

    def rows(self, tensor: Tensor) -> Tensor:
        """This rank's part of the first dimension."""
        return tensor.chunk(self.ranks)[self.rank]

    def columns(self, tensor: Tensor) -> Tensor:
        """This rank's part of the last dimension."""
        return tensor.chunk(self.ranks, dim=-1)[self.rank].contiguous()

    def _cut(self, name: str, tensor: Tensor) -> Tensor:
        owner, _, part = name.removesuffix(SCALE_SUFFIX).rpartition(".")
        matrix = owner.rpartition(".")[2]
        if matrix == "up_proj" and self._config.gated:
            return torch.cat([self.rows(half) for half in tensor.chunk(2)])
        if matrix in _CUT_BY_ROWS:
            return self.rows(tensor)
        if matrix in _CUT_BY_COLUMNS and part == "weight" and not name.endswith(SCALE_SUFFIX):
            return self.columns(tensor)
        return tensor
