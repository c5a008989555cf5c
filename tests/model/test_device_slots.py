"""The GPU's slots on a CPU: plain calls stand where a GPU's would, everything else is the same."""

from __future__ import annotations

import pytest
import torch

from avikam.model.attention.choose import choose_backend
from avikam.model.attention.decode import plain_decode
from avikam.model.attention.device_slots import Backend, DecodeRows, DeviceSlots
from avikam.model.attention.layout import SlotLayout
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.varlen import Segments, merge, plain_varlen
from avikam.model.config import ModelConfig, preset
from avikam.model.loading import from_float_weights
from avikam.model.reference import reference_logits
from avikam.model.transformer import Avikam1
from tests.model.builders import random_tokens, random_weights, small_config
from tests.model.test_attention import MIXED, cuts, run

PLAIN = Backend("plain", plain_decode, plain_varlen)


def device_slots(config: ModelConfig, slots: int = 3) -> DeviceSlots:
    return DeviceSlots(config, slots, "cpu", torch.float32, PLAIN)


@pytest.mark.parametrize("config", [small_config(), MIXED], ids=["hybrid", "mixed-gqa"])
@pytest.mark.parametrize("size", [1, 3, 4, 5, 8])
def test_two_calls_and_a_merge_agree_with_the_reference(config: ModelConfig, size: int) -> None:
    weights = random_weights(config)
    tokens = random_tokens(config, 90)
    oracle = reference_logits(weights, config, tokens)
    ours = run(from_float_weights(config, weights), device_slots(config), tokens, cuts(90, size))
    assert (ours - oracle).abs().max() < 1e-4


def test_they_agree_at_full_size_too() -> None:
    config = preset("avikam1-test")
    weights = random_weights(config)
    tokens = random_tokens(config, 700)
    oracle = reference_logits(weights, config, tokens)
    model = from_float_weights(config, weights)
    ours = run(model, device_slots(config), tokens, [256, 100, 200, *[1] * 20, 124])
    assert (ours - oracle).abs().max() < 1e-4


def test_a_step_mixes_decode_rows_and_chunks_of_several_sequences() -> None:
    config = small_config()
    weights = random_weights(config)
    model = from_float_weights(config, weights)
    cache = device_slots(config, 4)
    texts = [random_tokens(config, 30, seed) for seed in range(4)]
    for slot, seen in enumerate((29, 12, 20, 0)):
        feed(model, cache, slot, texts[slot][:seen])
    plan = StepPlan((0,), (29,), (Chunk(1, 12, 7), Chunk(2, 20, 3), Chunk(3, 0, 8)))
    pieces = (texts[0][29:], texts[1][12:19], texts[2][20:23], texts[3][:8])
    cache.begin(plan)
    tokens = torch.tensor([token for piece in pieces for token in piece])
    logits = model.logits(model(tokens, plan.positions(), cache.attend))
    expected = torch.cat(
        [
            reference_logits(weights, config, text[:end])[-len(piece) :]
            for text, end, piece in zip(texts, (30, 19, 23, 8), pieces, strict=True)
        ]
    )
    assert (logits - expected).abs().max() < 1e-4


def feed(model: Avikam1, cache: DeviceSlots, slot: int, tokens: list[int]) -> None:
    start = 0
    for size in cuts(len(tokens), 8):
        plan = StepPlan((), (), (Chunk(slot, start, size),))
        cache.begin(plan)
        model(torch.tensor(tokens[start : start + size]), plan.positions(), cache.attend)
        start += size


def test_rows_that_pad_a_batch_touch_nobodys_slot() -> None:
    config = small_config()
    model = from_float_weights(config, random_weights(config))
    cache = device_slots(config, 3)
    for slot in range(3):
        feed(model, cache, slot, random_tokens(config, 20, slot))
    before = [cache.snapshot(slot, 20) for slot in (0, 2)]
    slots = torch.tensor([1, cache.nobody, cache.nobody])
    positions = torch.tensor([20, 0, 0])
    cache.begin_decode(slots, positions)
    padded = model(torch.tensor([7, 0, 0]), positions, cache.attend)[:1]
    for slot, saved in zip((0, 2), before, strict=True):
        now = cache.snapshot(slot, 20)
        for old, new in zip(saved.layers, now.layers, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
    cache.restore(1, before[0])
    feed(model, cache, 1, random_tokens(config, 20, 1))
    cache.begin(StepPlan((1,), (20,)))
    alone = model(torch.tensor([7]), torch.tensor([20]), cache.attend)
    assert torch.allclose(padded, alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["hybrid", "full"])
def test_a_decode_rows_indices_are_the_layouts(kind: str) -> None:
    config = MIXED
    layout = SlotLayout(config, "full" if kind == "full" else "hybrid")
    positions = torch.arange(config.max_positions)
    rows = DecodeRows.of(torch.zeros_like(positions), positions, layout)
    assert rows.write.tolist() == layout.write_index(positions).tolist()
    assert rows.valid.tolist() == [layout.valid(p + 1) for p in positions.tolist()]
    moving, moves = layout.evicted(positions)
    assert rows.write[moving].tolist() == moves.source.tolist()
    assert rows.target[moving].tolist() == moves.target.tolist()
    still = torch.ones_like(positions, dtype=torch.bool)
    still[moving] = False
    assert torch.equal(rows.target[still], rows.write[still])


def test_merging_two_sets_of_keys_is_attention_over_both() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(5, 4, 16, generator=generator)
    k, v = torch.randn(2, 30, 2, 16, generator=generator)
    whole, _ = plain_varlen(q, k, v, Segments.of([5], [30], "cpu"), None)
    near = plain_varlen(q, k[:12], v[:12], Segments.of([5], [12], "cpu"), None)
    far = plain_varlen(q, k[12:], v[12:], Segments.of([5], [18], "cpu"), None)
    assert torch.allclose(merge(*near, *far), whole, atol=1e-6)


def test_a_machine_without_a_gpus_calls_attends_plainly() -> None:
    backend = choose_backend("cpu", torch.float64, (4, 4), 16)
    assert backend.name.endswith("prefill plain"), "flash calls refuse a CPU and are passed over"
    assert backend.varlen is plain_varlen
