"""The shape of an Avikam1 model: one architecture, every size a set of numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

LayerType = Literal["hybrid", "full"]
FeedForward = Literal["gelu", "swiglu"]


_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "num_groups",
    "intermediate_size",
    "num_experts",
    "active_experts",
    "window",
    "stride",
    "max_positions",
)


class ConfigError(ValueError):
    """A model configuration that describes no buildable model."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Numbers of one Avikam1 model.

    ``layer_types`` names each layer ``hybrid`` (the FG(window, stride) pattern) or ``full``
    (dense causal); empty means every layer is hybrid. With ``num_experts`` above 1 the FFN is a
    mixture (:mod:`avikam.model.mixture`). ``head_size`` 0 means hidden_size / num_heads.
    """

    name: str = "avikam1"
    vocab_size: int = 32_000
    hidden_size: int = 4096
    num_layers: int = 32
    num_heads: int = 32
    num_kv_heads: int = 32
    num_groups: int = 4
    intermediate_size: int = 10_240
    feed_forward: FeedForward = "gelu"
    window: int = 256
    stride: int = 64
    layer_types: tuple[LayerType, ...] = ()
    max_positions: int = 2048
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    tie_embeddings: bool = True
    num_experts: int = 1
    active_experts: int = 1
    head_size: int = 0

    def __post_init__(self) -> None:
        if not self.layer_types:
            object.__setattr__(self, "layer_types", ("hybrid",) * self.num_layers)
        for problem in self._problems():
            raise ConfigError(f"model config {self.name!r}: {problem}")

    def _problems(self) -> list[str]:
        found = [f"{n} is {getattr(self, n)}, must be >= 1" for n in _SIZES if getattr(self, n) < 1]
        if found:
            return found
        divisions = [
            ("num_heads", "num_kv_heads"),
            ("num_heads", "num_groups"),
            ("num_kv_heads", "num_groups"),
            ("window", "stride"),
        ]
        if not self.head_size:
            divisions.insert(0, ("hidden_size", "num_heads"))
        for larger, smaller in divisions:
            if getattr(self, larger) % getattr(self, smaller):
                found.append(
                    f"{larger} {getattr(self, larger)} is not a multiple of "
                    f"{smaller} {getattr(self, smaller)}"
                )
        if self.head_dim % 2:
            found.append(f"head_dim {self.head_dim} is odd; rotary positions need pairs")
        if len(self.layer_types) != self.num_layers:
            found.append(
                f"layer_types names {len(self.layer_types)} layers, num_layers is {self.num_layers}"
            )
        unknown = sorted(set(self.layer_types) - {"hybrid", "full"})
        if unknown:
            found.append(f"unknown layer type {unknown[0]!r}; use 'hybrid' or 'full'")
        if self.feed_forward not in ("gelu", "swiglu"):
            found.append(f"unknown feed_forward {self.feed_forward!r}; use 'gelu' or 'swiglu'")
        if self.active_experts > self.num_experts:
            found.append(
                f"active_experts {self.active_experts} is more than num_experts {self.num_experts}"
            )
        return found

    @property
    def head_dim(self) -> int:
        return self.head_size or self.hidden_size // self.num_heads

    @property
    def mixed_size(self) -> int:
        """Width of what attention hands to the output projection."""
        return self.num_heads * self.head_dim

    @property
    def qkv_rows(self) -> int:
        """Rows of the fused QKV matrix: 3 * hidden_size for multi-head attention."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim

    @property
    def num_globals(self) -> int:
        """Most out-of-window global keys that a full-length sequence keeps in a hybrid layer."""
        return max(0, -(-(self.max_positions - self.window) // self.stride))

    def slot_length(self, layer: int) -> int:
        """Key/value entries that one sequence needs in ``layer`` (284 for FG(256,64) at 2048)."""
        if self.layer_types[layer] == "full":
            return self.max_positions
        return min(self.window, self.max_positions) + self.num_globals

    def parameter_count(self, *, active: bool = False) -> int:
        """Number of weights, embeddings included (a tied head counts once).

        ``active`` counts only the experts that one token meets.
        """
        matrices = 3 if self.feed_forward == "swiglu" else 2
        h = self.hidden_size
        experts = self.active_experts if active else self.num_experts
        feed_forward = experts * matrices * h * self.intermediate_size
        router = self.num_experts * h if self.num_experts > 1 else 0
        block = self.qkv_rows * h + self.mixed_size * h + feed_forward + router + 2 * h
        embeddings = self.vocab_size * h * (1 if self.tie_embeddings else 2)
        return self.num_layers * block + embeddings + h

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build from plain JSON values; an unknown key is an error."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"unknown model config key {unknown[0]!r}; known: {sorted(known)}")
        if "layer_types" in values:
            values = {**values, "layer_types": tuple(values["layer_types"])}
        return cls(**values)

    @classmethod
    def from_file(cls, path: Path) -> ModelConfig:
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, TypeError) as error:
            raise ConfigError(f"{path} is not a model config: {error}") from error

    def with_changes(self, **changes: Any) -> ModelConfig:
        """A copy with other numbers; layer types are refilled when the depth changes."""
        if "num_layers" in changes and "layer_types" not in changes:
            changes["layer_types"] = ()
        return replace(self, **changes)


PRESETS: dict[str, ModelConfig] = {
    "avikam1-7b": ModelConfig(name="avikam1-7b", tie_embeddings=False),
    "avikam1-nano": ModelConfig(
        name="avikam1-nano",
        vocab_size=8_000,
        hidden_size=384,
        num_layers=6,
        num_heads=8,
        num_kv_heads=8,
        intermediate_size=960,
    ),
    "avikam1-60m": ModelConfig(
        name="avikam1-60m",
        hidden_size=512,
        num_layers=16,
        num_heads=8,
        num_kv_heads=8,
        intermediate_size=1280,
    ),
    "avikam1-60m-moe": ModelConfig(
        name="avikam1-60m-moe",
        hidden_size=512,
        num_layers=16,
        num_heads=8,
        num_kv_heads=8,
        intermediate_size=1280,
        num_experts=4,
        active_experts=2,
    ),
    "avikam1-260m": ModelConfig(
        name="avikam1-260m",
        hidden_size=1024,
        num_layers=24,
        num_heads=16,
        num_kv_heads=16,
        intermediate_size=2560,
    ),
    "avikam1-test": ModelConfig(
        name="avikam1-test",
        vocab_size=512,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=4,
        intermediate_size=160,
    ),
}


def preset(name: str) -> ModelConfig:
    """A named size, e.g. ``avikam1-7b``."""
    if name not in PRESETS:
        raise ConfigError(f"unknown model size {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]
