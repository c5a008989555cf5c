"""PromQL that panels share; `$namespace` and `$pool` narrow every query."""

from __future__ import annotations

GATEWAY = 'namespace=~"$namespace"'
# Probes are no requests.
REQUESTS = f'{GATEWAY},route!~"/livez|/readyz|/health|/metrics"'
WORKER = 'namespace=~"$namespace",pool=~"$pool"'
ERRORS_1H = f"avikam:request_errors:ratio_rate1h{{{GATEWAY}}}"


def rate(metric: str, labels: str, by: str = "") -> str:
    """Sum of a counter's rate."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantiles(metric: str, labels: str, *levels: float) -> dict[str, str]:
    """Queries for quantiles of a histogram, by legend."""
    buckets = rate(f"{metric}_bucket", labels, "le")
    return {f"p{level * 100:g}": f"histogram_quantile({level:g}, {buckets})" for level in levels}


def share_below(metric: str, labels: str, bound: str) -> str:
    """Share of observations up to a bucket's boundary: a ratio of two counters."""
    below = rate(f"{metric}_bucket", f'{labels},le="{bound}"')
    return f"{below} / {rate(f'{metric}_count', labels)}"
