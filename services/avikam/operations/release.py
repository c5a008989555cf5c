"""A release's record: what was deployed, and what its clients saw."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from avikam.operations.scrape import Labels, Scrape

# Probes and scrapes are nobody's requests.
_OWN_ROUTES = {"/livez", "/readyz", "/health", "/metrics"}
_GONE = "499"
_SECRET = re.compile(r"redis|password|secret", re.IGNORECASE)
# Keys of /info that a release is known by.
_INFO = ("model_id", "model_sha", "model_device_type", "model_dtype", "version", "slots_total")


def figures(change: Scrape, seconds: float) -> dict[str, float]:
    """Throughput, error rate and latency of what happened within ``seconds``.

    Latencies are milliseconds; those of which there was no sample are left out.
    """
    counted = "avikam_gateway_requests_total"
    requests = change.total(counted, _of_client)
    kept = change.total(counted, lambda labels: _of_client(labels) and labels["status"] != _GONE)
    errors = change.total(counted, lambda labels: _of_client(labels) and labels["status"] >= "500")
    found = {
        "requests": requests,
        "throughput_requests_per_second": requests / seconds,
        "throughput_tokens_per_second": change.total("avikam_gateway_generated_tokens_total")
        / seconds,
        "error_rate": errors / kept if kept else 0.0,
    }
    for name, series in {
        "latency": "avikam_gateway_request_duration_seconds",
        "first_token": "avikam_gateway_time_to_first_token_seconds",
        "between_tokens": "avikam_gateway_inter_token_seconds",
    }.items():
        for percent in (50, 95, 99):
            value = change.quantile(series, percent / 100, _of_client)
            if not math.isnan(value):
                found[f"{name}_p{percent}_ms"] = value * 1000
    return found


def parameters(
    release: str, info: Mapping[str, Any], configuration: Mapping[str, Any]
) -> dict[str, str]:
    """The release's identity and its configuration, flat, without secrets."""
    found = {"release": release} | {name: str(info[name]) for name in _INFO if name in info}
    return found | {f"config.{name}": value for name, value in _flat(configuration)}


def _of_client(labels: Labels) -> bool:
    return labels.get("route") not in _OWN_ROUTES


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            hidden = _SECRET.search(name) and value is not None
            yield f"{prefix}{name}", "not shown" if hidden else str(value)
