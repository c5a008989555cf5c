"""Slots against the oracle: every prompt length, every way to cut it into chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.layout import SlotLayout
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.slots import SlotCache, SlotState
from avikam.model.config import ModelConfig, preset
from avikam.model.loading import from_float_weights, from_int8_weights
from avikam.model.masks import visible
from avikam.model.reference import reference_logits
from avikam.model.transformer import Avikam1
from tests.model.builders import random_tokens, random_weights, small_config

MIXED = small_config(
    num_heads=8, num_kv_heads=4, num_layers=3, layer_types=("hybrid", "full", "hybrid")
)


def run(model: Avikam1, cache: SlotState, tokens: list[int], sizes: list[int]) -> Tensor:
    """Logits of all tokens, fed in pieces of ``sizes`` to slot 1 (a piece of 1 decodes)."""
    logits, start = [], 0
    for size in sizes:
        piece = torch.tensor(tokens[start : start + size])
        chunk = Chunk(1, start, size)
        plan = StepPlan((1,), (start,)) if size == 1 else StepPlan((), (), (chunk,))
        cache.begin(plan)
        logits.append(model.logits(model(piece, plan.positions(), cache.attend)))
        start += size
    return torch.cat(logits)


def cuts(length: int, size: int) -> list[int]:
    whole, rest = divmod(length, size)
    return [size] * whole + ([rest] if rest else [])


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 320, 321, 700, 2048])
def test_float_logits_agree_with_the_reference_at_full_window(length: int) -> None:
    config = preset("avikam1-test")
    weights = random_weights(config)
    tokens = random_tokens(config, length)
    oracle = reference_logits(weights, config, tokens)
    model = from_float_weights(config, weights)
    for size in (256, 192, 64) if length < 2048 else (256, 100):
        ours = run(model, FloatSlots(config, 2), tokens, cuts(length, size))
        assert (ours - oracle).abs().max() < 1e-4, f"chunks of {size}"


@pytest.mark.parametrize("config", [small_config(), MIXED], ids=["hybrid", "mixed-gqa"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8])
def test_float_logits_agree_with_the_reference_for_every_chunk_size(
    config: ModelConfig, size: int
) -> None:
    weights = random_weights(config)
    tokens = random_tokens(config, 90)
    oracle = reference_logits(weights, config, tokens)
    ours = run(from_float_weights(config, weights), FloatSlots(config, 3), tokens, cuts(90, size))
    assert (ours - oracle).abs().max() < 1e-4


def test_swiglu_agrees_with_the_reference() -> None:
    config = small_config(feed_forward="swiglu", tie_embeddings=False)
    weights = random_weights(config)
    tokens = random_tokens(config, 40)
    ours = run(from_float_weights(config, weights), FloatSlots(config, 2), tokens, cuts(40, 8))
    assert (ours - reference_logits(weights, config, tokens)).abs().max() < 1e-4


@pytest.mark.parametrize("config", [small_config(), MIXED], ids=["hybrid", "mixed-gqa"])
@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=6, max_size=12), st.integers(0, 99))
def test_int8_logits_are_the_same_bits_for_every_cut(
    config: ModelConfig, sizes: list[int], seed: int
) -> None:
    length = sum(sizes)
    model = from_int8_weights(config, random_weights(config))
    tokens = random_tokens(config, length, seed)
    one_by_one = run(model, Int8Slots(config, 2), tokens, [1] * length)
    assert torch.equal(run(model, Int8Slots(config, 2), tokens, sizes), one_by_one)


def test_int8_logits_stay_near_the_reference() -> None:
    config = small_config()
    weights = random_weights(config, spread=2.0)
    tokens = random_tokens(config, 60)
    oracle = reference_logits(weights, config, tokens)
    ours = run(from_int8_weights(config, weights), Int8Slots(config, 2), tokens, cuts(60, 8))
    assert (ours - oracle).norm() / oracle.norm() < 0.03


@pytest.mark.parametrize("kind", [FloatSlots, Int8Slots])
def test_a_reused_slot_remembers_nothing(kind: Callable[[ModelConfig, int], SlotCache]) -> None:
    config = small_config()
    model = from_int8_weights(config, random_weights(config))
    first, second = random_tokens(config, 80, 1), random_tokens(config, 20, 2)
    used = kind(config, 2)
    run(model, used, first, cuts(80, 8))
    fresh = run(model, kind(config, 2), second, cuts(20, 8))
    assert torch.equal(run(model, used, second, cuts(20, 8)), fresh)


def _visible_sets(config: ModelConfig, kind: str) -> Iterator[tuple[int, set[int]]]:
    positions = torch.arange(config.max_positions)
    mask = visible(positions, positions, config, "full" if kind == "full" else "hybrid")
    for i, row in enumerate(mask):
        yield i, set(torch.nonzero(row).flatten().tolist())


def test_the_slot_holds_exactly_what_the_next_query_may_see() -> None:
    config = small_config()
    layout = SlotLayout(config, "hybrid")
    for i, expected in _visible_sets(config, "hybrid"):
        held = set(layout.entry_positions(i + 1).tolist())
        assert held == expected, f"after token {i}"
        assert layout.valid(i + 1) == len(held)


def test_a_full_length_hybrid_slot_keeps_284_entries() -> None:
    config = preset("avikam1-7b")
    layout = SlotLayout(config, "hybrid")
    assert layout.valid(2048) == 284
    assert layout.length == 284


def test_a_step_touches_nothing_but_its_own_device() -> None:
    """Shapes only: the meta device stands for a GPU and refuses tensors of the CPU's."""
    config = MIXED
    model = Avikam1(config, device="meta")
    model.rotary = model.rotary.to("meta")
    cache = FloatSlots(config, 4, "meta", torch.bfloat16)
    plan = StepPlan((0, 2), (20, 3), (Chunk(3, 8, 8),))
    cache.begin(plan)
    tokens = torch.zeros(plan.tokens, dtype=torch.long, device="meta")
    hidden = model(tokens, plan.positions().to("meta"), cache.attend)
    assert model.logits(hidden).shape == (10, config.vocab_size)
    assert hidden.device.type == "meta"
