"""Qwen2 and 2.5 (biases on q, k and v), Qwen3 (norms of queries and keys)."""

from __future__ import annotations

from typing import Any

from avikam.model.config import LayerType, ModelConfig
from avikam.model.families.fields import Fields
from avikam.model.families.recipes import Family, decoder_recipes
from avikam.model.families.rope import read_rope
from avikam.model.families.sizes import LONGEST, read_layer_types, read_sizes


def qwen2(fields: Fields, name: str) -> Family:
    """Biases on q, k and v always."""
    fields.only("attention_bias", True)
    return _qwen(fields, name, {"qkv_bias": True})


def qwen3(fields: Fields, name: str) -> Family:
    """Norms of queries and keys; biases on all four projections where asked for."""
    bias = fields.flag("attention_bias")
    return _qwen(fields, name, {"qk_norm": True, "qkv_bias": bias, "output_bias": bias})


def _qwen(fields: Fields, name: str, own: dict[str, Any]) -> Family:
    sizes = read_sizes(fields, kv_heads=None if fields.null("num_key_value_heads") else 32)
    fields.only("hidden_act", "silu")
    theta, scaling = read_rope(fields, 10_000.0)
    layer_types, window = _layers(fields, sizes["num_layers"])
    fields.finish()
    config = ModelConfig(
        name=name,
        feed_forward="swiglu",
        layer_types=layer_types,
        rope_theta=theta,
        rope_scaling=scaling,
        **(sizes | {"window": window} | own),
    )
    return Family(config, decoder_recipes(config))


def _layers(fields: Fields, layers: int) -> tuple[tuple[LayerType, ...], int]:
    """Layers from ``max_window_layers`` on have a window, where windows are on at all."""
    listed = read_layer_types(fields, layers)
    first = fields.integer("max_window_layers", 2**10, 28, least=0)
    window = fields.integer("sliding_window", LONGEST, 4096)
    on = fields.flag("use_sliding_window")
    kinds: tuple[LayerType, ...] = listed or tuple(
        "window" if on and i >= first else "full" for i in range(layers)
    )
    if "window" in kinds and not on:
        raise fields.problem("layer_types", "names windows, but use_sliding_window is off")
    return kinds, window if "window" in kinds else 0
