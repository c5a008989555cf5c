"""The shape of a decoder: one architecture, every size and every variant a set of numbers."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from avikam.model.rope_scaling import RopeScaling

LayerType = Literal["hybrid", "window", "full"]
FeedForward = Literal["gelu", "swiglu", "geglu"]


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
    "max_positions",
)


class ConfigError(ValueError):
    """A model configuration that describes no buildable model."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Numbers of one model.

    ``layer_types`` names each layer ``hybrid`` (the FG(window, stride) pattern), ``window`` (the
    last ``window`` tokens and no others) or ``full`` (dense causal); empty means every layer is
    hybrid. With ``num_experts`` above 1 the FFN is a mixture (:mod:`avikam.model.mixture`).
    ``head_size`` 0 means hidden_size / num_heads.

    ``rope_local_theta`` turns the window layers where it is above 0, without ``rope_scaling``; 0
    means that they turn as the others do. ``qk_norm`` normalises every query and key head before
    it is turned, ``post_norms`` what attention and FFN hand back, before it is added.
    ``embed_scale`` multiplies the vectors of tokens. ``scale_group`` says how many inputs of a
    native int8 product share one scale of the activations; 0 means all inputs of a token.
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
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    rope_local_theta: float = 0.0
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    embed_scale: float = 1.0
    scale_group: int = 0

    def __post_init__(self) -> None:
        if not self.layer_types:
            object.__setattr__(self, "layer_types", ("hybrid",) * self.num_layers)
        for problem in self._problems():
            raise ConfigError(f"model config {self.name!r}: {problem}")

    def _problems(self) -> list[str]:
        found = [f"{n} is {getattr(self, n)}, must be >= 1" for n in _SIZES if getattr(self, n) < 1]
        if found:
            return found
        found += self._layer_problems()
        if found:
            return found
        for larger, smaller in self._divisions():
            if getattr(self, larger) % getattr(self, smaller):
                found.append(
                    f"{larger} {getattr(self, larger)} is not a multiple of "
                    f"{smaller} {getattr(self, smaller)}"
                )
        if self.head_dim % 2:
            found.append(f"head_dim {self.head_dim} is odd; rotary positions need pairs")
        if self.feed_forward not in get_args(FeedForward):
            found.append(
                f"unknown feed_forward {self.feed_forward!r}; use one of "
                f"{', '.join(get_args(FeedForward))}"
            )
        if self.active_experts > self.num_experts:
            found.append(
                f"active_experts {self.active_experts} is more than num_experts {self.num_experts}"
            )
        return found + self._number_problems()

    def _layer_problems(self) -> list[str]:
        """A window and a stride are needed only where a layer uses them."""
        found = []
        if len(self.layer_types) != self.num_layers:
            found.append(
                f"layer_types names {len(self.layer_types)} layers, num_layers is {self.num_layers}"
            )
        unknown = sorted(set(self.layer_types) - set(get_args(LayerType)))
        if unknown:
            known = ", ".join(get_args(LayerType))
            found.append(f"unknown layer type {unknown[0]!r}; use one of {known}")
        if {"hybrid", "window"} & set(self.layer_types) and self.window < 1:
            found.append(f"window is {self.window}, must be >= 1")
        if "hybrid" in self.layer_types and self.stride < 1:
            found.append(f"stride is {self.stride}, must be >= 1")
        return found

    def _divisions(self) -> list[tuple[str, str]]:
        """Pairs of numbers of which the first must be a multiple of the second."""
        divisions = [
            ("num_heads", "num_kv_heads"),
            ("num_heads", "num_groups"),
            ("num_kv_heads", "num_groups"),
        ]
        if not self.head_size:
            divisions.insert(0, ("hidden_size", "num_heads"))
        if "hybrid" in self.layer_types:
            divisions.append(("window", "stride"))
        return divisions

    def _number_problems(self) -> list[str]:
        found = []
        for name in ("rope_theta", "norm_eps", "embed_scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                found.append(f"{name} is {value}, must be above 0")
        for name in ("rope_local_theta", "scale_group"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                found.append(f"{name} is {value}, must be >= 0")
        problem = self.rope_scaling.problem()
        return [*found, problem] if problem else found

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
        if "hybrid" not in self.layer_types:
            return 0
        return max(0, -(-(self.max_positions - self.window) // self.stride))

    @property
    def gated(self) -> bool:
        """Whether the FFN multiplies its inner values by a gate, which comes first in up_proj."""
        return self.feed_forward in ("swiglu", "geglu")

    def slot_length(self, layer: int) -> int:
        """Key/value entries that one sequence needs in ``layer`` (284 for FG(256,64) at 2048)."""
        if self.layer_types[layer] == "full":
            return self.max_positions
        ring = min(self.window, self.max_positions)
        return ring + self.num_globals if self.layer_types[layer] == "hybrid" else ring

    def parameter_count(self, *, active: bool = False) -> int:
        """Number of weights, embeddings included (a tied head counts once).

        ``active`` counts only the experts that one token meets.
        """
        matrices = 3 if self.gated else 2
        h = self.hidden_size
        experts = self.active_experts if active else self.num_experts
        feed_forward = experts * matrices * h * self.intermediate_size
        router = self.num_experts * h if self.num_experts > 1 else 0
        norms = (4 if self.post_norms else 2) * h + (2 * self.head_dim if self.qk_norm else 0)
        biases = self.qkv_rows * self.qkv_bias + h * self.output_bias
        block = self.qkv_rows * h + self.mixed_size * h + feed_forward + router + norms + biases
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
        if isinstance(values.get("rope_scaling"), dict):
            try:
                values = {**values, "rope_scaling": RopeScaling.from_dict(values["rope_scaling"])}
            except ValueError as error:
                raise ConfigError(str(error)) from error
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
