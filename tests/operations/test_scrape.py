"""Figures from a metrics page: the client library writes it, and quantiles are PromQL's."""

from __future__ import annotations

import math

import pytest
from prometheus_client import generate_latest

from avikam.gateway.metrics import GatewayMetrics
from avikam.operations.release import figures, parameters
from avikam.operations.scrape import Scrape


def page(metrics: GatewayMetrics) -> Scrape:
    return Scrape.parse(generate_latest(metrics.registry).decode())


def test_only_what_happened_in_between_counts() -> None:
    metrics = GatewayMetrics()
    metrics.count_request("/generate", 500, 9.0)
    before = page(metrics)
    for seconds in (0.011, 0.012, 0.013, 0.9):
        metrics.count_request("/generate", 200, seconds)
    metrics.count_request("/generate", 503, 0.001)
    metrics.count_request("/generate", 499, 0.001)
    metrics.count_request("/readyz", 503, 0.001)
    metrics.generated_tokens.inc(100)
    found = figures(page(metrics).since(before), 2.0)
    assert found["requests"] == 6
    assert found["throughput_requests_per_second"] == 3.0
    assert found["throughput_tokens_per_second"] == 50.0
    # One of five: a client that left is neither, and a probe is no request.
    assert found["error_rate"] == 0.2
    assert 800 < found["latency_p99_ms"] <= 1000
    assert "first_token_p50_ms" not in found


def test_a_quantile_is_what_promql_estimates() -> None:
    text = "".join(
        f'h_bucket{{le="{bound}"}} {count}\n'
        for bound, count in [("0.1", 10), ("0.2", 30), ("+Inf", 40)]
    )
    scrape = Scrape.parse(f"# TYPE h histogram\n{text}h_count 40\nh_sum 5\n")
    assert scrape.quantile("h", 0.5) == pytest.approx(0.15)
    assert scrape.quantile("h", 0.25) == pytest.approx(0.1)
    # Beyond the last bound nobody knows: the bound itself.
    assert scrape.quantile("h", 0.99) == pytest.approx(0.2)
    assert math.isnan(Scrape({}).quantile("h", 0.5))


def test_a_restarted_counter_starts_anew() -> None:
    def scrape(value: float) -> Scrape:
        return Scrape.parse(f"# TYPE a counter\na_total {value}\n")

    assert scrape(7).since(scrape(5)).total("a_total") == 2
    assert scrape(3).since(scrape(5)).total("a_total") == 3


def test_parameters_are_flat_and_hold_no_secret() -> None:
    configuration = {"avikam": {"worker": {"slots": 8, "kv_redis": "redis://:pass@host"}}}
    found = parameters("v1", {"model_id": "nano", "router": "x"}, configuration)
    assert found == {
        "release": "v1",
        "model_id": "nano",
        "config.avikam.worker.slots": "8",
        "config.avikam.worker.kv_redis": "not shown",
    }
