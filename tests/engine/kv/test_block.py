"""A cold block is read back exactly, or not at all."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest
import torch

from avikam.engine.build import slot_cache
from avikam.engine.kv.block import BlockError, BlockFormat, block_seal, read_header
from avikam.engine.kv.codec import PAGE, ColdForm
from avikam.engine.kv.keys import seal_key, token_bytes
from avikam.model.attention.slots import SlotState
from avikam.model.attention.snapshot import Snapshot
from tests.model.builders import random_tokens, small_config

CONFIG = small_config(layer_types=("hybrid", "full"))
LENGTH = 40
TOKENS = token_bytes(random_tokens(CONFIG, LENGTH))
KEY = b"k" * 32
SEAL = seal_key("", KEY)
_TABLE, _ROW = 64, 24


def filled(cache: SlotState, seen: int = LENGTH, seed: int = 0) -> Snapshot:
    """A snapshot of plausible values; the second layer is zeros, which Snappy likes."""
    generator = torch.Generator().manual_seed(seed)
    empty = cache.snapshot(0, seen)
    first = tuple(
        (torch.randn(t.shape, generator=generator) * 30).to(t.dtype) for t in empty.layers[0]
    )
    return Snapshot(seen, (first, *empty.layers[1:]))


@pytest.fixture(scope="module")
def cache() -> SlotState:
    return slot_cache(CONFIG, 1, "int8")


@pytest.fixture(scope="module")
def blocks(cache: SlotState) -> BlockFormat:
    return BlockFormat(cache, "exact")


@pytest.fixture(scope="module")
def block(cache: SlotState, blocks: BlockFormat) -> bytes:
    return blocks.encode(filled(cache), KEY, TOKENS, SEAL)


def resealed(block: bytes, offset: int, value: bytes) -> bytes:
    """A block with other bytes at ``offset`` and a seal that fits them: a forger's work."""
    forged = bytearray(block)
    forged[offset : offset + len(value)] = value
    forged[48:64] = block_seal(forged, SEAL)
    return bytes(forged)


def test_a_block_is_read_back_exactly(cache: SlotState, blocks: BlockFormat, block: bytes) -> None:
    original, read = filled(cache), blocks.decode(block, KEY, TOKENS, SEAL)
    assert read.seen == LENGTH
    for ours, theirs in zip(original.layers, read.layers, strict=True):
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("form", ["exact", "int8"])
def test_no_block_is_larger_than_the_largest(cache: SlotState, form: ColdForm) -> None:
    blocks, generator = BlockFormat(cache, form), torch.Generator().manual_seed(0)

    def noise(tensor: torch.Tensor) -> torch.Tensor:
        return (torch.randn(tensor.shape, generator=generator) * 30).to(tensor.dtype)

    for seen in (1, 17, LENGTH):
        layers = cache.snapshot(0, seen).layers
        full = Snapshot(seen, tuple(tuple(map(noise, layer)) for layer in layers))
        block = blocks.encode(full, KEY, token_bytes(range(seen)), SEAL)
        assert len(block) == blocks.most_bytes(seen), "noise: no layer is compressed"


def test_snappy_is_used_where_it_gains(block: bytes) -> None:
    random_layer, zeros = read_header(block).layers
    assert not random_layer.compressed
    assert zeros.compressed
    assert zeros.stored * 15 < zeros.raw


def test_each_of_10_000_flipped_bits_is_detected(blocks: BlockFormat, block: bytes) -> None:
    rng = random.Random(1)
    bits = rng.sample(range(len(block) * 8), 10_000)
    for bit in bits:
        damaged = bytearray(block)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BlockError):
            blocks.decode(bytes(damaged), KEY, TOKENS, SEAL)


def test_every_truncation_and_extension_is_detected(blocks: BlockFormat, block: bytes) -> None:
    for size in (*range(200), *range(200, len(block), 37), len(block) - 1):
        with pytest.raises(BlockError):
            blocks.decode(block[:size], KEY, TOKENS, SEAL)
    with pytest.raises(BlockError):
        blocks.decode(block + b"\n", KEY, TOKENS, SEAL)


def test_swapped_bytes_are_detected(blocks: BlockFormat, block: bytes) -> None:
    rng = random.Random(2)
    for _ in range(2000):
        a, b = rng.sample(range(len(block)), 2)
        damaged = bytearray(block)
        damaged[a], damaged[b] = damaged[b], damaged[a]
        if damaged != block:
            with pytest.raises(BlockError):
                blocks.decode(bytes(damaged), KEY, TOKENS, SEAL)


def test_a_block_under_another_key_is_refused(blocks: BlockFormat, block: bytes) -> None:
    other = b"o" * 32
    with pytest.raises(BlockError, match="key is"):
        blocks.decode(block, other, TOKENS, seal_key("", other))


def test_a_block_of_another_secret_is_refused(blocks: BlockFormat, block: bytes) -> None:
    with pytest.raises(BlockError, match="secret"):
        blocks.decode(block, KEY, TOKENS, seal_key("ours", KEY))


def test_a_block_of_other_tokens_is_refused(blocks: BlockFormat, block: bytes) -> None:
    with pytest.raises(BlockError, match="other tokens"):
        blocks.decode(block, KEY, TOKENS[4:] + TOKENS[:4], SEAL)


def test_a_block_of_another_shape_is_refused(block: bytes) -> None:
    for changes in ({"num_layers": 1}, {"window": 16}, {"hidden_size": 128}):
        cache = slot_cache(small_config(**changes), 1, "int8")
        with pytest.raises(BlockError, match="expected"):
            BlockFormat(cache, "exact").decode(block, KEY, TOKENS, SEAL)


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (8, "<I", 2**32 - 1),  # tokens
        (6, "<H", 65_535),  # layers
        (_TABLE + 8, "<Q", 8 * 2**30),  # stored bytes of a layer
        (_TABLE + 16, "<Q", 8 * 2**30),  # raw bytes of a stored layer
        (_TABLE + _ROW + 16, "<Q", 8 * 2**30),  # raw bytes of a compressed layer
    ],
)
def test_a_block_that_claims_gigabytes_is_refused_before_allocation(
    blocks: BlockFormat, block: bytes, offset: int, form: str, value: int
) -> None:
    forged = resealed(block, offset, struct.pack(form, value))
    tracemalloc.start()
    with pytest.raises(BlockError):
        blocks.decode(forged, KEY, TOKENS, SEAL)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_snappy_that_claims_another_length_is_refused(blocks: BlockFormat, block: bytes) -> None:
    start = len(block) - read_header(block).layers[1].stored
    gigabyte = b"\x80\x80\x80\x80\x04"
    with pytest.raises(BlockError, match="Snappy"):
        blocks.decode(resealed(block, start, gigabyte), KEY, TOKENS, SEAL)


def test_values_that_are_not_numbers_are_refused(cache: SlotState, blocks: BlockFormat) -> None:
    snapshot = filled(cache)
    snapshot.layers[0][1][0, 3] = torch.nan
    block = blocks.encode(snapshot, KEY, TOKENS, SEAL)
    with pytest.raises(BlockError, match="not numbers"):
        blocks.decode(block, KEY, TOKENS, SEAL)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("seen", [1, PAGE - 1, PAGE, PAGE + 5, 96])
def test_float_slots_shrink_to_int8_within_half_a_step(dtype: str, seen: int) -> None:
    cache = slot_cache(CONFIG, 1, dtype)  # type: ignore[arg-type]
    lossy, tokens = BlockFormat(cache, "int8"), token_bytes(range(seen))
    original = filled(cache, seen)
    read = lossy.decode(lossy.encode(original, KEY, tokens, SEAL), KEY, tokens, SEAL)
    for ours, theirs in zip(original.layers[0], read.layers[0], strict=True):
        step = ours.float().abs().max() / 127
        rounding = step / 2 if dtype == "float32" else step
        assert (ours.float() - theirs.float()).abs().max() <= rounding * 1.01


def test_int8_slots_lose_nothing_in_either_form(cache: SlotState) -> None:
    lossy = BlockFormat(cache, "int8")
    original = filled(cache)
    read = lossy.decode(lossy.encode(original, KEY, TOKENS, SEAL), KEY, TOKENS, SEAL)
    for ours, theirs in zip(original.layers, read.layers, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_exact_and_lossy_blocks_are_not_mistaken_for_each_other() -> None:
    cache = slot_cache(CONFIG, 1, "float32")
    forms: tuple[ColdForm, ColdForm] = ("exact", "int8")
    written = BlockFormat(cache, forms[0]).encode(filled(cache), KEY, TOKENS, SEAL)
    with pytest.raises(BlockError, match="codec"):
        BlockFormat(cache, forms[1]).decode(written, KEY, TOKENS, SEAL)
