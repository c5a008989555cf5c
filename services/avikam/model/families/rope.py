"""Rotary settings of Hugging Face configurations, of their old form and of their new one.

old    rope_theta: 1e4, rope_scaling: {type or rope_type: ..., factor: ...}
new    rope_parameters: {rope_theta: 1e4, rope_type: ..., factor: ...}
"""

from __future__ import annotations

import math

from avikam.model.families.fields import FamilyError, Fields
from avikam.model.rope_scaling import RopeScaling

_LONGEST = 2**24


def read_rope(fields: Fields, default_theta: float) -> tuple[float, RopeScaling]:
    """Theta and scaling of a model whose layers all turn alike."""
    fields.only("partial_rotary_factor", 1.0, 1)
    table = fields.table("rope_parameters")
    if table is not None:
        return read_table(table, default_theta, fields)
    theta = fields.number("rope_theta", default_theta)
    table = fields.table("rope_scaling")
    return (theta, RopeScaling()) if table is None else read_table(table, theta, fields)


def read_table(table: Fields, theta: float, model: Fields) -> tuple[float, RopeScaling]:
    """Theta and scaling of one table; ``model`` is the configuration around it."""
    old = table.get("type", "default")
    kind = table.get("rope_type", old)
    theta = table.number("rope_theta", theta)
    table.only("partial_rotary_factor", 1.0, 1)
    table.only("finetuned", True, False)
    if kind == "default":
        table.get("factor")
        table.get("original_max_position_embeddings")
        scaling = RopeScaling()
    elif kind == "linear":
        table.get("original_max_position_embeddings")
        scaling = RopeScaling("linear", table.number("factor"))
    elif kind == "llama3":
        scaling = _llama3(table)
    elif kind == "yarn":
        scaling = _yarn(table, model)
    else:
        raise FamilyError(
            f"rope scaling {str(kind)[:40]!r} is not served; linear, llama3, yarn are"
        )
    table.finish()
    return theta, scaling


def _llama3(table: Fields) -> RopeScaling:
    return RopeScaling(
        "llama3",
        table.number("factor"),
        original_positions=table.integer("original_max_position_embeddings", _LONGEST),
        low_frequency=table.number("low_freq_factor"),
        high_frequency=table.number("high_freq_factor"),
    )


def _yarn(table: Fields, model: Fields) -> RopeScaling:
    original = table.integer(
        "original_max_position_embeddings", _LONGEST, model.get("max_position_embeddings")
    )
    factor = table.number("factor")
    stated = table.get("attention_factor")
    over, under = table.get("mscale"), table.get("mscale_all_dim")
    if stated is not None:
        scale = table.number("attention_factor")
    elif over and under:
        scale = _mscale(factor, table.number("mscale")) / _mscale(
            factor, table.number("mscale_all_dim")
        )
    else:
        scale = _mscale(factor, 1.0)
    return RopeScaling(
        "yarn",
        factor,
        original_positions=original,
        beta_fast=table.number("beta_fast", 32.0),
        beta_slow=table.number("beta_slow", 1.0),
        attention_factor=scale,
        truncate=table.flag("truncate", True),
    )


def _mscale(factor: float, weight: float) -> float:
    """YaRN's temperature of attention, section 3.4 of arXiv 2309.00071."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0
