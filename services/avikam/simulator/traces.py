"""Traffic: how many requests per second arrive, as a function of time.

step     a sudden, lasting rise          ramp     a steady rise
diurnal  a day, squeezed into the span   spike    a minute of tenfold load
steady   the same rate throughout
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

# Requests per second at a share (0 to 1) of the trace, for a peak of 1.
Shape = Callable[[float], float]

SHAPES: Mapping[str, Shape] = {
    "steady": lambda share: 1.0,
    "step": lambda share: 0.1 if share < 0.2 else 1.0,
    "ramp": lambda share: 0.05 + 0.95 * share,
    "diurnal": lambda share: 0.55 - 0.45 * math.cos(2 * math.pi * share),
    "spike": lambda share: 1.0 if 0.45 <= share < 0.5 else 0.1,
}


@dataclass(frozen=True, slots=True)
class Trace:
    """A shape with a peak (requests per second) and a length (seconds)."""

    name: str
    peak: float
    seconds: float

    def rate(self, now: float) -> float:
        """Requests per second at a time."""
        return self.peak * SHAPES[self.name](now / self.seconds)

    def arrivals(self, rng: random.Random) -> Iterator[float]:
        """Poisson arrivals, by thinning (Lewis & Shedler 1979)."""
        now = 0.0
        while (now := now + rng.expovariate(self.peak)) < self.seconds:
            if rng.random() * self.peak < self.rate(now):
                yield now
