"""Llama 2 and 3, and whoever publishes as ``LlamaForCausalLM``: SmolLM, SmolLM2, TinyLlama,
CroissantLLM, Lucie."""

from __future__ import annotations

from avikam.model.config import ModelConfig
from avikam.model.families.fields import Fields
from avikam.model.families.recipes import Family, decoder_recipes
from avikam.model.families.rope import read_rope
from avikam.model.families.sizes import read_sizes


def llama(fields: Fields, name: str) -> Family:
    """SwiGLU, grouped queries, full layers; biases on all four projections where asked for."""
    sizes = read_sizes(fields)
    fields.only("hidden_act", "silu")
    fields.only("mlp_bias", False)
    fields.only("rope_interleaved", False)
    theta, scaling = read_rope(fields, 10_000.0)
    bias = fields.flag("attention_bias")
    fields.finish()
    config = ModelConfig(
        name=name,
        feed_forward="swiglu",
        layer_types=("full",) * sizes["num_layers"],
        rope_theta=theta,
        rope_scaling=scaling,
        qkv_bias=bias,
        output_bias=bias,
        **sizes,
    )
    return Family(config, decoder_recipes(config))
