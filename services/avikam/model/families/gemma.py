"""Gemma 3, text: GeGLU, norms everywhere, windows between full layers, a theta for each kind."""

from __future__ import annotations

from avikam.model.config import LayerType, ModelConfig
from avikam.model.families.fields import FamilyError, Fields
from avikam.model.families.recipes import Family, decoder_recipes, plus_one, plus_one_times
from avikam.model.families.rope import read_table
from avikam.model.families.sizes import LONGEST, read_layer_types, read_sizes
from avikam.model.rope_scaling import RopeScaling

_NORMS = {
    "attention_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}


def gemma3(fields: Fields, name: str) -> Family:
    """Scores are divided by sqrt(query_pre_attn_scalar): the norm of the queries takes that in."""
    sizes = read_sizes(fields, kv_heads=4, tied=True)
    for key in ("attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention"):
        fields.only(key, None, False)
    fields.only("hidden_activation", "gelu_pytorch_tanh")
    fields.only("hidden_act", "gelu_pytorch_tanh")
    fields.only("attention_bias", False)
    layer_types = _layers(fields, sizes["num_layers"])
    window = fields.integer("sliding_window", LONGEST, 4096)
    theta, local_theta, scaling = _rope(fields)
    scalar = fields.number("query_pre_attn_scalar", 256.0)
    fields.finish()
    config = ModelConfig(
        name=name,
        feed_forward="geglu",
        layer_types=layer_types,
        rope_theta=theta,
        rope_local_theta=local_theta,
        rope_scaling=scaling,
        qk_norm=True,
        post_norms=True,
        embed_scale=sizes["hidden_size"] ** 0.5,
        **(sizes | {"window": window if "window" in layer_types else 0}),
    )
    scale = (config.head_dim / scalar) ** 0.5
    return Family(config, decoder_recipes(config, _NORMS, plus_one, plus_one_times(scale)))


def _layers(fields: Fields, layers: int) -> tuple[LayerType, ...]:
    """Every sixth layer is full unless the configuration says otherwise."""
    period = fields.integer("sliding_window_pattern", 2**10, 6)
    fields.get("_sliding_window_pattern")
    listed = read_layer_types(fields, layers)
    if listed is not None:
        return listed
    return tuple("window" if (i + 1) % period else "full" for i in range(layers))


def _rope(fields: Fields) -> tuple[float, float, RopeScaling]:
    """(theta of full layers, of window layers, scaling of full layers)."""
    tables = fields.table("rope_parameters")
    theta = fields.number("rope_theta", 1_000_000.0)
    local = fields.number("rope_local_base_freq", 10_000.0)
    if tables is None:
        table = fields.table("rope_scaling")
        if table is None:
            return theta, local, RopeScaling()
        theta, scaling = read_table(table, theta, fields)
        return theta, local, scaling
    full, near = tables.table("full_attention"), tables.table("sliding_attention")
    scaling, stretched = RopeScaling(), RopeScaling()
    if full is not None:
        theta, scaling = read_table(full, theta, fields)
    if near is not None:
        local, stretched = read_table(near, local, fields)
    if stretched.kind != "none":
        raise FamilyError("a rope scaling of window layers is not served")
    tables.finish()
    return theta, local, scaling
