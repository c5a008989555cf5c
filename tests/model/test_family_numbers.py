"""What other families than Avikam1 add to a layer, one number at a time: against the oracle."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.layout import SlotLayout
from avikam.model.checkpoint import expected_shapes
from avikam.model.config import ConfigError, ModelConfig
from avikam.model.loading import from_float_weights, from_int8_weights
from avikam.model.masks import visible
from avikam.model.reference import reference_logits
from avikam.model.rope_scaling import RopeScaling
from avikam.model.transformer import Avikam1
from tests.model.builders import random_tokens, random_weights, small_config
from tests.model.test_attention import cuts, run
from tests.model.test_device_slots import device_slots

LLAMA3 = RopeScaling("llama3", 8.0, original_positions=32)
YARN = RopeScaling("yarn", 4.0, original_positions=24, attention_factor=1.14)
VARIANTS: dict[str, dict[str, Any]] = {
    "window": {"layer_types": ("window", "window")},
    "window beside hybrid": {"layer_types": ("window", "hybrid")},
    "window beside full, a theta each": {
        "layer_types": ("window", "full"), "rope_local_theta": 500.0, "rope_theta": 1e6
    },
    "no window at all": {"layer_types": ("full", "full"), "window": 0, "stride": 0},
    "geglu": {"feed_forward": "geglu"},
    "biases": {"qkv_bias": True, "output_bias": True},
    "norms of queries and keys": {"qk_norm": True, "head_size": 24},
    "norms behind": {"post_norms": True, "embed_scale": 8.0},
    "one key head": {"num_kv_heads": 1, "num_groups": 1},
    "three key heads": {"num_heads": 6, "num_kv_heads": 3, "num_groups": 1, "head_size": 16},
    "five key heads": {"num_heads": 10, "num_kv_heads": 5, "num_groups": 5, "head_size": 8},
    "linear": {"rope_scaling": RopeScaling("linear", 4.0)},
    "llama3": {"rope_scaling": LLAMA3},
    "yarn": {"rope_scaling": YARN},
}  # fmt: skip


def variant(name: str) -> ModelConfig:
    return small_config(**VARIANTS[name])


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", [1, 5, 8])
def test_float_logits_agree_with_the_reference_for_every_cut(name: str, size: int) -> None:
    config = variant(name)
    weights, tokens = random_weights(config), random_tokens(config, 90)
    oracle = reference_logits(weights, config, tokens)
    model = from_float_weights(config, weights)
    for slots in (FloatSlots(config, 2), device_slots(config)):
        assert (run(model, slots, tokens, cuts(90, size)) - oracle).abs().max() < 1e-4, slots.name


@pytest.mark.parametrize("name", VARIANTS)
def test_int8_logits_are_the_same_bits_for_every_cut(name: str) -> None:
    config = variant(name)
    model = from_int8_weights(config, random_weights(config))
    tokens = random_tokens(config, 60)
    one_by_one = run(model, Int8Slots(config, 2), tokens, [1] * 60)
    sizes = [8, 8, 1, 1, 7, 8, 8, 8, 8, 3]
    assert torch.equal(run(model, Int8Slots(config, 2), tokens, sizes), one_by_one)


@pytest.mark.parametrize("name", VARIANTS)
def test_names_shapes_and_counts_are_the_modules(name: str) -> None:
    config = variant(name)
    own = {n: tuple(p.shape) for n, p in Avikam1(config).named_parameters()}
    assert expected_shapes(config) == own
    assert config.parameter_count() == sum(p.numel() for p in Avikam1(config).parameters())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_config_survives_its_file(name: str) -> None:
    config = variant(name)
    assert ModelConfig.from_dict(json.loads(config.to_json())) == config


def test_a_window_slot_holds_exactly_what_the_next_query_may_see() -> None:
    config = small_config(layer_types=("window", "window"))
    layout = SlotLayout(config, "window")
    positions = torch.arange(config.max_positions)
    for i, row in enumerate(visible(positions, positions, config, "window")):
        held = set(layout.entry_positions(i + 1).tolist())
        assert held == set(torch.nonzero(row).flatten().tolist()), f"after token {i}"
        assert layout.valid(i + 1) == len(held)
    assert layout.length == config.window


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rope_scaling": {"kind": "dynamic"}}, "unknown rope_scaling kind 'dynamic'"),
        ({"rope_scaling": {"kind": "linear", "factor": 0}}, "rope_scaling factor is 0"),
        ({"rope_scaling": {"kind": "linear", "factor": float("nan")}}, "factor is nan"),
        ({"rope_scaling": {"kind": "yarn"}}, "yarn needs original_positions"),
        ({"rope_scaling": {"kinds": "yarn"}}, "unknown rope_scaling key 'kinds'"),
        ({"rope_theta": 0.0}, "rope_theta is 0"),
        ({"embed_scale": float("inf")}, "embed_scale is inf"),
        ({"layer_types": ["window"] * 32, "window": 0}, "window is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"scale_group": -1}, "scale_group is -1"),
    ],
)
def test_impossible_numbers_are_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ModelConfig.from_dict(changes)
