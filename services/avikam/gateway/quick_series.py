"""Series for what happens with every token: numbers on the event loop's thread, and no lock.

prometheus_client's own series lock around every step, since any thread may take one. Here one
thread writes, and the one that answers a scrape only reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class _Number(Collector):
    """One number; ``registry`` shows it."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._about = name, text
        self._value = 0.0
        registry.register(self)

    def inc(self, amount: float = 1) -> None:
        """So many more."""
        self._value += amount


class Counter(_Number):
    """A counter without labels."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        """For a scrape."""
        yield CounterMetricFamily(*self._about, value=self._value)


class Gauge(_Number):
    """A gauge without labels."""

    def dec(self, amount: float = 1) -> None:
        """So many less."""
        self._value -= amount

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """For a scrape."""
        yield GaugeMetricFamily(*self._about, value=self._value)


class Histogram(Collector):
    """A histogram without labels; ``bounds`` are the buckets' upper ones, in rising order."""

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._about = name, text
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Put a value where it belongs; one on a bound is below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For a scrape."""
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(*self._about, buckets=buckets, sum_value=self._sum)
