"""The models that are compared, and what each is about."""

from __future__ import annotations

from avikam.model.config import LayerType, ModelConfig

ABOUT = {
    "dense": "every layer full",
    "fg": "every layer FG, a GELU of 2.5 times the width",
    "mixed": "FG with one full layer in eight",
    "swiglu": "FG with a SwiGLU of as many weights",
}
VARIANTS = tuple(ABOUT)
_FULL_ONE_IN = 8


def variant_config(base: ModelConfig, name: str) -> ModelConfig:
    """The model of a variant; parameter counts agree within a fraction of a percent."""
    layers = base.num_layers
    if name == "dense":
        return base.with_changes(name=name, layer_types=("full",) * layers)
    if name == "mixed":
        period = min(_FULL_ONE_IN, layers)
        types: tuple[LayerType, ...] = tuple(
            "full" if i % period == period - 1 else "hybrid" for i in range(layers)
        )
        return base.with_changes(name=name, layer_types=types)
    if name == "swiglu":
        narrower = round(base.intermediate_size * 2 / 3)
        return base.with_changes(name=name, feed_forward="swiglu", intermediate_size=narrower)
    return base.with_changes(name=name)
