"""Prefix reuse as Prometheus series, by tier: free slots of the ``device``, ``host`` memory and the
shared ``remote`` store."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from avikam.engine.interface import KvStats

_NAME = "avikam_worker_kv_"


def kv_series(stats: KvStats) -> Iterator[Metric]:
    """Counters since the engine began, and present levels."""
    hits = {"device": stats.device_hits, "host": stats.host_hits, "remote": stats.remote_hits}
    yield _by_tier("hits", "Known prefixes used.", hits)
    misses = {"host": stats.host_misses, "remote": stats.remote_misses}
    yield _by_tier("misses", "Look-ups without use.", misses)
    yield _counter("spared_tokens", "Tokens not computed.", stats.spared_tokens)
    yield _counter("spared_seconds", "Computing not done, estimated.", stats.spared_seconds)
    yield _counter("host_evictions", "States pushed out of memory.", stats.host_evictions)
    yield _gauge("host_bytes", "Memory that states take.", stats.host_bytes)
    yield _gauge("host_entries", "States in memory.", stats.host_entries)
    yield _counter("remote_late", "Loads that came after their time.", stats.remote_late)
    yield _counter("remote_corrupt", "Blocks found damaged.", stats.remote_corrupt)
    yield _counter("remote_errors", "Calls to the store that failed.", stats.remote_errors)
    yield _counter("remote_dropped", "Writes left out, too many at once.", stats.remote_dropped)
    yield _counter("remote_writes", "Blocks written.", stats.remote_writes)
    yield _counter("remote_read_bytes", "Bytes of blocks read.", stats.remote_read_bytes)
    yield _counter("remote_written_bytes", "Bytes of blocks written.", stats.remote_written_bytes)
    yield _counter("remote_raw_bytes", "The same before compression.", stats.remote_raw_bytes)
    yield _gauge("remote_open", "1 while the store is left alone.", stats.remote_open)


def _by_tier(name: str, text: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(_NAME + name, text, labels=["tier"])
    for tier, value in values.items():
        family.add_metric([tier], value)
    return family


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(_NAME + name, text, value=value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(_NAME + name, text, value=value)
