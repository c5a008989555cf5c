"""A snapshot in another slot, or through a cold block, continues as if nothing had happened."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avikam.engine.build import slot_cache
from avikam.engine.kv.block import BlockFormat
from avikam.engine.kv.keys import token_bytes
from avikam.model.attention.plan import StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.attention.snapshot import Snapshot
from avikam.model.config import ModelConfig
from avikam.model.transformer import Avikam1
from tests.engine.kv.models import small_model
from tests.model.builders import random_tokens, small_config

LENGTHS = {"int8": 600, "int8-torch": 200, "float32": 100, "bfloat16": 100}
KEY, SEAL = bytes(32), b"s" * 32


@torch.inference_mode()
def decode(model: Avikam1, cache: SlotState, slot: int, position: int, token: int) -> Tensor:
    plan = StepPlan((slot,), (position,))
    cache.begin(plan)
    return model.logits(model(torch.tensor([token]), plan.positions(), cache.attend))


@pytest.fixture(scope="module", params=list(LENGTHS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return small_config(max_positions=640, layer_types=("hybrid", "full"))


def test_after_every_prefix_the_next_logits_are_the_same_bits(
    config: ModelConfig, kind: str
) -> None:
    weights, _, torch_only = kind.partition("-")
    model = small_model(config, weights)
    cache = slot_cache(config, 2, weights, native=not torch_only)  # type: ignore[arg-type]
    blocks = BlockFormat(cache, "exact")
    tokens = random_tokens(config, LENGTHS[kind] + 1)
    for seen, token in enumerate(tokens):
        saved = cache.snapshot(0, seen)
        expected = decode(model, cache, 0, seen, token)
        if seen:
            prefix = token_bytes(tokens[:seen])
            block = blocks.encode(saved, KEY, prefix, SEAL)
            saved = blocks.decode(block, KEY, prefix, SEAL)
        cache.clear(1)
        cache.restore(1, saved)
        assert torch.equal(decode(model, cache, 1, seen, token), expected), f"after {seen}"


def test_a_snapshot_is_a_copy(config: ModelConfig) -> None:
    model, cache = small_model(config, "int8"), slot_cache(config, 1, "int8")
    decode(model, cache, 0, 0, 5)
    saved = cache.snapshot(0, 1)
    before = [t.clone() for layer in saved.layers for t in layer]
    decode(model, cache, 0, 0, 9)
    cache.clear(0)
    assert all(map(torch.equal, before, (t for layer in saved.layers for t in layer)))


def test_int8_snapshots_are_a_quarter_of_the_slot(config: ModelConfig) -> None:
    cache = slot_cache(config, 1, "int8", native=False)
    codes, scales = config.head_dim, 4
    share = (codes + scales) / (4 * codes + scales)
    assert cache.snapshot(0, 640).bytes == pytest.approx(cache.bytes_per_slot() * share)


def test_what_is_not_a_number_is_noticed(config: ModelConfig) -> None:
    cache = slot_cache(config, 1, "int8")
    saved = cache.snapshot(0, 20)
    assert saved.finite
    codes, scales, *rest = saved.layers[0]
    scales[0, 3] = torch.nan
    assert not Snapshot(20, ((codes, scales, *rest), *saved.layers[1:])).finite
