"""When requests start, whether or not earlier ones have ended."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator


def arrival_times(
    count: int, rate: float, burstiness: float, rng: random.Random
) -> Iterator[float]:
    """Seconds from the start of each request; ``rate`` is requests per second.

    Gaps are gamma-distributed: ``burstiness`` 1 is a Poisson process, less is burstier, more is
    more even. An infinite rate starts all at once.
    """
    now = 0.0
    for _ in range(count):
        if not math.isinf(rate):
            now += rng.gammavariate(burstiness, 1 / (rate * burstiness))
        yield now
