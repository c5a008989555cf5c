"""How rotary frequencies are stretched so that a model reads further than it was trained at first.

kind      from                                     what it does to the frequencies
none                                               nothing
linear    Chen et al. 2023, arXiv 2306.15595       divides all of them by ``factor``
llama3    Llama 3.1's reference code               divides the slow ones, keeps the fast ones
yarn      Peng et al. 2023, arXiv 2309.00071       the same by a ramp over dimensions, and scales
                                                   cosines and sines by ``attention_factor``
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

RopeKind = Literal["none", "linear", "llama3", "yarn"]


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """One way to stretch, with its numbers; numbers that the kind does not use stay as they are.

    ``original_positions`` is the length that the model was trained at first. ``low_frequency`` and
    ``high_frequency`` (llama3) count turns over that length: slower dimensions are divided, faster
    ones are kept. ``beta_fast`` and ``beta_slow`` (yarn) are the same two edges, and ``truncate``
    rounds them to whole dimensions.
    """

    kind: RopeKind = "none"
    factor: float = 1.0
    original_positions: int = 0
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0
    truncate: bool = True

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RopeScaling:
        """Build from plain JSON values; ``ValueError`` for an unknown key."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown rope_scaling key {unknown[0]!r}")
        return cls(**values)

    def problem(self) -> str:
        """Why these numbers describe no rotation; empty when they do."""
        if self.kind not in get_args(RopeKind):
            known = ", ".join(get_args(RopeKind))
            return f"unknown rope_scaling kind {self.kind!r}; use one of {known}"
        for name in ("factor", "low_frequency", "high_frequency", "beta_fast", "beta_slow"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                return f"rope_scaling {name} is {value}, must be above 0"
        if self.kind in ("llama3", "yarn") and self.original_positions < 1:
            return f"rope_scaling {self.kind} needs original_positions"
        if self.kind == "llama3" and self.high_frequency <= self.low_frequency:
            return (
                f"rope_scaling high_frequency {self.high_frequency} is not above "
                f"low_frequency {self.low_frequency}"
            )
        return ""
