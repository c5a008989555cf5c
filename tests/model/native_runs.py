"""Small models of every shape that runs natively, and how their tests run them."""

from __future__ import annotations

import torch
from torch import Tensor

from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.config import ModelConfig
from avikam.model.native.build import NativeUnavailableError, processor_levels
from avikam.model.native.library import Library
from avikam.model.native.model import Bits, NativeModel
from avikam.model.native.slots import NativeSlots
from avikam.model.transformer import Avikam1
from tests.model.builders import random_weights, small_config

SHAPES = {
    "hybrid": small_config(),
    "mixed-gqa": small_config(
        num_heads=8, num_kv_heads=4, num_layers=3, layer_types=("hybrid", "full", "hybrid")
    ),
    "odd-heads": small_config(hidden_size=96, num_groups=1, num_heads=4, vocab_size=130),
    "untied": small_config(tie_embeddings=False, head_size=32),
    "full-swiglu": small_config(
        feed_forward="swiglu", layer_types=("full", "full"), num_heads=9, num_kv_heads=3,
        num_groups=3, head_size=16,
    ),
    "one-kv-head": small_config(
        feed_forward="swiglu", layer_types=("full", "hybrid"), num_kv_heads=1, num_groups=1,
        hidden_size=48, head_size=20,
    ),
    "like-qwen": small_config(
        feed_forward="swiglu", layer_types=("full", "full"), num_kv_heads=2, num_groups=2,
        qkv_bias=True, output_bias=True, qk_norm=True, scale_group=16,
    ),
    "like-gemma": small_config(
        feed_forward="geglu", layer_types=("window", "full"), num_kv_heads=1, num_groups=1,
        head_size=24, num_heads=4, qk_norm=True, post_norms=True, embed_scale=8.0,
        rope_local_theta=100.0, hidden_size=64, scale_group=32, tie_embeddings=False,
    ),
}  # fmt: skip
LENGTH = 90


def levels() -> list[str]:
    """What this processor has."""
    try:
        return [level.name for level in processor_levels()]
    except NativeUnavailableError:
        return []


def native(
    config: ModelConfig, library: Library | None = None, bits: Bits = 8
) -> tuple[NativeModel, NativeSlots]:
    """A model of random weights, with four slots."""
    slots = NativeSlots(config, 4, library)
    return NativeModel(config, random_weights(config), slots, bits), slots


def run(
    model: NativeModel | Avikam1, slots: SlotState, tokens: list[int], sizes: list[int]
) -> Tensor:
    """Logits of all tokens, fed in pieces to slot 1."""
    logits, start = [], 0
    for size in sizes:
        piece = torch.tensor(tokens[start : start + size])
        chunk = Chunk(1, start, size)
        plan = StepPlan((1,), (start,)) if size == 1 else StepPlan((), (), (chunk,))
        slots.begin(plan)
        logits.append(model.logits(model(piece, plan.positions(), slots.attend)))
        start += size
    return torch.cat(logits)
