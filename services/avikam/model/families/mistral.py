"""Mistral: Llama, and in its first versions a window over every layer."""

from __future__ import annotations

from avikam.model.config import LayerType, ModelConfig
from avikam.model.families.fields import Fields
from avikam.model.families.recipes import Family, decoder_recipes
from avikam.model.families.rope import read_rope
from avikam.model.families.sizes import LONGEST, read_sizes


def mistral(fields: Fields, name: str) -> Family:
    """A ``sliding_window`` makes every layer a window layer; null means full layers."""
    sizes = read_sizes(fields, kv_heads=8)
    fields.only("hidden_act", "silu")
    theta, scaling = read_rope(fields, 10_000.0)
    # An absent key means transformers' default of 4,096; an explicit null means no window.
    window = (
        fields.integer("sliding_window", LONGEST, 4096) if not fields.null("sliding_window") else 0
    )
    fields.finish()
    sizes |= {"window": window}
    kind: LayerType = "window" if window else "full"
    config = ModelConfig(
        name=name,
        feed_forward="swiglu",
        layer_types=(kind,) * sizes["num_layers"],
        rope_theta=theta,
        rope_scaling=scaling,
        **sizes,
    )
    return Family(config, decoder_recipes(config))
