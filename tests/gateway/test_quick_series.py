"""Series of our own are written as the library writes its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from avikam.gateway import quick_series

BOUNDS = (0.1, 0.25, 1, 5)
VALUES = (0.0, 0.1, 0.11, 0.25, 3.0, 5.0, 70.0)


def test_the_page_is_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally, level = quick_series.Counter("t", "T.", ours), quick_series.Gauge("l", "L.", ours)
    spread = quick_series.Histogram("s", "S.", BOUNDS, ours)
    counter, gauge = Counter("t", "T.", registry=theirs), Gauge("l", "L.", registry=theirs)
    histogram = Histogram("s", "S.", buckets=BOUNDS, registry=theirs)
    for amount in (1, 2.5):
        tally.inc(amount)
        counter.inc(amount)
    level.inc(3)
    gauge.inc(3)
    level.dec()
    gauge.dec()
    for value in VALUES:
        spread.observe(value)
        histogram.observe(value)

    assert lines(ours) == lines(theirs)


def lines(registry: CollectorRegistry) -> list[str]:
    """Without the times of creation, which nobody asks for."""
    page = generate_latest(registry).decode().splitlines()
    return [line for line in page if "_created" not in line]
