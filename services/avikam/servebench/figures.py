"""The figures of a run, under the names that vLLM's serving benchmark gives them.

ttft   time to first token          tpot   time per output token after the first
itl    time between two pieces      e2el   end-to-end latency
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from avikam.servebench.client import Outcome

METRICS = ("ttft", "tpot", "itl", "e2el")


def figures(
    outcomes: Sequence[Outcome],
    seconds: float,
    goodput: Mapping[str, float],
    percentiles: Sequence[float],
) -> dict[str, Any]:
    """Totals, rates and distributions; ``goodput`` is milliseconds allowed per metric."""
    good = [outcome for outcome in outcomes if not outcome.error]
    read = sum(outcome.input_tokens for outcome in good)
    written = sum(outcome.output_tokens for outcome in good)
    found: dict[str, Any] = {
        "duration": seconds,
        "completed": len(good),
        "failed": len(outcomes) - len(good),
        "total_input_tokens": read,
        "total_output_tokens": written,
        "request_throughput": len(good) / seconds,
        "request_goodput": _goodput(good, goodput) / seconds if goodput else None,
        "output_throughput": written / seconds,
        "total_token_throughput": (read + written) / seconds,
        "max_concurrent_requests": most_at_once(outcomes),
    }
    for metric in METRICS:
        found |= _distribution(metric, milliseconds(good, metric), percentiles)
    return found


def details(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Every request's own figures, in seconds."""
    return {
        "input_lens": [outcome.input_tokens for outcome in outcomes],
        "output_lens": [outcome.output_tokens for outcome in outcomes],
        "ttfts": [outcome.ttft for outcome in outcomes],
        "itls": [outcome.itls for outcome in outcomes],
        "errors": [outcome.error for outcome in outcomes],
    }


def milliseconds(outcomes: Sequence[Outcome], metric: str) -> list[float]:
    """All values of a metric."""
    values: dict[str, list[float]] = {
        "ttft": [outcome.ttft for outcome in outcomes],
        "tpot": [outcome.tpot for outcome in outcomes if outcome.output_tokens > 1],
        "itl": [gap for outcome in outcomes for gap in outcome.itls],
        "e2el": [outcome.latency for outcome in outcomes],
    }
    return [value * 1000 for value in values[metric]]


def percentile(values: Sequence[float], share: float) -> float:
    """Between the two nearest ranks, in proportion, as numpy does; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = (len(ordered) - 1) * share / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def most_at_once(outcomes: Sequence[Outcome]) -> int:
    """The most requests that were open at a time."""
    ends = [(outcome.started + outcome.latency, -1) for outcome in outcomes]
    open_now = most = 0
    for _, change in sorted([*((outcome.started, 1) for outcome in outcomes), *ends]):
        open_now += change
        most = max(most, open_now)
    return most


def _distribution(
    metric: str, values: Sequence[float], percentiles: Sequence[float]
) -> dict[str, float]:
    return {
        f"mean_{metric}_ms": statistics.fmean(values) if values else 0.0,
        f"median_{metric}_ms": percentile(values, 50),
        f"std_{metric}_ms": statistics.pstdev(values) if values else 0.0,
        **{f"p{share:g}_{metric}_ms": percentile(values, share) for share in percentiles},
    }


def _goodput(outcomes: Sequence[Outcome], allowed: Mapping[str, float]) -> int:
    """How many requests kept every limit."""
    return sum(
        all(max(milliseconds([outcome], metric), default=0.0) <= most for metric, most in limits)
        for outcome in outcomes
        if (limits := allowed.items())
    )
