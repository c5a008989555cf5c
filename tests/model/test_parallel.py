"""One rank's part of a model, and all parts together: against the whole model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.slots import SlotCache
from avikam.model.checkpoint import expected_shapes
from avikam.model.config import ConfigError, ModelConfig, preset
from avikam.model.loading import WeightType, build_model
from avikam.model.parallel.linear import SummedInt8
from avikam.model.parallel.loading import build_shard
from avikam.model.parallel.shard import Sharding, shard_config
from avikam.model.quantize import quantize_rows
from avikam.model.transformer import Avikam1
from tests.model.builders import random_tokens, random_weights, small_config
from tests.model.test_attention import cuts, run

WIDE = {"num_heads": 8, "num_kv_heads": 4}
SHAPES = {
    "multi-head": small_config(),
    "gqa, full layer": small_config(**WIDE, num_layers=2, layer_types=("hybrid", "full")),
    "swiglu": small_config(feed_forward="swiglu", tie_embeddings=False),
    "experts": small_config(num_experts=4, active_experts=2),
    "biases and norms": small_config(
        qkv_bias=True, output_bias=True, qk_norm=True, post_norms=True, feed_forward="geglu"
    ),
}


class ThreadRanks:
    """Ranks that are threads of this process."""

    def __init__(self, rank: int, ranks: int, barrier: threading.Barrier, desk: list[Tensor]):
        self.rank = rank
        self.ranks = ranks
        self._barrier = barrier
        self._desk = desk

    def sum(self, tensor: Tensor) -> Tensor:
        return self._reduce(tensor, lambda parts: torch.stack(parts).sum(0))

    def max(self, tensor: Tensor) -> Tensor:
        return self._reduce(tensor, lambda parts: torch.stack(parts).amax(0))

    def _reduce(self, tensor: Tensor, combine: Callable[[list[Tensor]], Tensor]) -> Tensor:
        self._desk[self.rank] = tensor
        self._barrier.wait(60)
        result = combine(self._desk)
        self._barrier.wait(60)
        return result


def on_ranks(ranks: int, work: Callable[[ThreadRanks], Tensor]) -> list[Tensor]:
    """What ``work`` gives on each of ``ranks`` threads."""
    barrier, desk = threading.Barrier(ranks), [torch.empty(0)] * ranks
    with ThreadPoolExecutor(ranks) as pool:
        groups = [ThreadRanks(rank, ranks, barrier, desk) for rank in range(ranks)]
        return list(pool.map(work, groups))


def slots(config: ModelConfig, kind: WeightType) -> SlotCache:
    return Int8Slots(config, 2) if kind == "int8" else FloatSlots(config, 2)


def logits(model: Avikam1, config: ModelConfig, kind: WeightType, tokens: list[int]) -> Tensor:
    with torch.inference_mode():
        return run(model, slots(config, kind), tokens, cuts(len(tokens), 7))


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_all_parts_together_are_the_whole_model(ranks: int, shape: str, kind: WeightType) -> None:
    config = SHAPES[shape]
    weights = random_weights(config)
    tokens = random_tokens(config, 40)
    whole = logits(build_model(config, weights, kind), config, kind, tokens)

    def part(group: ThreadRanks) -> Tensor:
        model = build_shard(config, weights, kind, "cpu", group)
        return logits(model, shard_config(config, ranks), kind, tokens)

    for mine in on_ranks(ranks, part):
        if kind == "int8":
            assert torch.equal(mine, whole), "integer sums have no order"
        else:
            assert (mine - whole).abs().max() < 1e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_every_weight_of_a_part_has_the_parts_shape(shape: str) -> None:
    config = SHAPES[shape]
    weights = random_weights(config)
    for rank in range(4):
        mine = Sharding(config, rank, 4).weights(weights, int8=False)
        shapes = {name: tuple(tensor.shape) for name, tensor in mine.items()}
        assert shapes == expected_shapes(shard_config(config, 4))


def test_four_ranks_share_the_big_model_in_quarters() -> None:
    config = preset("avikam1-7b")
    quarter = shard_config(config, 4)
    assert (quarter.num_heads, quarter.head_dim, quarter.num_groups) == (8, 128, 1)
    whole = 2 * config.vocab_size * config.hidden_size
    blocks = config.parameter_count() - whole
    assert quarter.parameter_count() - whole == pytest.approx(blocks / 4, rel=1e-3)


def test_a_number_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 ranks do not divide num_groups 4"):
        shard_config(preset("avikam1-7b"), 3)


def test_a_nan_on_one_rank_is_nan_on_all() -> None:
    codes, scale = quantize_rows(torch.randn(16, 32, generator=torch.Generator().manual_seed(0)))
    x = torch.ones(2, 32)
    x[1, 20] = torch.nan

    def part(group: ThreadRanks) -> Tensor:
        half = slice(group.rank * 16, group.rank * 16 + 16)
        product = SummedInt8(codes[:, half].contiguous(), scale, group)
        return product.forward(x[:, half].contiguous())

    for out in on_ranks(2, part):
        assert bool(out[0].isfinite().all())
        assert bool(out[1].isnan().all())
