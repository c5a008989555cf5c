"""Which models the library is written for, and their numbers as it wants them."""

from __future__ import annotations

from avikam.model.config import ModelConfig
from avikam.model.native.library import FEED_FORWARDS, LANES, Model
from avikam.model.native.panels import GROUP

_MOST_ENTRIES = 65_535  # sums of as many shares of 2^15, or of 255 * 127, fit into 32 bits


def unsupported(config: ModelConfig, bits: int = 8) -> str:
    """Why a model of this shape cannot run natively; empty when it can."""
    if config.feed_forward not in FEED_FORWARDS or config.num_experts > 1:
        return (
            f"a {config.feed_forward} FFN of {config.num_experts} experts is not written natively"
        )
    if config.scale_group % LANES:
        return f"scale_group {config.scale_group} is not a multiple of {LANES}"
    unit = config.scale_group or LANES
    for name in ("hidden_size", "mixed_size", "intermediate_size"):
        for size in (unit, LANES if bits == 8 else GROUP):
            if getattr(config, name) % size:
                return f"{name} {getattr(config, name)} is not a multiple of {size}"
    return unsupported_slots(config)


def unsupported_slots(config: ModelConfig) -> str:
    """Why the library cannot attend over sequences of this length; empty when it can."""
    longest = max(config.slot_length(layer) for layer in range(config.num_layers))
    if longest > _MOST_ENTRIES:
        return (
            f"a context of {longest} entries is longer than the {_MOST_ENTRIES} whose sums fit "
            "into 32 bits; lower max_positions"
        )
    return ""


def padded_dim(config: ModelConfig) -> int:
    """Channels of a head, with the zeros that fill its last lanes."""
    return -(-config.head_dim // LANES) * LANES


def shape_of(config: ModelConfig) -> Model:
    """The numbers of a model, without weights."""
    return Model(
        count=config.num_layers,
        hidden=config.hidden_size,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        groups=config.num_groups,
        head_dim=config.head_dim,
        window=config.window,
        stride=config.stride,
        feed_forward=FEED_FORWARDS.index(config.feed_forward),
        eps=config.norm_eps,
        embed_factor=config.embed_scale,
    )
