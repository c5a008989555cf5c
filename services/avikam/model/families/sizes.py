"""The sizes that every family of decoders names alike, within sane bounds."""

from __future__ import annotations

import math
from typing import Any

from avikam.model.config import LayerType
from avikam.model.families.fields import FamilyError, Fields

LONGEST = 2**20  # positions; beyond, rotary tables alone take gigabytes


def read_sizes(
    fields: Fields, *, kv_heads: int | None = None, tied: bool = False
) -> dict[str, Any]:
    """Keyword arguments of :class:`~avikam.model.config.ModelConfig` that all families share.

    ``kv_heads`` and ``tied`` are the family's defaults; absent ``kv_heads`` are as many as heads.
    """
    fields.only("is_encoder_decoder", False)
    fields.only("add_cross_attention", False)
    hidden, heads = (
        fields.integer("hidden_size", 2**17),
        fields.integer("num_attention_heads", 2**12),
    )
    kv = fields.integer("num_key_value_heads", heads, kv_heads or heads)
    if heads % kv:
        raise fields.problem("num_key_value_heads", f"must divide num_attention_heads {heads}")
    head = fields.integer("head_dim", 2**12, hidden // heads if hidden % heads == 0 else None)
    return {
        "vocab_size": fields.integer("vocab_size", 2**22),
        "hidden_size": hidden,
        "num_layers": fields.integer("num_hidden_layers", 2**10),
        "num_heads": heads,
        "num_kv_heads": kv,
        "num_groups": math.gcd(kv, 4),
        "intermediate_size": fields.integer("intermediate_size", 2**19),
        "max_positions": fields.integer("max_position_embeddings", LONGEST),
        "norm_eps": fields.number("rms_norm_eps", 1e-6),
        "tie_embeddings": fields.flag("tie_word_embeddings", tied),
        "head_size": head,
        "window": 0,
        "stride": 0,
    }


_KINDS: dict[str, LayerType] = {"full_attention": "full", "sliding_attention": "window"}


def read_layer_types(fields: Fields, layers: int) -> tuple[LayerType, ...] | None:
    """What each layer sees, where the configuration lists it."""
    listed = fields.texts("layer_types")
    if listed is None:
        return None
    unknown = sorted(set(listed) - set(_KINDS))
    if unknown:
        raise FamilyError(f"layer type {unknown[0]!r} is not served; {', '.join(_KINDS)} are")
    if len(listed) != layers:
        raise FamilyError(f"layer_types names {len(listed)} layers, num_hidden_layers is {layers}")
    return tuple(_KINDS[kind] for kind in listed)
