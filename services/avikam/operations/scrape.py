"""What a metrics page says, and what happened between two readings of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]
Chosen = Callable[[Labels], bool]
_Key = tuple[str, frozenset[tuple[str, str]]]


def everything(_: Labels) -> bool:
    """No label narrows the choice."""
    return True


class Scrape:
    """Samples of a page in Prometheus' text format."""

    def __init__(self, samples: Mapping[_Key, float]) -> None:
        self._samples = dict(samples)

    @classmethod
    def parse(cls, text: str) -> Scrape:
        """Read a page; raises ValueError for what is none."""
        return cls(
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def since(self, earlier: Scrape) -> Scrape:
        """Counters as if they had started at ``earlier``; a restarted one starts at its own 0."""
        changes = {}
        for key, value in self._samples.items():
            before = earlier._samples.get(key, 0.0)
            changes[key] = value - before if value >= before else value
        return Scrape(changes)

    def total(self, name: str, chosen: Chosen = everything) -> float:
        """Sum over the series of a name."""
        return sum(self._values(name, chosen))

    def quantile(self, name: str, share: float, chosen: Chosen = everything) -> float:
        """Of a histogram, as PromQL's ``histogram_quantile`` estimates it; NaN without samples."""
        bounds: dict[float, float] = {}
        for (sample, labels), value in self._samples.items():
            found = dict(labels)
            if sample == f"{name}_bucket" and chosen(found):
                bound = float(found["le"])
                bounds[bound] = bounds.get(bound, 0.0) + value
        return _quantile(sorted(bounds.items()), share)

    def _values(self, name: str, chosen: Chosen) -> Iterable[float]:
        return (
            value
            for (sample, labels), value in self._samples.items()
            if sample == name and chosen(dict(labels))
        )


def _quantile(buckets: list[tuple[float, float]], share: float) -> float:
    total = buckets[-1][1] if buckets else 0.0
    if total == 0:
        return math.nan
    rank = share * total
    low_bound = low_count = 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return low_bound
            return low_bound + (bound - low_bound) * (rank - low_count) / (count - low_count or 1.0)
        low_bound, low_count = bound, count
    return low_bound
